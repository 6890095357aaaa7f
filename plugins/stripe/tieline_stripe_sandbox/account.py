"""The accounts: the platform's own, and those that can be connected to it.

The platform's account is the one that API keys belong to. A connected account
has an id and a name of its own and shows the same customers.
"""

from __future__ import annotations

import orjson

from tieline_stripe_sandbox.clock import BASE
from tieline_stripe_sandbox.history import YEARS_2
from tieline_stripe_sandbox.ids import Ids

__all__ = ["Accounts", "account_id", "account_text"]

_PLATFORM = "Tieline Sandbox"
_NAMES = ("Rosen's Tea House", '<b>Bread & "Butter"</b>', "🚀 מאפיית שלום", "Fahrräder Łódź")
"""What owners call their accounts; two of the names are hostile to careless pages."""


def account_id(seed: int, number: int = 0) -> str:
    """Return the id of a seed's account; 0 is the platform's."""
    return Ids("acct", seed, fill="1T").of(number)


class Accounts:
    """All accounts of one seed.

    Args:
        seed: Chooses the ids.
        connectable: How many there are beside the platform's; at least 1.

    Attributes:
        platform: Id of the platform's account.
        names: Id to name of those that can be connected, in their order.
    """

    def __init__(self, seed: int, connectable: int) -> None:
        if connectable < 1:
            raise ValueError("accounts: at least 1, or nobody could be connected")
        self.platform = account_id(seed)
        self.names = {account_id(seed, number + 1): _name(number) for number in range(connectable)}

    def at(self, index: object) -> str:
        """Return the id of a connectable account; ValueError when there is no such index."""
        ids = list(self.names)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(ids):
            raise ValueError(f"an account is an index from 0 to {len(ids) - 1}, not {index!r}")
        return ids[index]

    def text(self, account: str) -> bytes:
        """Write an account as ``GET /v1/account`` answers it."""
        return account_text(account, self.names.get(account, _PLATFORM))


def _name(number: int) -> str:
    round_, place = divmod(number, len(_NAMES))
    return f"{_NAMES[place]} {round_ + 1}" if round_ else _NAMES[place]


def account_text(account: str, name: str = _PLATFORM) -> bytes:
    """Write an account as JSON, without the parts about payouts."""
    return orjson.dumps(
        {
            "id": account,
            "object": "account",
            "business_profile": {"name": name, "url": "https://example.com"},
            "business_type": "company",
            "charges_enabled": True,
            "country": "US",
            "created": BASE - YEARS_2,
            "default_currency": "usd",
            "details_submitted": True,
            "email": "owner@example.com",
            "payouts_enabled": True,
            "settings": {"dashboard": {"display_name": name, "timezone": "Etc/UTC"}},
            "type": "standard",
        }
    )
