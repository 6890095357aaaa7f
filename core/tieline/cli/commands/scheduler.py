"""``tieline scheduler``."""

from __future__ import annotations

import click

from tieline.cli.face import installation

__all__ = ["scheduler"]


@click.command()
@click.option("--parent", type=click.IntRange(1), hidden=True, help="Leave with this process.")
def scheduler(parent: int | None) -> None:
    """Ask for runs when their schedules say so. Any number may run, on any machine.

    Two schedulers are as one: each tick is taken once. Ticks that nobody took,
    because none ran, are made up for by one run. SIGTERM or Ctrl-C: leave
    within a second.
    """
    from tieline.jobs.scheduler import schedule

    with installation(is_service=True) as opened:
        schedule(opened, parent=parent)
