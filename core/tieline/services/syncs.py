"""Ask for runs, follow them, cancel them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tieline.auth import reauth_hint
from tieline.contract import NeedsReauthError
from tieline.engine import Asked, ask_run
from tieline.engine.ask import ring_for
from tieline.engine.plan import Range, make_plan
from tieline.errors import DependencyError, InvalidInputError, NotFoundError, RefusedError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import log, parking, records, runs, sightings
from tieline.store.choosing import Mark
from tieline.store.connections import ConnectionRow
from tieline.store.rows import RunRow
from tieline.store.runs import RunsWanted

__all__ = [
    "cancel_run",
    "check_window",
    "count_records",
    "get_run",
    "list_runs",
    "require_awake",
    "run_log",
    "start_sync",
    "start_syncs",
    "wait_for_run",
]

_POLL_S = 0.2
_LOOK_FOR_WORKERS_S = 1.0


def start_sync(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    mode: str = "incremental",
    actor: str,
    allow_deletes: bool = False,
    window: Range = (None, None),
) -> Asked:
    """Ask for a run of one entity.

    Args:
        installation: Where.
        connection: Name or id.
        entity: What to read.
        mode: ``incremental``, ``full``, ``window``, ``verify`` or ``repair``.
        actor: Who asks, for the sync log.
        allow_deletes: Whether a full run may delete any share of the records.
        window: For mode ``window``: start, included, and end, excluded; aware,
            either may be None.

    Returns:
        The new run, or the one that is active already.

    Raises:
        NotFoundError: No such connection or entity.
        PluginError: The provider's plugin is broken.
        InvalidInputError: The window ends before it begins.
        RefusedError: The connection is paused; or a window was asked for, and
            the provider's list has none.
        NeedsReauthError: The connection waits for a person.
        DependencyError: Database or Redis does not answer; nothing was asked.
    """
    check_window(window)
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    require_awake(row)
    _ = installation.redis
    return ask_run(
        installation.engine,
        row,
        declared,
        mode=mode,
        asked_by=actor,
        allow_deletes=allow_deletes,
        window=window,
    )


def start_syncs(
    installation: Installation,
    connection: str,
    entities: Sequence[str],
    *,
    mode: str = "incremental",
    actor: str,
    allow_deletes: bool = False,
    window: Range = (None, None),
) -> list[Asked]:
    """Ask for a run of each entity, or of all that the provider has; see :func:`start_sync`.

    All that is known beforehand to be refused is, before any is asked for.

    Args:
        installation: Where.
        connection: Name or id.
        entities: Which, each once; none: all.
        mode: As for :func:`start_sync`, and so for the others.
        actor: Who asks.
        allow_deletes: Whether full runs may delete any share of the records.
        window: For mode ``window``.
    """
    check_window(window)
    row = get_connection(installation, connection)
    plugin = installation.registry.get(row.provider)
    declared = [plugin.entity(name) for name in dict.fromkeys(entities or plugin.entities)]
    for entity in declared:
        make_plan(mode, entity, None, window=window, now=installation.clock.now())
    return [
        start_sync(
            installation,
            row.id,
            entity.name,
            mode=mode,
            actor=actor,
            allow_deletes=allow_deletes,
            window=window,
        )
        for entity in declared
    ]


def check_window(window: Range) -> None:
    """Make sure that a window ends after it begins.

    Raises:
        InvalidInputError: It does not.
    """
    start, end = window
    if start is not None and end is not None and start >= end:
        raise InvalidInputError(
            f"the window ends at {end.isoformat()}, before it begins at {start.isoformat()}",
            hint="--since is the earlier time, --until the later one",
            code="window-empty",
        )


def require_awake(row: ConnectionRow) -> None:
    """Make sure that a connection can be synced.

    Raises:
        NeedsReauthError: It waits for a person.
        RefusedError: It is paused.
    """
    if row.state != "ok":
        raise NeedsReauthError(
            row.trouble or f"the connection {row.name} has no credential",
            hint=reauth_hint(row.name),
        )
    if row.paused_at is not None:
        raise RefusedError(
            f"the connection {row.name} is paused",
            hint=f"tieline connections resume {row.name}",
            code="connection-paused",
        )


def get_run(installation: Installation, run_id: str) -> RunRow:
    """Return a run.

    Raises:
        NotFoundError: There is none of that id.
    """
    with installation.database.read() as transaction:
        run = runs.get_run(transaction, run_id)
    if run is None:
        raise NotFoundError(f"there is no run {run_id!r}", hint="tieline runs", code="run-unknown")
    return run


def list_runs(
    installation: Installation,
    wanted: RunsWanted | None = None,
    *,
    before: Mark | None = None,
    limit: int = 20,
) -> list[RunRow]:
    """Return the newest runs first.

    Args:
        installation: Where.
        wanted: Which; None: all. :func:`tieline.services.runs.wanted_runs` makes it.
        before: Time and id of the last run of the page before.
        limit: The most to return.
    """
    with installation.database.read() as transaction:
        return runs.list_runs(transaction, wanted, before=before, limit=limit)


def run_log(installation: Installation, run_id: str) -> list[dict[str, Any]]:
    """Return a run's entries of the sync log, oldest first."""
    with installation.database.read() as transaction:
        return log.list_entries(transaction, run_id=run_id)


