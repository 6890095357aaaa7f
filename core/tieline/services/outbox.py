"""The outbox: ask for changes at a provider, look at them, settle what waits for a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast

from tieline.alerts import close_alert
from tieline.auth import reauth_hint
from tieline.contract import Entity, OperationKind, parse_json
from tieline.engine import ask_run
from tieline.engine.basis import POLICIES, Basis, Policy
from tieline.engine.push import new_key
from tieline.errors import InvalidInputError, NotFoundError, RefusedError, nearest
from tieline.records import restore
from tieline.services.changes import Change, require_good, require_policy, require_write
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import log, operations, records
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.operations import WAITING_STATES, Blocker, OperationRow
from tieline.store.rows import RunRow

__all__ = [
    "POLICIES",
    "Asked",
    "Listed",
    "Policy",
    "ask_changes",
    "drop_operation",
    "get_operations",
    "list_outbox",
    "resolve_operation",
    "retry_operation",
    "send_what_is_left",
    "show_operation",
]

_ON_THEIR_WAY = ("queued", "sending", "unknown")
_UNFINISHED = (*_ON_THEIR_WAY, *WAITING_STATES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What became of asking for changes.

    Attributes:
        ids: Of the operations, in the order of the changes.
        run: The run that sends them; None while there can be none.
        waits_for: Why there is none, in words; empty if there is.
    """

    ids: Sequence[str]
    run: RunRow | None = None
    waits_for: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """An operation, and which one has to be finished before it; None: none."""

    row: OperationRow
    blocker: Blocker | None = None


def ask_changes(
    installation: Installation,
    connection: str,
    entity: str,
    changes: Sequence[Change],
    *,
    policy: Policy = "hold",
    actor: str,
) -> Asked:
    """Put changes into the outbox, all or none, and ask for a run that sends them.

    Each rests on the record as it is known now: what somebody changes at the
    provider after that is not overwritten unless the policy says so.

    Args:
        installation: Where.
        connection: Name or id.
        entity: What to change.
        changes: In this order; of one record a later one never overtakes.
        policy: What is to happen when the record is another one at the provider.
        actor: Who asks, for the sync log.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: A change makes no sense; all that do not are named.
        RefusedError: The connection was disconnected.
        PluginError: The provider's plugin is broken.
        DependencyError: Database or Redis does not answer; if it is Redis, the
            changes are kept, and sent when it is back.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    write = require_write(declared)
    require_policy(write, policy, declared)
    require_good(write, declared, changes)
    if row.state == "disconnected":
        raise RefusedError(
            f"the connection {row.name} was disconnected", hint=reauth_hint(row.name)
        )

    def work(transaction: Transaction) -> list[str]:
        now = installation.clock.now()
        ids = [
            operations.add_operation(
                transaction,
                connection_id=row.id,
                entity=entity,
                kind=change.kind,
                record_id=change.key or None,
                payload=change.payload,
                idempotency_key=new_key(),
                policy=policy,
                based_on=_basis_of(transaction, row.id, declared, change.key, change.payload),
                asked_by=actor,
                now=now,
            )
            for change in changes
        ]
        _log(transaction, row, entity, "asked", f"{len(ids)} changes, {policy}", actor, now)
        return ids

    ids = installation.database.transact(work)
    run, waits_for = _push(installation, row, declared, actor)
    return Asked(ids=ids, run=run, waits_for=waits_for)


def send_what_is_left(
    installation: Installation, ids: Sequence[str], *, actor: str
) -> RunRow | None:
    """Return the run that sends what a run which is over has left behind; None: it left nothing.

    A run that was about to end when changes were asked for may not have met them.
    """
    left = [row for row in get_operations(installation, ids) if row.state in _ON_THEIR_WAY]
    with installation.database.read() as transaction:
        blockers = [operations.find_blocker(transaction, each) for each in left]
    if all(each is not None and each.state in WAITING_STATES for each in blockers):
        return None  # nothing is, or a person has to look first
    row = get_connection(installation, left[0].connection_id)
    declared = installation.registry.get(row.provider).entity(left[0].entity)
    run, _ = _push(installation, row, declared, actor)
    return run


def list_outbox(
    installation: Installation,
    *,
    connection: str | None = None,
    visible: Collection[str] | None = None,
    entity: str | None = None,
    states: Sequence[str] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[Listed]:
    """Return the newest operations first: those that are not finished, or those of some states.

    Args:
        installation: Where.
        connection: Name or id; None for all.
        visible: Ids of the connections that whoever asks may see; None: all.
        entity: Only of this entity.
        states: Only in these.
        before: Number of the last operation of the page before.
        limit: The most to return.

    Raises:
        NotFoundError: There is no such connection.
        InvalidInputError: There is no such state.
    """
    row = get_connection(installation, connection) if connection else None
    if unknown := sorted(set(states) - set(operations.STATES)):
        raise InvalidInputError(
            f"there is no state {unknown[0]!r}", hint=nearest(unknown[0], operations.STATES)
        )
    with installation.database.read() as transaction:
        found = operations.list_operations(
            transaction,
            connection_id=row.id if row else None,
            connection_ids=visible,
            entity=entity,
            states=states or _UNFINISHED,
            before=before,
            limit=limit,
        )
        return [Listed(each, operations.find_blocker(transaction, each)) for each in found]


def get_operations(installation: Installation, ids: Sequence[str]) -> list[OperationRow]:
    """Return operations as they are now, in the order in which they are sent."""
    found: list[OperationRow] = []
    with installation.database.read() as transaction:
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            found += operations.list_operations(transaction, ids=some, limit=len(some))
    return sorted(found, key=lambda each: each.number)


def show_operation(installation: Installation, operation_id: str) -> Listed:
    """Return one operation.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        row = _find(transaction, operation_id)
        return Listed(row, operations.find_blocker(transaction, row))


