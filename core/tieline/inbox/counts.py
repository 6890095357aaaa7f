"""What came in and what was refused, counted in Redis over all processes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

from tieline.coordination import Redis
from tieline.coordination.away import redis_errors

__all__ = ["Counts", "read_counts", "read_old_secrets"]

_KEY = "tieline:webhooks:counts"
_OLD = "tieline:webhooks:old-secret"
_NOBODY = "-"
_MOST_FIELDS = 10_000


class Counts:
    """Counts here, and writes at most once a second.

    Args:
        redis: Opens the client; called when there is something to write.
    """

    def __init__(self, redis: Callable[[], Redis]) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._new: Counter[tuple[str, str]] = Counter()
        self._old: dict[str, float] = {}

    def add(self, endpoint_id: str | None, what: str, count: int = 1) -> None:
        """Count something of an endpoint.

        Args:
            endpoint_id: Of one that there is; None: nobody's. Never as a stranger wrote it.
            what: ``accepted``, ``repeated``, or why it was refused.
            count: How many.
        """
        with self._lock:
            self._new[endpoint_id or _NOBODY, what] += count

    def note_old_secret(self, endpoint_id: str, at: float) -> None:
        """Note that a delivery was signed with a secret that is about to end.

        Args:
            endpoint_id: Where.
            at: When, in seconds since the epoch.
        """
        with self._lock:
            self._old[endpoint_id] = at

    def flush(self) -> None:
        """Write what was counted since; what Redis does not take is kept for later.

        Raises:
            DependencyError: Redis does not answer.
        """
        with self._lock:
            new, self._new = self._new, Counter()
            old, self._old = self._old, {}
        if not new and not old:
            return
        try:
            with redis_errors():
                pipe = self._redis().pipeline(transaction=False)
                for (endpoint_id, what), count in new.items():
                    pipe.hincrby(_KEY, f"{endpoint_id}:{what}", count)
                for endpoint_id, at in old.items():
                    pipe.hset(_OLD, endpoint_id, f"{at:.0f}")
                pipe.execute()
        except BaseException:
            with self._lock:
                if len(self._new) < _MOST_FIELDS:
                    self._new.update(new)
                self._old = old | self._old
            raise


def read_counts(client: Redis) -> Iterator[tuple[str | None, str, int]]:
    """Read what all processes counted.

    Returns:
        Endpoint (None: nobody's), what, and how many.

    Raises:
        DependencyError: Redis does not answer.
    """
    with redis_errors():
        found: dict[bytes, bytes] = client.hgetall(_KEY)  # type: ignore[assignment]
    for name, count in sorted(found.items()):
        endpoint_id, _, what = str(name, "utf-8").partition(":")
        yield None if endpoint_id == _NOBODY else endpoint_id, what, int(count)


def read_old_secrets(client: Redis) -> dict[str, float]:
    """Read when a delivery to each endpoint was last signed with a secret that was about to end.

    Returns:
        Endpoint to seconds since the epoch.

    Raises:
        DependencyError: Redis does not answer.
    """
    with redis_errors():
        found: dict[bytes, bytes] = client.hgetall(_OLD)  # type: ignore[assignment]
    return {str(name, "utf-8"): float(at) for name, at in found.items()}
