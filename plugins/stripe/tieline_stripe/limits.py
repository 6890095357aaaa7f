"""What Stripe's refusals say about its limits."""

from __future__ import annotations

from tieline.contract import Observation, Reply

__all__ = ["observe"]


def observe(reply: Reply) -> Observation | None:
    """Tell which limit a 429 is about.

    A locked object (``lock_timeout``), or a limit on one object, slows nobody
    else. Without the header it is taken for the account's limit.

    Source:
        Stripe, "Rate limits": the header ``Stripe-Rate-Limited-Reason``.
    """
    if reply.status != 429:
        return None
    reason = reply.headers.get("stripe-rate-limited-reason", "")
    if reason == "resource-specific" or b'"lock_timeout"' in reply.content[:2000]:
        return Observation(is_refusal=False)
    return Observation(scope="endpoint" if reason.startswith("endpoint-") else "account")
