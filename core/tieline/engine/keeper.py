"""Keep a partition's lease while its hand is away, waiting for the provider."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tieline.errors import DependencyError

__all__ = ["Either", "LeaseKeeper"]

_LOOK_S = 0.25


class LeaseKeeper:
    """A thread that renews a lease until it is told to stop, or the lease is gone.

    A call may take as long as a lease, and its repetitions much longer.

    Args:
        renew: Renews the lease; raises what ends the work on it.
        every_s: Seconds between two renewals.
        most_s: After how many seconds without :meth:`moved` nothing is renewed
            any more: the hand hangs, and somebody else shall have its place.
        give_up: Called then, on the keeper's thread: a hand that hangs in a
            plugin's code cannot be ended but with its process.
    """

    def __init__(
        self,
        renew: Callable[[], None],
        *,
        every_s: float,
        most_s: float,
        give_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._give_up = give_up
        self._renew = renew
        self._every_s = every_s
        self._most_s = most_s
        self._over = threading.Event()
        self._moved_at = self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self.ended = threading.Event()
        self.reason: BaseException | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the lease was last known to be renewed."""
        return time.monotonic() - self._renewed_at

    def moved(self, *, has_renewed: bool = False) -> None:
        """Note that the work goes on, and whether it renewed the lease itself."""
        self._moved_at = time.monotonic()
        if has_renewed:
            self._renewed_at = self._moved_at

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            now = time.monotonic()
            if now - self._moved_at > self._most_s:
                self._give_up()
                return
            if now - self._renewed_at < self._every_s:
                continue
            try:
                self._renew()
                self._renewed_at = now
            except DependencyError:
                continue  # the next time, or the lease lapses
            except BaseException as reason:  # noqa: BLE001 - the hand's own thread raises it
                self.reason = reason
                self.ended.set()
                return


class Either(threading.Event):
    """Set as soon as one of two events is; waiting looks at both."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self._both: tuple[threading.Event, threading.Event] = (first, second)

    def is_set(self) -> bool:
        """Say whether one of the two is set."""
        return any(event.is_set() for event in self._both)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until one of the two is set; say whether one is."""
        until = time.monotonic() + (3600.0 if timeout is None else timeout)
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            self._both[0].wait(min(left, _LOOK_S))
        return self.is_set()
