"""``tieline version``."""

from __future__ import annotations

import platform

import click

from tieline import __version__
from tieline.cli.face import OUTPUT_VERSION, json_option, print_json, print_table

__all__ = ["version"]


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Show the versions of Tieline, its contract and the installed plugins."""
    from tieline.contract import CONTRACT_VERSION
    from tieline.registry import find_plugins

    plugins = {found.distribution: found.version for found in find_plugins()}
    python = platform.python_version()
    if as_json:
        print_json(
            {
                "tieline": __version__,
                "contract": CONTRACT_VERSION,
                "output": OUTPUT_VERSION,
                "python": python,
                "plugins": plugins,
            }
        )
        return
    print_table(("tieline", __version__), [("contract", CONTRACT_VERSION), ("python", python)])
    for name, number in plugins.items():
        print_table((name, number), [])
