"""``tieline schedules``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import (
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
    from tieline.services.schedules import Schedule

__all__ = ["schedules"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def schedules(ctx: click.Context, as_json: bool) -> None:
    """List schedules; set them, let them rest. `tieline scheduler` goes by them."""
    if ctx.invoked_subcommand is None:
        _list(None, as_json=as_json)


@schedules.command("list")
@click.option("--connection", help="Only of this connection.")
@json_option
def list_(connection: str | None, as_json: bool) -> None:
    """List all schedules, and why one is parked.

    A parked schedule asks for no runs until its reason is gone, and then goes
    on by itself.
    """
    _list(connection, as_json=as_json)


@schedules.command("set")
@click.argument("connection")
@click.argument("entity")
@click.argument("rule", nargs=-1, required=True)
@click.option("--cron", is_flag=True, help="RULE is cron's: '30 3 * * *'.")
@click.option("--zone", default="UTC", show_default=True, help="Time zone of a cron rule.")
@click.option(
    "--jitter", type=int, help="Seconds by which a run may come later [a tenth, 60 at most]."
)
@click.option("--full-every", metavar="7d", help="Ask for a full run when the last is older.")
@json_option
def set_(
    connection: str,
    entity: str,
    rule: tuple[str, ...],
    cron: bool,
    zone: str,
    jitter: int | None,
    full_every: str | None,
    as_json: bool,
) -> None:
    """Sync ENTITY of CONNECTION by RULE: every so many s, m, h or d, or cron.

    A new interval begins now, cron at its next time; an entity has one
    schedule, and setting it again replaces its rule.

    Example: `tieline schedules set shop customers every 15m --full-every 7d`
    """
    with installation() as opened:
        made = services.schedules.set_schedule(
            opened,
            connection,
            entity,
            " ".join(rule),
            is_cron=cron,
            zone=zone,
            jitter_s=jitter,
            full_every=full_every,
            actor=actor(),
        )
    _tell(made, "set", as_json=as_json)


@schedules.command()
@click.argument("connection")
@click.argument("entity")
@json_option
def pause(connection: str, entity: str, as_json: bool) -> None:
    """Let a schedule rest; a run that is active goes on."""
    with installation() as opened:
        paused = services.schedules.pause_schedule(opened, connection, entity, actor=actor())
    _tell(paused, "paused", as_json=as_json)


@schedules.command()
@click.argument("connection")
@click.argument("entity")
@json_option
def resume(connection: str, entity: str, as_json: bool) -> None:
    """Let a paused schedule go on with its next tick."""
    with installation() as opened:
        resumed = services.schedules.resume_schedule(opened, connection, entity, actor=actor())
    _tell(resumed, "resumed", as_json=as_json)


@schedules.command()
@click.argument("connection")
@click.argument("entity")
@json_option
def remove(connection: str, entity: str, as_json: bool) -> None:
    """Remove a schedule; runs and records stay."""
    with installation() as opened:
        services.schedules.remove_schedule(opened, connection, entity, actor=actor())
    if as_json:
        print_json({"removed": {"connection": connection, "entity": entity}})
    else:
        note(f"  removed   the schedule of {connection} {entity}")


@schedules.command("next")
@click.option("--connection", help="Only of this connection.")
@click.option(
    "--count", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many."
)
@json_option
def next_(connection: str | None, count: int, as_json: bool) -> None:
    """List the next ticks of all active schedules, jitter included."""
    with installation() as opened:
        ticks = services.schedules.next_ticks(opened, connection=connection, count=count)
        now = opened.clock.now()
    if as_json:
        facts = [
            {"at": at, "connection": each.row.connection_name, "entity": each.row.entity}
            for at, each in ticks
        ]
        print_json({"ticks": facts})
        return
    if not ticks:
        note("  nothing is planned (next: tieline schedules list)")
        return
    print_table(
        ("AT", "CONNECTION", "ENTITY", "RULE"),
        (
            (
                when(at) if at > now else f"due since {when(at)}",
                each.row.connection_name,
                each.row.entity,
                each.row.rule,
            )
            for at, each in ticks
        ),
    )


def _facts(schedule: Schedule) -> dict[str, Any]:
    row = schedule.row
    return {
        "id": row.id,
        "connection": row.connection_name,
        "entity": row.entity,
        "rule": row.rule,
        "zone": row.zone,
        "jitter_s": row.jitter_s,
        "full_every_s": row.full_every_s,
        "state": schedule.state,
        "reason": schedule.reason,
        "hint": schedule.hint,
        "next_at": row.next_at if schedule.state == "active" else None,
        "last_tick_at": row.last_tick_at,
        "last_run_id": row.last_run_id,
        "ticks": row.ticks,
        "paused_at": row.paused_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _tell(schedule: Schedule, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"schedule": _facts(schedule)})
        return
    row = schedule.row
    note(f"  {done:<10}{row.connection_name} {row.entity}: {row.rule}, {row.zone}")
    if schedule.state == "active":
        note(f"  next      {when(row.next_at)}, by: tieline scheduler (or: tieline up)")
    elif schedule.reason:
        note(f"  parked    {schedule.reason} (next: {schedule.hint})")


def _list(connection: str | None, *, as_json: bool) -> None:
    with installation() as opened:
        found = services.schedules.list_schedules(opened, connection=connection)
        now = opened.clock.now()
    if as_json:
        print_json({"schedules": [_facts(each) for each in found]})
        return
    if not found:
        note("  there is no schedule yet (next: tieline schedules set NAME ENTITY every 15m)")
        return
    print_table(
        ("CONNECTION", "ENTITY", "RULE", "ZONE", "STATE", "NEXT", "LAST", "WHY"),
        (
            (
                each.row.connection_name,
                each.row.entity,
                each.row.rule,
                each.row.zone,
                each.state,
                when(each.row.next_at) if each.state == "active" else "-",
                ago(each.row.last_tick_at, now),
                f"{each.reason} (next: {each.hint})" if each.reason else "-",
            )
            for each in found
        ),
    )
