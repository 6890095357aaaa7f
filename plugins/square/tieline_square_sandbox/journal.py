"""What was asked and answered, for tests that count."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Any, NamedTuple

__all__ = ["Entry", "Journal"]

_KEPT = 100_000
_SECRETS = re.compile(r"\b(code|state|client_secret|access_token|refresh_token)=[^&]+")


class Entry(NamedTuple):
    """One request. ``status`` is 0 when the connection was closed without an answer.

    Times are milliseconds since the sandbox started, by the monotonic clock;
    entries are in the order of the answers.
    """

    number: int
    accepted_ms: float
    answered_ms: float
    method: str
    path: str
    query: str
    status: int


class Journal:
    """An append-only log of the last 100,000 requests."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._total = 0

    def clock_ms(self) -> float:
        """Return the time since the start."""
        return (time.monotonic() - self._start) * 1000

    def add(self, *, accepted_ms: float, method: str, path: str, query: bytes, status: int) -> None:
        """Append a request that has been answered."""
        self._total += 1
        text = _SECRETS.sub(r"\1=…", query.decode("latin-1"))
        self._entries.append(
            Entry(self._total, accepted_ms, self.clock_ms(), method, path, text, status)
        )

    def read(self, after: int) -> dict[str, Any]:
        """Return the entries whose number is greater, and how many there ever were."""
        kept = [entry._asdict() for entry in self._entries if entry.number > after]
        return {"total": self._total, "requests": kept}
