"""Counts calls in flight, and refuses those beyond a limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tieline_mailchimp_sandbox.answers import Problem

__all__ = ["AT_ONCE", "Meter"]

AT_ONCE = 10
"""Connections of one user, over all applications (Mailchimp, "Throttling")."""


class Meter:
    """Calls in flight.

    Args:
        limit: How many may be; None: any number.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._limit = limit
        self.now = 0
        self.most = 0
        self.refused = 0

    @contextmanager
    def flight(self) -> Iterator[None]:
        """Count one call while it lasts.

        Raises:
            Problem: 429; Mailchimp sends no ``Retry-After`` with it.
        """
        if self._limit is not None and self.now >= self._limit:
            self.refused += 1
            raise Problem(
                429,
                "Too Many Requests",
                f"You have exceeded the limit of {self._limit} simultaneous connections.",
            )
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1
