"""End a run: tombstones for what a full run did not meet, state, log entry."""

from __future__ import annotations

from tieline.contract import Entity, TielineError
from tieline.engine.kit import Engine, this_worker
from tieline.errors import RefusedError
from tieline.failpoints import failpoint
from tieline.store import connections as connection_store
from tieline.store import log, partitions, quarantined, runs
from tieline.store import records as record_store
from tieline.store.database import Connection
from tieline.store.rows import Counts, RunRow
from tieline.telemetry import get_logger, tellable

__all__ = ["end", "finish_if_done"]

_log = get_logger(__name__)
_ALWAYS_ALLOWED = 20


def finish_if_done(engine: Engine, run: RunRow, entity: Entity) -> bool:
    """End a run whose partitions were all read to their end; False if some were not."""

    def finish(connection: Connection) -> bool:
        if not runs.lock_running(connection, run.id):
            return True  # somebody else ended it; what it met is forgotten, so nothing is judged
        if not partitions.all_done(connection, run.id):
            return False
        counts = runs.totals(connection, run.id)
        try:
            counts += Counts(deleted=_sweep(engine, connection, run, entity))
        except RefusedError as error:
            _close(engine, connection, run, state="failed", counts=counts, error=error)
            return True
        state = "succeeded_with_quarantine" if counts.quarantined else "succeeded"
        if _close(engine, connection, run, state=state, counts=counts):
            connection_store.note_success(
                connection,
                run.connection_id,
                run.entity,
                now=engine.clock.now(),
                synced_until=partitions.earliest_as_of(connection, run.id),
                full_run_id=run.id if run.mode == "full" else None,
            )
        failpoint("sync.finish.before_commit")
        return True

    is_over = engine.database.transact(finish)
    failpoint("sync.finish.after_commit")
    return is_over


def end(engine: Engine, run: RunRow, *, state: str, error: TielineError | None = None) -> None:
    """End a run before all of it was read. What was committed stays; nothing is deleted."""

    def close(connection: Connection) -> None:
        counts = runs.totals(connection, run.id)
        _close(engine, connection, run, state=state, counts=counts, error=error)

    engine.database.transact(close)


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
    record_store.drop_sightings(connection, run.id)
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


def _sweep(engine: Engine, connection: Connection, run: RunRow, entity: Entity) -> int:
    """Tombstone what a full run did not meet.

    Raises:
        RefusedError: That would be more than the set share of the records.
    """
    if run.mode != "full" or entity.deletes != "sweep":
        return 0
    if quarantined.nameless_in(connection, run.id):
        return 0  # one of the missing may be the record that could not be read
    live = record_store.count_live(connection, run.connection_id, run.entity)
    allowed = max(_ALWAYS_ALLOWED, int(live * engine.settings.max_delete_share))
    unseen = record_store.unseen_keys(
        connection,
        run.connection_id,
        run.entity,
        run_id=run.id,
        limit=live if run.allow_deletes else allowed + 1,
    )
    if len(unseen) > allowed and not run.allow_deletes:
        raise RefusedError(
            f"the provider no longer has more than {allowed} of {live} records;"
            " nothing was deleted",
            hint="look at the provider, then: tieline sync run … --full --allow-deletes",
            code="deletes-held",
        )
    if not unseen:
        return 0
    now = engine.clock.now()
    return record_store.tombstone(
        connection,
        run.connection_id,
        run.entity,
        unseen,
        rank=None if entity.version else _read_rank(connection, run),
        run_id=run.id,
        now=now,
    )


def _read_rank(connection: Connection, run: RunRow) -> int:
    """Rank a deletion by when the run that noticed it began."""
    began = run.started_at or run.created_at
    latest = record_store.latest_rank(connection, run.connection_id, run.entity)
    return max(int(began.timestamp() * 1_000_000), latest)
