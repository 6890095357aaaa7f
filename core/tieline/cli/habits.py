"""What holds for every command: the options before a command's name."""

from __future__ import annotations

import sys

import click

__all__ = ["can_ask", "habit", "loudness"]


def habit(name: str) -> bool:
    """Say whether an option was given before the command's name, such as ``quiet``."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get(name))


def loudness() -> int:
    """Say how often ``-v`` was given."""
    context = click.get_current_context(silent=True)
    return int(context.find_root().params.get("verbose") or 0) if context else 0


def can_ask() -> bool:
    """Say whether there is somebody to ask: a terminal, and no ``--no-input``."""
    return sys.stdin.isatty() and not habit("no_input")
