"""``tieline outbox``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
import orjson

from tieline import services
from tieline.cli.choices import OPERATION_STATES
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
from tieline.cli.payloads import payload_of

if TYPE_CHECKING:
    from tieline.store.operations import OperationRow

__all__ = ["operation_facts", "outbox", "state_words"]


def operation_facts(row: OperationRow) -> dict[str, Any]:
    """Return what is shown of an operation."""
    return {
        "id": row.id,
        "connection": row.connection_name,
        "provider": row.provider,
        "entity": row.entity,
        "kind": row.kind,
        "record_id": row.record_id,
        "payload": row.payload,
        "policy": row.policy,
        "state": row.state,
        "attempts": row.attempts,
        "reason": {"code": row.reason_code, "message": row.reason} if row.reason_code else None,
        "run_id": row.run_id,
        "asked_by": row.asked_by,
        "due_at": row.due_at if row.finished_at is None else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "finished_at": row.finished_at,
    }


def state_words(row: OperationRow) -> str:
    """Say in which state an operation is, as people read it."""
    if row.reason_code and row.state in {"held", "done", "dropped"}:
        return f"{row.state} ({row.reason_code})"
    return row.state


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def outbox(ctx: click.Context, as_json: bool) -> None:
    """List changes that are not sent yet; `resolve`, `retry` or `drop` those that wait for you."""
    if ctx.invoked_subcommand is None:
        _list(None, None, (), limit=50, as_json=as_json)


@outbox.command("list")
@click.option("--connection", help="Only of this connection.")
@click.option("--entity", help="Only of this entity.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(OPERATION_STATES),
    help="Only in this state; may be repeated. Without it: all that are not done or dropped.",
)
@click.option("--limit", default=50, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(
    connection: str | None, entity: str | None, states: tuple[str, ...], limit: int, as_json: bool
) -> None:
    """List operations, the newest first.

    Example: `tieline outbox list --connection news --state held`
    """
    _list(connection, entity, states, limit=limit, as_json=as_json)


@outbox.command()
@click.argument("operation_id")
@json_option
def show(operation_id: str, as_json: bool) -> None:
    """Show one operation: what is to change, on what it rests, what the provider said.

    Example: `tieline outbox show op_4k1x`
    """
    with installation() as opened:
        listed = services.outbox.show_operation(opened, operation_id)
    row, blocker = listed.row, listed.blocker
    from tieline.engine.basis import Basis
    from tieline.store.operations import WAITING_STATES

    basis = Basis.read(row.based_on)
    overwrites = None if basis is None else basis.fields
    if as_json:
        facts = operation_facts(row) | {
            "overwrites": overwrites,
            "blocked_by": blocker and {"id": blocker.id, "state": blocker.state},
        }
        print_json({"operation": facts})
        return
    for label, value in (
        (row.id, f"{row.provider} · {row.connection_name} · {row.entity}"),
        ("what", f"{row.kind} {row.record_id or ''}"),
        ("payload", orjson.dumps(row.payload).decode()),
        ("overwrites", "-" if overwrites is None else orjson.dumps(overwrites).decode()),
        ("policy", row.policy),
        ("state", state_words(row)),
        ("why", f"[{row.reason_code}] {row.reason or ''}" if row.reason_code else "-"),
        ("waits for", f"{blocker.id}, {blocker.state}" if blocker else "-"),
        ("attempts", row.attempts),
        ("asked", f"{when(row.created_at)} by {row.asked_by}"),
        ("changed", when(row.updated_at)),
        ("run", row.run_id),
    ):
        print_table((label, str(value)), [])
    if row.state == "held" and row.reason_code == "conflict":
        note(f"  next      tieline outbox resolve {row.id} --take local (or: provider)")
    elif row.state in WAITING_STATES:
        note(f"  next      tieline outbox retry {row.id} (or: tieline outbox drop {row.id})")


@outbox.command()
@click.argument("operation_id")
@click.option("--payload", metavar="JSON", help="Send this in place of what was asked for.")
@json_option
def retry(operation_id: str, payload: str | None, as_json: bool) -> None:
    """Send an operation again that is dead or held, as it is or with another payload.

    Example: `tieline outbox retry op_4k1x --payload '{"email": "ada@example.com"}'`
    """
    given = None if payload is None else payload_of(payload, "--payload")
    with installation() as opened:
        row = services.outbox.retry_operation(opened, operation_id, payload=given, actor=actor())
    _told(row, "queued", as_json=as_json)


@outbox.command()
@click.argument("operation_id")
@json_option
def drop(operation_id: str, as_json: bool) -> None:
    """Send an operation never, or never again; later ones of its record go on.

    Example: `tieline outbox drop op_4k1x`
    """
    with installation() as opened:
        row = services.outbox.drop_operation(opened, operation_id, actor=actor())
    _told(row, "dropped", as_json=as_json)


@outbox.command()
@click.argument("operation_id")
@click.option(
    "--take",
    required=True,
    type=click.Choice(("provider", "local")),
    help="Whose record stands: the provider's, or what was asked for.",
)
@json_option
def resolve(operation_id: str, take: Literal["provider", "local"], as_json: bool) -> None:
    """Settle an operation that is held: keep the provider's record, or send over it.

    Example: `tieline outbox resolve op_4k1x --take local`
    """
    with installation() as opened:
        row = services.outbox.resolve_operation(opened, operation_id, take=take, actor=actor())
    _told(row, row.state, as_json=as_json)


def _told(row: OperationRow, word: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"operation": operation_facts(row)})
    else:
        note(f"  {word:<10}{row.kind} {row.record_id or ''}   {row.id}")


def _list(
    connection: str | None,
    entity: str | None,
    states: tuple[str, ...],
    *,
    limit: int,
    as_json: bool,
) -> None:
    with installation() as opened:
        found = services.outbox.list_outbox(
            opened, connection=connection, entity=entity, states=states, limit=limit
        )
        now = opened.clock.now()
    if as_json:
        facts = [
            operation_facts(each.row)
            | {"blocked_by": each.blocker and {"id": each.blocker.id, "state": each.blocker.state}}
            for each in found
        ]
        print_json({"operations": facts})
        return
    if not found:
        note("  nothing is left to send")
        return
    print_table(
        ("OPERATION", "CONNECTION", "ENTITY", "KIND", "RECORD", "STATE", "ASKED", "WHY"),
        (
            (
                each.row.id,
                each.row.connection_name,
                each.row.entity,
                each.row.kind,
                each.row.record_id,
                state_words(each.row),
                ago(each.row.created_at, now),
                f"waits for {each.blocker.id} ({each.blocker.state})"
                if each.blocker
                else each.row.reason,
            )
            for each in found
        ),
    )
