"""What Square tells by webhook of a change, and what it leaves out.

Shapes and rules: Square API reference, the page of each event ("Webhook events").
Customers come without their segments; orders as ids alone, and those of the
Point of Sale are not told when they are made; of the catalog only a time is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from tieline_square_sandbox.shelf import Object
from tieline_square_sandbox.times import write_time

__all__ = ["SCOPES", "TEST", "Change", "News", "Tell", "news_of", "revocation", "sample"]

SCOPES: Mapping[str, str] = {
    **dict.fromkeys(("customer.created", "customer.updated"), "CUSTOMERS_READ"),
    "customer.deleted": "CUSTOMERS_READ",
    **dict.fromkeys(("order.created", "order.updated"), "ORDERS_READ"),
    "order.fulfillment.updated": "ORDERS_READ",
    **dict.fromkeys(("payment.created", "payment.updated"), "PAYMENTS_READ"),
    **dict.fromkeys(("refund.created", "refund.updated"), "PAYMENTS_READ"),
    "catalog.version.updated": "ITEMS_READ",
    "oauth.authorization.revoked": "",
}
"""Every type of event that the sandbox has, and the right that a seller must have granted."""

TEST = "webhooks.test_notification"
"""What a test of a subscription sends unless it names a type."""


class Change(NamedTuple):
    """Something that happened to an object.

    Attributes:
        entity: ``customers``, ``orders``, ``catalog`` or ``payments``.
        verb: ``created``, ``updated`` or ``deleted``.
        value: The object afterwards; of a deleted one, as it was.
        before: The object before an update.
        now: When, in microseconds since 1970.
        merge: Of customers that became one: ``from_customer_ids``, ``to_customer_id``.
    """

    entity: str
    verb: str
    value: Object
    now: int
    before: Object | None = None
    merge: Object | None = None


Tell = Callable[[Change], None]
"""Takes note of a change of one seller's."""


class News(NamedTuple):
    """An event before it has an id: its type, and its ``data``."""

    type: str
    data: Object


def news_of(change: Change) -> Iterator[News]:
    """Say which events tell of a change; none of one that Square keeps to itself."""
    yield from _TELLERS[change.entity](change)


def revocation(number: int, revoker: str, now: int) -> News:
    """Tell that a seller's access ended: by ``MERCHANT`` or ``APPLICATION``."""
    revoked = {"revoked_at": write_time(now), "revoker_type": revoker}
    data = {"type": "revocation", "id": f"TIEREVOCATION{number:06}"}
    return News("oauth.authorization.revoked", data | {"object": {"revocation": revoked}})


def sample(kind: str, now: int, some: Callable[[str], Object]) -> News:
    """Make the event that a test of a subscription sends.

    Args:
        kind: A type of event.
        now: Microseconds since 1970.
        some: Returns any object of an entity.
    """
    what, _, verb = kind.partition(".")
    if what == "oauth":
        return revocation(0, "MERCHANT", now)
    if what == "catalog":
        return next(news_of(Change("catalog", "updated", {}, now)))
    if what == "refund":
        return _refund(some("payments"), "TIEREFUND", kind, now)
    if kind == "order.fulfillment.updated":
        return _fulfilled(some("orders"), [{"fulfillment_uid": "f1", "new_state": "RESERVED"}])
    if what not in {"customer", "order", "payment"}:
        return News(TEST, {"type": "webhooks", "id": "TIETESTNOTIFICATION"})
    entity = f"{what}s"
    return next(news_of(Change(entity, verb, {"version": 1} | some(entity), now)))


def _tell_customer(change: Change) -> Iterator[News]:
    value, before = change.value, change.before or {}
    differing = {name for name in value.keys() | before if value.get(name) != before.get(name)}
    if change.verb == "updated" and differing <= {"segment_ids"}:
        return
    is_deleted = change.verb == "deleted"
    hidden = {"segment_ids", "group_ids"} if is_deleted else {"segment_ids"}
    told: Object = {"customer": {name: value[name] for name in value if name not in hidden}}
    if change.merge:
        told["event_context"] = {"merge": change.merge}
    data = {"type": "customer", "id": value["id"], "object": told}
    yield News(f"customer.{change.verb}", data | ({"deleted": True} if is_deleted else {}))


def _tell_order(change: Change) -> Iterator[News]:
    value, before = change.value, change.before or {}
    if change.verb == "updated" or "version" in value:
        kind = f"order_{change.verb}"
        times = ("created_at",) if change.verb == "created" else ("created_at", "updated_at")
        told = {"order_id": value["id"], **_some(value, "location_id", "state", "version", *times)}
        data = {"type": kind, "id": value["id"], "object": {kind: told}}
        yield News(f"order.{change.verb}", data)
    states = {each.get("uid"): each.get("state") for each in before.get("fulfillments", ())}
    moves = [
        {"fulfillment_uid": each["uid"], "new_state": each["state"]}
        | ({"old_state": states[each["uid"]]} if each["uid"] in states else {})
        for each in value.get("fulfillments", ())
        if states.get(each["uid"]) != each["state"]
    ]
    if moves and change.verb == "updated":
        yield _fulfilled(value, moves)


def _fulfilled(order: Object, moves: list[Object]) -> News:
    kind, name = "order_fulfillment_updated", order["id"]
    shown = _some(order, "location_id", "state", "version", "created_at", "updated_at")
    told = {"order_id": name, "fulfillment_update": moves, **shown}
    return News("order.fulfillment.updated", {"type": kind, "id": name, "object": {kind: told}})


def _tell_payment(change: Change) -> Iterator[News]:
    value, before = change.value, change.before or {}
    told = {"type": "payment", "id": value["id"], "object": {"payment": value}}
    yield News(f"payment.{change.verb}", told)
    known = before.get("refund_ids", ())
    for name in value.get("refund_ids", ()):
        if change.verb == "updated" and name not in known:
            yield _refund(value, name, "refund.created", change.now)


def _refund(payment: Object, name: str, kind: str, now: int) -> News:
    refund = {
        "id": name,
        "status": "COMPLETED",
        "amount_money": payment.get("refunded_money", payment["amount_money"]),
        "payment_id": payment["id"],
        "created_at": write_time(now),
        "updated_at": write_time(now),
        **_some(payment, "order_id", "location_id"),
    }
    return News(kind, {"type": "refund", "id": name, "object": {"refund": refund}})


def _tell_catalog(change: Change) -> Iterator[News]:
    told = {"catalog_version": {"updated_at": write_time(change.now)}}
    data = {"type": "catalog_version", "id": f"TIEVERSION{change.now}", "object": told}
    yield News("catalog.version.updated", data)


def _some(value: Object, *names: str) -> Object:
    return {name: value[name] for name in names if name in value}


_TELLERS = {
    "customers": _tell_customer,
    "orders": _tell_order,
    "payments": _tell_payment,
    "catalog": _tell_catalog,
}
