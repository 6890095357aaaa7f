"""How often whoever calls us may do so, counted in Redis over all processes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.strategies import SlidingWindowCounterRateLimiter

from tieline.coordination import Redis, redis_errors
from tieline.throttle.storage import storage_on

__all__ = ["CallerLimit", "Turn"]

_PREFIX = "tieline:api"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Whether a call may be made.

    Attributes:
        is_allowed: It may.
        limit: Calls that may be made in a minute.
        left: How many more may be made now.
        resets_in_s: Seconds until the window is over.
    """

    is_allowed: bool
    limit: int
    left: int
    resets_in_s: float


class CallerLimit:
    """Counts the calls of each caller.

    Args:
        client: A client of Redis.
        per_minute: The most calls of one caller.
    """

    def __init__(self, client: Redis, per_minute: int) -> None:
        self._item = RateLimitItemPerMinute(per_minute, namespace=_PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(storage_on(client))

    def take(self, caller: str) -> Turn:
        """Count a call, unless it may not be made.

        Args:
            caller: Who calls.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            is_allowed = self._limiter.hit(self._item, caller)
            stats = self._limiter.get_window_stats(self._item, caller)
        return Turn(
            is_allowed=is_allowed,
            limit=self._item.amount,
            left=max(0, stats.remaining),
            resets_in_s=max(0.0, stats.reset_time - time.time()),
        )
