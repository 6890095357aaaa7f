"""What a line of the log looks like; the home of structlog, imported at the first line."""

from __future__ import annotations

import logging
from typing import Any

import structlog

from tieline.telemetry.names import without_named_fields
from tieline.telemetry.redact import redact
from tieline.telemetry.tracing import trace_ids

__all__ = ["new_formatter", "structured"]


def structured(logger: logging.Logger, *, is_ours: bool) -> Any:
    """Let a logger be told fields.

    Args:
        logger: Python's own.
        is_ours: Our handler writes what it logs. Until a program configures one,
            what is warned of goes to others: no secret may be in it.
    """
    return structlog.wrap_logger(
        logger,
        processors=_FOR_OUR_HANDLER if is_ours else _FOR_OTHERS,
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def new_formatter(*, is_json: bool, has_colours: bool) -> logging.Formatter:
    """Make what writes lines, ours and those of libraries.

    Args:
        is_json: JSON for machines; else text.
        has_colours: Whether the text has any.
    """
    last: list[structlog.types.Processor] = (
        [structlog.processors.JSONRenderer()]
        if is_json
        else [
            _in_its_place,
            structlog.dev.ConsoleRenderer(
                colors=has_colours,
                # The default is rich's, which can be told to show local variables.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *last,
        ],
    )


def _hide_fields(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Hide fields by their names, before they are written in any form."""
    hidden: structlog.types.EventDict = without_named_fields(event)
    return hidden


def _add_trace(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Say within which span it was logged, so that either leads to the other."""
    event.update(trace_ids())
    return event


def _in_its_place(
    _logger: object, _method: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    """Let nobody's words begin a line of their own, or speak to the terminal.

    What libraries log, and what exceptions say, quotes providers. Fields are
    written as Python writes text, and need nothing.
    """
    event["event"] = _escaped(str(event.get("event", "")))
    if "exception" in event:
        # first: a secret that has line breaks is not found once they are indented
        lines = redact(str(event["exception"])).split("\n")
        event["exception"] = "\n".join(f"  {_escaped(line)}" for line in lines)
    return event


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode()
        for each in redact(text)
    )


def _redact_line(_logger: object, _method: str, line: Any) -> str:
    return redact(str(line))


_SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    _add_trace,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _hide_fields,
]
_FOR_OUR_HANDLER: list[structlog.types.Processor] = [
    structlog.stdlib.filter_by_level,
    *_SHARED,
    structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
]
_FOR_OTHERS: list[structlog.types.Processor] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    _hide_fields,
    structlog.processors.format_exc_info,
    structlog.processors.KeyValueRenderer(key_order=["event"]),
    _redact_line,
]