def retry_operation(
    installation: Installation,
    operation_id: str,
    *,
    payload: Mapping[str, Any] | None = None,
    actor: str,
) -> OperationRow:
    """Send an operation again that waits for a person.

    Args:
        installation: Where.
        operation_id: The operation.
        payload: In place of the one it has; it then rests on the record as it
            is known now, for whoever wrote it has seen that. None: the same.
        actor: Who asks, for the sync log.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It does not wait for a person; or it is in conflict, and
            sending the same again would change nothing of that.
        InvalidInputError: The payload makes no sense.
    """
    row = show_operation(installation, operation_id).row
    if row.state not in {*WAITING_STATES, "queued"}:
        raise _refused(row, "tried again")
    if row.reason_code == "conflict" and row.state == "held" and payload is None:
        raise RefusedError(
            f"{row.id} is in conflict with the provider's record",
            hint=f"tieline outbox resolve {row.id} --take local (or: provider), or retry it with"
            " another --payload",
            code="operation-in-conflict",
        )
    connection = get_connection(installation, row.connection_id)
    declared = installation.registry.get(connection.provider).entity(row.entity)
    change = Change(
        kind=cast("OperationKind", row.kind),
        key=row.record_id or "",
        payload=row.payload if payload is None else payload,
    )
    require_good(require_write(declared), declared, [change])
    again = row if payload is None else replace(row, based_on=None)
    return _queue(installation, connection, declared, again, change.payload, row.policy, actor)


def resolve_operation(
    installation: Installation, operation_id: str, *, take: Literal["provider", "local"], actor: str
) -> OperationRow:
    """Settle an operation that is held.

    Args:
        installation: Where.
        operation_id: The operation.
        take: ``provider``: its record stands, the operation is dropped.
            ``local``: the operation is sent over it.
        actor: Who decides, for the sync log.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It is not held.
    """
    row = show_operation(installation, operation_id).row
    if row.state != "held":
        raise _refused(row, "resolved")
    if take == "provider":
        return drop_operation(installation, operation_id, actor=actor, code="provider-won")
    connection = get_connection(installation, row.connection_id)
    declared = installation.registry.get(connection.provider).entity(row.entity)
    again = replace(row, based_on=None)
    return _queue(installation, connection, declared, again, row.payload, "local_wins", actor)


