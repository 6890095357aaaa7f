"""Schedules: rows whose next tick any scheduler may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Join,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from tieline.store.database import Connection
from tieline.store.tables import connections, dead_letters, entity_states, runs, schedules

__all__ = [
    "NextTick",
    "ScheduleRow",
    "add_schedule",
    "change_schedule",
    "claim_due",
    "claim_hasty",
    "delete_all",
    "delete_schedule",
    "find_schedule",
    "is_any_hasty",
    "last_full_at",
    "list_schedules",
    "lock_connection",
    "move_on",
    "next_due_at",
    "next_ticks",
    "note_tick",
    "pause_schedule",
    "put_right",
    "resume_schedule",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleRow:
    """A schedule, with what its connection has to say about it.

    Attributes:
        rule: ``every 15m`` or ``cron 30 3 * * *``.
        zone: Name of the rule's time zone.
        next_at: When the next tick is, jitter included.
        last_tick_at: When a tick was last taken, by the taker's clock.
        last_run_id: The run that it asked for, or found active.
        ticks: How many ticks asked for a run or found one active.
        connection_state: ``ok``, ``needs_reauth`` or ``disconnected``.
        connection_paused_at: Since when the whole connection rests; None: it does not.
        dead_letter_id: A dead letter of a run of the entity that waits; None
            if there is none.
    """

    id: str
    connection_id: str
    entity: str
    rule: str
    zone: str
    jitter_s: int
    full_every_s: int | None
    next_at: datetime
    paused_at: datetime | None
    last_tick_at: datetime | None
    last_run_id: str | None
    ticks: int
    created_at: datetime
    updated_at: datetime
    connection_name: str
    connection_state: str
    connection_paused_at: datetime | None
    provider: str
    dead_letter_id: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of the joined tables."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True, kw_only=True, slots=True)
class NextTick:
    """When the next tick of a connection is, of those in a time zone.

    Attributes:
        connection_id: Which connection.
        zone: Name of the zone that its rules ask for; ``UTC`` if they ask for none.
        at: When, jitter included.
    """

    connection_id: str
    zone: str
    at: datetime


def lock_connection(connection: Connection, connection_id: str) -> bool:
    """Keep others from changing a connection's schedules until the end; False if it is gone."""
    statement = select(connections.c.id).where(connections.c.id == connection_id)
    return connection.execute(statement.with_for_update(key_share=True)).scalar() is not None


def add_schedule(
    connection: Connection,
    *,
    schedule_id: str,
    connection_id: str,
    entity: str,
    rule: str,
    zone: str,
    jitter_s: int,
    full_every_s: int | None,
    next_at: datetime,
    now: datetime,
) -> None:
    """Add a schedule; the caller holds :func:`lock_connection` and found none."""
    connection.execute(
        insert(schedules).values(
            id=schedule_id,
            connection_id=connection_id,
            entity=entity,
            rule=rule,
            zone=zone,
            jitter_s=jitter_s,
            full_every_s=full_every_s,
            next_at=next_at,
            ticks=0,
            created_at=now,
            updated_at=now,
        )
    )


def change_schedule(
    connection: Connection,
    schedule_id: str,
    *,
    rule: str,
    zone: str,
    jitter_s: int,
    full_every_s: int | None,
    next_at: datetime,
    now: datetime,
) -> None:
    """Give a schedule another rule."""
    connection.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id)
        .values(
            rule=rule,
            zone=zone,
            jitter_s=jitter_s,
            full_every_s=full_every_s,
            next_at=next_at,
            updated_at=now,
        )
    )


def pause_schedule(connection: Connection, schedule_id: str, now: datetime) -> bool:
    """Let a schedule rest; False if it does already."""
    result = connection.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id, schedules.c.paused_at.is_(None))
        .values(paused_at=now, updated_at=now)
    )
    return result.rowcount == 1


