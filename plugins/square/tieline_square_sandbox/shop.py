"""What one seller has: customers, orders, payments and a catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.events import Change, Tell
from tieline_square_sandbox.goods import (
    NESTED,
    alter_good,
    bury_good,
    make_goods,
    make_item,
    nested_in,
    parent_of,
)
from tieline_square_sandbox.pager import Pager
from tieline_square_sandbox.people import (
    alter_customer,
    is_listed,
    make_customer,
    merge_customers,
)
from tieline_square_sandbox.sales import Sale, alter_order, alter_payment, make_order, make_payment
from tieline_square_sandbox.shelf import Copy, Object, Shelf
from tieline_square_sandbox.times import DAY, whole_ms
from tieline_square_sandbox.world import Seller

__all__ = ["ENTITIES", "Shop", "Shops", "Stock"]

ENTITIES = ("customers", "orders", "catalog", "payments")
_HISTORY = 3 * 365 * DAY
_SECOND = 1_000_000
_SAME_TIME = range(10, 140)
"""Numbers of objects that were all made at one instant: more than a page of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """How much there is at the start, per seller.

    Attributes:
        customers: How many, those that no list shows among them.
        orders: How many, and as many payments.
        items: How many of the catalog.
        delay_s: After what time lists know of a customer or a payment.
        odd_pages: See :class:`Pager`.
    """

    customers: int = 120
    orders: int = 120
    items: int = 30
    delay_s: float = 0.0
    odd_pages: int = 0

    def __post_init__(self) -> None:
        if min(self.customers, self.orders, self.items, self.delay_s, self.odd_pages) < 0:
            raise ValueError("customers, orders, items, index_delay_s and odd_pages: from 0")


