"""``tieline man``."""

from __future__ import annotations

import sys
from typing import cast

import click

from tieline.cli.manual import manual

__all__ = ["man"]


@click.command()
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print the manual page of all commands.

    Read it: `tieline man | man -l -`. Install it: `tieline man >
    ~/.local/share/man/man1/tieline.1`.
    """
    root = ctx.find_root()
    sys.stdout.write(manual(cast("click.Group", root.command), root))
