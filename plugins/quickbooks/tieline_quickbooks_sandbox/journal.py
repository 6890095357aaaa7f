"""What was asked and answered, for tests that count."""

from __future__ import annotations

import time
from collections import deque
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

__all__ = ["Entry", "Journal"]

_SECRETS = frozenset({"access_token", "client_secret", "code", "refresh_token", "state", "token"})


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
    intuit_tid: str


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
        intuit_tid: str,
    ) -> None:
        """Append a request that has been answered."""
        self._total += 1
        now, text = self.clock_ms(), _without_secrets(query)
        self._entries.append(
            Entry(self._total, accepted_ms, now, method, path, text, status, intuit_tid)
        )

    def read(self, after: int) -> dict[str, Any]:
        """Return the entries whose number is greater, and how many there ever were."""
        kept = [entry._asdict() for entry in self._entries if entry.number > after]
        return {"total": self._total, "requests": kept}


def _without_secrets(query: bytes) -> str:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return urlencode([(name, "-" if name in _SECRETS else text) for name, text in pairs])
