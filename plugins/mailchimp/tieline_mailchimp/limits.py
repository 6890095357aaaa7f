"""What Mailchimp's refusals say about its limit."""

from __future__ import annotations

from tieline.contract import Observation, RateLimitedError, Reply
from tieline_mailchimp.errors import refusal

__all__ = ["observe"]


def observe(reply: Reply) -> Observation | None:
    """Find the refusals that look like missing rights: a 403 without a problem document.

    Source:
        Mailchimp, "Throttling", 2026-08.
    """
    if reply.status != 403:
        return None
    return Observation(is_refusal=isinstance(refusal(reply), RateLimitedError))