def cancel_run(installation: Installation, run_id: str, *, actor: str) -> RunRow:
    """Ask a run to stop at its next page; what it committed stays.

    One that is parked, until its account is connected again, ends at once.

    Raises:
        NotFoundError: There is none of that id.
        RefusedError: It is over.
    """
    run = get_run(installation, run_id)
    with installation.database.write() as transaction:
        now = installation.clock.now()
        if not runs.request_cancel(transaction, run_id, now):
            if not parking.end_parked(transaction, run_id, now):
                raise RefusedError(f"the run {run_id} is over: {run.state}", code="run-over")
        elif runs.end_resting(transaction, run_id, now):
            sightings.drop_sightings(transaction, run_id)
        log.add_entry(
            transaction,
            at=now,
            actor=actor,
            event="run.cancel_asked",
            connection_id=run.connection_id,
            entity=run.entity,
            run_id=run_id,
        )
    ring_for(installation.engine, run_id)
    return get_run(installation, run_id)


def count_records(installation: Installation, run: RunRow) -> int:
    """Count the live records of a run's entity."""
    with installation.database.read() as transaction:
        return records.count_live(transaction, run.connection_id, run.entity)


def wait_for_run(
    installation: Installation,
    run_id: str,
    *,
    patience_s: float,
    on_progress: Callable[[RunRow], None] = lambda _: None,
    on_lonely: Callable[[], None] = lambda: None,
    is_patient: bool = False,
) -> RunRow:
    """Follow a run to its end, as long as there is a worker to do it.

    Args:
        installation: Where.
        run_id: The run.
        patience_s: How long to wait without any living worker.
        on_progress: Called with the run whenever it was looked at.
        on_lonely: Called once when there is no living worker.
        is_patient: Whether a run that was put off is waited for, too.

    Returns:
        The run when it is over or, unless that is waited for, put off until later.

    Raises:
        DependencyError: There was no living worker for ``patience_s``; the run
            stays asked for.
    """
    clock = installation.clock
    last_alive = clock.monotonic()
    last_looked = 0.0
    was_told = False
    while True:
        run = get_run(installation, run_id)
        on_progress(run)
        if run.is_over or (not is_patient and run.state in {"waiting", "retrying"}):
            return run
        now = clock.monotonic()
        if now - last_looked >= _LOOK_FOR_WORKERS_S:
            last_looked = now
            if installation.presence.alive():
                last_alive, was_told = now, False
            elif now - last_alive >= 1.0 and not was_told:
                was_told = True
                on_lonely()
        if now - last_alive > patience_s:
            raise DependencyError(
                f"no worker is alive; the run {run_id} is kept and starts with the next one",
                hint="tieline worker (or: tieline up)",
                code="no-worker",
            )
        clock.sleep(_POLL_S)
