"""``tieline health``."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

import rich_click as click

from tieline.cli.face import json_option, note, print_json
from tieline.services.pulse import ROLES, Role, require_pulse
from tieline.settings import load_settings

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
    found = require_pulse(load_settings().home, cast("Role", role))
    if as_json:
        print_json({"role": role, "alive": [asdict(each) for each in found]})
        return
    for each in found:
        note(f"  alive     {role} {each.pid}, {each.age_s:.0f} s ago")
