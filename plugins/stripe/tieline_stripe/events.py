"""Stripe's events: read as a log of changes, and delivered as webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tieline.contract import (
    Change,
    Event,
    EventAction,
    FeedPage,
    FeedStep,
    Hmac,
    InvalidRecordError,
    PageParams,
    ProviderUnavailableError,
    Record,
    Webhooks,
    as_of,
    page_of,
    parse_json,
)
from tieline_stripe.client import API_VERSION, StripeApi
from tieline_stripe.mappings import key_of

__all__ = ["EVENTS", "WEBHOOKS", "changes_of"]

# ``customer.*`` brings subscriptions, discounts and tax ids too, and ``charge.*``
# disputes: only exact names will do, at most twenty in a request.
_TYPES: Mapping[str, tuple[str, str]] = {
    "customers": ("customer", "created updated deleted"),
    "products": ("product", "created updated deleted"),
    "subscriptions": (
        "customer.subscription",
        (
            "created updated deleted paused resumed pending_update_applied pending_update_expired"
            " trial_will_end"
        ),
    ),
    "charges": (
        "charge",
        (
            "succeeded failed pending captured expired updated refunded refund.updated"
            " dispute.created dispute.updated dispute.closed dispute.funds_withdrawn"
            " dispute.funds_reinstated"
        ),
    ),
}
_REFUNDS = ("refund.created", "refund.updated", "refund.failed")
_KINDS = {
    "customer": "customers",
    "product": "products",
    "subscription": "subscriptions",
    "charge": "charges",
}
# They change their charge, and no event of the charge need tell.
_PARTS_OF_CHARGES = frozenset({"dispute", "refund"})


def _actions(entity: str) -> dict[str, EventAction]:
    prefix, verbs = _TYPES[entity]
    names = [f"{prefix}.{verb}" for verb in verbs.split()]
    names += _REFUNDS if entity == "charges" else ()
    return {name: _action(name) for name in names}


def _action(name: str) -> EventAction:
    if name in {"customer.deleted", "product.deleted"}:
        return "delete"  # a subscription that is "deleted" was cancelled, and is still there
    return "re-read" if "dispute." in name or "refund." in name else "upsert"


EVENTS: Mapping[str, Mapping[str, EventAction]] = {name: _actions(name) for name in _TYPES}
"""Entity to the types of its events, and what each means for it."""


def changes_of(entity: str) -> FeedStep:
    """Make the step that reads the log for one entity."""
    types = list(EVENTS[entity])

    def step(api: StripeApi, params: PageParams, cursor: str | None) -> FeedPage:
        query: dict[str, Any] = {"limit": 100, "types": types}
        if params.window.start:
            query["created"] = {"gte": int(params.window.start.timestamp())}
        if cursor:
            query["starting_after"] = cursor
        reply = api.get("/v1/events", query)
        body, events = page_of(reply, "data")
        if body.get("has_more") and not events:
            raise ProviderUnavailableError(
                "an empty page says that there is more", code="answer-malformed"
            )
        changes = [_change(event, entity) for event in events]
        return FeedPage(
            changes=[change for change in changes if change],
            next=events[-1]["id"] if body.get("has_more") else None,
            as_of=as_of(reply),
        )

    return step


def _change(event: Mapping[str, Any], entity: str) -> Change | None:
    about, key, record = _about(event)
    if about != entity or key is None:
        return None
    return Change(
        key=key,
        at=datetime.fromtimestamp(event["created"], UTC),
        record=record,
        is_deleted=EVENTS[entity].get(event["type"]) == "delete",
    )


def _about(event: Mapping[str, Any]) -> tuple[str | None, str | None, Record | None]:
    """Say of which entity's record an event tells, by its object and not by its name.

    Returns:
        Entity and key, None where the object is none of ours: lists never show
        what belongs to a test clock, so events must not bring it either. And
        the record, if all of it is there in the version that we pin.
    """
    found = (event.get("data") or {}).get("object") or {}
    if found.get("object") in _PARTS_OF_CHARGES:
        return "charges", key_of(found.get("charge")), None
    if found.get("test_clock"):
        return None, None, None
    # An event stays in the API version of its day, and has as few items as a list.
    is_cut = (found.get("items") or {}).get("has_more", False)
    is_whole = event.get("api_version") == API_VERSION and not is_cut
    return _KINDS.get(found.get("object", "")), key_of(found), found if is_whole else None


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery: a snapshot event, or a thin one."""
    try:
        event = parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str):
        raise InvalidRecordError("the delivery is no event of Stripe's", code="delivery-malformed")
    is_thin = event.get("object") == "v2.core.event"
    return [_thin(event) if is_thin else _snapshot(event)]


def _snapshot(event: Mapping[str, Any]) -> Event:
    entity, key, record = _about(event)
    return Event(
        id=event["id"],
        type=str(event.get("type", "")),
        entity=entity,
        key=key,
        occurred_at=_time(event.get("created")),
        account=event.get("account"),
        record=record,
    )


def _thin(event: Mapping[str, Any]) -> Event:
    related = event.get("related_object") or {}
    return Event(
        id=event["id"],
        type=str(event.get("type", "")).removeprefix("v1."),
        entity=_KINDS.get(related.get("type", "")),
        key=related.get("id"),
        occurred_at=_time(event.get("created")),
        account=event.get("context"),
    )


def _time(value: object) -> datetime | None:
    """Read seconds since 1970 (snapshot) or ISO 8601 (thin)."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value).astimezone(UTC)
        return datetime.fromtimestamp(value, UTC) if isinstance(value, int) else None
    except (ValueError, OverflowError, OSError):
        return None


WEBHOOKS = Webhooks(
    scheme=Hmac(
        header="stripe-signature",
        signed=("timestamp", ".", "body"),
        signature="v1",
        timestamp="t",
    ),
    parse=parse,
    types=tuple(name for types in EVENTS.values() for name in types),
)
