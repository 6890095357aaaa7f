"""``tieline db``."""

from __future__ import annotations

import click

from tieline import services
from tieline.cli.commands.db_move import move
from tieline.cli.face import installation, json_option, note, print_json
from tieline.contract import SettingsError

__all__ = ["db"]


@click.group()
def db() -> None:
    """Migrate and check the database; move to another."""


db.add_command(move)


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the database's schema up to this Tieline's; harmless to repeat."""
    with installation() as opened:
        was, now = services.setup.upgrade_database(opened)
    if as_json:
        print_json({"was": was, "schema": now})
    else:
        note(f"  schema    {now}" + (" (was there already)" if was == now else ""))


@db.command()
@json_option
def current(as_json: bool) -> None:
    """Show the database's schema and the one that this Tieline needs."""
    with installation() as opened:
        facts = services.setup.schema_facts(opened)
    if as_json:
        print_json(facts)
    else:
        note(f"  schema    {facts['schema'] or 'none'} (needed: {facts['needed']})")


@db.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the database's tables with the code's; exit 7 if they differ."""
    with installation() as opened:
        found = services.setup.schema_drift(opened)
    if as_json:
        print_json({"differences": found})
    for line in found if not as_json else ():
        note(f"  differs   {line}")
    if found:
        raise SettingsError(
            f"the tables differ from the code's in {len(found)} places",
            hint="tieline db upgrade",
            code="schema-drift",
        )
    if not as_json:
        note("  the tables are as they should be")
