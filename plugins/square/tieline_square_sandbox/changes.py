"""Changes on order: planted, altered and removed objects, and seeded bustle."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from tieline_square_sandbox.shelf import Object
from tieline_square_sandbox.shop import ENTITIES, Shop, Shops
from tieline_square_sandbox.world import World

__all__ = ["Order", "carry_out"]

_DELETABLE = ("customers", "catalog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is done to one kind of object of one seller, in the order of the fields.

    Attributes:
        entity: ``customers``, ``orders``, ``catalog`` or ``payments``.
        account: Index of the seller.
        plant: Objects that are put there as they are, in the place of those of
            the same id.
        alter: Id to the fields that change; version and time move as Square's do.
        remove: Ids of what is deleted.
        merge: Ids of customers that become one.
        create: How many new ones.
        update: How many of those that are there change.
        delete: How many of them are deleted; customers and the catalog only.
        seed: Chooses which.
    """

    entity: str
    account: int = 0
    plant: list[Object] = field(default_factory=list)
    alter: dict[str, Object] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    merge: list[str] = field(default_factory=list)
    create: int = 0
    update: int = 0
    delete: int = 0
    seed: int = 0

    @classmethod
    def read(cls, given: object) -> Order:
        """Read an order from JSON; ValueError or TypeError says what is wrong with it."""
        names = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or given.keys() - names or "entity" not in given:
            raise ValueError(f"an order has an entity and some of {', '.join(sorted(names))}")
        order = cls(**given)
        if order.entity not in ENTITIES:
            raise ValueError(f"entity: one of {', '.join(ENTITIES)}")
        counts = (order.create, order.update, order.delete)
        if not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("create, update and delete are whole numbers from 0")
        if order.delete and order.entity not in _DELETABLE:
            raise ValueError(f"{order.entity} are never deleted")
        return order


def carry_out(order: Order, world: World, shops: Shops) -> dict[str, list[str]]:
    """Carry an order out.

    Returns:
        Ids by what was done: ``created``, ``updated``, ``deleted``. Fewer are
        changed or deleted when no more are there.
    """
    shop = shops.of(world.at(order.account))
    done: dict[str, list[str]] = {"created": [], "updated": [], "deleted": []}
    done["created"] += [shop.plant(order.entity, value) for value in order.plant]
    for name, changed in order.alter.items():
        shop.alter(order.entity, name, changed)
        done["updated"].append(name)
    for name in order.remove:
        shop.delete(order.entity, name)
        done["deleted"].append(name)
    if order.merge:
        done["created"].append(shop.merge(order.merge))
        done["deleted"] += order.merge
    _bustle(order, shop, done)
    return done


def _bustle(order: Order, shop: Shop, done: dict[str, list[str]]) -> None:
    chance = Random(order.seed)  # noqa: S311 - the same changes for the same seed
    for _ in range(order.create):
        done["created"] += shop.create(order.entity)
    for _ in range(order.update):
        if name := _pick(order.entity, shop, chance):
            shop.alter(order.entity, name, _news(order.entity, shop, name, chance))
            done["updated"].append(name)
    for _ in range(order.delete):
        if name := _pick(order.entity, shop, chance):
            shop.delete(order.entity, name)
            done["deleted"].append(name)


def _pick(entity: str, shop: Shop, chance: Random) -> str | None:
    names = sorted(copy.id for copy in shop.live(entity))
    return chance.choice(names) if names else None


def _news(entity: str, shop: Shop, name: str, chance: Random) -> dict[str, Any]:
    """Say what changes; of the catalog, what is inside the object's own data."""
    number = chance.getrandbits(32)
    if entity == "customers":
        return {"note": f"Changed {number}"}
    if entity == "orders":
        return {"ticket_name": f"Ticket {number}"}
    if entity == "payments":
        return {"note": f"Changed {number}"}
    copy = shop.catalog.find(name)
    assert copy is not None
    data = f"{copy.value['type'].lower()}_data"
    return {data: {"name": f"Changed {number}"}}
