"""``tieline dead``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.commands.runs import run_facts
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
    from tieline.store.dead_letters import DeadLetter

__all__ = ["dead"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def dead(ctx: click.Context, as_json: bool) -> None:
    """List what was given up and waits for a person; `retry` or `drop` settles it."""
    if ctx.invoked_subcommand is None:
        _list(None, with_settled=False, limit=50, as_json=as_json)


@dead.command("list")
@click.option("--connection", help="Only of this connection.")
@click.option("--all", "with_settled", is_flag=True, help="Those that were settled, too.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(connection: str | None, with_settled: bool, limit: int, as_json: bool) -> None:
    """List the newest dead letters first."""
    _list(connection, with_settled=with_settled, limit=limit, as_json=as_json)


@dead.command()
@click.argument("letter_id")
@json_option
def show(letter_id: str, as_json: bool) -> None:
    """Show one dead letter, and the sync log of its run."""
    with installation() as opened:
        letter = services.dead_letters.get_dead_letter(opened, letter_id)
        entries = services.syncs.run_log(opened, letter.run_id) if letter.run_id else []
        count = services.dead_letters.count_dead_events(opened, letter)
    if as_json:
        print_json({"dead_letter": _facts(letter), "log": entries, "events": count})
        return
    for label, value in (
        (letter.id, f"{letter.provider} · {letter.connection_name} · {letter.entity or '-'}"),
        ("what", _what(letter, count)),
        ("why", f"[{letter.reason_code}] {letter.reason}"),
        ("since", when(letter.created_at)),
        ("state", f"{letter.settled_how} {when(letter.settled_at)}"
         if letter.settled_at else "waits for you"),
        *letter.facts.items(),
    ):  # fmt: skip
        print_table((label, value), [])
    print_table(
        ("AT", "WHO", "WHAT", "DETAIL"),
        ((when(e["at"]), e["actor"], e["event"], e["detail"]) for e in entries),
    )
    if letter.settled_at is None:
        note(f"  next      tieline dead retry {letter.id} (or: tieline dead drop {letter.id})")


@dead.command()
@click.argument("letter_id")
@json_option
def retry(letter_id: str, as_json: bool) -> None:
    """Ask for the run once more, or handle the events again, and settle the letter.

    Nothing is doubled by it.
    """
    with installation() as opened:
        retried = services.dead_letters.retry_dead_letter(opened, letter_id, actor=actor())
    if as_json:
        print_json(
            {
                "dead_letter": _facts(retried.letter),
                "run": run_facts(retried.run) if retried.run else None,
                "is_new": retried.is_new,
                "events": retried.events,
            }
        )
        return
    if retried.run is None:
        note(f"  pending   {retried.events:,} events")
        name = retried.letter.connection_name
        note(f"  next      tieline webhooks events list --connection {name}")
        return
    said = "asked" if retried.is_new else "active"
    note(f"  {said:<10}{retried.run.mode} run of {retried.run.entity}   {retried.run.id}")
    note(f"  next      tieline runs show {retried.run.id}")


@dead.command()
@click.argument("letter_id")
@json_option
def drop(letter_id: str, as_json: bool) -> None:
    """Settle a letter and do nothing more; a schedule that it parked goes on."""
    with installation() as opened:
        letter = services.dead_letters.drop_dead_letter(opened, letter_id, actor=actor())
    if as_json:
        print_json({"dead_letter": _facts(letter)})
    else:
        note(f"  dropped   {letter.id}")


def _what(letter: DeadLetter, count: int) -> str:
    if not letter.is_of_events:
        return f"{letter.kind} {letter.run_id or ''}"
    fault = "the provider's or its data's" if letter.dead_kind == "theirs" else "ours"
    return f"{count:,} events; the fault is {fault}"


def _facts(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "kind": letter.kind,
        "connection": letter.connection_name,
        "provider": letter.provider,
        "entity": letter.entity,
        "run_id": letter.run_id,
        "reason_code": letter.reason_code,
        "reason": letter.reason,
        "facts": letter.facts,
        "created_at": letter.created_at,
        "settled_at": letter.settled_at,
        "settled_how": letter.settled_how,
    }


def _list(connection: str | None, *, with_settled: bool, limit: int, as_json: bool) -> None:
    with installation() as opened:
        found = services.dead_letters.list_dead_letters(
            opened, connection=connection, with_settled=with_settled, limit=limit
        )
        now = opened.clock.now()
    if as_json:
        print_json({"dead_letters": [_facts(letter) for letter in found]})
        return
    if not found:
        note("  nothing is dead")
        return
    print_table(
        ("LETTER", "CONNECTION", "ENTITY", "WHAT", "SINCE", "STATE", "WHY"),
        (
            (
                letter.id,
                letter.connection_name,
                letter.entity,
                letter.kind,
                ago(letter.created_at, now),
                letter.settled_how or "waits",
                f"[{letter.reason_code}] {letter.reason}",
            )
            for letter in found
        ),
    )
