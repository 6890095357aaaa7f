"""Changes on order: the same seed makes the same changes to the same world."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random

from tieline_stripe_sandbox.people import Customer
from tieline_stripe_sandbox.request import Cause
from tieline_stripe_sandbox.stock import Stock
from tieline_stripe_sandbox.world import World

__all__ = ["Mutation", "mutate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """How many objects of an entity to create, update and delete, in this order."""

    entity: str = "customers"
    create: int = 0
    update: int = 0
    delete: int = 0
    seed: int = 0

    @classmethod
    def read(cls, given: object) -> Mutation:
        """Read a mutation from JSON; ValueError says what is wrong with it."""
        names = {one.name for one in fields(cls)}
        if not isinstance(given, dict) or given.keys() - names:
            raise ValueError(f"a mutation is an object with some of {', '.join(sorted(names))}")
        numbers = [value for name, value in given.items() if name != "entity"]
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError("the numbers of a mutation are whole, from 0")
        return cls(**given)


def mutate(world: World, stock: Stock, mutation: Mutation) -> dict[str, list[str]]:
    """Run a mutation; every change writes its event.

    Returns:
        The ids by what was done to them. An object may be updated twice, or
        be updated and then deleted. Fewer are deleted when no more are left.

    Raises:
        ValueError: There is no such entity, or nothing of it is ever deleted.
    """
    chance = Random(mutation.seed)  # noqa: S311 - test data, nothing to guess
    if mutation.entity != "customers":
        return stock.mutate(
            mutation.entity,
            create=mutation.create,
            update=mutation.update,
            delete=mutation.delete,
            chance=chance,
        )
    return {
        "created": [_create(world, chance) for _ in range(mutation.create)],
        "updated": [name for _ in range(mutation.update) if (name := _update(world, chance))],
        "deleted": [name for _ in range(mutation.delete) if (name := _delete(world, chance))],
    }


def _create(world: World, chance: Random) -> str:
    number = chance.getrandbits(32)
    fields = {
        "email": f"new.{number:08x}@example.com",
        "metadata": {"crm_id": str(number)},
        "name": f"New Customer {number}",
    }
    return world.ids.of(world.create(lambda customer: customer | fields, Cause()))


def _update(world: World, chance: Random) -> str | None:
    index = world.pick(chance)
    if index is None:
        return None
    number = chance.getrandbits(32)

    def change(customer: Customer) -> Customer:
        metadata = dict(list((customer["metadata"] or {}).items())[:49])
        return customer | {
            "description": f"Changed {number}",
            "metadata": metadata | {"revision": str(number)},
        }

    world.update(index, change, Cause())
    return world.ids.of(index)


def _delete(world: World, chance: Random) -> str | None:
    index = world.pick(chance)
    if index is None:
        return None
    world.delete(index, Cause())
    return world.ids.of(index)
