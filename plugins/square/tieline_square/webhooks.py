"""Square's deliveries.

One subscription serves all sellers of an application: each event names its
merchant. The signature is over the address as it was registered and the body,
and holds no time, so that only ``event_id`` tells a repeated delivery.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    ProviderUnavailableError,
    Record,
    Webhooks,
    parse_json,
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


@dataclass(frozen=True, slots=True)
class _About:
    """A record that a delivery is about."""

    entity: str | None
    key: str | None
    mark: str = ""
    type: str = ""
    record: Record | None = None


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery; it may be about several records."""
    try:
        told = parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
    if not isinstance(told, dict) or not _text(told.get("event_id")):
        raise InvalidRecordError("the delivery is no event of Square's", code="delivery-malformed")
    kind = _text(told.get("type")) or ""
    return [
        Event(
            id=f"{told['event_id']}{each.mark}",
            type=each.type or kind,
            entity=each.entity,
            key=each.key,
            occurred_at=_time(told.get("created_at")),
            account=_text(told.get("merchant_id")),
            record=each.record,
        )
        for each in _about(kind, _object(told.get("data")))
    ]


def _about(kind: str, data: Mapping[str, Any]) -> Iterator[_About]:
    what, found = kind.partition(".")[0], _object(data.get("object"))
    if what == "customer":
        yield _About("customers", _text(data.get("id")))
        merge = _object(_object(found.get("event_context")).get("merge"))
        for gone in merge.get("from_customer_ids") or ():
            if gone != data.get("id") and _text(gone):
                yield _About("customers", gone, f":{gone}")
        if survivor := _text(merge.get("to_customer_id")):
            yield _About("customers", survivor, ":into", "customer.merged")
    elif what == "order":
        yield _About("orders", _text(data.get("id")))
    elif what == "payment":
        payment = _object(found.get("payment"))
        yield _About("payments", _text(payment.get("id")), record=payment or None)
        if order := _text(payment.get("order_id")):
            yield _About("orders", order, ":order")
    elif what == "refund":
        yield _About("payments", _text(_object(found.get("refund")).get("payment_id")))
    else:
        yield _About("catalog" if what == "catalog" else None, None)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


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
