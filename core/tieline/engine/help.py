"""Lend a hand to a run: claim its partitions, read them, end it."""

from __future__ import annotations

import threading
import traceback
from datetime import timedelta
from pathlib import Path

from tieline.alerts import raise_alert
from tieline.auth import OpenConnection, note_refused, reauth_hint
from tieline.auth.trouble import Refusal
from tieline.contract import (
    Entity,
    NeedsReauthError,
    RateLimitedError,
    RetryLaterError,
    TielineError,
)
from tieline.engine.ask import read_whole, ring_for
from tieline.engine.confirm import Confirmation
from tieline.engine.crew import Crew
from tieline.engine.finish import end, end_in, finish_if_done
from tieline.engine.held import Cancelled, CannotRead
from tieline.engine.kit import Engine, this_worker
from tieline.engine.outbox import ask_due_pushes
from tieline.errors import (
    DependencyError,
    KeyUnavailableError,
    StopRequested,
    WorkerLostError,
)
from tieline.settings import Settings
from tieline.store import connections as connection_store
from tieline.store import dead_letters, log, runs
from tieline.store.database import Connection
from tieline.store.rows import RunRow
from tieline.telemetry import Seen, bind, get_logger, span, tellable
from tieline.throttle import BREAKER_OPEN, Pace

__all__ = ["help_run", "most_attempts"]

_log = get_logger(__name__)
_LONGEST_PAUSE_S = 900.0
_FIRST_PAUSE_S = 5.0
_WAITS_PER_ATTEMPT = 20
_MOST_PLANS = 3


def help_run(engine: Engine, run_id: str, stop: threading.Event, *, asked_in: str = "") -> None:
    """Work on a run until it is over, nothing of it is free, or ``stop`` is set.

    Harmless for a run that is unknown, over, put off, or in other hands.

    Args:
        engine: The parts.
        run_id: The run.
        stop: Set when this process has to leave: the page at hand is
            finished, its lease given back, and the bell rung for somebody else.
        asked_in: The trace of whoever rang, as its ``traceparent``; empty: none.

    Raises:
        DependencyError: The database is away; leases lapse by themselves.
    """
    run = _begin(engine, run_id)
    if run is None:
        return
    bind(run=run.id, connection=run.connection_name, provider=run.provider)
    if run.cancel_requested_at is not None:
        end(engine, run, state="cancelled")
        return
    with span(
        "run",
        parent=asked_in,
        run=run.id,
        connection=run.connection_id,
        provider=run.provider,
        entity=run.entity,
        mode=run.mode,
        attempt=run.attempt,
    ) as seen:
        _help(engine, run, stop, seen)


def _help(engine: Engine, run: RunRow, stop: threading.Event, seen: Seen) -> None:
    """Work on a run that goes on; whatever happens, it has a state afterwards."""
    try:
        if not _open_and_work(engine, run, stop, seen, may_renew=True):
            _open_and_work(engine, run, stop, seen, may_renew=False)
    except StopRequested:
        seen.note(ended_by="StopRequested")
        ring_for(engine, run.id)
    except Cancelled:
        seen.note(ended_by="Cancelled")
        end(engine, run, state="cancelled")
    except DependencyError:
        raise
    except Exception as error:  # noqa: BLE001 - every way out of a run has its state
        seen.failed(error)
        _settle(engine, run, error)


def _open_and_work(
    engine: Engine, run: RunRow, stop: threading.Event, seen: Seen, *, may_renew: bool
) -> bool:
    """Work on a run with the connection's credential.

    A provider may refuse tokens before their time. New ones are asked for
    once; are they refused too, a person has to connect again.

    Returns:
        False if the credential was refused and there is a new one.
    """
    # Read first: what is refused from here on may have been replaced by the time it is noted.
    generation = _generation_of(engine, run)
    try:
        opened = engine.opener.open(run.connection_id, stop=stop, pace=_pace_of(run), run_id=run.id)
        try:
            _work(engine, run, opened, opened.plugin.entity(run.entity), stop)
        except NeedsReauthError:
            generation = opened.generation
            if not (may_renew and engine.opener.renew_refused(run.connection_id, generation)):
                raise
            return False
        finally:
            opened.transport.close()
    except NeedsReauthError as error:
        seen.failed(error)
        _need_reauth(engine, run, error, generation)
    return True


def _pace_of(run: RunRow) -> Pace:
    """Let what keeps up go before what reads all of the past."""
    return "backfill" if run.mode in {"full", "verify"} else "sync"


def _generation_of(engine: Engine, run: RunRow) -> int | None:
    with engine.database.read() as connection:
        return connection_store.read_sealed(connection, run.connection_id)[1]


def _settle(engine: Engine, run: RunRow, error: Exception) -> None:
    """Decide what becomes of a run that met an error."""
    if isinstance(error, (RetryLaterError, KeyUnavailableError)):
        _put_off(engine, run, error)
    elif isinstance(error, WorkerLostError):
        _bury(engine, run, error)
    elif isinstance(error, TielineError) and error.slug == "quarantine-share":
        _stop_at_too_many_bad(engine, run, error)
    elif isinstance(error, TielineError):
        end(engine, run, state="failed", error=error)
    else:
        _log.error("a bug of ours", exc_info=error)
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        fault = RetryLaterError(f"{where}: this is a fault of Tieline's", code="bug")
        _put_off(engine, run, fault)


def _begin(engine: Engine, run_id: str) -> RunRow | None:
    def begin(connection: Connection) -> RunRow | None:
        now = engine.clock.now()
        has_begun = runs.start_run(connection, run_id, now)
        run = runs.get_run(connection, run_id)
        if run is None or run.state != "running":
            return None
        if has_begun:
            log.add_entry(
                connection,
                at=now,
                actor=this_worker(),
                event="run.started",
                connection_id=run.connection_id,
                entity=run.entity,
                run_id=run.id,
                detail=f"attempt {run.attempt}",
            )
        return run

    return engine.database.transact(begin)


