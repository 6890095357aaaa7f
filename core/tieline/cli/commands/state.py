"""``tieline state``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import (
    TIME,
    actor,
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
    yes_option,
)
from tieline.cli.habits import can_ask
from tieline.errors import RefusedError

if TYPE_CHECKING:
    from tieline.services.states import Moved, State

__all__ = ["state"]


@click.group()
def state() -> None:
    """Show how far entities are synced; set one back, and undo that."""


@state.command()
@click.argument("connection")
@click.argument("entity", default="")
@json_option
def show(connection: str, entity: str, as_json: bool) -> None:
    """Show up to when ENTITY is known, or all entities of CONNECTION.

    KNOWN UNTIL is the provider's time; READS FROM is where its log of changes
    is read next, some time before that; `everything` where that cannot be.
    """
    with installation() as opened:
        found = services.states.list_states(opened, connection, entity)
        now = opened.clock.now()
    if as_json:
        print_json({"states": [_facts(each) for each in found]})
        return
    print_table(
        ("ENTITY", "KNOWN UNTIL", "READS FROM", "LAST SUCCESS", "RECORDS", "RUN", "UNDO BRINGS"),
        [
            (
                each.entity,
                when(each.synced_until),
                when(each.reads_from) if each.reads_from else "everything",
                ago(each.last_success_at, now),
                f"{each.records:,}",
                f"{each.active.id} {each.active.state}" if each.active else "-",
                when(each.undoes),
            )
            for each in found
        ],
    )


@state.command()
@click.argument("connection")
@click.argument("entity")
@click.option("--to", type=TIME, help="Read changes from then on; left out: everything.")
@yes_option
@json_option
def reset(connection: str, entity: str, to: datetime | None, yes: bool, as_json: bool) -> None:
    """Set the cursor of ENTITY back, so that the next run reads more.

    For when changes were missed: a provider's log that lied, a database that
    was restored. Records and the positions of change feeds stay; nothing is
    lost, and `undo` takes it back until the next run. A cursor is only set
    back, for what lies between would be missed. Not while a run is active.

    Example: `tieline state reset shop customers --to 2026-03-01`
    """
    with installation() as opened:
        row = services.connections.get_connection(opened, connection)
        if not yes:
            _confirm(row.name, entity, to)
        moved = services.states.reset_state(opened, row.id, entity, to=to, actor=actor())
    _tell(moved, "reset", as_json=as_json)
    if not as_json:
        note(f"  next      tieline sync run {moved.connection} {moved.entity}")
        note(f"  or        tieline state undo {moved.connection} {moved.entity}")


@state.command()
@click.argument("connection")
@click.argument("entity")
@json_option
def undo(connection: str, entity: str, as_json: bool) -> None:
    """Put a cursor back to where it was before `reset`, unless a run has moved it since."""
    with installation() as opened:
        moved = services.states.undo_reset(opened, connection, entity, actor=actor())
    _tell(moved, "undone", as_json=as_json)


def _confirm(name: str, entity: str, to: datetime | None) -> None:
    what = f"everything since {when(to)}" if to else "everything"
    if not can_ask():
        raise RefusedError(
            f"the next run would read {what} of {entity} again",
            hint=f"tieline state reset {name} {entity} … --yes",
            code="interactive-needed",
        )
    typed = click.prompt(
        f"The next run of {entity} then reads {what}. Type {name} to go on", err=True
    )
    if typed != name:
        raise RefusedError(f"{typed[:80]!r} is not its name: nothing was set back")


def _facts(found: State) -> dict[str, Any]:
    return asdict(found) | {"active": found.active and found.active.id}


def _tell(moved: Moved, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"moved": asdict(moved)})
        return
    to = when(moved.to) if moved.to else "nothing"
    was = when(moved.was) if moved.was else "nothing"
    note(f"  {done:<9} {moved.connection} {moved.entity}: known until {to}, was {was}")
