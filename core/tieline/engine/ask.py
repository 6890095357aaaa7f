"""Ask for a run, plan it, ring for a worker."""

from __future__ import annotations

from dataclasses import dataclass

from tieline.contract import Entity
from tieline.engine.kit import Engine
from tieline.errors import DependencyError
from tieline.store import log, partitions, runs
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.rows import RunRow
from tieline.telemetry import get_logger

__all__ = ["Asked", "ask_run", "ring_for"]

_log = get_logger(__name__)


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
) -> Asked:
    """Ask for a run of one entity.

    Row, plan and log entry are one transaction; the bell is rung after it, and
    a bell that nobody hears is rung again by the next sweep.

    Args:
        engine: The parts.
        connection_row: The connection.
        entity: What to sync.
        mode: ``incremental`` or ``full``.
        asked_by: Who asks, for the sync log.
        allow_deletes: Whether a full run may delete any share of the records.

    Returns:
        The run; asking again while it is active returns the same one.
    """

    def plan(connection: Connection) -> str | None:
        now = engine.clock.now()
        actual, reason = _mode(mode)
        run_id = runs.add_run(
            connection,
            connection_id=connection_row.id,
            entity=entity.name,
            mode=actual,
            reason=reason,
            asked_by=asked_by,
            allow_deletes=allow_deletes,
            now=now,
        )
        if run_id is None:
            return None
        partitions.add_partition(connection, run_id=run_id, number=1)
        log.add_entry(
            connection,
            at=now,
            actor=asked_by,
            event="run.asked",
            connection_id=connection_row.id,
            entity=entity.name,
            run_id=run_id,
            detail=f"{actual}: {reason}" if reason else actual,
        )
        return run_id

    run_id = engine.database.transact(plan)
    if run_id is not None:
        ring_for(engine, run_id)
    with engine.database.read() as connection:
        if run_id is None:
            run = runs.active_run(connection, connection_row.id, entity.name)
        else:
            run = runs.get_run(connection, run_id)
    if run is None:  # the active one ended in the meantime: ask once more
        return ask_run(
            engine,
            connection_row,
            entity,
            mode=mode,
            asked_by=asked_by,
            allow_deletes=allow_deletes,
        )
    return Asked(run=run, is_new=run_id is not None)


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


def _mode(asked: str) -> tuple[str, str]:
    """Decide what a run really does, and say why where it is not what was asked."""
    if asked == "incremental":
        return "full", "no log of changes is read yet, so everything is"
    return asked, ""
