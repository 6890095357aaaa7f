"""Logs: JSON for machines, text for people, secrets for nobody.

Most commands log nothing, and structlog takes longer to import than the whole
of ``--help`` may: it is imported at the first line that is written.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, TextIO, cast

from tieline.telemetry.redact import redact

# ruff: noqa: PLC0415 - see above

__all__ = ["bind", "configure_logging", "get_logger", "import_ahead", "plain_stderr"]


def configure_logging(level: str, style: str) -> None:
    """Send all logs of this process to stderr, redacted.

    Libraries are heard from warnings on, whatever level they were set to: some
    tell at DEBUG of every request, with its address, headers or body. What they
    print to stderr themselves is freed of known secrets.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``; of our own loggers.
        style: ``json``, ``text``, or ``auto`` for text in a terminal alone.
    """
    stream = plain_stderr()
    is_terminal = stream.isatty()
    if style == "auto":
        style = "text" if is_terminal else "json"
    sys.stderr = cast("TextIO", _RedactedStream(stream))
    handler = _Handler(stream)
    handler.addFilter(_is_for_us)
    handler.setFormatter(_Formatter(is_json=style == "json", has_colours=is_terminal))
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


class _Formatter(logging.Formatter):
    """The last hand on every line, whoever logged it.

    Args:
        is_json: JSON for machines; else text.
        has_colours: Whether the text has any.
    """

    def __init__(self, *, is_json: bool, has_colours: bool) -> None:
        super().__init__()
        self._is_json = is_json
        self._has_colours = has_colours

    @cached_property
    def _structured(self) -> logging.Formatter:
        from tieline.telemetry.lines import new_formatter

        return new_formatter(is_json=self._is_json, has_colours=self._has_colours)

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._structured.format(record))


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
    """Return a logger of a module: ``log.warning("what happened", field=value)``."""
    return _Logger(name)


class _Logger:
    """A logger whose lines below its level cost nothing.

    Args:
        name: Of the module.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        level = _LEVELS.get(method)
        if level is None:
            raise AttributeError(f"a logger has no method {method!r}")
        if not self._logger.isEnabledFor(level):
            return _say_nothing
        from tieline.telemetry.lines import structured

        is_ours = any(isinstance(each, _Handler) for each in logging.getLogger().handlers)
        said: Callable[..., Any] = getattr(structured(self._logger, is_ours=is_ours), method)
        return said


_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}


def _say_nothing(*_said: object, **_fields: object) -> None:
    pass


def bind(**fields: str) -> None:
    """Put fields on every further line of this context: run, connection, provider."""
    from structlog.contextvars import bind_contextvars

    bind_contextvars(**fields)


def import_ahead() -> None:
    """Import what the first line would: once, in a process that forks others which may log."""
    from tieline.telemetry import lines

    assert lines
