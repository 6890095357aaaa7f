"""The sandbox's own time: a fixed start, then as fast as the monotonic clock."""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate

__all__ = ["BASE", "PACIFIC", "Clock", "company_text"]

BASE = timegm((2026, 11, 1, 0, 0, 0))
"""When every sandbox starts: 2026-11-01T00:00:00Z, in seconds since the epoch."""

PACIFIC = timezone(timedelta(hours=-8))
"""Where all companies are, all year."""


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

    @property
    def is_frozen(self) -> bool:
        """Whether time stands still."""
        return self._frozen

    def now(self) -> float:
        """Return the present time."""
        return self._base if self._frozen else self._base + self._monotonic() - self._since

    def set(self, now: float) -> None:
        """Go to a time; ValueError when it lies in the past."""
        if now < self.now():
            raise ValueError("the clock cannot go back: tokens are ordered by time")
        self._base, self._since = now, self._monotonic()

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop the time, or let it go on from where it stands."""
        self._base, self._since = self.now(), self._monotonic()
        self._frozen = is_frozen

    def http_date(self) -> bytes:
        """Return the present time as the ``Date`` header writes it."""
        return formatdate(int(self.now()), usegmt=True).encode()

    def company_time(self) -> str:
        """Return the present time as answers of a company write it, at -08:00 all year."""
        time_there = datetime.fromtimestamp(self.now(), UTC).astimezone(PACIFIC)
        return time_there.isoformat(timespec="milliseconds")


def company_text(seconds: float) -> str:
    """Write a time as objects of a company have it: whole seconds at -08:00."""
    return datetime.fromtimestamp(int(seconds), PACIFIC).isoformat()
