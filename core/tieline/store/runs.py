"""Runs: asked for, found due, put off, ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Exists,
    ScalarSelect,
    Select,
    and_,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from tieline.store.choosing import Mark, among, older
from tieline.store.database import Connection
from tieline.store.ids import new_id
from tieline.store.rows import COUNTS, Counts, RunRow
from tieline.store.tables import ACTIVE_STATES, connections, entity_states, partitions, runs

__all__ = [
    "RunsWanted",
    "active_run",
    "add_run",
    "count_runs",
    "due_runs",
    "end_resting",
    "end_run",
    "get_run",
    "is_any_running",
    "list_runs",
    "lock_running",
    "lock_splitting",
    "names_of",
    "next_due_at",
    "put_off",
    "replan",
    "request_cancel",
    "ring",
    "runs_in_hand",
    "start_run",
    "totals",
]

_IS_ACTIVE = runs.c.state.in_(ACTIVE_STATES)
_IS_IDLE = runs.c.state.in_(("queued", "waiting", "retrying"))
_RESTS = exists().where(
    connections.c.id == runs.c.connection_id, connections.c.paused_at.is_not(None)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunsWanted:
    """Which runs are meant: all that fit everything that is given.

    Attributes:
        connection_ids: Of one of these connections; empty: of any.
        visible: Of one of these connections, too; None: of any.
        providers: Of one of these providers.
        entities: Of one of these entities.
        states: In one of these states.
        codes: With one of these error codes.
        modes: Of one of these modes.
        directions: Of one of these directions.
        since: Asked for then or later, aware UTC.
        until: Asked for before then.
    """

    connection_ids: Sequence[str] = ()
    visible: Collection[str] | None = None
    providers: Sequence[str] = ()
    entities: Sequence[str] = ()
    states: Sequence[str] = ()
    codes: Sequence[str] = ()
    modes: Sequence[str] = ()
    directions: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a run, joined with its connection, has to fulfil."""
        columns: tuple[tuple[Any, Sequence[str]], ...] = (
            (runs.c.connection_id, self.connection_ids),
            (connections.c.provider, self.providers),
            (runs.c.entity, self.entities),
            (runs.c.state, self.states),
            (runs.c.error_code, self.codes),
            (runs.c.mode, self.modes),
            (runs.c.direction, self.directions),
        )
        found = [column.in_(values) for column, values in columns if values]
        found += among(runs.c.connection_id, self.visible)
        if self.since is not None:
            found.append(runs.c.created_at >= self.since)
        if self.until is not None:
            found.append(runs.c.created_at < self.until)
        return found


def add_run(
    connection: Connection,
    *,
    connection_id: str,
    entity: str,
    mode: str,
    asked_by: str,
    now: datetime,
    direction: str = "inbound",
    reason: str = "",
    allow_deletes: bool = False,
    may_split: bool = False,
    window: tuple[datetime | None, datetime | None] = (None, None),
) -> str | None:
    """Ask for a run.

    Returns:
        Its id, or None if a run of this connection, entity and direction is
        active already; the database's own index decides.
    """
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
    statement = (
        insert(runs)
        .values(
            id=new_id("run"),
            connection_id=connection_id,
            entity=entity,
            direction=direction,
            mode=mode,
            state="queued",
            asked_by=asked_by,
            reason=reason,
            allow_deletes=allow_deletes,
            may_split=may_split,
            window_start=window[0],
            window_end=window[1],
            attempt=1,
            due_at=now,
            rings=0,
            created_at=now,
        )
        .on_conflict_do_nothing(
            index_elements=["connection_id", "entity", "direction"], index_where=_IS_ACTIVE
        )
        .returning(runs.c.id)
    )
    return connection.execute(statement).scalar()


def get_run(connection: Connection, run_id: str) -> RunRow | None:
    """Read one run; the counts of an active one are those of its partitions."""
    row = connection.execute(_select().where(runs.c.id == run_id)).mappings().first()
    return None if row is None else _with_live_counts(connection, [RunRow.of(dict(row))])[0]


def active_run(
    connection: Connection, connection_id: str, entity: str, *, direction: str = "inbound"
) -> RunRow | None:
    """Read the active run of an entity in a direction, if there is one."""
    found = connection.execute(
        _select().where(
            runs.c.connection_id == connection_id,
            runs.c.entity == entity,
            runs.c.direction == direction,
            _IS_ACTIVE,
        )
    )
    row = found.mappings().first()
    return None if row is None else _with_live_counts(connection, [RunRow.of(dict(row))])[0]


def is_any_running(connection: Connection, connection_id: str, entity: str) -> bool:
    """Say whether an entity is being read or written by some run."""
    of = (runs.c.connection_id == connection_id, runs.c.entity == entity)
    statement = select(exists().where(*of, runs.c.state == "running"))
    return bool(connection.execute(statement).scalar())


