"""How help looks: click's own pages, with colours where a terminal shows them.

Rich would draw boxes, and takes longer to import than the whole of `--help` may.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import click

__all__ = ["PageContext", "prepare", "shows_colours"]


class _Page(click.HelpFormatter):
    """A page of help: headings, options and commands stand out."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(click.style(prog, bold=True), args, prefix)

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        named = [(click.style(name, fg="cyan"), text) for name, text in rows]
        super().write_dl(named, col_max, col_spacing)


class PageContext(click.Context):
    """The context of a command whose help is such a page."""

    formatter_class = _Page


def prepare(command: click.Command) -> None:
    """Give a command, and those below it, our pages and our way with a missing word.

    A missing word is told as an error is, and not by printing help as data.
    """
    command.context_class = PageContext
    if isinstance(command, click.Group):
        command.no_args_is_help = False
        for each in command.commands.values():
            # Whole: click would cut it after so many letters.
            each.short_help = each.short_help or (each.help or "").partition("\n")[0]
            prepare(each)


def shows_colours() -> bool | None:
    """Say False where colours are not wanted; None leaves it to the stream."""
    is_plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return False if is_plain else None
