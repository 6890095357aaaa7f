"""Logs and traces without secrets."""

from tieline.telemetry.logs import (
    bind,
    configure_logging,
    get_logger,
    import_ahead,
    plain_stderr,
)
from tieline.telemetry.redact import redact, remember, tellable
from tieline.telemetry.tracing import (
    Seen,
    flush_traces,
    span,
    start_tracing,
    stop_tracing,
    traceparent,
)

__all__ = [
    "Seen",
    "bind",
    "configure_logging",
    "flush_traces",
    "get_logger",
    "import_ahead",
    "plain_stderr",
    "redact",
    "remember",
    "span",
    "start_tracing",
    "stop_tracing",
    "tellable",
    "traceparent",
]
