"""Parking: the runs of a connection that rests, waits for a person, or is gone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, case, delete, exists, or_, select, update

from tieline.store.database import Connection
from tieline.store.runs import totals
from tieline.store.tables import ACTIVE_STATES, partitions, runs, sightings

__all__ = ["PAUSED", "cancel_all", "end_parked", "pause_all", "resume_all", "unpark"]

PAUSED = "connection-paused"
"""Code of what a run waits for whose connection was paused."""

_IS_ACTIVE = runs.c.state.in_(ACTIVE_STATES)
_IS_PARKED = runs.c.state == "needs_reauth"


def pause_all(connection: Connection, connection_id: str, *, hint: str) -> list[str]:
    """Let the active runs of a paused connection wait; return their ids.

    A worker that has a page of one at hand finds that it may not commit it,
    and leaves; the page is read again when the run goes on.

    Args:
        connection: Open transaction.
        connection_id: The connection.
        hint: How it is resumed, for people who look at a run.
    """
    statement = (
        update(runs)
        .where(runs.c.connection_id == connection_id, _IS_ACTIVE)
        .values(
            state="waiting",
            error_code=PAUSED,
            error_message="the connection is paused",
            error_hint=hint,
        )
        .returning(runs.c.id)
    )
    run_ids = list(connection.execute(statement).scalars())
    _give_back(connection, run_ids)
    return run_ids


def resume_all(connection: Connection, connection_id: str, now: datetime) -> list[str]:
    """Let the runs go on that waited for their connection; return their ids.

    One that waited for something else before goes on no earlier than it would have.
    """
    statement = (
        update(runs)
        .where(
            runs.c.connection_id == connection_id,
            runs.c.state == "waiting",
            runs.c.error_code == PAUSED,
        )
        .values(
            state="queued",
            due_at=case((runs.c.due_at > now, runs.c.due_at), else_=now),
            rung_at=None,
            error_code=None,
            error_message=None,
            error_hint=None,
        )
        .returning(runs.c.id)
    )
    run_ids = list(connection.execute(statement).scalars())
    # A claim beside the pause, each without sight of the other, outlives it.
    _give_back(connection, run_ids)
    return run_ids


def unpark(connection: Connection, connection_id: str, now: datetime) -> list[str]:
    """Let the runs go on that ended because their credential was refused.

    Of each entity the newest goes on, from its checkpoints, unless another
    came after it. The others stay over, and what they met is forgotten.

    Returns:
        Their ids.
    """
    later = runs.alias("later")
    came_later = or_(
        later.c.created_at > runs.c.created_at,
        later.c.state.in_(ACTIVE_STATES),
        # Of two of the same instant, one.
        and_(
            later.c.state == "needs_reauth",
            later.c.created_at == runs.c.created_at,
            later.c.id > runs.c.id,
        ),
    )
    is_last = ~exists().where(
        later.c.connection_id == runs.c.connection_id,
        later.c.entity == runs.c.entity,
        later.c.direction == runs.c.direction,
        later.c.id != runs.c.id,
        came_later,
    )
    is_parked = and_(runs.c.connection_id == connection_id, _IS_PARKED)
    statement = (
        update(runs)
        .where(is_parked, is_last)
        .values(
            state="queued",
            attempt=1,
            due_at=now,
            rung_at=None,
            finished_at=None,
            error_code=None,
            error_message=None,
            error_hint=None,
        )
        .returning(runs.c.id)
    )
    run_ids = list(connection.execute(statement).scalars())
    # A hand that met the refusal beside the one that ended the run held on to its part.
    _give_back(connection, run_ids)
    left = select(runs.c.id).where(is_parked)
    connection.execute(delete(sightings).where(sightings.c.run_id.in_(left)))
    return run_ids


def end_parked(connection: Connection, run_id: str, now: datetime) -> bool:
    """End a run as cancelled that waits for its connection's credential; False otherwise."""
    result = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, _IS_PARKED)
        .values(state="cancelled", finished_at=now, cancel_requested_at=now)
    )
    if result.rowcount != 1:
        return False
    connection.execute(delete(sightings).where(sightings.c.run_id == run_id))
    return True


def cancel_all(connection: Connection, connection_id: str, now: datetime) -> list[str]:
    """End every run of a connection that is active or parked: there is nothing to read it with.

    A worker that has a page of one at hand finds that it may not commit it.

    Returns:
        Their ids.
    """
    found = select(runs.c.id).where(
        runs.c.connection_id == connection_id,
        or_(_IS_ACTIVE, _IS_PARKED),
    )
    run_ids = list(connection.execute(found.with_for_update()).scalars())
    for run_id in run_ids:
        counts = totals(connection, run_id).as_dict()
        ended = update(runs).where(runs.c.id == run_id)
        connection.execute(ended.values(state="cancelled", finished_at=now, **counts))
    connection.execute(delete(sightings).where(sightings.c.run_id.in_(run_ids)))
    _give_back(connection, run_ids)
    return run_ids


def _give_back(connection: Connection, run_ids: Sequence[str]) -> None:
    """Give back every lease in some runs; whoever holds one may commit nothing more."""
    connection.execute(
        update(partitions)
        .where(partitions.c.run_id.in_(run_ids), partitions.c.state == "running")
        .values(state="ready", lease_owner=None, lease_until=None)
    )