def _work(
    engine: Engine, run: RunRow, opened: OpenConnection, entity: Entity, stop: threading.Event
) -> None:
    """Read what is free; plan anew what cannot be read as it was planned."""
    for _ in range(_MOST_PLANS):
        try:
            Crew(engine=engine, opened=opened, run=run, entity=entity, stop=stop).work()
        except CannotRead as refused:
            run = _planned_anew(engine, run, refused)
            continue
        if run.mode == "verify":
            Confirmation(engine=engine, opened=opened, run=run, entity=entity, stop=stop).settle()
        is_over = finish_if_done(engine, run, entity)
        if is_over and run.direction == "outbound":
            ask_due_pushes(engine)  # what was asked for while this one ended
        return


def _planned_anew(engine: Engine, run: RunRow, refused: CannotRead) -> RunRow:
    words = tellable(refused.error.message)
    if refused.source == "feed":
        mode, reason = "full", f"the log of changes cannot be read ({words}), so everything is"
    else:
        mode = run.mode
        reason = f"the list cannot be bounded by time ({words}), so it is read in one piece"
    read_whole(engine, run, mode=mode, reason=reason)
    with engine.database.read() as connection:
        return runs.get_run(connection, run.id) or run


def _put_off(engine: Engine, run: RunRow, error: RetryLaterError | KeyUnavailableError) -> None:
    """Let the run rest; a run that made no headway too often has failed."""
    with engine.database.read() as connection:
        now = runs.get_run(connection, run.id)
    if now is None or now.state != "running":
        return
    is_open = error.slug == BREAKER_OPEN
    is_limit = is_open or isinstance(error, RateLimitedError)
    has_moved = now.counts.requests > run.counts.requests
    # Behind an open breaker nothing was tried.
    attempt = 1 if has_moved else run.attempt + (0 if is_open else 1)
    state = "waiting" if is_limit else "retrying"
    most = most_attempts(engine.settings, state)
    if attempt > most:
        end(engine, run, state="failed", error=error)
        return
    asked = getattr(error, "retry_after", None)
    pause = min(asked or _FIRST_PAUSE_S * 2 ** min(attempt, 10), _LONGEST_PAUSE_S)

    def put_off(connection: Connection) -> None:
        at = engine.clock.now()
        runs.put_off(
            connection,
            run.id,
            state=state,
            due_at=at + timedelta(seconds=pause),
            error=(error.slug, tellable(error.message), tellable(error.hint)),
            attempt=attempt,
        )
        log.add_entry(
            connection,
            at=at,
            actor=this_worker(),
            event=f"run.{state}",
            connection_id=run.connection_id,
            entity=run.entity,
            run_id=run.id,
            error_code=error.slug,
            detail=f"{tellable(error.message)}; attempt {attempt} of {most} in {pause:.0f} s",
        )

    engine.database.transact(put_off)


def most_attempts(settings: Settings, state: str) -> int:
    """Say after how many attempts in a row without headway a run has failed."""
    return settings.run_attempts * (_WAITS_PER_ATTEMPT if state == "waiting" else 1)


def _bury(engine: Engine, run: RunRow, error: WorkerLostError) -> None:
    """End a run that kills its workers, and leave a dead letter: somebody has to look."""

    def bury(connection: Connection) -> None:
        end_in(engine, connection, run, state="failed", error=error)
        dead_letters.add_dead_letter(
            connection,
            kind="run",
            connection_id=run.connection_id,
            entity=run.entity,
            run_id=run.id,
            reason_code=error.slug,
            reason=tellable(error.message),
            facts={"mode": run.mode, "counts": run.counts.as_dict()},
            now=engine.clock.now(),
        )
        raise_alert(
            connection,
            "run-dead",
            run.id,
            f"{run.connection_name}: the run of {run.entity} was given up: {error.message}",
            now=engine.clock.now(),
            connection_id=run.connection_id,
            hint="tieline dead",
            facts={"run_id": run.id, "entity": run.entity},
        )

    engine.database.transact(bury)


def _stop_at_too_many_bad(engine: Engine, run: RunRow, error: TielineError) -> None:
    """End a run of which too much went to quarantine, and have somebody look."""

    def stop(connection: Connection) -> None:
        end_in(engine, connection, run, state="failed", error=error)
        raise_alert(
            connection,
            "quarantine-share",
            f"{run.connection_id}/{run.entity}",
            f"{run.connection_name}, {run.entity}: {error.message}",
            now=engine.clock.now(),
            connection_id=run.connection_id,
            hint=f"tieline records quarantine list {run.connection_name} {run.entity}",
            facts={"run_id": run.id, "entity": run.entity},
        )

    engine.database.transact(stop)


def _need_reauth(
    engine: Engine, run: RunRow, error: NeedsReauthError, generation: int | None
) -> None:
    """Park the run, and mark its connection, unless somebody gave it a new credential meanwhile."""
    error.hint = error.hint or reauth_hint(run.connection_name)

    def park(connection: Connection) -> Refusal:
        refusal = note_refused(
            connection,
            run.connection_id,
            generation=generation,
            error=error,
            actor=this_worker(),
            now=engine.clock.now(),
        )
        if refusal != "replaced":
            end_in(engine, connection, run, state="needs_reauth", error=error)
        return refusal

    if engine.database.transact(park) == "replaced":
        again = RetryLaterError("the credential was replaced meanwhile", retry_after=1)
        _put_off(engine, run, again)
