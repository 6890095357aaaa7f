"""Logs without secrets."""

from tieline.telemetry.logs import bind, configure_logging, get_logger
from tieline.telemetry.redact import redact, remember, tellable

__all__ = ["bind", "configure_logging", "get_logger", "redact", "remember", "tellable"]
