"""``tieline webhooks events``."""

from __future__ import annotations

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
)

if TYPE_CHECKING:
    from tieline.store.events import EventRow

__all__ = ["events"]

_STATES = ("pending", "done", "ignored", "dead")


def _choosing(command: Any) -> Any:
    """Add the options that say which events are meant."""
    for option in (
        click.option("--until", type=TIME, help="Received before then."),
        click.option("--since", type=TIME, help="Received then or later."),
        click.option("--state", "states", multiple=True, type=click.Choice(_STATES),
                     help="In this state; may be repeated."),
        click.option("--type", "types", multiple=True,
                     help="Of this type, as the provider names it; may be repeated."),
        click.option("--entity", help="About this entity."),
        click.option("--endpoint", "endpoint_id", help="Through this endpoint."),
        click.option("--connection", help="Of this connection."),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def events() -> None:
    """List what providers delivered; show one, or have a range handled once more."""


@events.command("list")
@_choosing
@click.option("--limit", default=50, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(connection: str | None, limit: int, as_json: bool, **given: Any) -> None:
    """List the newest events first."""
    with installation() as opened:
        wanted = services.events.EventsWanted(**given)
        found = services.events.list_events(opened, wanted, connection=connection, limit=limit)
        now = opened.clock.now()
    if as_json:
        print_json({"events": [_facts(row) for row in found]})
        return
    if not found:
        note("  no event is there")
        return
    print_table(
        ("EVENT", "CONNECTION", "TYPE", "RECORD", "CAME", "STATE", "WHY"),
        (
            (
                row.id,
                row.connection_name,
                row.type,
                row.record_key or "-",
                ago(row.received_at, now),
                row.state,
                f"[{row.error_code}] {row.error_message}" if row.error_code else "",
            )
            for row in found
        ),
    )


@events.command()
@click.argument("event_id")
@json_option
def show(event_id: str, as_json: bool) -> None:
    """Show one event and the delivery that brought it."""
    with installation() as opened:
        shown = services.events.get_event(opened, event_id)
    row = shown.row
    if as_json:
        told = {"headers": dict(shown.headers), "body": shown.text}
        print_json({"event": _facts(row), "delivery": told})
        return
    for label, value in (
        (row.id, f"{row.provider} · {row.connection_name} · {row.entity or 'nothing of ours'}"),
        ("type", row.type),
        ("record", row.record_key or "-"),
        ("their id", row.event_key),
        ("happened", when(row.occurred_at)),
        ("came", f"{when(row.received_at)} through {row.endpoint_id}"),
        ("state", f"{row.state} {when(row.handled_at) if row.handled_at else ''}"),
        ("tries", f"{row.attempts} failed, {row.replays} replays"),
        ("why", f"[{row.error_code}] {row.error_message}" if row.error_code else "-"),
        *shown.headers.items(),
        ("body", shown.text or "-"),
    ):
        print_table((label, value), [])
    if row.state == "dead":
        note(f"  next      tieline webhooks events replay {row.id}")


@events.command()
@click.argument("event_ids", nargs=-1)
@_choosing
@json_option
def replay(event_ids: tuple[str, ...], connection: str | None, as_json: bool, **given: Any) -> None:
    """Have events handled once more: those named, or all that fit every option.

    Nothing older is put over what is there, so that a replay is harmless
    however often it is done.
    """
    with installation() as opened:
        wanted = services.events.EventsWanted(ids=event_ids, **given)
        count = services.events.replay_events(opened, wanted, connection=connection, actor=actor())
    if as_json:
        print_json({"replayed": count})
    else:
        note(f"  pending   {count:,} events")


def _facts(row: EventRow) -> dict[str, Any]:
    error = None
    if row.error_code:
        error = {"code": row.error_code, "message": row.error_message, "fault": row.dead_kind}
    return {
        "id": row.id,
        "event_key": row.event_key,
        "endpoint": row.endpoint_id,
        "connection": row.connection_name,
        "provider": row.provider,
        "type": row.type,
        "entity": row.entity,
        "record_id": row.record_key,
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
        "delivery": row.delivery_id,
        "state": row.state,
        "attempts": row.attempts,
        "due_at": row.due_at if row.state == "pending" else None,
        "error": error,
        "handled_at": row.handled_at,
        "replays": row.replays,
    }
