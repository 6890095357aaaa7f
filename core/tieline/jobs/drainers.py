"""Have events handled while a worker is busy with a run, by a child of it."""

from __future__ import annotations

import os
import threading
import time

from tieline.engine import drain_events
from tieline.jobs.children import Child
from tieline.services.installation import Installation
from tieline.store import drains

__all__ = ["NAME", "ForkedDrainer"]

NAME = "tie-drainer"
"""What ``ps`` calls the child, on Linux; at most 15 characters."""

_AT_ONCE = 50
_LEAVE_AFTER_S = 40.0
_CHILD_S = 120
_LOOK_S = 0.5


class ForkedDrainer:
    """Handles events in a child process, one at a time.

    A run may keep a worker's one work-horse for hours, and events shall not
    wait for that long where there is but one worker.

    Args:
        installation: Where.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._child = Child(NAME, longest_s=_CHILD_S)

    def drain(self) -> None:
        """Start a child if there are events that nobody handles.

        Raises:
            DependencyError: The database does not answer.
        """
        if self._child.is_under_way():
            return
        now = self._installation.clock.now()
        with self._installation.database.read() as connection:
            found = drains.undrained(connection, now, limit=_AT_ONCE)
        if found:
            self._child.start(lambda: self._handle(found))

    def _handle(self, connection_ids: list[str]) -> None:
        stop = threading.Event()
        parent = os.getppid()
        threading.Thread(target=_leave, args=(stop, parent), name="leave", daemon=True).start()
        for connection_id in connection_ids:
            drain_events(self._installation.engine, connection_id, stop)


def _leave(stop: threading.Event, parent: int) -> None:
    """Leave with the worker, and after a while: it may have had its configuration changed."""
    until = time.monotonic() + _LEAVE_AFTER_S
    while os.getppid() == parent and time.monotonic() < until:
        time.sleep(_LOOK_S)
    stop.set()
