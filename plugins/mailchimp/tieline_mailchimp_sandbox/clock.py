"""The sandbox's own time: a fixed start, then as fast as the monotonic clock."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable
from email.utils import formatdate

__all__ = ["START", "Clock"]

START = timegm((2026, 11, 1, 0, 0, 0))
"""When every sandbox starts: 2026-11-01T00:00:00Z, in seconds since the epoch."""


class Clock:
    """Seconds since the epoch, never going back.

    Args:
        monotonic: Seconds that only grow; the wall clock is read by :meth:`stamp` alone.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._start = float(START)
        self._since = monotonic()
        self._is_frozen = False
        self._is_ordered = False

    @property
    def is_frozen(self) -> bool:
        """Whether time stands still."""
        return self._is_frozen

    def now(self) -> float:
        """Return the present time."""
        passed = 0.0 if self._is_frozen else self._monotonic() - self._since
        return self._start + passed

    def stamp(self) -> float:
        """Return the time that signatures tell, which has to be the receiver's.

        That is the machine's, unless somebody gave this clock orders.
        """
        return self.now() if self._is_ordered else time.time()

    def go_to(self, now: float) -> None:
        """Go to a time; ValueError when it lies in the past."""
        if now < self.now():
            raise ValueError("the clock cannot go back")
        self._start, self._since = now, self._monotonic()
        self._is_ordered = True

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop the time, or let it go on from where it stands."""
        self._start, self._since = self.now(), self._monotonic()
        self._is_frozen = is_frozen
        self._is_ordered = True

    def http_date(self) -> bytes:
        """Return the present time as the ``Date`` header writes it."""
        return formatdate(int(self.now()), usegmt=True).encode()
