"""Drains: who handles a connection's events, which come next, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, and_, case, exists, func, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.database import Connection
from tieline.store.tables import connections, webhook_drains, webhook_events

__all__ = [
    "Claimed",
    "PendingEvent",
    "cancel_all",
    "claim",
    "close_events",
    "hold",
    "is_any_due",
    "next_due_at",
    "pending_events",
    "put_off_events",
    "release",
    "release_all_of",
    "undrained",
]

_EVENTS = webhook_events.c
_DRAINS = webhook_drains.c
# A literal: SQLite finds no partial index by a bound value.
_IS_PENDING = _EVENTS.state == literal_column("'pending'")
_IS_AWAKE = and_(connections.c.state == "ok", connections.c.paused_at.is_(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingEvent:
    """An event that is to be handled.

    Attributes:
        seq: Its place in the order of arrival.
        id: ``evt_…``.
        type: As the provider names it.
        entity: What it is about; None: nothing of ours.
        record_key: Which record; None: it does not say.
        occurred_at: By the provider's clock; None: it does not say.
        received_at: By ours.
        record: The record as JSON text, where the event holds it.
        attempts: How often handling it failed.
        waits_until: An earlier event of its record waits until then; None: none does.
    """

    seq: int
    id: str
    type: str
    entity: str | None
    record_key: str | None
    occurred_at: datetime | None
    received_at: datetime
    record: bytes | None
    attempts: int
    waits_until: datetime | None = None

    @classmethod
    def of(cls, row: Any) -> Self:
        """Read a row of ``webhook_events``, joined as :func:`pending_events` does."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


class Claimed(NamedTuple):
    """A drain that was taken.

    Attributes:
        fence: To write under.
        rescues: How many holders in a row died before they got anything done.
    """

    fence: int
    rescues: int


def claim(
    connection: Connection,
    connection_id: str,
    *,
    holder: str,
    now: datetime,
    lease_until: datetime,
) -> Claimed | None:
    """Take the drain of a connection if nobody holds it.

    Args:
        connection: Open write transaction.
        connection_id: The connection; it must be there.
        holder: Who claims, for people to read.
        now: Aware UTC.
        lease_until: How long the claim holds unless it is renewed.

    Returns:
        The claim; None if somebody holds it.
    """
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = (
        insert(webhook_drains)
        .values(
            connection_id=connection_id,
            fence=1,
            lease_until=lease_until,
            holder=holder,
            rescues=0,
        )
        .on_conflict_do_update(
            index_elements=["connection_id"],
            set_={
                "fence": _DRAINS.fence + 1,
                "lease_until": lease_until,
                "holder": holder,
                # Taken from a holder that gave no sign of life, not given back.
                "rescues": _DRAINS.rescues + case((_DRAINS.lease_until.is_not(None), 1), else_=0),
            },
            where=or_(_DRAINS.lease_until.is_(None), _DRAINS.lease_until < now),
        )
        .returning(_DRAINS.fence, _DRAINS.rescues)
    )
    row = connection.execute(statement).first()
    return None if row is None else Claimed(*row)


def hold(
    connection: Connection,
    connection_id: str,
    *,
    fence: int,
    lease_until: datetime,
    has_moved: bool = False,
) -> bool:
    """Renew a lease and hold its row until the transaction ends; False if it was lost.

    Args:
        connection: Open write transaction.
        connection_id: The connection.
        fence: As it was claimed.
        lease_until: The lease's new end.
        has_moved: Events are off the list with this transaction: whoever holds
            the drain is well.
    """
    result = connection.execute(
        update(webhook_drains)
        .where(_DRAINS.connection_id == connection_id, _DRAINS.fence == fence)
        .values(lease_until=lease_until, **({"rescues": 0} if has_moved else {}))
    )
    return result.rowcount == 1


def release(connection: Connection, connection_id: str, *, fence: int) -> bool:
    """Give a lease back; False if it was lost."""
    result = connection.execute(
        update(webhook_drains)
        .where(_DRAINS.connection_id == connection_id, _DRAINS.fence == fence)
        .values(lease_until=None, holder=None)
    )
    return result.rowcount == 1


def release_all_of(connection: Connection, holder: str, *, has_died: bool) -> list[str]:
    """Free what a process held that is gone; its fences are out of date from now on.

    Args:
        connection: Open write transaction.
        holder: The process.
        has_died: It did not leave of its own accord.

    Returns:
        The connections.
    """
    statement = (
        update(webhook_drains)
        .where(_DRAINS.holder == holder, _DRAINS.lease_until.is_not(None))
        .values(
            lease_until=None,
            holder=None,
            fence=_DRAINS.fence + 1,
            rescues=_DRAINS.rescues + int(has_died),
        )
        .returning(_DRAINS.connection_id)
    )
    return list(connection.execute(statement).scalars())