def list_runs(
    connection: Connection,
    wanted: RunsWanted | None = None,
    *,
    before: Mark | None = None,
    limit: int = 50,
) -> list[RunRow]:
    """Read the newest runs first; all of them if nothing is wanted."""
    statement = (
        _select()
        .where(*(wanted or RunsWanted()).conditions())
        .where(*older(runs.c.created_at, runs.c.id, before))
        .order_by(runs.c.created_at.desc(), runs.c.id)
        .limit(limit)
    )
    rows = [RunRow.of(dict(row)) for row in connection.execute(statement).mappings()]
    return _with_live_counts(connection, rows)


def count_runs(connection: Connection, wanted: RunsWanted) -> int:
    """Count the runs that are meant."""
    statement = (
        select(func.count())
        .select_from(runs)
        .join(connections, runs.c.connection_id == connections.c.id)
        .where(*wanted.conditions())
    )
    return connection.execute(statement).scalar_one()


def names_of(connection: Connection, run_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """Say of runs whose they are: the connection's name and the entity, by id."""
    statement = (
        select(runs.c.id, connections.c.name, runs.c.entity)
        .join_from(runs, connections, runs.c.connection_id == connections.c.id)
        .where(runs.c.id.in_(sorted(run_ids)))
    )
    return {row[0]: (row[1], row[2]) for row in connection.execute(statement)}


def start_run(connection: Connection, run_id: str, now: datetime) -> bool:
    """Mark an idle run as running; False if it is over or not due yet."""
    result = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, _IS_IDLE, runs.c.due_at <= now, ~_RESTS)
        .values(
            state="running",
            started_at=func.coalesce(runs.c.started_at, now, type_=runs.c.started_at.type),
            start_position=func.coalesce(runs.c.start_position, _present_position(), 0),
        )
    )
    return result.rowcount == 1


def lock_running(connection: Connection, run_id: str) -> bool:
    """Hold a run's row until the transaction ends; False if it is not running."""
    result = connection.execute(
        update(runs).where(runs.c.id == run_id, runs.c.state == "running").values(state="running")
    )
    return result.rowcount == 1


def lock_splitting(connection: Connection, run_id: str) -> bool:
    """Hold the row of a run whose windows may be cut; False if they may not, or it is over."""
    result = connection.execute(
        update(runs)
        .where(
            runs.c.id == run_id,
            runs.c.state == "running",
            runs.c.may_split,
            runs.c.cancel_requested_at.is_(None),
        )
        .values(state="running")
    )
    return result.rowcount == 1


def replan(connection: Connection, run_id: str, *, mode: str, reason: str) -> None:
    """Note what a run does instead of what it was planned to do, in one piece."""
    connection.execute(
        update(runs).where(runs.c.id == run_id).values(mode=mode, reason=reason, may_split=False)
    )


def put_off(
    connection: Connection,
    run_id: str,
    *,
    state: str,
    due_at: datetime,
    error: tuple[str, str, str],
    attempt: int,
) -> bool:
    """Let a running run rest until ``due_at``, as ``waiting`` or ``retrying``.

    Args:
        connection: Open transaction.
        run_id: The run.
        state: ``waiting`` or ``retrying``.
        due_at: When it goes on.
        error: Code, message and hint of what stands in the way.
        attempt: Number of the try that begins then.
    """
    result = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == "running")
        .values(
            state=state,
            due_at=due_at,
            attempt=attempt,
            error_code=error[0],
            error_message=error[1],
            error_hint=error[2],
        )
    )
    return result.rowcount == 1


def end_run(
    connection: Connection,
    run_id: str,
    *,
    state: str,
    now: datetime,
    counts: Counts,
    error: tuple[str, str, str] | None = None,
) -> bool:
    """End an active run; False if somebody else ended it before."""
    code, message, hint = error or (None, None, None)
    result = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, _IS_ACTIVE)
        .values(
            state=state,
            finished_at=now,
            error_code=code,
            error_message=message,
            error_hint=hint,
            **counts.as_dict(),
        )
    )
    return result.rowcount == 1


def request_cancel(connection: Connection, run_id: str, now: datetime) -> bool:
    """Ask an active run to stop at its next page; False if it is over.

    A run that rests (queued, waiting, retrying) has no next page: whoever asks
    ends it as well, with :func:`end_run`.
    """
    result = connection.execute(
        update(runs).where(runs.c.id == run_id, _IS_ACTIVE).values(cancel_requested_at=now)
    )
    return result.rowcount == 1


def end_resting(connection: Connection, run_id: str, now: datetime) -> bool:
    """End a run as cancelled if nobody can be at work on it; False otherwise."""
    counts = _totals(connection, [run_id]).get(run_id, Counts())
    result = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, _IS_IDLE)
        .values(state="cancelled", finished_at=now, **counts.as_dict())
    )
    return result.rowcount == 1


