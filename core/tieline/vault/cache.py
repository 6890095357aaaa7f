"""Data keys that were unwrapped lately, in the memory of one process."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from tieline.vault.envelope import Context

__all__ = ["KEEP_S", "DataKeyCache", "place_of"]

KEEP_S = 300.0
"""Seconds for which a data key serves after the key service gave it."""

_MOST = 1000


class DataKeyCache:
    """Keeps data keys for five minutes, a thousand at most, and writes them nowhere.

    No lock, which a fork could leave held: of two threads that put at once one
    may lose, and its key is asked for again.

    Args:
        monotonic: Seconds that never run backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: dict[bytes, tuple[float, bytes]] = {}  # the oldest first

    def get(self, place: bytes, *, younger_than_s: float = KEEP_S) -> bytes | None:
        """Return the data key of a place if it is young enough."""
        if (found := self._kept.get(place)) is None:
            return None
        age_s = self._monotonic() - found[0]
        if age_s >= KEEP_S:
            self._kept.pop(place, None)
        return found[1] if age_s < min(younger_than_s, KEEP_S) else None

    def put(self, place: bytes, data_key: bytes) -> None:
        """Keep a data key that the key service just gave, and drop what is too old."""
        now = self._monotonic()
        kept = [
            (known, entry)
            for known, entry in list(self._kept.items())  # a copy: other threads put and drop
            if known != place and now - entry[0] < KEEP_S
        ]
        self._kept = {**dict(kept[1 - _MOST :]), place: (now, data_key)}


def place_of(key_id: str, wrapped: bytes, context: Context) -> bytes:
    """Name a wrapped data key together with all that must be right to unwrap it."""
    parts = (key_id.encode("utf-8", "replace"), wrapped, context.as_bytes())
    digest = blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
