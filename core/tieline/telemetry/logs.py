"""Logs: JSON for machines, text for people, secrets for nobody."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

import structlog

from tieline.telemetry.names import without_named_fields
from tieline.telemetry.redact import redact

__all__ = ["bind", "configure_logging", "get_logger", "plain_stderr"]


def _hide_fields(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Hide fields by their names, before they are written in any form."""
    hidden: structlog.types.EventDict = without_named_fields(event)
    return hidden


def _redact_line(_logger: object, _method: str, line: Any) -> str:
    return redact(str(line))


# Until a program configures more, nothing below a warning costs or prints anything,
# and what is warned of goes to handlers that are not ours: no secret may be in it.
structlog.configure(
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        _hide_fields,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
        _redact_line,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)


def configure_logging(level: str, style: str) -> None:
    """Send all logs of this process to stderr, redacted.

    Libraries are heard from warnings on, whatever level they were set to: some
    tell at DEBUG of every request, with its address, headers or body. What they
    print to stderr themselves is freed of known secrets.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``; of our own loggers.
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
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default is rich's, which can be told to show local variables.
            exception_formatter=structlog.dev.plain_traceback,
        )
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
    stream = plain_stderr()
    sys.stderr = cast("TextIO", _RedactedStream(stream))
    handler = _Handler(stream)
    handler.addFilter(_is_for_us)
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
    root.setLevel(logging.WARNING)
    logging.getLogger("tieline").setLevel(level.upper())


def _is_for_us(record: logging.LogRecord) -> bool:
    """Let our own lines pass, and warnings of libraries.

    On the handler, since anybody may give a logger another level.
    """
    return record.levelno >= logging.WARNING or f"{record.name}.".startswith("tieline.")


class _Handler(logging.StreamHandler[Any]):
    """Writes to stderr; a line that cannot be written is not shown with its arguments."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        kind = sys.exc_info()[0]
        try:
            name = "" if kind is None else kind.__name__
            self.stream.write(f"a log line of {record.name} could not be written: {name}\n")
        except (OSError, ValueError, AttributeError):
            pass  # nobody listens


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """The last hand on every line, whoever logged it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def plain_stderr() -> TextIO:
    """Return standard error as it was before :func:`configure_logging`.

    For what a person has to copy whole although it holds a secret, such as the
    address of a consent page; for nothing else.
    """
    found: TextIO = sys.stderr.stream if isinstance(sys.stderr, _RedactedStream) else sys.stderr
    return found


class _RedactedStream:
    """Standard error for whoever prints past the logs: an SDK, an uncaught exception.

    Only known secrets are taken out, and nothing by its name: this is where our
    own commands speak to people, too.

    Args:
        stream: Where it goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(redact(text, by_name=False))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def get_logger(name: str) -> Any:
    """Return a logger of a module."""
    return structlog.stdlib.get_logger(name)


def bind(**fields: str) -> None:
    """Put fields on every further line of this context: run, connection, provider."""
    structlog.contextvars.bind_contextvars(**fields)