def drop_operation(
    installation: Installation, operation_id: str, *, actor: str, code: str = "dropped"
) -> OperationRow:
    """Send an operation never, or never again; later ones of its record go on.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It is being sent, or finished.
    """
    row = show_operation(installation, operation_id).row
    if row.state == "sending" or row.finished_at is not None:
        raise _refused(row, "dropped")
    connection = get_connection(installation, row.connection_id)

    def work(transaction: Transaction) -> OperationRow:
        now = installation.clock.now()
        reason = row.reason or f"dropped by {actor}"
        _change(transaction, row, state="dropped", now=now, reason_code=code, reason=reason)
        _after(transaction, connection, row, "dropped", actor, now)
        return _find(transaction, operation_id)

    dropped = installation.database.transact(work)
    declared = installation.registry.get(connection.provider).entity(row.entity)
    _push(installation, connection, declared, actor)
    return dropped


def _queue(
    installation: Installation,
    connection: ConnectionRow,
    entity: Entity,
    row: OperationRow,
    payload: Mapping[str, Any],
    policy: str,
    actor: str,
) -> OperationRow:
    """Put an operation back into the queue, as a new request; without a basis it gets one."""

    def work(transaction: Transaction) -> OperationRow:
        now = installation.clock.now()
        based_on = row.based_on
        if based_on is None and row.record_id:
            based_on = _basis_of(transaction, row.connection_id, entity, row.record_id, payload)
        _change(
            transaction,
            row,
            state="queued",
            now=now,
            payload=dict(payload),
            policy=policy,
            based_on=based_on,
            idempotency_key=new_key(),
            sent_at=None,
            attempts=0,
            turn=0,
            due_at=now,
            reason_code=None,
            reason=None,
        )
        _after(transaction, connection, row, "retried", actor, now)
        return _find(transaction, row.id)

    queued = installation.database.transact(work)
    _push(installation, connection, entity, actor)
    return queued


def _change(transaction: Transaction, row: OperationRow, **values: Any) -> None:
    if not operations.change_operation(transaction, row, **values):
        raise RefusedError(
            f"{row.id} was changed by somebody else at this very moment",
            hint=f"tieline outbox show {row.id}",
            code="operation-changed",
        )


def _after(
    transaction: Transaction,
    connection: ConnectionRow,
    row: OperationRow,
    event: str,
    actor: str,
    now: datetime,
) -> None:
    _log(transaction, connection, row.entity, event, f"{row.id}, {row.kind}", actor, now)
    if not operations.count_waiting(transaction, row.connection_id, row.entity):
        subject = f"{row.connection_id}/{row.entity}"
        close_alert(transaction, "operations-wait", subject, now=now)


def _log(
    transaction: Transaction,
    connection: ConnectionRow,
    entity: str,
    event: str,
    detail: str,
    actor: str,
    now: datetime,
) -> None:
    log.add_entry(
        transaction,
        at=now,
        actor=actor,
        event=f"operation.{event}",
        connection_id=connection.id,
        entity=entity,
        detail=detail,
    )


def _push(
    installation: Installation, row: ConnectionRow, entity: Entity, actor: str
) -> tuple[RunRow | None, str]:
    """Ask for a run, unless the connection waits for a person or rests."""
    if row.state != "ok":
        return None, f"the connection needs a person: {reauth_hint(row.name)}"
    if row.paused_at is not None:
        return None, f"the connection is paused: tieline connections resume {row.name}"
    asked = ask_run(installation.engine, row, entity, mode="push", asked_by=actor)
    return asked.run, ""


def _basis_of(
    transaction: Transaction,
    connection_id: str,
    entity: Entity,
    key: str,
    payload: Mapping[str, Any],
) -> str | None:
    stored = records.read_record(transaction, connection_id, entity.name, key) if key else None
    if stored is None or stored.deleted_at is not None or entity.write is None:
        return None
    text = restore(stored.payload, is_escaped=stored.is_escaped)
    record = parse_json(text.encode())
    return Basis.of(entity.write, record, payload, entity.volatile).write()


def _find(transaction: Transaction, operation_id: str) -> OperationRow:
    is_plausible = operation_id.isascii() and operation_id.isprintable() and len(operation_id) <= 32
    row = operations.get_operation(transaction, operation_id) if is_plausible else None
    if row is None:
        raise NotFoundError(
            f"there is no operation {operation_id[:60]!r}",
            hint="tieline outbox list",
            code="operation-unknown",
        )
    return row


def _refused(row: OperationRow, what: str) -> RefusedError:
    return RefusedError(
        f"{row.id} is {row.state}: it cannot be {what}",
        hint=f"tieline outbox show {row.id}",
        code="operation-state",
    )
