"""What Intuit's refusals say about its limits."""

from __future__ import annotations

from tieline.contract import Observation, RateLimitedError, Reply
from tieline_quickbooks.errors import refusal

__all__ = ["observe"]


def observe(reply: Reply) -> Observation | None:
    """Find refusals in all their shapes; each asks to stay away for a minute.

    Source:
        Intuit, "API call limits and throttles"; older servers answer 403.
    """
    if reply.status < 400:
        return None
    meant = refusal(reply)
    if not isinstance(meant, RateLimitedError):
        return None
    return Observation(retry_after_s=meant.retry_after, is_refusal=True)
