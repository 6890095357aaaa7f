"""What the engine works with, made once per process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.auth import Opener
from tieline.clock import Clock
from tieline.registry import Registry
from tieline.settings import Settings
from tieline.store.database import Database

__all__ = ["Engine", "this_worker"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """The parts that syncing needs.

    Attributes:
        database: Where all truth is.
        registry: The plugins.
        opener: From a connection's id to a client.
        clock: Now and sleep.
        settings: Leases, attempts, read-ahead.
        ring: ``(run_id, ring)``: asks for a hand; raises DependencyError.
        ring_drain: ``(connection_id)``: asks for its events to be handled; raises
            DependencyError.
        count_waiting: ``() -> jobs``: how many wait for a worker; raises DependencyError.
        give_up: Called where a hand hangs; ends the process, if nothing else is
            done in it.
    """

    database: Database
    registry: Registry
    opener: Opener
    clock: Clock
    settings: Settings
    ring: Callable[[str, int], None]
    ring_drain: Callable[[str], None] = lambda _connection_id: None
    count_waiting: Callable[[], int] = lambda: 0
    give_up: Callable[[], None] = lambda: None

    def lease_until(self) -> datetime:
        """Return the end of a lease that is taken now."""
        return self.clock.now() + timedelta(seconds=self.settings.lease_s)


def this_worker(pid: int | None = None) -> str:
    """Name a process of this machine for people who look at a lease; this one if None."""
    return f"{socket.gethostname()}:{os.getpid() if pid is None else pid}"
