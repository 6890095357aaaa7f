"""The outbox: operations asked for, claimed in order, ended with what became of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    update,
)

from tieline.store.choosing import among, is_one_of
from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.tables import ACTIVE_STATES, STOPPED_STATES, connections, operations, runs
from tieline.store.types import UtcTime

__all__ = [
    "FINISHED_STATES",
    "STATES",
    "WAITING_STATES",
    "Blocker",
    "OperationRow",
    "add_operation",
    "change_operation",
    "claim_operations",
    "count_unsent",
    "count_waiting",
    "drop_finished",
    "end_operation",
    "find_blocker",
    "followers",
    "get_operation",
    "give_back",
    "list_operations",
    "next_due_at",
    "pushes_due",
    "rekey",
    "renew_claims",
    "set_basis",
    "take_over",
]

STATES = ("queued", "sending", "unknown", "held", "dead", "done", "dropped")
WAITING_STATES = ("held", "dead")
"""States in which an operation waits for a person, and the later ones of its record with it."""
FINISHED_STATES = ("done", "dropped")
"""States of an operation that blocks nobody."""

_TRIES_A_TURN = 3
_earlier = operations.alias("earlier")
_IS_BLOCKED = exists().where(
    _earlier.c.connection_id == operations.c.connection_id,
    _earlier.c.entity == operations.c.entity,
    _earlier.c.record_id == operations.c.record_id,
    _earlier.c.number < operations.c.number,
    _earlier.c.finished_at.is_(None),
)
# Where states say it already, it names the index.
_IS_UNFINISHED = operations.c.finished_at.is_(None)
_CAN_BE_SENT = operations.c.state.in_(("queued", "unknown"))


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationRow:
    """One operation of the outbox.

    Attributes:
        number: Orders the operations: of one record a later one never overtakes.
        record_id: The record's key; None for a create that is not done.
        based_on: What was known of the record, as JSON; None for nothing.
        state: ``queued``; ``sending``: claimed, and perhaps sent; ``unknown``:
            sent, its answer was lost; ``held`` and ``dead``: a person is waited
            for; ``done``, ``dropped``.
        attempts: How often it was claimed.
        turn: A third of that. Those of a lower turn are claimed first.
        due_at: It is not claimed before.
        sent_at: When its idempotency key was first claimed for sending; None: never.
        fence: Counts the claims; who has an old number may not end it.
        reason_code: Of why it is not done, or of what was done instead.
        reason: The same in the provider's words.
    """

    number: int
    id: str
    connection_id: str
    entity: str
    kind: str
    record_id: str | None
    payload: Mapping[str, Any]
    idempotency_key: str
    policy: str
    based_on: str | None
    state: str
    attempts: int
    turn: int
    due_at: datetime
    sent_at: datetime | None
    lease_owner: str | None
    lease_until: datetime | None
    fence: int
    run_id: str | None
    reason_code: str | None
    reason: str | None
    asked_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    connection_name: str = ""
    provider: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of ``operations``, with its connection's name where it was joined."""
        return cls(**{field.name: row[field.name] for field in fields(cls) if field.name in row})


@dataclass(frozen=True, slots=True)
class Blocker:
    """The earliest unfinished operation that another one of its record waits for."""

    id: str
    state: str


def add_operation(
    connection: Connection,
    *,
    connection_id: str,
    entity: str,
    kind: str,
    record_id: str | None,
    payload: Mapping[str, Any],
    idempotency_key: str,
    policy: str,
    based_on: str | None,
    asked_by: str,
    now: datetime,
) -> str:
    """Put an operation into the outbox; return its id."""
    operation_id = new_id("op")
    connection.execute(
        insert(operations).values(
            id=operation_id,
            connection_id=connection_id,
            entity=entity,
            kind=kind,
            record_id=record_id,
            payload=dict(payload),
            idempotency_key=idempotency_key,
            policy=policy,
            based_on=based_on,
            state="queued",
            attempts=0,
            turn=0,
            due_at=now,
            fence=0,
            asked_by=asked_by[:80],
            created_at=now,
            updated_at=now,
        )
    )
    return operation_id


def get_operation(connection: Connection, operation_id: str) -> OperationRow | None:
    """Read one operation."""
    row = connection.execute(_select().where(operations.c.id == operation_id)).mappings().first()
    return None if row is None else OperationRow.of(dict(row))


