"""Ask for a run, plan it, ring for a worker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tieline.contract import Entity
from tieline.engine.kit import Engine, this_worker
from tieline.engine.plan import Range, make_plan
from tieline.errors import DependencyError
from tieline.store import connections as connection_store
from tieline.store import log, partitions, runs
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.rows import RunRow
from tieline.telemetry import get_logger

__all__ = ["Asked", "ask_run", "direction_of", "plan_run", "read_whole", "ring_for"]

_log = get_logger(__name__)
_MOST_TRIES = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What became of asking for a run.

    Attributes:
        run: The run, new or the one that was active already.
        is_new: Whether asking made it.
    """

    run: RunRow
    is_new: bool


def ask_run(
    engine: Engine,
    connection_row: ConnectionRow,
    entity: Entity,
    *,
    mode: str,
    asked_by: str,
    allow_deletes: bool = False,
    window: Range = (None, None),
) -> Asked:
    """Ask for a run of one entity.

    Row, plan and log entry are one transaction; the bell is rung after it, and
    a bell that nobody hears is rung again by the next sweep.

    Args:
        engine: The parts.
        connection_row: The connection.
        entity: What to sync.
        mode: One of :data:`~tieline.engine.plan.MODES`.
        asked_by: Who asks, for the sync log.
        allow_deletes: Whether a full run may delete any share of the records.
        window: For mode ``window``: start and end, aware UTC, either may be None.

    Returns:
        The run; asking again while it is active returns the same one.

    Raises:
        RefusedError: A window was asked for, and the entity has none.
        DependencyError: The database does not answer.
    """
    for _ in range(_MOST_TRIES):

        def work(connection: Connection) -> str | None:
            return plan_run(
                engine,
                connection,
                connection_row,
                entity,
                mode=mode,
                asked_by=asked_by,
                allow_deletes=allow_deletes,
                window=window,
                now=engine.clock.now(),
            )

        run_id = engine.database.transact(work)
        if run_id is not None:
            ring_for(engine, run_id)
        with engine.database.read() as connection:
            if run_id is None:
                run = runs.active_run(
                    connection, connection_row.id, entity.name, direction=direction_of(mode)
                )
            else:
                run = runs.get_run(connection, run_id)
        if run is not None:  # else the active one ended in the meantime: ask once more
            return Asked(run=run, is_new=run_id is not None)
    raise DependencyError(
        "runs of this entity begin and end faster than they can be asked for",
        hint="ask again",
        code="run-racing",
    )


def plan_run(
    engine: Engine,  # noqa: ARG001 - the hands it rings for come after the commit
    connection: Connection,
    connection_row: ConnectionRow,
    entity: Entity,
    *,
    mode: str,
    asked_by: str,
    allow_deletes: bool = False,
    window: Range = (None, None),
    now: datetime,
) -> str | None:
    """Put a run, its first part and its log entry into the caller's transaction.

    Nobody sets the cursor back that it is planned from before that transaction ends.

    Returns:
        The run's id, to be rung for after the commit; None if one is active.
    """
    connection_store.hold_cursor(connection, connection_row.id, entity.name, is_moved=False)
    state = connection_store.read_entity_state(connection, connection_row.id, entity.name)
    plan = make_plan(mode, entity, state, window=window, now=now)
    run_id = runs.add_run(
        connection,
        connection_id=connection_row.id,
        entity=entity.name,
        mode=plan.mode,
        direction=direction_of(plan.mode),
        reason=plan.reason,
        asked_by=asked_by,
        allow_deletes=allow_deletes,
        may_split=plan.may_split,
        window=window,
        now=now,
    )
    if run_id is None:
        return None
    partitions.add_partition(
        connection, run_id=run_id, number=1, window=plan.part.window, source=plan.part.source
    )
    log.add_entry(
        connection,
        at=now,
        actor=asked_by,
        event="run.asked",
        connection_id=connection_row.id,
        entity=entity.name,
        run_id=run_id,
        detail=f"{plan.mode}: {plan.reason}" if plan.reason else plan.mode,
    )
    return run_id


def direction_of(mode: str) -> str:
    """Say which way the records go in a run of a mode."""
    return "outbound" if mode == "push" else "inbound"


def read_whole(engine: Engine, run: RunRow, *, mode: str, reason: str) -> None:
    """Plan a running run anew: everything, in one piece, whatever was read of it before."""

    def work(connection: Connection) -> None:
        if not runs.lock_running(connection, run.id):
            return
        partitions.drop_all(connection, run.id)
        partitions.add_partition(
            connection,
            run_id=run.id,
            number=None,
            window=(run.window_start, run.window_end),
        )
        runs.replan(connection, run.id, mode=mode, reason=reason)
        log.add_entry(
            connection,
            at=engine.clock.now(),
            actor=this_worker(),
            event="run.replanned",
            connection_id=run.connection_id,
            entity=run.entity,
            run_id=run.id,
            detail=f"{mode}: {reason}",
        )

    engine.database.transact(work)
    ring_for(engine, run.id)


def ring_for(engine: Engine, run_id: str) -> bool:
    """Ring the bell for a run; False if it is over or nobody can hear it now."""
    with engine.database.write() as connection:
        number = runs.ring(connection, run_id, engine.clock.now())
    if number is None:
        return False
    try:
        engine.ring(run_id, number)
    except DependencyError as error:
        _log.warning("ring failed", run=run_id, reason=error.message)
        return False
    return True
