"""The sandbox's own time: where the machine's stood, then as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

__all__ = ["Clock", "iso"]


class Clock:
    """Seconds since the epoch, never going back.

    It begins at the machine's time, because Square says when a token ends as a
    date (``expires_at``), which its users compare with their own clock.

    Args:
        start: Where to begin instead; 0: the machine's time.
        monotonic: Seconds that only grow.
    """

    def __init__(self, start: float = 0.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._begun = start or float(int(time.time()))
        self._since = monotonic()
        self._frozen = False

    @property
    def is_frozen(self) -> bool:
        """Whether time stands still."""
        return self._frozen

    def now(self) -> float:
        """Return the present time."""
        return self._begun if self._frozen else self._begun + self._monotonic() - self._since

    def set(self, now: float) -> None:
        """Go to a time; ValueError when it lies in the past."""
        if not self.now() <= now < 1e11:
            raise ValueError("the clock cannot go back, nor beyond the year 5138")
        self._begun, self._since = now, self._monotonic()

    def freeze(self, *, is_frozen: bool) -> None:
        """Stop the time, or let it go on from where it stands."""
        self._begun, self._since = self.now(), self._monotonic()
        self._frozen = is_frozen

    def http_date(self) -> bytes:
        """Return the present time as the ``Date`` header writes it."""
        return formatdate(int(self.now()), usegmt=True).encode()


def iso(seconds: float) -> str:
    """Write a time as Square's OAuth endpoints do: RFC 3339, whole seconds, ``Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