def list_operations(
    connection: Connection,
    *,
    connection_id: str | None = None,
    connection_ids: Collection[str] | None = None,
    entity: str | None = None,
    states: Sequence[str] = (),
    ids: Sequence[str] = (),
    before: int | None = None,
    limit: int = 50,
) -> list[OperationRow]:
    """Read the newest operations first, of all states unless some are named."""
    statement = _select().order_by(operations.c.number.desc()).limit(limit)
    statement = statement.where(*among(operations.c.connection_id, connection_ids))
    if before is not None:
        statement = statement.where(operations.c.number < before)
    if connection_id:
        statement = statement.where(operations.c.connection_id == connection_id)
    if entity:
        statement = statement.where(operations.c.entity == entity)
    if states:
        statement = statement.where(operations.c.state.in_(states))
        if set(states).isdisjoint(FINISHED_STATES):
            statement = statement.where(_IS_UNFINISHED)
    if ids:
        statement = statement.where(operations.c.id.in_(ids))
    return [OperationRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def find_blocker(connection: Connection, operation: OperationRow) -> Blocker | None:
    """Say which operation of the same record has to be finished first; None: none."""
    if operation.record_id is None or operation.finished_at is not None:
        return None
    statement = (
        select(operations.c.id, operations.c.state)
        .where(
            _of(operation.connection_id, operation.entity),
            operations.c.record_id == operation.record_id,
            operations.c.number < operation.number,
            operations.c.finished_at.is_(None),
        )
        .order_by(operations.c.number)
        .limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else Blocker(row.id, row.state)


def claim_operations(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    run_id: str,
    owner: str,
    now: datetime,
    lease_until: datetime,
    limit: int,
) -> list[OperationRow]:
    """Take the next operations that may be sent, none twice of one record.

    One that failed is tried again before later ones, so that what became of it
    is found out soon; every third time it lets all others go first. So one that
    fails for ever, or kills its workers, holds up its own record and no other.

    Returns:
        The rows under a new fence, but with the ``state`` and ``sent_at`` with
        which they were found. In the database they are ``sending``, and whoever
        finds them so later has to take them for sent.
    """
    found = connection.execute(
        select(operations)
        .where(_of(connection_id, entity), _CAN_BE_SENT, operations.c.due_at <= now, ~_IS_BLOCKED)
        .where(_IS_UNFINISHED)
        .order_by(operations.c.turn, operations.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).mappings()
    before = [OperationRow.of(dict(row)) for row in found]
    if not before:
        return []
    claimed = connection.execute(
        update(operations)
        .where(operations.c.number.in_([row.number for row in before]))
        .values(
            state="sending",
            attempts=operations.c.attempts + 1,
            turn=(operations.c.attempts + 1) // _TRIES_A_TURN,
            fence=operations.c.fence + 1,
            lease_owner=owner,
            lease_until=lease_until,
            sent_at=func.coalesce(operations.c.sent_at, now, type_=operations.c.sent_at.type),
            run_id=run_id,
            updated_at=now,
        )
        .returning(operations)
    ).mappings()
    found_as = {row.number: {"state": row.state, "sent_at": row.sent_at} for row in before}
    rows = [OperationRow.of({**dict(row), **found_as[row["number"]]}) for row in claimed.all()]
    return sorted(rows, key=lambda row: (row.turn, row.number))


def take_over(
    connection: Connection,
    connection_id: str,
    entity: str,
    *,
    now: datetime,
    due_at: Mapping[str, datetime],
) -> int:
    """Take operations for sent whose sender is gone, and let it end none of them any more.

    Args:
        connection: Open write transaction of whoever alone sends this entity's now.
        connection_id: The connection.
        entity: The entity.
        now: Aware UTC.
        due_at: Kind to the time at which it can be found out what became of one.

    Returns:
        How many.
    """
    result = connection.execute(
        update(operations)
        .where(_of(connection_id, entity), operations.c.state == "sending", _IS_UNFINISHED)
        .values(
            state="unknown",
            due_at=_by_kind(due_at),
            fence=operations.c.fence + 1,
            lease_owner=None,
            lease_until=None,
            updated_at=now,
        )
    )
    return result.rowcount


def renew_claims(connection: Connection, run_id: str, *, owner: str, lease_until: datetime) -> None:
    """Lengthen the claims of one owner."""
    connection.execute(
        update(operations)
        .where(
            operations.c.run_id == run_id,
            operations.c.state == "sending",
            operations.c.lease_owner == owner,
            _IS_UNFINISHED,
        )
        .values(lease_until=lease_until)
    )


def end_operation(
    connection: Connection,
    operation_id: str,
    *,
    fence: int,
    state: str,
    now: datetime,
    **values: Any,
) -> bool:
    """Say what became of a claimed operation; False if the claim was lost.

    Args:
        connection: Open write transaction.
        operation_id: The operation.
        fence: Under which it was claimed.
        state: What it is now; any but ``sending``.
        now: Aware UTC.
        **values: Further columns.
    """
    result = connection.execute(
        update(operations)
        .where(
            operations.c.id == operation_id,
            operations.c.fence == fence,
            operations.c.state == "sending",
        )
        .values(**_changed(state, now), lease_owner=None, lease_until=None, **values)
    )
    return result.rowcount == 1


def change_operation(
    connection: Connection,
    operation: OperationRow,
    *,
    state: str,
    now: datetime,
    **values: Any,
) -> bool:
    """Change an operation that nobody sends; False if it is another one by now."""
    result = connection.execute(
        update(operations)
        .where(
            operations.c.id == operation.id,
            operations.c.fence == operation.fence,
            operations.c.state == operation.state,
            operations.c.state != "sending",
        )
        .values(**_changed(state, now), **values)
    )
    return result.rowcount == 1


def rekey(connection: Connection, operation: OperationRow, key: str, *, now: datetime) -> bool:
    """Give a claimed operation a new idempotency key; False if the claim was lost."""
    result = connection.execute(
        update(operations)
        .where(
            operations.c.id == operation.id,
            operations.c.fence == operation.fence,
            operations.c.state == "sending",
        )
        .values(idempotency_key=key, sent_at=now)
    )
    return result.rowcount == 1


def give_back(connection: Connection, operation: OperationRow, *, now: datetime) -> None:
    """Leave a claimed operation that was not sent as it was found."""
    attempts = operation.attempts - 1
    end_operation(
        connection,
        operation.id,
        fence=operation.fence,
        state=operation.state,
        now=now,
        sent_at=operation.sent_at,
        attempts=attempts,
        turn=attempts // _TRIES_A_TURN,
    )


def followers(connection: Connection, operation: OperationRow, key: str) -> list[OperationRow]:
    """Read the unfinished operations that come after one of the same record."""
    found = connection.execute(
        select(operations).where(
            _of(operation.connection_id, operation.entity),
            operations.c.record_id == key,
            operations.c.number > operation.number,
            operations.c.finished_at.is_(None),
        )
    ).mappings()
    return [OperationRow.of(dict(row)) for row in found]


def set_basis(connection: Connection, number: int, based_on: str) -> None:
    """Note what an operation rests on since the one before it was done."""
    connection.execute(
        update(operations).where(operations.c.number == number).values(based_on=based_on)
    )


def next_due_at(connection: Connection, connection_id: str, entity: str) -> datetime | None:
    """Say when the next operation may be sent that waits for nobody; None: there is none."""
    due_at = operations.c.due_at
    statement = select(func.min(due_at, type_=due_at.type)).where(
        _of(connection_id, entity),
        _CAN_BE_SENT,
        operations.c.finished_at.is_(None),
        ~_IS_BLOCKED,
    )
    return connection.execute(statement).scalar()


def drop_finished(
    connection: Connection, connection_id: str, entity: str, before: datetime
) -> None:
    """Forget operations that were finished before a time."""
    connection.execute(
        delete(operations).where(_of(connection_id, entity), operations.c.finished_at < before)
    )


def count_unsent(connection: Connection, connection_id: str, entity: str) -> int:
    """Count the operations that are still to be sent."""
    statement = select(func.count()).where(
        _of(connection_id, entity),
        operations.c.finished_at.is_(None),
        operations.c.state.not_in(WAITING_STATES),
    )
    return connection.execute(statement).scalar_one()


def count_waiting(connection: Connection, connection_id: str, entity: str) -> int:
    """Count the operations that wait for a person."""
    statement = select(func.count()).where(
        _of(connection_id, entity),
        operations.c.finished_at.is_(None),
        operations.c.state.in_(WAITING_STATES),
    )
    return connection.execute(statement).scalar_one()


def pushes_due(
    connection: Connection, now: datetime, *, ended_since: datetime, limit: int = 100
) -> list[tuple[str, str]]:
    """Find what has operations to send and no run that sends them.

    Args:
        connection: Open transaction.
        now: Aware UTC.
        ended_since: A run that failed or was cancelled since then is not
            followed by another one: that would meet the same.
        limit: The most to return.

    Returns:
        Connection's id and entity of each.
    """
    of_it = and_(
        runs.c.connection_id == operations.c.connection_id,
        runs.c.entity == operations.c.entity,
        runs.c.direction == literal_column("'outbound'"),
    )
    is_active = exists().where(of_it, is_one_of(runs.c.state, ACTIVE_STATES))
    has_ended_badly = exists().where(
        of_it, is_one_of(runs.c.state, STOPPED_STATES), runs.c.finished_at > ended_since
    )
    is_abandoned = and_(operations.c.state == "sending", operations.c.lease_until < now)
    statement = (
        select(operations.c.connection_id, operations.c.entity)
        .distinct()
        .join(connections, connections.c.id == operations.c.connection_id)
        .where(
            operations.c.finished_at.is_(None),
            or_(and_(_CAN_BE_SENT, operations.c.due_at <= now), is_abandoned),
            connections.c.state == "ok",
            connections.c.paused_at.is_(None),
            ~is_active,
            ~has_ended_badly,
            ~_IS_BLOCKED,
        )
        .limit(limit)
    )
    return [(row.connection_id, row.entity) for row in connection.execute(statement)]


def _by_kind(times: Mapping[str, datetime]) -> ColumnElement[Any]:
    whens = [(operations.c.kind == kind, literal(at, UtcTime())) for kind, at in times.items()]
    return case(*whens, else_=operations.c.due_at)


def _changed(state: str, now: datetime) -> dict[str, Any]:
    finished_at = now if state in FINISHED_STATES else None
    return {"state": state, "updated_at": now, "finished_at": finished_at}


def _of(connection_id: str, entity: str) -> ColumnElement[bool]:
    return and_(operations.c.connection_id == connection_id, operations.c.entity == entity)


def _select() -> Select[Any]:
    return select(
        operations, connections.c.name.label("connection_name"), connections.c.provider
    ).join_from(operations, connections, operations.c.connection_id == connections.c.id)
