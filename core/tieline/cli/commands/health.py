"""``tieline health``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

import click

from tieline import services
from tieline.cli.choices import ROLES
from tieline.cli.face import json_option, note, print_json

if TYPE_CHECKING:
    from tieline.services.pulse import Role

__all__ = ["health"]


@click.command()
@click.argument("role", type=click.Choice(ROLES))
@json_option
def health(role: str, as_json: bool) -> None:
    """Say whether a worker or scheduler of this machine is alive, for what supervises it.

    Exit 0: each that runs here gave a sign of life within 90 seconds. Exit 3:
    none runs, or one hangs. Neither database nor Redis is asked: a process that
    waits for them is alive. `tieline serve` has /healthz.
    """
    from tieline.settings import load_settings

    found = services.pulse.require_pulse(load_settings().home, cast("Role", role))
    if as_json:
        print_json({"role": role, "alive": [asdict(each) for each in found]})
        return
    for each in found:
        note(f"  alive     {role} {each.pid}, {each.age_s:.0f} s ago")
