"""``tieline init``."""

from __future__ import annotations

import click

from tieline import services
from tieline.cli.face import installation, json_option, note, print_json

__all__ = ["init"]


@click.command()
@json_option
def init(as_json: bool) -> None:
    """Make an installation: folder, encryption key, database. Harmless to repeat.

    It stands in TIELINE_HOME; TIELINE_DATABASE_URL and TIELINE_REDIS_URL put
    database and Redis elsewhere.
    """
    with installation() as opened:
        made = services.setup.initialise(opened)
    if as_json:
        print_json(
            {
                "home": str(made.home),
                "database": made.database,
                "key": made.key,
                "has_new_key": made.has_new_key,
                "schema": made.revision,
            }
        )
        return
    state = "new" if made.has_new_key else "was there"
    note(f"  home      {made.home}")
    note(f"  key       {made.key} ({state}; keep a copy: without it no credential opens)")
    note(f"  database  {made.database}, schema {made.revision}")
    note("  next      tieline connect stripe --name shop, then: tieline up")
