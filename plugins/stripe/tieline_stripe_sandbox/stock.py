"""All shelves of one account, and the orders that change what stands on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from tieline_stripe_sandbox.charges import Charges
from tieline_stripe_sandbox.products import Products
from tieline_stripe_sandbox.request import Cause
from tieline_stripe_sandbox.shelf import Object, Shelf
from tieline_stripe_sandbox.subscriptions import Subscriptions
from tieline_stripe_sandbox.world import World

__all__ = ["Order", "Stock"]

_NO_CUSTOMER = "cus_TieNobody000000"
_USUAL = {
    "products": ("product.created", "product.updated", "product.deleted"),
    "subscriptions": (
        "customer.subscription.created",
        "customer.subscription.updated",
        "customer.subscription.deleted",
    ),
    "charges": ("", "charge.updated", None),
}
"""What a new, a changed and a deleted object's event is called, unless the order says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One change of one object.

    Args:
        entity: ``customers``, ``products``, ``subscriptions`` or ``charges``.
        id: Which object; empty: a new one.
        fields: What it is to be, beside what chance makes of it. For
            subscriptions ``items`` may be a number: so many of them.
        delete: Delete it; a subscription is cancelled.
        event: Type of the event that tells; empty: the usual one. None: nothing
            tells, as when Stripe changes what only a list shows.
    """

    entity: str
    id: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    delete: bool = False
    event: str | None = ""

    @classmethod
    def read(cls, given: object) -> Order:
        """Read an order from JSON; ValueError says what is wrong with it."""
        names = {"entity", "id", "fields", "delete", "event"}
        if not isinstance(given, dict) or given.keys() - names or "entity" not in given:
            raise ValueError(f"an order is an object with some of {', '.join(sorted(names))}")
        return cls(**given)


class Stock:
    """The shelves beside the customers.

    Args:
        world: The customers, the clock and the events.
        products: How many exist from the start.
        subscriptions: How many exist from the start.
        charges: How many exist from the start.
    """

    def __init__(self, world: World, *, products: int, subscriptions: int, charges: int) -> None:
        self._world = world
        given = (world.seed, world.clock, world.events)
        self.products = Products(products, *given)
        self.subscriptions = Subscriptions(
            subscriptions, *given, products=self.products, customer=self._customer
        )
        self.charges = Charges(charges, *given, customer=self._customer)
        self.shelves: dict[str, Shelf] = {
            "products": self.products,
            "subscriptions": self.subscriptions,
            "charges": self.charges,
        }
        world.when_deleted.append(self.subscriptions.cancel_those_of)

    def shelf(self, entity: str) -> Shelf:
        """Return a shelf; ValueError names those that there are."""
        if entity not in self.shelves:
            raise ValueError(f"no {entity!r}: one of customers, {', '.join(self.shelves)}")
        return self.shelves[entity]

    def subscriptions_of(self, customer: str) -> list[Object]:
        """Return the subscriptions of a customer that are not over, as answers show them."""
        shelf = self.subscriptions
        walked = (index for index in range(len(shelf)) if not shelf.get(index)["ended_at"])
        found = [index for index in walked if shelf.get(index)["customer"] == customer]
        return [orjson.loads(shelf.served(index)) for index in reversed(found)]

    def mutate(
        self, entity: str, *, create: int, update: int, delete: int, chance: Random
    ) -> dict[str, list[str]]:
        """Change some objects of a shelf by chance, with events."""
        shelf = self.shelf(entity)
        made, _, gone = _USUAL[entity]
        if delete and gone is None:
            raise ValueError(f"{entity} are never deleted")
        done: dict[str, list[str]] = {"created": [], "updated": [], "deleted": []}
        done["created"] = [shelf.add({}, made) for _ in range(create)]
        for what, count in (("updated", update), ("deleted", delete)):
            for _ in range(count):
                if (index := shelf.pick(chance)) is None:
                    break
                done[what].append(str(shelf.get(index)["id"]))
                if what == "updated":
                    shelf.happen(index, chance)
                else:
                    shelf.remove(index, gone)
        return done

    def obey(self, order: Order) -> dict[str, str]:
        """Carry out one order; ValueError for an object that there is not."""
        if order.entity == "customers":
            return {"id": self._obey_for_customer(order)}
        shelf = self.shelf(order.entity)
        made, changed, gone = _USUAL[order.entity]
        if not order.id:
            return {"id": shelf.add(order.fields, _event(order, made))}
        index = shelf.find(order.id)
        if index is None or shelf.is_deleted(index):
            raise ValueError(f"no {order.id} in {order.entity}")
        if order.delete and gone is None:
            raise ValueError(f"{order.entity} are never deleted")
        if order.delete:
            shelf.remove(index, _event(order, gone))
        else:
            shelf.change(index, order.fields, _event(order, changed))
        return {"id": order.id}

    def _obey_for_customer(self, order: Order) -> str:
        world, fields = self._world, dict(order.fields)
        if order.event != "":
            raise ValueError("changes of customers always have their own events")
        if not order.id:
            return world.ids.of(world.create(lambda customer: customer | fields, Cause()))
        index = world.find(order.id)
        if index is None or world.is_deleted(index):
            raise ValueError(f"no {order.id} in customers")
        if order.delete:
            world.delete(index, Cause())
        else:
            world.update(index, lambda customer: customer | fields, Cause())
        return order.id

    def _customer(self, index: int) -> str:
        seeded = self._world.seeded
        return self._world.ids.of(index * 13 % seeded) if seeded else _NO_CUSTOMER


def _event(order: Order, usual: str | None) -> str | None:
    return usual if order.event == "" else order.event
