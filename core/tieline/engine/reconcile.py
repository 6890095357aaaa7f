"""Put back under way what should be and is not, whatever happened to Redis."""

from __future__ import annotations

from datetime import timedelta

from tieline.engine.ask import ring_for
from tieline.engine.kit import Engine
from tieline.store import runs

__all__ = ["sweep"]

_RING_AGAIN = timedelta(seconds=30)


def sweep(engine: Engine) -> int:
    """Ring for every run that is due and that nobody works on.

    Any number of processes may do this at once: a ring too many finds
    nothing to claim.

    Returns:
        How often the bell was rung.

    Raises:
        DependencyError: The database does not answer.
    """
    with engine.database.read() as connection:
        due = runs.due_runs(connection, engine.clock.now(), ring_again=_RING_AGAIN)
    return sum(ring_for(engine, run_id) for run_id in due)
