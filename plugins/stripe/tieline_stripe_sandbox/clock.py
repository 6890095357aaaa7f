"""The sandbox's own time: a fixed start, then as fast as the monotonic clock."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable
from email.utils import formatdate

__all__ = ["BASE", "Clock"]

BASE = timegm((2026, 11, 1, 0, 0, 0))
"""When every sandbox starts: 2026-11-01T00:00:00Z, in seconds since the epoch."""


class Clock:
    """Seconds since the epoch, never going back.

    Args:
        monotonic: Seconds that only grow; the wall clock is never read.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base = float(BASE)
        self._since = monotonic()
        self._frozen = False
        self._date = (0, b"")

    @property
    def is_frozen(self) -> bool:
        """Whether time stands still."""
        return self._frozen

    def now(self) -> float:
        """Return the present time."""
        return self._base if self._frozen else self._base + self._monotonic() - self._since

    def second(self) -> int:
        """Return the present time in whole seconds, as Stripe stamps objects."""
        return int(self.now())

    def set(self, now: float) -> None:
        """Go to a time; ValueError when it lies in the past."""
        if now < self.now():
            raise ValueError("the clock cannot go back: what exists is ordered by time")
        self._base, self._since = now, self._monotonic()

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop the time, or let it go on from where it stands."""
        self._base, self._since = self.now(), self._monotonic()
        self._frozen = is_frozen

    def http_date(self) -> bytes:
        """Return the present time as the ``Date`` header writes it."""
        second = self.second()
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True).encode())
        return self._date[1]
