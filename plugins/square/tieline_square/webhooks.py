"""Square's deliveries.

One subscription serves all sellers of an application: each event names its
merchant. The signature is over the address as it was registered and the body,
and holds no time, so that only ``event_id`` tells a repeated delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderUnavailableError,
    RecordNotFoundError,
    Registration,
    Secret,
    Webhooks,
    delivery_of,
    list_of,
    object_of,
    text_of,
    time_of,
)
from tieline_square.client import API_VERSION, SquareApi

__all__ = ["EVENTS", "WEBHOOKS"]


def _types(kind: str, verbs: str, action: EventAction) -> dict[str, EventAction]:
    return {f"{kind}.{verb}": action for verb in verbs.split()}


EVENTS: Mapping[str, Mapping[str, EventAction]] = {
    # Their payload lacks the segments, which it would wipe out.
    "customers": _types("customer", "created updated merged", "re-read")
    | {"customer.deleted": "delete"},
    "payments": _types("payment", "created updated", "upsert")
    | _types("refund", "created updated", "re-read"),
    # Ids only; and orders of the Point of Sale are told by their payments alone.
    "orders": _types("order", "created updated fulfillment.updated", "re-read")
    | _types("payment", "created updated", "re-read"),
    # A time and no id: something of the catalog changed.
    "catalog": {"catalog.version.updated": "re-read"},
}
"""Entity to the types of its events, and what each means for it; first the one that an
event is about, then those that it concerns as well."""

_BY_WHOM = "name a connection that has the application's own access token: --by CONNECTION"


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
    found = object_of(data.get("object"))
    payment, refund = object_of(found.get("payment")), object_of(found.get("refund"))
    merge = object_of(object_of(found.get("event_context")).get("merge"))
    entity = next((name for name in EVENTS if kind in EVENTS[name]), None)
    named, paid = data.get("id"), payment.get("id") or refund.get("payment_id")
    key = text_of({"customers": named, "orders": named, "payments": paid}.get(entity or "")) or None
    yield "", {"entity": entity, "key": key, "record": payment or None}
    for gone in filter(text_of, list_of(merge.get("from_customer_ids"))):
        if gone != key:
            yield f":{gone}", {"entity": "customers", "key": gone}
    if survivor := text_of(merge.get("to_customer_id")):
        yield ":into", {"entity": "customers", "key": survivor, "type": "customer.merged"}
    if order := text_of(payment.get("order_id")):
        yield ":order", {"entity": "orders", "key": order}


def register(api: SquareApi, url: str) -> Registration:
    """Subscribe an address to all of :data:`EVENTS`.

    One that is there for this address is taken away first: its key may have been
    lost with an answer. A second would have every event delivered twice.
    """
    there = _subscriptions(api, "GET", query={"include_disabled": True}).get("subscriptions")
    for each in map(object_of, list_of(there)):
        if each.get("notification_url") == url:
            unregister(api, text_of(each.get("id")))
    wanted = {
        "name": "Tieline",
        "event_types": WEBHOOKS.types,
        "notification_url": url,
        "api_version": API_VERSION,
    }
    body = {"idempotency_key": uuid4().hex, "subscription": wanted}
    made = object_of(_subscriptions(api, "POST", body=body).get("subscription"))
    name, key = text_of(made.get("id")), text_of(made.get("signature_key"))
    if not name or not key:
        raise ProviderUnavailableError("Square gave no signature key", code="answer-malformed")
    return Registration(id=name, secret=Secret(key))


def unregister(api: SquareApi, name: str) -> None:
    """Delete a subscription; one that is gone already is fine."""
    with suppress(RecordNotFoundError):
        _subscriptions(api, "DELETE", f"/{quote(name, safe='')}")


def _subscriptions(api: SquareApi, method: str, path: str = "", **sent: Any) -> dict[str, Any]:
    """Call as the application: a seller's token may not touch what serves all sellers."""
    try:
        return api.call(method, f"/v2/webhooks/subscriptions{path}", **sent)
    except (NeedsReauthError, PermissionDeniedError) as error:
        raise PermissionDeniedError(error.message, hint=_BY_WHOM) from error


_KEPT = ("environment", "initial-delivery-timestamp", "retry-number", "retry-reason")

WEBHOOKS = Webhooks(
    scheme=Hmac(header="x-square-hmacsha256-signature", signed=("url", "body"), encoding="base64"),
    parse=parse,
    types=sorted(set().union(*EVENTS.values()) - {"customer.merged"}),
    owners=("application", "connection"),
    keeps=[f"square-{name}" for name in _KEPT],
    fixtures="tieline_square.deliveries",
    register=register,
    unregister=unregister,
    instructions="`tieline webhooks register` does it, by the application's own access token. Or by"
    " hand in the Developer Console, Webhooks, Subscriptions, of this environment: the events are"
    f" those of docs/providers/square.md, the API version is {API_VERSION}.",
)
