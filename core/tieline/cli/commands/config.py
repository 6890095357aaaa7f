"""``tieline config``."""

from __future__ import annotations

import sys

import rich_click as click

from tieline.settings import env_example

__all__ = ["config"]


@click.group()
def config() -> None:
    """Show settings, make .env.example."""


@config.command("env-example")
def env_example_() -> None:
    """Print .env.example: every setting, explained."""
    sys.stdout.write(env_example())
