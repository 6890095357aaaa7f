"""End a run: tombstones for what a full run did not meet, state, log entry."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, TielineError
from tieline.engine.kit import Engine, this_worker
from tieline.errors import RefusedError
from tieline.failpoints import failpoint
from tieline.records import rank_of
from tieline.store import connections as connection_store
from tieline.store import (
    copies,
    findings,
    log,
    operations,
    partitions,
    quarantined,
    runs,
    sightings,
)
from tieline.store import records as record_store
from tieline.store.database import Connection
from tieline.store.rows import Counts, RunRow
from tieline.telemetry import get_logger, tellable

__all__ = ["end", "end_in", "finish_if_done"]

_log = get_logger(__name__)
_ALWAYS_ALLOWED = 20
_HISTORY = timedelta(days=30)


def finish_if_done(engine: Engine, run: RunRow, entity: Entity) -> bool:
    """End a run whose partitions were all read to their end; False if some were not."""

    def finish(connection: Connection) -> bool:
        if not runs.lock_running(connection, run.id):
            return True  # somebody else ended it; what it met is forgotten, so nothing is judged
        if not partitions.all_done(connection, run.id):
            return False
        planned = runs.get_run(connection, run.id) or run  # it may have been planned anew
        counts = runs.totals(connection, run.id)
        try:
            counts += Counts(deleted=_sweep(engine, connection, planned, entity))
        except RefusedError as error:
            _close(engine, connection, run, state="failed", counts=counts, error=error)
            return True
        state = "succeeded_with_quarantine" if counts.quarantined else "succeeded"
        if _close(engine, connection, run, state=state, counts=counts):
            _note_success(engine, connection, planned)
        failpoint("sync.finish.before_commit")
        return True

    is_over = engine.database.transact(finish)
    failpoint("sync.finish.after_commit")
    return is_over


def end(engine: Engine, run: RunRow, *, state: str, error: TielineError | None = None) -> None:
    """End a run before all of it was read. What was committed stays; nothing is deleted."""

    def close(connection: Connection) -> None:
        end_in(engine, connection, run, state=state, error=error)

    engine.database.transact(close)


def end_in(
    engine: Engine,
    connection: Connection,
    run: RunRow,
    *,
    state: str,
    error: TielineError | None = None,
) -> None:
    """End a run, as :func:`end` does, in the caller's transaction."""
    counts = runs.totals(connection, run.id)
    _close(engine, connection, run, state=state, counts=counts, error=error)


def _close(
    engine: Engine,
    connection: Connection,
    run: RunRow,
    *,
    state: str,
    counts: Counts,
    error: TielineError | None = None,
) -> bool:
    now = engine.clock.now()
    told = (error.slug, tellable(error.message), tellable(error.hint)) if error else None
    if not runs.end_run(connection, run.id, state=state, now=now, counts=counts, error=told):
        return False
    if state != "needs_reauth":  # that one may go on, and must not take what it met for gone
        sightings.drop_sightings(connection, run.id)
    log.add_entry(
        connection,
        at=now,
        actor=this_worker(),
        event=f"run.{state}",
        connection_id=run.connection_id,
        entity=run.entity,
        run_id=run.id,
        counts=counts,
        error_code=error.slug if error else None,
        detail=tellable(error.message) if error else "",
    )
    _log.info("run over", state=state, **counts.as_dict())
    return True


def _note_success(engine: Engine, connection: Connection, run: RunRow) -> None:
    """Move the entity's cursor on, if the run read all that it passes over."""
    now = engine.clock.now()
    copies.drop_before(connection, run.connection_id, run.entity, now - _HISTORY)
    if run.direction == "outbound":
        operations.drop_finished(connection, run.connection_id, run.entity, now - _HISTORY)
    if run.mode in {"full", "incremental", "repair"}:
        connection_store.note_success(
            connection,
            run.connection_id,
            run.entity,
            now=now,
            synced_until=partitions.earliest_as_of(connection, run.id),
            full_run_id=None if run.mode == "incremental" else run.id,
        )


def _sweep(engine: Engine, connection: Connection, run: RunRow, entity: Entity) -> int:
    """Make tombstones of what a full run did not meet.

    Raises:
        RefusedError: That would be more than the set share of the records.
    """
    if run.mode not in {"full", "repair"} or entity.deletes in {"flag", "none"}:
        return 0
    if quarantined.nameless_in(connection, run.id):
        return 0  # one of the missing may be the record that could not be read
    live = record_store.count_live(connection, run.connection_id, run.entity)
    allowed = max(_ALWAYS_ALLOWED, int(live * engine.settings.max_delete_share))
    unseen = sightings.unseen_keys(
        connection,
        run.connection_id,
        run.entity,
        run_id=run.id,
        limit=live if run.allow_deletes else allowed + 1,
    )
    now = engine.clock.now()
    is_held = len(unseen) > allowed and not run.allow_deletes
    if run.mode == "repair":
        surplus = [findings.Finding(key, "surplus", None) for key in unseen]
        findings.add(connection, run.id, surplus, now=now, is_repaired=not is_held)
    if is_held:
        raise RefusedError(
            f"the provider no longer has more than {allowed} of {live} records;"
            " nothing was deleted",
            hint="look at the provider, then: tieline sync run … --full --allow-deletes",
            code="deletes-held",
        )
    rank = None if entity.version else _deletion_rank(connection, run)
    return record_store.bury(
        connection, run.connection_id, run.entity, unseen, rank=rank, run_id=run.id, now=now
    )


def _deletion_rank(connection: Connection, run: RunRow) -> int:
    """Rank a deletion by when the run that noticed it began, in the provider's time."""
    began = partitions.earliest_as_of(connection, run.id) or run.started_at or run.created_at
    return rank_of(began)
