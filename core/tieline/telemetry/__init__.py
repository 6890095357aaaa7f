"""Logs without secrets."""

from tieline.telemetry.logs import (
    bind,
    configure_logging,
    get_logger,
    import_ahead,
    plain_stderr,
)
from tieline.telemetry.redact import redact, remember, tellable

__all__ = [
    "bind",
    "configure_logging",
    "get_logger",
    "import_ahead",
    "plain_stderr",
    "redact",
    "remember",
    "tellable",
]
