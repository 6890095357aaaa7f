"""Logs: JSON for machines, text for people, secrets for nobody."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any

import structlog

from tieline.telemetry.redact import is_secret_name, redact

__all__ = ["bind", "configure_logging", "get_logger"]


# Until a program configures more, nothing below a warning costs or prints anything.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)


def configure_logging(level: str, style: str) -> None:
    """Send all logs of this process to stderr, redacted.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json``, ``text``, or ``auto`` for text in a terminal alone.
    """
    if style == "auto":
        style = "text" if sys.stderr.isatty() else "json"
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_fields,
    ]
    last: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _Handler()
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak of every request, some with its address: warnings alone.
    root.setLevel(logging.WARNING)
    logging.getLogger("tieline").setLevel(level.upper())


class _Handler(logging.StreamHandler[Any]):
    """Writes to stderr; a line that cannot be written is not shown with its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        kind = sys.exc_info()[0]
        try:
            name = "" if kind is None else kind.__name__
            sys.stderr.write(f"a log line of {record.name} could not be written: {name}\n")
        except (OSError, ValueError, AttributeError):
            pass  # nobody listens


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """The last hand on every line, whoever logged it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def get_logger(name: str) -> Any:
    """Return a logger of a module."""
    return structlog.stdlib.get_logger(name)


def bind(**fields: str) -> None:
    """Put fields on every further line of this context: run, connection, provider."""
    structlog.contextvars.bind_contextvars(**fields)


def _hide_fields(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name in _secret_names(event):
        event[name] = "[redacted]"
    return event


def _secret_names(event: Iterable[str]) -> list[str]:
    return [name for name in event if is_secret_name(name)]
