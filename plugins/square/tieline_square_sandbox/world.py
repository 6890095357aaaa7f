"""The sellers that exist: merchants and their locations, the same for the same seed.

Shapes: Square API reference, "Merchant" and "Location"; absent values are left
out, not null.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Any

__all__ = ["Seller", "World"]

_NAMES = ("Harbour Coffee", '<b>Bits & "Bytes"</b>', "مقهى الميناء ☕🚀")
"""What the first three are called: plain, with markup, right to left with emoji."""

_KINDS = ("Bakery", "Books", "Cycles", "Florist", "Records", "Tailors")
_PLACES = ("Corner", "High Street", "Old Mill", "Riverside", "Søndergade", "Łódź")
_COUNTRIES = (
    ("US", "USD", "en-US", "America/Los_Angeles"),
    ("GB", "GBP", "en-GB", "Europe/London"),
    ("JP", "JPY", "ja-JP", "Asia/Tokyo"),
)
_ADDRESSES = (
    {
        "address_line_1": "123 Main St",
        "locality": "San Francisco",
        "administrative_district_level_1": "CA",
        "postal_code": "94114",
        "country": "US",
    },
    {
        "address_line_1": "12 St James Square",
        "locality": "London",
        "postal_code": "SW1Y 4JH",
        "country": "GB",
    },
    {
        "address_line_1": "丸の内1-9-1",
        "locality": "千代田区",
        "administrative_district_level_1": "東京都",
        "postal_code": "100-0005",
        "country": "JP",
    },
)
_OLDEST = ("Main", "Pop-up")
_MOST_LOCATIONS = 100
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """One Square account.

    Attributes:
        merchant: As ``GET /v2/merchants/{id}`` answers it.
        locations: As ``GET /v2/locations`` lists them, by name.
    """

    merchant: dict[str, Any]
    locations: tuple[dict[str, Any], ...]

    @property
    def id(self) -> str:
        """The merchant's id."""
        return str(self.merchant["id"])

    @property
    def name(self) -> str:
        """The business's name."""
        return str(self.merchant["business_name"])


class World:
    """All sellers.

    Args:
        accounts: How many.
        seed: Chooses ids and names.
        locations: How many each has; 0: one or two.
    """

    def __init__(self, *, accounts: int, seed: int, locations: int = 0) -> None:
        if accounts < 1:
            raise ValueError("accounts: at least one")
        if not 0 <= locations < _MOST_LOCATIONS:
            raise ValueError(f"locations: from 0, fewer than {_MOST_LOCATIONS}")
        self.seed = seed
        self.sellers = [_seller(seed, index, locations) for index in range(accounts)]
        self._by_id = {seller.id: seller for seller in self.sellers}

    def find(self, merchant_id: str) -> Seller | None:
        """Return a seller by id; None if there is none."""
        return self._by_id.get(merchant_id)

    def at(self, index: object) -> Seller:
        """Return a seller by index; ValueError if there is none."""
        if type(index) is not int or not 0 <= index < len(self.sellers):
            raise ValueError(f"accounts are numbered from 0 to {len(self.sellers) - 1}")
        return self.sellers[index]


def _seller(seed: int, index: int, count: int) -> Seller:
    chance = Random(f"square:{seed}:{index}")  # noqa: S311 - the same sellers for the same seed
    merchant_id = _id("M", seed, index)
    country, currency, language, _ = _COUNTRIES[index % len(_COUNTRIES)]
    name = _NAMES[index] if index < len(_NAMES) else _name(chance, index)
    locations = [
        _location(seed, index, number, merchant_id, name)
        for number in range(count or 2 - index % 2)
    ]
    merchant = {
        "id": merchant_id,
        "business_name": name,
        "country": country,
        "language_code": language,
        "currency": currency,
        "status": "ACTIVE",
        "main_location_id": locations[0]["id"],
        "created_at": f"2021-{chance.randint(1, 12):02}-10T19:25:52.484Z",
    }
    return Seller(merchant=merchant, locations=tuple(locations))


def _location(
    seed: int, index: int, number: int, merchant_id: str, business: str
) -> dict[str, Any]:
    """Make one; the second of a seller is closed, as its history stays listed."""
    country, currency, language, timezone = _COUNTRIES[index % len(_COUNTRIES)]
    return {
        "id": _id("L", seed, index * 100 + number),
        "name": _OLDEST[number] if number < len(_OLDEST) else f"Stall {number:02}",
        "address": _ADDRESSES[index % len(_ADDRESSES)],
        "timezone": timezone,
        "capabilities": ["CREDIT_CARD_PROCESSING"],
        "status": ("ACTIVE", "INACTIVE")[number % 2],
        "created_at": f"202{1 + number % 5}-01-04T08:00:00Z",
        "merchant_id": merchant_id,
        "country": country,
        "language_code": language,
        "currency": currency,
        "business_name": business,
        "type": ("PHYSICAL", "MOBILE")[number % 2],
        "mcc": "5814",
    }


def _name(chance: Random, index: int) -> str:
    return f"{chance.choice(_PLACES)} {chance.choice(_KINDS)} {index + 1}"


def _id(first: str, seed: int, index: int) -> str:
    """Write an id as Square's are: 13 capitals and digits."""
    digest = blake2b(f"{first}:{seed}:{index}".encode(), digest_size=12).digest()
    return first + "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest)
