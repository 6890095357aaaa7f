"""Subscriptions and their items.

Source: Stripe API reference, "Subscriptions" and "Subscription items". Lists
leave cancelled ones out unless ``status`` asks for them, and those of a test
clock always. The list of items inside a subscription ends after ten; the rest
is at ``/v1/subscription_items``. The period in force is on the items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.event_log import EventLog
from tieline_stripe_sandbox.ids import Ids
from tieline_stripe_sandbox.products import Products, price_of
from tieline_stripe_sandbox.shelf import Object, Shelf, blank

__all__ = ["ITEMS_SHOWN", "STATUSES", "Subscriptions"]

ITEMS_SHOWN = 10
STATUSES = (
    "active",
    "canceled",
    "trialing",
    "past_due",
    "unpaid",
    "incomplete",
    "incomplete_expired",
    "paused",
)
_MONTH_S = 30 * 86400
_MANY_ITEMS = {5: 25, 6: 11, 7: 10}
"""Edge case: subscriptions with more items than one answer shows, and with just as many."""
_ON_TEST_CLOCK = 8
"""Edge case: the index of a subscription that belongs to a test clock."""


class Subscriptions(Shelf):
    """All subscriptions; every status is among them."""

    created_event = "customer.subscription.created"

    def __init__(
        self,
        count: int,
        seed: int,
        clock: Clock,
        events: EventLog,
        *,
        products: Products,
        customer: Callable[[int], str],
    ) -> None:
        self._ids = Ids("sub", seed, fill="1TieB7WZ01")
        self._item_ids = Ids("si", seed)
        self._products = products
        self._customer = customer
        super().__init__("subscription", count, seed, clock, events)

    def name(self, index: int) -> str:
        """Return the id."""
        return self._ids.of(index)

    def make(self, index: int, created: int, chance: Random) -> Object:
        """Make a subscription with its items; one that is made later is active."""
        is_seeded = index < self._seeded
        status = STATUSES[index % len(STATUSES)] if is_seeded else "active"
        ended = created + 90_000 if status in {"canceled", "incomplete_expired"} else None
        count = _MANY_ITEMS.get(index, 1 + chance.randrange(3)) if is_seeded else 2
        items = [self._item(index, number, created, chance) for number in range(count)]
        trial_end = created + _MONTH_S if status == "trialing" else None
        return blank("subscription") | {
            "id": self.name(index),
            "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
            "billing_cycle_anchor": created,
            "billing_schedules": [],
            "billing_mode": {"type": "classic"},
            "cancel_at_period_end": False,
            "canceled_at": ended,
            "cancellation_details": {"comment": None, "feedback": None, "reason": None},
            "collection_method": "charge_automatically",
            "created": created,
            "currency": items[0]["price"]["currency"],
            "customer": self._customer(index),
            "default_tax_rates": [],
            "description": chance.choice((None, "Tea, forever")),
            "discounts": [],
            "ended_at": ended,
            "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
            "items": _list_of(self.name(index), items),
            "livemode": False,
            "metadata": chance.choice(({}, {"crm": str(index)})),
            "payment_settings": {
                "payment_method_options": None,
                "payment_method_types": None,
                "save_default_payment_method": "off",
            },
            "start_date": created,
            "status": status,
            "test_clock": f"clock_1Tie{index}" if is_seeded and index == _ON_TEST_CLOCK else None,
            "trial_end": trial_end,
            "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
            "trial_start": created if trial_end else None,
        }

    def show(self, found: Object) -> bytes:
        """Write a subscription with the items that there is room for."""
        items = found["items"]
        if len(items["data"]) > ITEMS_SHOWN:
            items = items | {"data": items["data"][:ITEMS_SHOWN], "has_more": True}
        return orjson.dumps(found | {"items": items})

    def listed(self, low: int, high: int, *, upwards: bool) -> Iterator[int]:
        """Walk a range; those of a test clock are not in it."""
        walked = super().listed(low, high, upwards=upwards)
        return (index for index in walked if not self.get(index)["test_clock"])

    def add(self, fields: Mapping[str, Any], event: str | None = "") -> str:
        """Make a subscription; ``items`` may be how many."""
        return super().add(self._counted(len(self), fields), event)

    def change(self, index: int, fields: Mapping[str, Any], event: str | None) -> None:
        """Change a subscription; ``items`` may be how many."""
        super().change(index, self._counted(index, fields), event)

    def _counted(self, index: int, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        count = fields.get("items")
        if not isinstance(count, int):
            return fields
        now, chance = self.clock.second(), self._chance(index)
        items = [self._item(index, number, now, chance) for number in range(count)]
        return {**fields, "items": _list_of(self.name(index), items)}

    def pick(self, chance: Random) -> int | None:
        """Choose one that is not over: nothing happens to the others any more."""
        running = [index for index in range(len(self)) if not self.get(index)["ended_at"]]
        return chance.choice(running) if running else None

    def remove(self, index: int, event: str | None) -> None:
        """Cancel: a subscription is never gone."""
        now = self.clock.second()
        fields = {"canceled_at": now, "ended_at": now, "status": "canceled"}
        self.change(index, fields, event)

    def cancel_those_of(self, customer: str) -> None:
        """Cancel what a customer has who was deleted."""
        for index in range(len(self)):
            if self.get(index)["customer"] == customer and not self.get(index)["ended_at"]:
                self.remove(index, "customer.subscription.deleted")

    def happen(self, index: int, chance: Random) -> None:
        """Let something happen to a subscription; most of it without any call to the API."""
        found = self.copy(index)
        number = str(chance.getrandbits(32))
        until = found["items"]["data"][0]["current_period_end"] + _MONTH_S
        renewed = [item | {"current_period_end": until} for item in found["items"]["data"]]
        added = self._item(index, len(renewed) + 100, self.clock.second(), chance)
        what: Mapping[str, Any] = chance.choice(
            (
                {"metadata": {"revision": number}},
                {"status": "past_due"} if found["status"] == "active" else {"description": number},
                {"pause_collection": {"behavior": "void", "resumes_at": None}},
                {"items": found["items"] | {"data": renewed}},
                {"items": found["items"] | {"data": [added, *renewed]}},
            )
        )
        self.change(index, what, "customer.subscription.updated")

    def _item(self, index: int, number: int, created: int, chance: Random) -> Object:
        variety = (index + number) % 20
        product = (index * 7 + number) % max(len(self._products), 1)
        # ``plan`` is no longer in the public schema, and nothing may depend on it.
        shown = {name: None for name in blank("subscription_item") if name != "plan"}
        return shown | {
            "id": self._item_ids.of(index * 1000 + number),
            "created": created,
            "current_period_end": created + _MONTH_S,
            "current_period_start": created,
            "discounts": [],
            "metadata": {},
            "object": "subscription_item",
            "price": price_of(self._products, product, variety),
            "quantity": chance.choice((1, 3, 1000)),
            "subscription": self.name(index),
            "tax_rates": [],
        }


def _list_of(subscription: str, items: list[Object]) -> Object:
    url = f"/v1/subscription_items?subscription={subscription}"
    return {"object": "list", "data": items[::-1], "has_more": False, "url": url}
