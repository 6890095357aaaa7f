"""What every command needs: settings, an installation, ways to print."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from tieline.cli.habits import habit, loudness

if TYPE_CHECKING:
    from tieline.services.installation import Installation

__all__ = [
    "OUTPUT_VERSION",
    "actor",
    "ago",
    "flush",
    "installation",
    "json_option",
    "note",
    "print_json",
    "print_json_line",
    "print_table",
    "when",
    "write_line",
    "yes_option",
]

OUTPUT_VERSION = 1
"""Of what commands print with ``--json``; docs/reference/json-output.json has the schemas."""

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Give a command ``--json``; `tieline --json COMMAND` is the same."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        default=lambda: habit("as_json"),
        help="Print one JSON document.",
    )(command)


def yes_option(command: F) -> F:
    """Give a command ``--yes``; `tieline --yes COMMAND` is the same."""
    return click.option("--yes", is_flag=True, default=lambda: habit("yes"), help="Do not ask.")(
        command
    )


@contextmanager
def installation(
    *, is_service: bool = False, given: Mapping[str, object] | None = None
) -> Iterator[Installation]:
    """Open the installation that the environment describes.

    Args:
        is_service: The command goes on and logs as the settings say; others
            log warnings alone, unless everything is asked for.
        given: Settings that options give, by variable; None is left as it is.
    """
    from tieline.services.installation import Installation
    from tieline.settings import load_settings
    from tieline.telemetry import configure_logging, span, start_tracing, stop_tracing

    options = {name: str(value) for name, value in (given or {}).items() if value is not None}
    settings = load_settings({**os.environ, **options})
    is_loud = is_service or settings.log_level == "debug"
    level = settings.log_level if is_loud else "warning"
    if wanted := loudness():
        level = "info" if wanted == 1 and level != "debug" else "debug"
    configure_logging(level, settings.log_format)
    start_tracing(is_on=settings.tracing)
    opened = Installation(settings)
    try:
        if is_service:  # what it does has spans of its own
            yield opened
        else:
            with span("command", parent=os.environ.get("TRACEPARENT", ""), command=_command()):
                yield opened
    finally:
        opened.close()
        stop_tracing()


def _command() -> str:
    """Name the command at work, without what was given to it."""
    context = click.get_current_context(silent=True)
    return context.command_path if context else "tieline"


def actor() -> str:
    """Name whoever types, for the sync log."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"


def print_json(value: object) -> None:
    """Write one JSON document to stdout; times are RFC 3339 UTC."""
    options = orjson.OPT_UTC_Z | orjson.OPT_INDENT_2
    write_line(orjson.dumps(value, option=options, default=str))


def print_json_line(value: object) -> None:
    """Write one of many JSON documents to stdout, on a line of its own, for whoever reads along."""
    write_line(orjson.dumps(value, option=orjson.OPT_UTC_Z, default=str))
    flush()


def write_line(line: bytes) -> None:
    """Write a line of data to stdout."""
    sys.stdout.buffer.write(line + b"\n")


def flush() -> None:
    """Let readers see what was written."""
    sys.stdout.buffer.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table to stdout: columns in a terminal, tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(_cell(cell) for cell in row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    Console(highlight=False, markup=False).print(table)


def note(text: str, *, is_error: bool = False) -> None:
    """Tell people something, on stderr; after --quiet only what went wrong."""
    if habit("quiet") and not is_error:
        return
    from tieline.telemetry import redact

    click.echo(redact(text), err=True)


class _Time(click.ParamType[datetime]):
    """An aware time: ISO 8601; without a zone it is UTC."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            read = datetime.fromisoformat(value)
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time like 2026-03-01 or 2026-03-01T12:00Z", param, ctx)


TIME = _Time()


def when(time: datetime | None) -> str:
    """Write a time for people: local, with its zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if time else "-"


def ago(time: datetime | None, now: datetime) -> str:
    """Write how long ago something was."""
    if time is None:
        return "-"
    seconds = max(0, int((now - time).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _cell(cell: object) -> str:
    if isinstance(cell, datetime):
        return when(cell)
    text = "-" if cell is None else str(cell)
    return "".join(character if character.isprintable() else "�" for character in text)