def resume_schedule(
    connection: Connection, schedule_id: str, *, next_at: datetime, now: datetime
) -> bool:
    """Let a paused schedule go on; False if it is not paused."""
    result = connection.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id, schedules.c.paused_at.is_not(None))
        .values(paused_at=None, next_at=next_at, updated_at=now)
    )
    return result.rowcount == 1


def delete_schedule(connection: Connection, schedule_id: str) -> bool:
    """Remove a schedule; False if there is none."""
    statement = delete(schedules).where(schedules.c.id == schedule_id)
    return connection.execute(statement).rowcount == 1


def delete_all(connection: Connection, connection_id: str) -> int:
    """Remove all schedules of a connection; return how many."""
    statement = delete(schedules).where(schedules.c.connection_id == connection_id)
    return connection.execute(statement).rowcount


def find_schedule(connection: Connection, connection_id: str, entity: str) -> ScheduleRow | None:
    """Read the schedule of an entity, if it has one."""
    found = _select().where(
        schedules.c.connection_id == connection_id, schedules.c.entity == entity
    )
    row = connection.execute(found).mappings().first()
    return None if row is None else ScheduleRow.of(dict(row))


def list_schedules(
    connection: Connection, *, connection_id: str | None = None
) -> list[ScheduleRow]:
    """Read all schedules, or those of one connection, by connection and entity."""
    statement = _select().order_by(connections.c.name, schedules.c.entity)
    if connection_id:
        statement = statement.where(schedules.c.connection_id == connection_id)
    return [ScheduleRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def next_due_at(connection: Connection) -> datetime | None:
    """Say when the next tick is, or was; None if every schedule is paused or parked."""
    statement = (
        select(func.min(schedules.c.next_at, type_=schedules.c.next_at.type))
        .select_from(_joined())
        .where(_is_awake())
    )
    return connection.execute(statement).scalar()


def next_ticks(connection: Connection) -> list[NextTick]:
    """Say of each connection when its next tick is, a line for each time zone that it asks for.

    Schedules that are paused or parked have none.
    """
    zone = case((schedules.c.rule.like("cron %"), schedules.c.zone), else_="UTC")
    awake = (
        select(schedules.c.connection_id, zone.label("zone"), schedules.c.next_at)
        .select_from(_joined())
        .where(_is_awake())
        .subquery()
    )
    at = func.min(awake.c.next_at, type_=schedules.c.next_at.type)
    statement = select(awake.c.connection_id, awake.c.zone, at.label("at")).group_by(
        awake.c.connection_id, awake.c.zone
    )
    return [NextTick(**row) for row in connection.execute(statement).mappings()]


def claim_due(connection: Connection, now: datetime) -> ScheduleRow | None:
    """Hold the schedule that is due longest, until the transaction ends.

    One that another scheduler holds is passed over, as is one whose connection
    somebody changes or removes.

    Returns:
        The schedule; None if nothing is due that is not in other hands.
    """
    statement = (
        _select()
        .where(schedules.c.next_at <= now, _is_awake())
        .order_by(schedules.c.next_at, schedules.c.id)
        .limit(1)
    )
    rows = _held(connection, statement)
    return rows[0] if rows else None


def claim_hasty(
    connection: Connection, now: datetime, *, tolerance: timedelta, limit: int
) -> Sequence[ScheduleRow]:
    """Hold the schedules that were last planned by a clock that ran ahead of ``now``.

    Args:
        connection: Open transaction.
        now: Aware UTC.
        tolerance: By how much two machines' clocks may differ.
        limit: The most to hold.
    """
    statement = _select().where(_is_hasty(now, tolerance)).order_by(schedules.c.id).limit(limit)
    return _held(connection, statement)


def is_any_hasty(connection: Connection, now: datetime, *, tolerance: timedelta) -> bool:
    """Say whether :func:`claim_hasty` would find any."""
    statement = select(exists().select_from(schedules).where(_is_hasty(now, tolerance)))
    return bool(connection.execute(statement).scalar())


def note_tick(
    connection: Connection,
    schedule_id: str,
    *,
    next_at: datetime,
    run_id: str | None,
    now: datetime,
) -> None:
    """Move a schedule on whose tick was taken.

    Args:
        connection: Open transaction that holds it.
        schedule_id: The schedule.
        next_at: Its next tick.
        run_id: The run that was asked for, or found active; None if that one
            ended meanwhile.
        now: Aware UTC.
    """
    values = {"next_at": next_at, "last_tick_at": now, "ticks": schedules.c.ticks + 1}
    if run_id is not None:
        values["last_run_id"] = run_id
    connection.execute(update(schedules).where(schedules.c.id == schedule_id).values(**values))


def move_on(connection: Connection, schedule_id: str, *, next_at: datetime) -> None:
    """Move a schedule on whose tick could not be taken."""
    connection.execute(
        update(schedules).where(schedules.c.id == schedule_id).values(next_at=next_at)
    )


def put_right(
    connection: Connection, schedule_id: str, *, next_at: datetime, now: datetime
) -> None:
    """Plan a schedule by a clock that was set back."""
    statement = update(schedules).where(schedules.c.id == schedule_id)
    connection.execute(statement.where(schedules.c.last_tick_at > now).values(last_tick_at=now))
    connection.execute(statement.values(next_at=next_at, updated_at=now))


def last_full_at(connection: Connection, connection_id: str, entity: str) -> datetime | None:
    """Say when an entity's last full run ended; None if there was none, or it is forgotten."""
    statement = (
        select(runs.c.finished_at)
        .join_from(entity_states, runs, runs.c.id == entity_states.c.last_full_run_id)
        .where(entity_states.c.connection_id == connection_id, entity_states.c.entity == entity)
    )
    return connection.execute(statement).scalar()


def _held(connection: Connection, statement: Select[Any]) -> Sequence[ScheduleRow]:
    """Read rows and hold them.

    The connection's row is held too: whoever removes the connection locks it
    first and its schedules after it, so the two orders must not meet.
    """
    held = statement.with_for_update(skip_locked=True, key_share=True, of=[schedules, connections])
    return [ScheduleRow.of(dict(row)) for row in connection.execute(held).mappings()]


def _is_hasty(now: datetime, tolerance: timedelta) -> ColumnElement[bool]:
    ahead = now + tolerance
    return and_(
        schedules.c.next_at > now,
        or_(schedules.c.last_tick_at > ahead, schedules.c.updated_at > ahead),
        schedules.c.paused_at.is_(None),
    )


@cache
def _is_awake() -> ColumnElement[bool]:
    """Neither paused nor parked: what is parked stays due until its reason is gone."""
    unsettled = select(dead_letters.c.connection_id, dead_letters.c.entity).where(_is_waiting())
    return and_(
        schedules.c.paused_at.is_(None),
        connections.c.state == "ok",
        connections.c.paused_at.is_(None),
        tuple_(schedules.c.connection_id, schedules.c.entity).not_in(unsettled),
    )


def _is_waiting() -> ColumnElement[bool]:
    """A run that killed its workers, and that nobody decided about."""
    return and_(
        dead_letters.c.kind == "run",
        dead_letters.c.settled_at.is_(None),
        dead_letters.c.entity.is_not(None),
    )


@cache
def _joined() -> Join:
    return schedules.join(connections, schedules.c.connection_id == connections.c.id)


@cache
def _select() -> Select[Any]:
    """Made once: putting so many columns together takes longer than the query."""
    letter = (
        select(func.max(dead_letters.c.id))
        .where(
            _is_waiting(),
            dead_letters.c.connection_id == schedules.c.connection_id,
            dead_letters.c.entity == schedules.c.entity,
        )
        .scalar_subquery()
    )
    return select(
        schedules,
        connections.c.name.label("connection_name"),
        connections.c.state.label("connection_state"),
        connections.c.paused_at.label("connection_paused_at"),
        connections.c.provider,
        letter.label("dead_letter_id"),
    ).select_from(_joined())
