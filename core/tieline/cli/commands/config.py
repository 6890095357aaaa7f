"""``tieline config``."""

from __future__ import annotations

import sys

import rich_click as click

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show settings, make .env.example."""


@config.command("env-example")
def env_example_() -> None:
    """Print .env.example: every setting, explained, those of installed providers too."""
    from tieline.registry import Registry  # noqa: PLC0415 - help can spare it
    from tieline.services.settings import write_env_example  # noqa: PLC0415

    sys.stdout.write(write_env_example(Registry()))
