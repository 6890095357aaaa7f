"""Rate limits: one token bucket for the account and one for each endpoint.

An endpoint is a method and a path pattern; different ids count together
(Stripe documentation, "Rate limits").
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tieline_stripe_sandbox.answers import too_many_requests

__all__ = ["Limits"]


class Limits:
    """Both limits, at the same rate.

    Args:
        rate: Requests per second; 0: no limit. A second's worth may come at once.
        monotonic: Seconds that only grow; not the sandbox's clock, which jumps.
    """

    def __init__(self, rate: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._account = _Bucket(rate, monotonic())
        self._endpoints: dict[str, _Bucket] = {}

    def take(self, endpoint: str) -> None:
        """Count one request; a refused one costs nothing.

        Raises:
            ApiError: 429.
        """
        if self._rate <= 0:
            return
        now = self._monotonic()
        bucket = self._endpoints.setdefault(endpoint, _Bucket(self._rate, now))
        if not bucket.has_one(now):
            raise too_many_requests(b"endpoint-rate")
        if not self._account.has_one(now):
            raise too_many_requests(b"global-rate")
        bucket.tokens -= 1
        self._account.tokens -= 1


class _Bucket:
    __slots__ = ("_filled", "_rate", "tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._filled = now
        self.tokens = max(rate, 1.0)

    def has_one(self, now: float) -> bool:
        grown = self.tokens + (now - self._filled) * self._rate
        self.tokens, self._filled = min(max(self._rate, 1.0), grown), now
        return self.tokens >= 1
