"""Catch up on what no delivery told: after a silence, and after nobody was there to listen."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from tieline.alerts import close_alert, raise_alert
from tieline.contract import TielineError
from tieline.engine.ask import plan_run, ring_for
from tieline.engine.kit import Engine
from tieline.store import events, log, silence
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.silence import Watched
from tieline.telemetry import get_logger

__all__ = ["DOWN_AFTER", "drop_handled_events", "look_after_endpoints", "note_served"]

_log = get_logger(__name__)

DOWN_AFTER = timedelta(minutes=5)
"""How long nobody may be there for an endpoint before its connections are read again."""

_AT_ONCE = 1000


def look_after_endpoints(engine: Engine) -> int:
    """Tell of endpoints that fell silent, and read what they may have missed.

    For each entity of their connections that lives by events an incremental
    run is asked for, at once and again whenever as much time has gone by. Any
    number of processes may do this at once.

    Returns:
        How many runs were asked for.

    Raises:
        DependencyError: The database does not answer.
    """
    with engine.database.read() as connection:
        watched = silence.watched_endpoints(connection)
    return sum(_look_at(engine, endpoint) for endpoint in watched)


def note_served(engine: Engine) -> int:
    """Say that a server is there; catch up if none was for a while.

    Called at a server's start and every minute from then on.

    Returns:
        How many runs were asked for.

    Raises:
        DependencyError: The database does not answer.
    """
    before = engine.clock.now() - DOWN_AFTER
    with engine.database.read() as connection:
        missed = silence.unserved_since(connection, before)
    asked = 0
    for endpoint in missed:
        asked += _catch_up(engine, endpoint, why="nobody was there to take deliveries")
    with engine.database.write() as connection:
        silence.note_served(connection, engine.clock.now())
    return asked


def drop_handled_events(engine: Engine, stop: threading.Event | None = None) -> int:
    """Forget events that were handled long enough ago, in small transactions.

    Returns:
        How many.

    Raises:
        DependencyError: The database does not answer.
    """
    before = engine.clock.now() - timedelta(days=engine.settings.webhook_keep_days)
    count = 0
    while not (stop and stop.is_set()):
        with engine.database.write() as connection:
            dropped = events.drop_handled(connection, before, limit=_AT_ONCE)
        count += dropped
        if dropped < _AT_ONCE:
            break
    return count


def _look_at(engine: Engine, endpoint: Watched) -> int:
    now = engine.clock.now()
    if not endpoint.is_silent(now):
        with engine.database.write() as connection:
            close_alert(connection, "webhooks-silent", endpoint.id, now=now)
        return 0
    if not endpoint.is_behind(now):
        return 0
    with engine.database.write() as connection:
        _tell(connection, endpoint, now)
    return _catch_up(engine, endpoint, why="the provider delivers nothing")


def _tell(connection: Connection, endpoint: Watched, now: datetime) -> None:
    hours = (now - endpoint.heard_at) / timedelta(hours=1)
    raise_alert(
        connection,
        "webhooks-silent",
        endpoint.id,
        f"no delivery of {endpoint.provider} came to {endpoint.id} for {hours:.1f} hours",
        now=now,
        connection_id=endpoint.connection_id,
        provider=endpoint.provider,
        hint=f"tieline webhooks show {endpoint.id}",
        facts={"endpoint": endpoint.id, "heard_at": endpoint.heard_at.isoformat()},
    )


def _catch_up(engine: Engine, endpoint: Watched, *, why: str) -> int:
    """Ask for a run of every entity that lives by an endpoint's events, once for all processes."""

    def ask(connection: Connection) -> list[str]:
        now = engine.clock.now()
        seen = silence.lock_watched(connection, endpoint.id)
        if seen is None or seen.caught_up_at != endpoint.caught_up_at:
            return []  # somebody else did, or it is gone
        run_ids = [
            run_id
            for row in silence.connections_behind(connection, endpoint)
            for run_id in _ask_runs(engine, connection, row, why, now)
        ]
        silence.note_caught_up(connection, endpoint.id, now)
        return run_ids

    run_ids = engine.database.transact(ask)
    for run_id in run_ids:
        ring_for(engine, run_id)
    return len(run_ids)


def _ask_runs(
    engine: Engine, connection: Connection, row: ConnectionRow, why: str, now: datetime
) -> list[str]:
    try:
        plugin = engine.registry.get(row.provider)
    except TielineError as error:  # told where it matters
        _log.warning("no runs for a silent endpoint", provider=row.provider, reason=error.message)
        return []
    asked = []
    for entity in plugin.entities.values():
        if not entity.events:
            continue
        run_id = plan_run(
            engine, connection, row, entity, mode="incremental", asked_by="webhook", now=now
        )
        if run_id is not None:
            asked.append(run_id)
            log.add_entry(
                connection,
                at=now,
                actor="webhook",
                event="run.catch_up",
                connection_id=row.id,
                entity=entity.name,
                run_id=run_id,
                detail=why,
            )
    return asked
