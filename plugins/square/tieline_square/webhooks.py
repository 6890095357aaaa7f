"""Square's deliveries.

One subscription serves all sellers of an application: each event names its
merchant. The signature is over the address as it was registered and the body,
and holds no time, so that only ``event_id`` tells a repeated delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    Webhooks,
    delivery_of,
    object_of,
    text_of,
    time_of,
)

__all__ = ["EVENTS", "WEBHOOKS"]


def _types(kind: str, verbs: str, action: EventAction) -> dict[str, EventAction]:
    return {f"{kind}.{verb}": action for verb in verbs.split()}


EVENTS: Mapping[str, Mapping[str, EventAction]] = {
    # Their payload lacks the segments, which it would wipe out.
    "customers": _types("customer", "created updated merged", "re-read")
    | {"customer.deleted": "delete"},
    # Ids only; and orders of the Point of Sale are told by their payments alone.
    "orders": _types("order", "created updated fulfillment.updated", "re-read")
    | _types("payment", "created updated", "re-read"),
    "payments": _types("payment", "created updated", "upsert")
    | _types("refund", "created updated", "re-read"),
    # A time and no id: something of the catalog changed.
    "catalog": {"catalog.version.updated": "re-read"},
}
"""Entity to the types of its events, and what each means for it."""


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery; it may be about several records."""
    told = object_of(delivery_of(body))
    if not (event_id := text_of(told.get("event_id"))):
        raise InvalidRecordError("the delivery is no event of Square's", code="delivery-malformed")
    event = Event(
        id=event_id,
        type=text_of(told.get("type")),
        occurred_at=time_of(told.get("created_at")),
        account=text_of(told.get("merchant_id")) or None,
    )
    about = _about(event.type, object_of(told.get("data")))
    return [replace(event, id=f"{event_id}{mark}", **each) for mark, each in about]


def _about(kind: str, data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Say which records an event is about, each with what makes its id another one."""
    what, key = kind.partition(".")[0], text_of(data.get("id")) or None
    found = object_of(data.get("object"))
    if what == "customer":
        yield "", {"entity": "customers", "key": key}
        merge = object_of(object_of(found.get("event_context")).get("merge"))
        for gone in filter(text_of, merge.get("from_customer_ids") or ()):
            if gone != key:
                yield f":{gone}", {"entity": "customers", "key": gone}
        if survivor := text_of(merge.get("to_customer_id")):
            yield ":into", {"entity": "customers", "key": survivor, "type": "customer.merged"}
    elif what == "order":
        yield "", {"entity": "orders", "key": key}
    elif what == "payment":
        payment = object_of(found.get("payment"))
        paid = text_of(payment.get("id")) or None
        yield "", {"entity": "payments", "key": paid, "record": payment or None}
        if order := text_of(payment.get("order_id")):
            yield ":order", {"entity": "orders", "key": order}
    elif what == "refund":
        refunded = text_of(object_of(found.get("refund")).get("payment_id")) or None
        yield "", {"entity": "payments", "key": refunded}
    else:
        yield "", {"entity": "catalog" if what == "catalog" else None}


WEBHOOKS = Webhooks(
    scheme=Hmac(header="x-square-hmacsha256-signature", signed=("url", "body"), encoding="base64"),
    parse=parse,
    types=tuple(
        sorted({each for types in EVENTS.values() for each in types} - {"customer.merged"})
    ),
    owners=("application", "connection"),
    keeps=(
        "square-environment",
        "square-initial-delivery-timestamp",
        "square-retry-number",
        "square-retry-reason",
    ),
    instructions="In the Developer Console open the application, Webhooks, Subscriptions: add one"
    " for this address with these event types and the API version that Tieline pins; production"
    " and sandbox have subscriptions of their own. Then give Tieline its signature key.",
)
