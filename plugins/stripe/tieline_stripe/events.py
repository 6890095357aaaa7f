"""Stripe's events: read as a log of changes, and delivered as webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
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
    RecordNotFoundError,
    Registration,
    Secret,
    Webhooks,
    parse_json,
    utc,
)
from tieline_stripe.client import API_VERSION, StripeApi
from tieline_stripe.lists import pages_of
from tieline_stripe.mappings import key_of

__all__ = ["EVENTS", "WEBHOOKS", "changes_of"]

# They change their charge, and no event of the charge need tell.
_PARTS_OF_CHARGES = frozenset({"dispute", "refund"})


def _types(prefix: str, verbs: str, action: EventAction = "upsert") -> dict[str, EventAction]:
    return {f"{prefix}.{verb}": action for verb in verbs.split()}


# ``customer.*`` brings subscriptions, discounts and tax ids too, and ``charge.*``
# disputes: only exact names will do, at most twenty in a request.
EVENTS: Mapping[str, Mapping[str, EventAction]] = {
    "customers": _types("customer", "created updated") | {"customer.deleted": "delete"},
    "products": _types("product", "created updated") | {"product.deleted": "delete"},
    # One that is "deleted" was cancelled, and is still there.
    "subscriptions": _types("customer.subscription", "created updated deleted paused resumed")
    | _types("customer.subscription", "pending_update_applied pending_update_expired")
    | _types("customer.subscription", "trial_will_end"),
    "charges": _types("charge", "succeeded failed pending captured expired updated refunded")
    | _types("charge.dispute", "created updated closed", "re-read")
    | _types("charge.dispute", "funds_withdrawn funds_reinstated", "re-read")
    | _types("refund", "created updated failed", "re-read")
    | {"charge.refund.updated": "re-read"},
}
"""Entity to the types of its events, and what each means for it."""


def changes_of(entity: str) -> FeedStep:
    """Make the step that reads the log for one entity."""
    events = pages_of("events", types=list(EVENTS[entity]))

    def step(api: StripeApi, params: PageParams, cursor: str | None) -> FeedPage:
        page = events(api, params, cursor)
        changes = [change for event in page.records if (change := _change(event, entity))]
        return FeedPage(changes=changes, next=page.next, as_of=page.as_of)

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
    return _entity_of(found.get("object")), key_of(found), found if is_whole else None


def _entity_of(kind: object) -> str | None:
    return f"{kind}s" if f"{kind}s" in EVENTS else None


def parse(body: bytes, _headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery: a snapshot event, or a thin one."""
    try:
        event = parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
    if not isinstance(event, dict) or not isinstance(event.get("id"), str):
        raise InvalidRecordError("the delivery is no event of Stripe's", code="delivery-malformed")
    is_thin = event.get("object") == "v2.core.event"
    entity, key, record = _related(event) if is_thin else _about(event)
    told = Event(
        id=event["id"],
        type=str(event.get("type", "")).removeprefix("v1."),
        entity=entity,
        key=key,
        occurred_at=_time(event.get("created")),
        account=event.get("context" if is_thin else "account"),
        record=record,
    )
    return [told]


def _related(event: Mapping[str, Any]) -> tuple[str | None, str | None, None]:
    related = event.get("related_object") or {}
    return _entity_of(related.get("type")), related.get("id"), None


def _time(value: Any) -> datetime | None:
    """Read seconds since 1970 (snapshot) or ISO 8601 (thin)."""
    try:
        return utc(value)
    except ValueError:
        return None


def register(api: StripeApi, url: str) -> Registration:
    """Make an endpoint of the account's own.

    The version is the pinned one, in which the events' objects are whole. It
    cannot be changed later, and the secret is told this once.

    Source:
        Stripe API reference, "Create a webhook endpoint".
    """
    asked = {"url": url, "enabled_events": _TYPES, "api_version": API_VERSION}
    made = parse_json(api.send("post", "/v1/webhook_endpoints", asked).content)
    return Registration(id=made["id"], secret=Secret(made["secret"]))


def unregister(api: StripeApi, remote_id: str) -> None:
    """Delete an endpoint; one that is gone is fine."""
    with suppress(RecordNotFoundError):
        api.send("delete", f"/v1/webhook_endpoints/{remote_id}", {})


_TYPES = [name for types in EVENTS.values() for name in types]

WEBHOOKS = Webhooks(
    scheme=Hmac(
        header="stripe-signature",
        signed=("timestamp", ".", "body"),
        signature="v1",
        timestamp="t",
    ),
    parse=parse,
    types=_TYPES,
    register=register,
    unregister=unregister,
    registers=("connection",),
    owners=("connection", "application"),
    instructions="In Stripe's dashboard, under Webhooks: add a destination (for a platform: of"
    f" connected accounts) with API version {API_VERSION}, then bring its signing secret.",
    fixtures="tieline_stripe.deliveries",
)
