"""See to it that nothing that can be sent stays without a run that sends it."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import TielineError
from tieline.engine.ask import ask_run
from tieline.engine.kit import Engine
from tieline.errors import DependencyError
from tieline.store import connections as connection_store
from tieline.store import operations
from tieline.telemetry import get_logger

__all__ = ["ask_due_pushes"]

_log = get_logger(__name__)
_REST = timedelta(minutes=15)
"""How long nobody tries again by himself after a run that failed or was cancelled."""


def ask_due_pushes(engine: Engine) -> int:
    """Ask for a run wherever operations are due and none is active.

    Any number of processes may do this at once: of runs that are asked for
    twice there is one.

    Returns:
        How many were asked for.

    Raises:
        DependencyError: The database does not answer.
    """
    now = engine.clock.now()
    with engine.database.read() as connection:
        due = operations.pushes_due(connection, now, ended_since=now - _REST)
    return sum(_ask(engine, connection_id, entity) for connection_id, entity in due)


def _ask(engine: Engine, connection_id: str, entity: str) -> bool:
    with engine.database.read() as connection:
        row = connection_store.find_connection(connection, connection_id)
    if row is None:
        return False
    try:
        declared = engine.registry.get(row.provider).entity(entity)
        return ask_run(engine, row, declared, mode="push", asked_by="outbox").is_new
    except DependencyError:
        raise
    except TielineError as error:  # a broken plugin: what it has to send waits for it
        _log.warning("nothing can be sent", connection=row.name, entity=entity, why=error.message)
        return False
