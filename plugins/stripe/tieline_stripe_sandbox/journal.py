"""What was asked and answered, for tests that count."""

from __future__ import annotations

import re
import time
from collections import deque
from typing import Any, NamedTuple

__all__ = ["Entry", "Journal"]


_SECRET = re.compile(r"(?<![^&])(client_secret|code|state)=[^&]*")


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
    request_id: str


class Journal:
    """An append-only log of the last requests.

    Args:
        size: How many are kept.
    """

    def __init__(self, size: int) -> None:
        self._start = time.monotonic()
        self._entries: deque[Entry] = deque(maxlen=size)
        self._total = 0

    def clock_ms(self) -> float:
        """Return the time since the start."""
        return (time.monotonic() - self._start) * 1000

    def add(
        self,
        *,
        accepted_ms: float,
        method: str,
        path: str,
        query: bytes,
        status: int,
        request_id: str,
    ) -> None:
        """Append a request that has been answered."""
        self._total += 1
        text = query.decode("latin-1")
        now = self.clock_ms()
        self._entries.append(
            Entry(self._total, accepted_ms, now, method, path, text, status, request_id)
        )

    def read(self, after: int) -> dict[str, Any]:
        """Return the entries whose number is greater, and how many there ever were.

        Secrets of an OAuth query are cut out only here: writing has to be quick.
        """
        kept = [
            entry._asdict() | {"query": _SECRET.sub(r"\1=…", entry.query)}
            for entry in self._entries
            if entry.number > after
        ]
        return {"total": self._total, "requests": kept}
