"""Now and sleep, in one place, so that a test can hold them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """What the core asks about time."""

    def now(self) -> datetime:
        """Return the wall time, aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never run backwards; for durations alone."""
        ...

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait, but wake at once when ``stop`` is set; say whether it was."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the wall time, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the machine's monotonic seconds."""
        return time.monotonic()

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Wait, but wake at once when ``stop`` is set; say whether it was."""
        if stop is None:
            time.sleep(max(0.0, seconds))
            return False
        return stop.wait(max(0.0, seconds))


class ManualClock:
    """A clock that moves when it is told to, or when somebody sleeps.

    Args:
        start: Where it stands at first, aware UTC.
        on_sleep: Called with the seconds of every sleep.
    """

    def __init__(self, start: datetime, on_sleep: Callable[[float], None] | None = None) -> None:
        self._now = start
        self._monotonic = 0.0
        self._on_sleep = on_sleep

    def now(self) -> datetime:
        """Return where the clock stands."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that it was moved in all."""
        return self._monotonic

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        """Move on at once; say whether ``stop`` is set."""
        if self._on_sleep:
            self._on_sleep(seconds)
        self.move(seconds)
        return stop is not None and stop.is_set()

    def move(self, seconds: float) -> None:
        """Move on by so many seconds."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += max(0.0, seconds)