def due_runs(
    connection: Connection,
    now: datetime,
    *,
    ring_again: timedelta,
    lease: timedelta,
    limit: int = 500,
) -> list[str]:
    """Find the runs that should be under way and that nobody works on.

    Args:
        connection: Open transaction.
        now: Aware UTC.
        ring_again: How long a ring for an idle run may go unanswered.
        lease: How long a running run may be without anybody who holds a part.
        limit: The most to return, longest due first.
    """
    never = runs.c.rung_at.is_(None)
    is_silent = or_(never, runs.c.rung_at < now - ring_again)
    is_alone = or_(never, runs.c.rung_at < now - lease)
    lapsed = exists().where(
        partitions.c.run_id == runs.c.id,
        partitions.c.state == "running",
        partitions.c.lease_until < now,
        or_(never, runs.c.rung_at < partitions.c.lease_until, is_alone),
    )
    statement = (
        select(runs.c.id)
        .where(
            or_(
                and_(_IS_IDLE, runs.c.due_at <= now, is_silent, ~_RESTS),
                and_(runs.c.state == "running", or_(lapsed, and_(~_is_held(now), is_alone))),
            )
        )
        .order_by(runs.c.due_at)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def runs_in_hand(
    connection: Connection, now: datetime, *, rung_before: datetime, limit: int = 20
) -> list[RunRow]:
    """Find the runs that somebody reads in parts, the longest under way first.

    Args:
        connection: Open transaction.
        now: Aware UTC.
        rung_before: Of those for which nobody was asked since.
        limit: The most to return.
    """
    statement = (
        _select()
        .where(
            runs.c.state == "running",
            runs.c.may_split,
            runs.c.direction == "inbound",
            runs.c.cancel_requested_at.is_(None),
            runs.c.rung_at < rung_before,
            _is_held(now),
        )
        .order_by(runs.c.started_at)
        .limit(limit)
    )
    return [RunRow.of(dict(row)) for row in connection.execute(statement).mappings()]


def _is_held(now: datetime) -> Exists:
    return exists().where(
        partitions.c.run_id == runs.c.id,
        partitions.c.state == "running",
        partitions.c.lease_until >= now,
    )


def ring(connection: Connection, run_id: str, now: datetime) -> int | None:
    """Count one more ring of the bell for a run.

    Returns:
        The ring's number, unique for the run; None if the run is over.
    """
    return connection.execute(
        update(runs)
        .where(runs.c.id == run_id, _IS_ACTIVE)
        .values(rings=runs.c.rings + 1, rung_at=now)
        .returning(runs.c.rings)
    ).scalar()


def next_due_at(connection: Connection) -> datetime | None:
    """Say when the next active run may need a hand; None if no run is active.

    A running run needs one when a lease of it lapses, or at once if nobody
    holds one.
    """
    lease = (
        select(func.min(partitions.c.lease_until))
        .where(partitions.c.run_id == runs.c.id, partitions.c.state == "running")
        .scalar_subquery()
    )
    needs: ColumnElement[Any] = case(
        (runs.c.state == "running", func.coalesce(lease, runs.c.due_at)), else_=runs.c.due_at
    )
    statement = select(func.min(needs, type_=runs.c.due_at.type)).where(_IS_ACTIVE, ~_RESTS)
    return connection.execute(statement).scalar()


def totals(connection: Connection, run_id: str) -> Counts:
    """Add up the partitions of a run."""
    return _totals(connection, [run_id]).get(run_id, Counts())


def _totals(connection: Connection, run_ids: Sequence[str]) -> dict[str, Counts]:
    statement = (
        select(partitions.c.run_id, *(func.sum(partitions.c[name]).label(name) for name in COUNTS))
        .where(partitions.c.run_id.in_(run_ids))
        .group_by(partitions.c.run_id)
    )
    rows = connection.execute(statement).mappings()
    return {row["run_id"]: Counts.of(dict(row)) for row in rows}


def _with_live_counts(connection: Connection, rows: list[RunRow]) -> list[RunRow]:
    active = [row.id for row in rows if not row.is_over]
    live = _totals(connection, active) if active else {}
    return [replace(row, counts=live[row.id]) if row.id in live else row for row in rows]


def _present_position() -> ScalarSelect[int]:
    return (
        select(entity_states.c.position)
        .where(
            entity_states.c.connection_id == runs.c.connection_id,
            entity_states.c.entity == runs.c.entity,
        )
        .scalar_subquery()
    )


def _select() -> Select[Any]:
    return select(
        runs, connections.c.name.label("connection_name"), connections.c.provider
    ).join_from(runs, connections, runs.c.connection_id == connections.c.id)