class Shop:
    """One seller's objects.

    Args:
        seller: Whose.
        stock: How much there is.
        clock: The sandbox's.
        tell: Hears of every change, but not of what is there from the start.
    """

    def __init__(self, seller: Seller, stock: Stock, clock: Clock, tell: Tell) -> None:
        self.seller = seller
        self._tell = tell
        self.pager = Pager(clock, stock.odd_pages)
        self.customers = Shelf(clock, stock.delay_s)
        self.orders = Shelf(clock)
        self.catalog = Shelf(clock)
        self.payments = Shelf(clock, stock.delay_s)
        self._clock = clock
        self._tail = seller.id[-6:]
        self._currency = str(seller.merchant["currency"])
        self._locations = [str(each["id"]) for each in seller.locations]
        self._made = dict.fromkeys(ENTITIES, 0)
        self._fill(stock)

    def shelf(self, entity: object) -> Shelf:
        """Return the objects of a kind; ValueError for another."""
        if entity not in ENTITIES:
            raise ValueError(f"entity: one of {', '.join(ENTITIES)}")
        found: Shelf = getattr(self, str(entity))
        return found

    def live(self, entity: str) -> list[Copy]:
        """Return what a sync has to end up with: all that lists show, sooner or later."""
        found = list(self.shelf(entity))
        if entity == "customers":
            return [copy for copy in found if is_listed(copy)]
        return [copy for copy in found if not copy.is_deleted]

    def now(self) -> int:
        """Return the present time in microseconds."""
        return whole_ms(self._clock.now())

    def create(self, entity: str, created: int | None = None, *, is_old: bool = False) -> list[str]:
        """Make an object, and those that come with it: a payment has an order.

        Returns:
            The ids of the new objects of that kind.
        """
        at = self.now() if created is None else created
        number = self._made[entity]
        self._made[entity] += 1
        if entity in {"orders", "payments"}:
            self._made["orders"] = self._made["payments"] = number + 1
            sale = self._sale(number, at, is_old=is_old)
            values = {"orders": [make_order(sale)], "payments": [make_payment(sale)]}
        elif entity == "customers":
            updated = at + _took(number) * is_old
            values = {entity: [make_customer(self._customer_id(number), number, at, updated)]}
        else:
            values = {entity: make_item(f"TIE{self._tail}", number, self._currency, at)}
        for kind, made in values.items():
            for value in made:
                self.shelf(kind).put(value, is_indexed=is_old)
            if not is_old:
                self._tell(Change(kind, "created", made[0], at))
        return [value["id"] for value in values[entity]]

    def plant(self, entity: str, value: Object) -> str:
        """Put an object there as it is, odd as it may be; return its id."""
        shelf = self.shelf(entity)
        name = value.get("id")
        before = shelf.find(name) if isinstance(name, str) else None
        known = before.value if before else None
        if isinstance(name, str) and name:
            verb = "updated" if known else "created"
            self._tell(Change(entity, verb, value, self.now(), before=known))
        return shelf.put(value)

    def alter(self, entity: str, name: str, fields: Object) -> None:
        """Change an object; ValueError if there is none."""
        copy = self.shelf(entity).find(name)
        if copy is None or copy.is_deleted:
            raise ValueError(f"there is no {name!r}")
        now, value = self.now(), copy.value
        change = {
            "customers": alter_customer,
            "orders": alter_order,
            "payments": alter_payment,
            "catalog": alter_good,
        }
        changed = change[entity](value, fields, now)
        self.shelf(entity).put(changed)
        if entity == "catalog":
            self._renest(value, now)
        self._tell(Change(entity, "updated", changed, now, before=value))

    def delete(self, entity: str, name: str) -> None:
        """Delete an object; ValueError if that cannot be."""
        copy, now = self.shelf(entity).find(name), self.now()
        if entity not in {"customers", "catalog"} or copy is None or copy.is_deleted:
            raise ValueError(f"{entity}: {name!r} cannot be deleted")
        self._tell(Change(entity, "deleted", copy.value, now))
        if entity == "customers":
            self.customers.remove(name)
            return
        for value in (copy.value, *nested_in(copy.value)):
            self.catalog.put(bury_good(value, now))
        self._renest(copy.value, now)

    def merge(self, names: list[str]) -> str:
        """Merge customers into a new one; return its id, ValueError if one is missing."""
        copies = [copy for name in names if (copy := self.customers.find(name))]
        if len(copies) != len(names) or len(names) < 2:
            raise ValueError("merge: ids of two customers or more")
        number = self._made["customers"]
        self._made["customers"] += 1
        values, now = [copy.value for copy in copies], self.now()
        merged = merge_customers(self._customer_id(number), values, now)
        told = {"from_customer_ids": names, "to_customer_id": merged["id"]}
        self._tell(Change("customers", "created", merged, now, merge=told))
        for value in values:
            self.customers.remove(value["id"])
            self._tell(Change("customers", "deleted", value, now, merge=told))
        return self.customers.put(merged)

    def _renest(self, value: Object, now: int) -> None:
        """Let the object that another stands in show it as it is now."""
        parent = self.catalog.find(parent_of(value))
        if parent is None or parent.is_deleted:
            return
        data, name = NESTED[parent.value["type"]]
        inside = [self.catalog.find(each["id"]) for each in nested_in(parent.value)]
        kept = [copy.value for copy in inside if copy and not copy.is_deleted]
        self.catalog.put(alter_good(parent.value, {data: {name: kept}}, now))

    def _fill(self, stock: Stock) -> None:
        for entity, count in (("customers", stock.customers), ("orders", stock.orders)):
            for time in self._times(count):
                self.create(entity, time, is_old=True)
        if stock.items:
            began = self.now() - _HISTORY
            for value in make_goods(f"TIE{self._tail}", self._currency, began):
                self.catalog.put(value)
        for time in self._times(stock.items):
            self.create("catalog", time, is_old=True)

    def _times(self, count: int) -> Iterable[int]:
        """Spread creations over three years, oldest first, some of them at one instant."""
        began = (self.now() - _HISTORY) // _SECOND
        step = (_HISTORY - DAY) // _SECOND // max(count, 1)
        for number in range(count):
            place = _SAME_TIME.start if number in _SAME_TIME else number
            yield (began + place * step) * _SECOND

    def _customer_id(self, number: int) -> str:
        return f"TIECUSTOMER{self._tail}{number:09}"

    def _sale(self, number: int, at: int, *, is_old: bool) -> Sale:
        return Sale(
            number=number,
            order_id=f"TIEORDER{self._tail}{number:09}",
            payment_id=f"TIEPAYMENT{self._tail}{number:09}",
            location_id=self._locations[number % len(self._locations)],
            customer_id=self._customer_id(number % 40),
            currency=self._currency,
            created=at,
            updated=at + _took(number) * is_old,
        )


def _took(number: int) -> int:
    """Say how long after its creation an old object changed, in microseconds."""
    return 2 * _SECOND if number % 8 == 0 else 900_000


class Shops:
    """The shops of all sellers, each stocked when it is first asked for.

    Args:
        stock: How much each has.
        clock: The sandbox's.
        tell: Makes, of a merchant's id, what hears of that seller's changes.
    """

    def __init__(self, stock: Stock, clock: Clock, tell: Callable[[str], Tell]) -> None:
        self._stock = stock
        self._clock = clock
        self._tell = tell
        self._shops: dict[str, Shop] = {}

    def of(self, seller: Seller) -> Shop:
        """Return a seller's."""
        if seller.id not in self._shops:
            self._shops[seller.id] = Shop(seller, self._stock, self._clock, self._tell(seller.id))
        return self._shops[seller.id]
