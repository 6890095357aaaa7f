"""The account that the key belongs to."""

from __future__ import annotations

import orjson

from tieline_stripe_sandbox.clock import BASE
from tieline_stripe_sandbox.history import YEARS_2
from tieline_stripe_sandbox.ids import Ids

__all__ = ["account_id", "account_text"]


def account_id(seed: int) -> str:
    """Return the id of a seed's account."""
    return Ids("acct", seed, fill="1T").of(0)


def account_text(name: str) -> bytes:
    """Write the account as ``GET /v1/account`` answers it, without the parts about payouts."""
    return orjson.dumps(
        {
            "id": name,
            "object": "account",
            "business_profile": {"name": "Tieline Sandbox", "url": "https://example.com"},
            "business_type": "company",
            "charges_enabled": True,
            "country": "US",
            "created": BASE - YEARS_2,
            "default_currency": "usd",
            "details_submitted": True,
            "email": "owner@example.com",
            "payouts_enabled": True,
            "settings": {"dashboard": {"display_name": "Tieline Sandbox", "timezone": "Etc/UTC"}},
            "type": "standard",
        }
    )
