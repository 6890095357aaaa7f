"""Put back under way what should be and is not, whatever happened to Redis."""

from __future__ import annotations

from datetime import timedelta

from tieline.engine.ask import ring_for
from tieline.engine.drain import ring_drain
from tieline.engine.kit import Engine
from tieline.engine.outbox import ask_due_pushes
from tieline.store import drains, partitions, runs

__all__ = ["mourn", "sweep"]

_RING_AGAIN = timedelta(seconds=30)


def mourn(engine: Engine, owner: str, *, has_died: bool = True) -> None:
    """Give back at once what a process held that is known to be dead, or leaves.

    Args:
        engine: The parts.
        owner: Its name, as :func:`~tieline.engine.kit.this_worker` gave it.
        has_died: It did not leave of its own accord.

    Raises:
        DependencyError: The database does not answer; the leases lapse then.
    """
    with engine.database.write() as connection:
        run_ids = partitions.release_all_of(connection, owner, has_died=has_died)
        drained = drains.release_all_of(connection, owner, has_died=has_died)
    for run_id in run_ids:
        ring_for(engine, run_id)
    for connection_id in drained:
        ring_drain(engine, connection_id)


def sweep(engine: Engine) -> int:
    """Ring for what is due and nobody works on: runs, events; ask for pushes that are due.

    Any number of processes may do this at once: a ring too many finds
    nothing to claim.

    Returns:
        How often the bell was rung.

    Raises:
        DependencyError: The database does not answer.
    """
    asked = ask_due_pushes(engine)
    now = engine.clock.now()
    with engine.database.read() as connection:
        due = runs.due_runs(
            connection,
            now,
            ring_again=_RING_AGAIN,
            lease=timedelta(seconds=engine.settings.lease_s),
        )
        undrained = drains.undrained(connection, now)
    rung = sum(ring_drain(engine, connection_id) for connection_id in undrained)
    return asked + rung + sum(ring_for(engine, run_id) for run_id in due)
