"""The manual page, made of the commands' own help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from tieline import __version__

__all__ = ["manual"]

_EXIT = "Exit codes: "
_CODE = re.compile(r"`([^`]+)`")
_SETTINGS = (
    "Every setting is a variable TIELINE_…; `tieline config env-example` prints all, each with what"
    " it does, and `tieline config show --origin` what holds."
)
_FILES = (
    ("$TIELINE_HOME", "The installation: SQLite database, local key, embedded Valkey."),
    (".env", "Settings, read from the working folder after the environment."),
)


def manual(root: click.Group, context: click.Context) -> str:
    """Write the page in the macros of man(7), the same for the same commands.

    Args:
        root: The ``tieline`` command.
        context: Of it; lazy commands are imported.
    """
    return "\n".join(_lines(root, context)) + "\n"


def _lines(root: click.Group, context: click.Context) -> Iterator[str]:
    paragraphs = _paragraphs(root)
    first, *rest = [each for each in paragraphs if not each.startswith(_EXIT)]
    yield f'.TH TIELINE 1 "" "tieline {__version__}" "Tieline"'
    yield ".SH NAME"
    short = first.partition(":")[0].rstrip(".")
    yield f"tieline \\- {_text(short[:1].lower() + short[1:])}"
    yield ".SH SYNOPSIS"
    yield r".B tieline"
    yield r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGS\fR]..."
    yield ".SH DESCRIPTION"
    yield from _body([first, *rest])
    yield ".SH OPTIONS"
    yield from _options(root, context)
    yield ".SH COMMANDS"
    for name in root.list_commands(context):
        context.meta["tieline.called"] = name
        if (command := root.get_command(context, name)) is not None:
            yield from _command(command, f"tieline {name}", context)
    yield ".SH EXIT STATUS"
    yield from _body(each.removeprefix(_EXIT) for each in paragraphs if each.startswith(_EXIT))
    yield ".SH ENVIRONMENT"
    yield from _body([_SETTINGS])
    yield ".SH FILES"
    for name, words in _FILES:
        yield from (".TP", f"\\fI{_text(name)}\\fR", _text(words))


def _command(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=path, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SS {_text(path)}"
    yield f"\\fB{_text(path)}\\fR {_text(usage)}"
    yield ".PP"
    yield from _body(_paragraphs(command))
    context.help_option_names = []  # said once, of all
    yield from _options(command, context)
    # A group that finds its commands when it is called has none here: they depend on the machine.
    for name, each in sorted(getattr(command, "commands", {}).items()):
        if not each.hidden:
            yield from _command(each, f"{path} {name}", parent)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None and isinstance(option, click.Option):
            names, words = record
            yield from (".TP", f"\\fB{_text(names)}\\fR", _text(words) or r"\&")


def _paragraphs(command: click.Command) -> list[str]:
    text = inspect.cleandoc(command.help or "").replace("\b", "")
    return [" ".join(each.split()) for each in text.split("\n\n") if each.strip()]


def _body(paragraphs: Iterator[str] | list[str]) -> Iterator[str]:
    for number, each in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield _CODE.sub(r"\\fB\1\\fR", _text(each))


def _text(words: str) -> str:
    """Write text so that nothing in it is an order: no escape, no control at a line's start."""
    plain = words.replace("\\", r"\e").replace("-", r"\-").replace("…", "...")
    plain = plain.replace("'", r"\(aq").replace("\n", " ")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain
