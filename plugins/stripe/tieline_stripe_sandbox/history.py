"""When the customers that exist from the start were created.

``created`` never falls as the index grows. So a range of time is a range of
indices, found by bisection, and nothing has to be stored per customer.
"""

from __future__ import annotations

from calendar import timegm

from tieline_stripe_sandbox.clock import BASE

__all__ = ["SAME_SECOND", "VERY_OLD", "History"]

YEARS_2 = 2 * 365 * 86400
SAME_SECOND = range(300, 550)
"""Edge case: these 250 customers were created in one second."""

VERY_OLD = {0: 1_234_567_890, 1: timegm((2011, 9, 29, 0, 0, 0))}
"""Edge case: the official fixture's time (2009-02-13), and the day Stripe opened."""


class History:
    """Creation times over the two years before the base time.

    Args:
        customers: How many there are.
        skew: Share of them that was created in the last tenth of the history;
            up to 0.1 they are spread evenly.
        edge_cases: Whether to have :data:`VERY_OLD` and :data:`SAME_SECOND`.
    """

    def __init__(self, *, customers: int, skew: float, edge_cases: bool) -> None:
        self._customers = customers
        self._edge_cases = edge_cases
        self._start = BASE - YEARS_2
        self._turn = BASE - YEARS_2 // 10
        self._late = round(customers * max(skew, 0.1))
        self._early = customers - self._late

    def created(self, index: int) -> int:
        """Return the second in which a customer was created."""
        if index < SAME_SECOND.stop and self._edge_cases:
            if index in VERY_OLD:
                return VERY_OLD[index]
            if index in SAME_SECOND:
                index = SAME_SECOND.start
        return self._spread(index)

    def _spread(self, index: int) -> int:
        if index < self._early:
            return self._start + index * (self._turn - self._start) // self._early
        return self._turn + (index - self._early) * (BASE - self._turn) // self._late