def cancel_all(connection: Connection, connection_id: str, now: datetime) -> None:
    """Handle nothing more of a connection that has no account any more.

    Whoever is handling its events finds that nothing may be committed.
    """
    connection.execute(
        update(webhook_drains)
        .where(_DRAINS.connection_id == connection_id)
        .values(lease_until=None, holder=None, fence=_DRAINS.fence + 1)
    )
    connection.execute(
        update(webhook_events)
        .where(_EVENTS.connection_id == connection_id, _IS_PENDING)
        .values(
            state="ignored",
            handled_at=now,
            error_code="connection-disconnected",
            error_message="the account was disconnected",
        )
    )


def is_any_due(connection: Connection, connection_id: str, now: datetime) -> bool:
    """Say whether a connection that neither rests nor waits for a person has work to do."""
    statement = select(
        exists().where(connections.c.id == connection_id, _IS_AWAKE, _has_due(connection_id, now))
    )
    return bool(connection.execute(statement).scalar())


def pending_events(
    connection: Connection, connection_id: str, now: datetime, *, limit: int
) -> list[PendingEvent]:
    """Read the events that are due, in the order of arrival; none while the connection rests.

    Those of a record that has an earlier event waiting are among them, and say so.
    """
    waiting = (
        select(
            _EVENTS.entity,
            _EVENTS.record_key,
            func.min(_EVENTS.seq).label("first"),
            func.max(_EVENTS.due_at, type_=_EVENTS.due_at.type).label("waits_until"),
        )
        .where(_EVENTS.connection_id == connection_id, _IS_PENDING, _EVENTS.due_at > now)
        .group_by(_EVENTS.entity, _EVENTS.record_key)
        .subquery()
    )
    behind = and_(
        waiting.c.entity == _EVENTS.entity,
        waiting.c.record_key == _EVENTS.record_key,
        waiting.c.first < _EVENTS.seq,
    )
    columns = [_EVENTS[each.name] for each in fields(PendingEvent) if each.name != "waits_until"]
    statement = (
        select(*columns, waiting.c.waits_until)
        .select_from(webhook_events.outerjoin(waiting, behind))
        .where(_EVENTS.connection_id == connection_id, _IS_PENDING, _EVENTS.due_at <= now)
        .where(exists().where(connections.c.id == connection_id, _IS_AWAKE))
        .order_by(_EVENTS.seq)
        .limit(limit)
    )
    return [PendingEvent.of(row) for row in connection.execute(statement).mappings()]


def close_events(
    connection: Connection,
    seqs: Sequence[int],
    *,
    state: str,
    now: datetime,
    error: tuple[str, str] | None = None,
    dead_kind: str | None = None,
) -> None:
    """Note what became of pending events.

    Args:
        connection: Open transaction.
        seqs: Which; one that is not pending any more is left as it is.
        state: ``done``, ``ignored`` or ``dead``.
        now: Aware UTC.
        error: Code and words; None where all went well.
        dead_kind: Whose fault a dead one is: ``theirs`` or ``ours``.
    """
    code, message = error or (None, None)
    connection.execute(
        update(webhook_events)
        .where(_EVENTS.seq.in_(seqs), _IS_PENDING)
        .values(
            state=state,
            handled_at=None if state == "dead" else now,
            error_code=code,
            error_message=message,
            dead_kind=dead_kind,
        )
    )


def put_off_events(
    connection: Connection,
    seqs: Sequence[int],
    *,
    due_at: datetime,
    error: tuple[str, str] | None = None,
    counts: bool,
) -> None:
    """Let pending events wait.

    Args:
        connection: Open transaction.
        seqs: Which.
        due_at: Until when, aware UTC.
        error: Code and words of what stands in the way; None: an earlier event does.
        counts: Whether this was an attempt that failed.
    """
    values: dict[str, Any] = {"due_at": due_at, "attempts": _EVENTS.attempts + int(counts)}
    if error is not None:
        values |= {"error_code": error[0], "error_message": error[1]}
    connection.execute(
        update(webhook_events).where(_EVENTS.seq.in_(seqs), _IS_PENDING).values(**values)
    )


def undrained(connection: Connection, now: datetime, *, limit: int = 500) -> list[str]:
    """Find the connections that have events due which nobody is handling."""
    is_held = exists().where(_DRAINS.connection_id == connections.c.id, _DRAINS.lease_until >= now)
    statement = (
        select(connections.c.id)
        .where(_IS_AWAKE, _has_due(connections.c.id, now), ~is_held)
        .order_by(connections.c.id)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def next_due_at(connection: Connection) -> datetime | None:
    """Say when the next event is due; None if none is pending that could be handled."""
    due_at = _EVENTS.due_at
    statement = (
        select(func.min(due_at, type_=due_at.type))
        .join(connections, connections.c.id == _EVENTS.connection_id)
        .where(_IS_PENDING, _IS_AWAKE)
    )
    return connection.execute(statement).scalar()


def _has_due(connection_id: Any, now: datetime) -> ColumnElement[bool]:
    return exists().where(
        _EVENTS.connection_id == connection_id, _IS_PENDING, _EVENTS.due_at <= now
    )
