"""Take the ticks of schedules that are due: move each on and ask for its run, in one go."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.contract import Entity, TielineError
from tieline.engine.ask import plan_run, ring_for
from tieline.engine.kit import Engine
from tieline.engine.timetable import Timetable, read_rule
from tieline.errors import DependencyError
from tieline.failpoints import failpoint
from tieline.store import connections as connection_store
from tieline.store import runs, schedules
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.schedules import ScheduleRow
from tieline.telemetry import get_logger

__all__ = ["MOST_AT_ONCE", "tick", "timetable_of"]

_log = get_logger(__name__)

MOST_AT_ONCE = 200
"""The most schedules that one :func:`tick` takes up."""

# By how much the clocks of two schedulers may differ: less, and one of them
# would plan a tick again that the other, whose clock runs ahead, has taken.
_CLOCKS_DIFFER = timedelta(seconds=30)
_MOST_HASTY = 1000
_LOOK_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A schedule that was moved on, and the run that is to be rung for."""

    schedule: ScheduleRow
    run_id: str | None = None


def tick(engine: Engine, stop: threading.Event | None = None) -> int:
    """Take what is due, longest first, a bounded number at once.

    Any number of processes may do this at once. Each schedule is its own
    transaction: in it the schedule moves on and its run is asked for, so a
    process that is killed anywhere neither loses nor doubles a tick. Ticks
    that went by while no scheduler ran are one. A run that is active already
    is the tick's run.

    Args:
        engine: The parts.
        stop: Set when this process has to leave; no further schedule is taken.

    Returns:
        How many schedules were taken up. With :data:`MOST_AT_ONCE` more may be due.

    Raises:
        DependencyError: The database does not answer. A bell that nobody can
            hear is no error: a worker's sweep rings again.
    """
    taken = 0
    can_ring = True
    _put_right(engine)
    if not _is_any_due(engine):
        return 0
    while taken < MOST_AT_ONCE and not (stop and stop.is_set()):
        done = _take_one(engine)
        if done is None:
            break
        taken += 1
        failpoint("schedule.tick.after_commit")
        if done.run_id is not None and can_ring:
            can_ring = ring_for(engine, done.run_id)  # Redis is not waited for twice
    return taken


def timetable_of(schedule: ScheduleRow) -> Timetable:
    """Return a schedule's ticks.

    Raises:
        InvalidInputError: Its rule or zone means nothing on this machine.
    """
    return Timetable(
        schedule_id=schedule.id,
        rule=read_rule(schedule.rule, schedule.zone),
        jitter_s=schedule.jitter_s,
        anchor=schedule.created_at,
    )


def _is_any_due(engine: Engine) -> bool:
    """Look before taking: on SQLite a claim holds up every writer, due or not."""
    with engine.database.read() as connection:
        due_at = schedules.next_due_at(connection)
    return due_at is not None and due_at <= engine.clock.now()


def _take_one(engine: Engine) -> _Taken | None:
    """Take the schedule that is due longest; None if there is none to be had.

    One that meets a fault of its own moves on without a run, and holds up nobody.
    """
    claimed: list[ScheduleRow] = []

    def work(connection: Connection) -> _Taken | None:
        now = engine.clock.now()
        schedule = schedules.claim_due(connection, now)
        if schedule is None:
            return None
        claimed[:] = [schedule]
        taken = _take(engine, connection, schedule, now)
        failpoint("schedule.tick.before_commit")
        return taken

    try:
        return engine.database.transact(work)
    except DependencyError:
        raise
    except Exception as error:
        if not claimed:
            raise
        return _pass_over(engine, claimed[0], error)


def _take(engine: Engine, connection: Connection, schedule: ScheduleRow, now: datetime) -> _Taken:
    next_at = timetable_of(schedule).next_after(max(now, schedule.next_at))
    row = connection_store.find_connection(connection, schedule.connection_id)
    assert row is not None  # the claim holds it
    entity = engine.registry.get(row.provider).entity(schedule.entity)
    run_id = _ask(engine, connection, schedule, row, entity, now)
    known_id = run_id or _active_id(connection, schedule)
    schedules.note_tick(connection, schedule.id, next_at=next_at, run_id=known_id, now=now)
    return _Taken(schedule, run_id)


def _ask(
    engine: Engine,
    connection: Connection,
    schedule: ScheduleRow,
    row: ConnectionRow,
    entity: Entity,
    now: datetime,
) -> str | None:
    return plan_run(
        engine,
        connection,
        row,
        entity,
        mode="full" if _is_full_due(connection, schedule, now) else "incremental",
        asked_by=f"schedule:{schedule.id}",
        now=now,
    )


def _is_full_due(connection: Connection, schedule: ScheduleRow, now: datetime) -> bool:
    if schedule.full_every_s is None:
        return False
    last = schedules.last_full_at(connection, schedule.connection_id, schedule.entity)
    return last is None or now - last > timedelta(seconds=schedule.full_every_s)


def _active_id(connection: Connection, schedule: ScheduleRow) -> str | None:
    active = runs.active_run(connection, schedule.connection_id, schedule.entity)
    return active.id if active else None  # it was when the tick came, and ended since


def _pass_over(engine: Engine, schedule: ScheduleRow, error: Exception) -> _Taken:
    """Move a schedule on that cannot be taken: its plugin is broken, say, or is gone."""
    is_known = isinstance(error, TielineError)
    _log.warning(
        "a schedule was passed over",
        schedule=schedule.id,
        connection=schedule.connection_name,
        entity=schedule.entity,
        reason=error.message if isinstance(error, TielineError) else type(error).__name__,
        exc_info=None if is_known else error,
    )
    now = engine.clock.now()
    try:
        next_at = timetable_of(schedule).next_after(now)
    except TielineError:
        next_at = now + _LOOK_AGAIN
    with engine.database.write() as connection:
        schedules.move_on(connection, schedule.id, next_at=next_at)
    return _Taken(schedule)


def _put_right(engine: Engine) -> None:
    """Plan again what was planned by a clock that has been set back since.

    Without this such a schedule would wait until the clock is where it was.
    """

    def work(connection: Connection) -> int:
        now = engine.clock.now()
        hasty = schedules.claim_hasty(connection, now, tolerance=_CLOCKS_DIFFER, limit=_MOST_HASTY)
        for schedule in hasty:
            next_at = min(schedule.next_at, _planned(schedule, now))
            schedules.put_right(connection, schedule.id, next_at=next_at, now=now)
        return len(hasty)

    with engine.database.read() as connection:
        is_any = schedules.is_any_hasty(connection, engine.clock.now(), tolerance=_CLOCKS_DIFFER)
    if is_any:
        number = engine.database.transact(work)
        _log.warning("the clock was set back", schedules_planned_again=number)


def _planned(schedule: ScheduleRow, now: datetime) -> datetime:
    try:
        return timetable_of(schedule).next_after(now)
    except TielineError:
        return now + _LOOK_AGAIN
