"""Products and the prices that other objects name.

Source: Stripe API reference, "Products" and "Prices". Merchants may choose the
ids of products; a product says when it was last changed, which nothing else does.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.event_log import EventLog
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.shelf import Object, Shelf, blank

__all__ = ["Products", "price_of"]

_NAMES = ("Gold plan", "T-Shirt", "Ünïcode mug ☕", "Teekanne", "<b>Bold</b> & Co", "お茶セット")
_CURRENCIES = ("usd", "eur", "gbp", "jpy", "kwd", "isk")


class Products(Shelf):
    """All products; every tenth has an id that its merchant chose, every fourth is archived."""

    created_event = "product.created"

    def __init__(self, count: int, seed: int, clock: Clock, events: EventLog) -> None:
        self._ids = Ids("prod", seed)
        self._price_ids = Ids("price", seed, fill="1TieB7WZ01zgk")
        super().__init__("product", count, seed, clock, events)

    def name(self, index: int) -> str:
        """Return the id."""
        return f"SKU {index:04d}?ä" if index % 10 == 9 else self._ids.of(index)

    def make(self, index: int, created: int, chance: Random) -> Object:
        """Make a product."""
        is_good = chance.random() < 0.4
        size = {"height": 10.5, "length": 20.0, "weight": 300.25, "width": 5.0}
        return blank("product") | {
            "id": self.name(index),
            "active": index % 4 != 3,
            "created": created,
            "default_price": self._price_ids.of(index) if chance.random() < 0.8 else None,
            "description": chance.choice((None, "Comfortable", "Alles & mehr\nzweite Zeile")),
            "images": chance.choice(([], ["https://example.com/tea.png"])),
            "livemode": False,
            "marketing_features": chance.choice(([], [{"name": "24/7 tea"}])),
            "metadata": chance.choice(({}, {"erp": str(index)})),
            "name": f"{chance.choice(_NAMES)} {index}",
            "package_dimensions": size if is_good else None,
            "shippable": True if is_good else None,
            "type": "good" if is_good else "service",
            "unit_label": None if is_good else "seat",
            "updated": created + (chance.randrange(20) * 3600 if index < self._seeded else 0),
        }

    def price_id(self, index: int, variety: int) -> str:
        """Return the id of one of a product's recurring prices."""
        return self._price_ids.of(10**7 + index * 100 + variety)

    def change(self, index: int, fields: Mapping[str, Any], event: str | None) -> None:
        """Change a product; whatever changes it moves ``updated`` on."""
        super().change(index, {"updated": self.clock.second(), **fields}, event)

    def happen(self, index: int, chance: Random) -> None:
        """Let something happen to a product."""
        found = self.get(index)
        number = str(chance.getrandbits(32))
        fields: Object = chance.choice(
            (
                {"name": f"Renamed {number}"},
                {"active": not found["active"], "metadata": {"revision": number}},
                {"description": number, "default_price": self._price_ids.of(10**6 + len(number))},
            )
        )
        self.change(index, fields, "product.updated")


def price_of(products: Products, index: int, variety: int) -> Object:
    """Make one of a product's recurring prices.

    Every fifth variety costs less than a cent a piece: ``unit_amount`` is null
    then, and only ``unit_amount_decimal`` says what it costs.
    """
    is_sub_cent = variety % 5 == 4
    currency = "usd" if is_sub_cent else _CURRENCIES[variety % len(_CURRENCIES)]
    amount = None if is_sub_cent else 1000 * (variety % 7 + 1)
    recurring = {
        "interval": ("month", "year", "week", "day")[variety % 4],
        "interval_count": variety % 3 + 1,
        "meter": None,
        "trial_period_days": None,
        "usage_type": "licensed",
    }
    return blank("price") | {
        "id": products.price_id(index, variety),
        "active": True,
        "billing_scheme": "per_unit",
        "created": products.created(index) if index < len(products) else 1_700_000_000,
        "currency": currency,
        "livemode": False,
        "metadata": {},
        "nickname": f"variety {variety}" if variety % 2 else None,
        "product": products.name(index),
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": "0.5" if is_sub_cent else str(amount),
    }
