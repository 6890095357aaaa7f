"""Stripe's events: read as a log of changes, and delivered as webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tieline.contract import (
    Change,
    Event,
    FeedPage,
    Hmac,
    InvalidRecordError,
    PageParams,
    ProviderUnavailableError,
    Webhooks,
    as_of,
    page_of,
    parse_json,
)
from tieline.contract.declarations import FeedStep
from tieline_stripe.client import API_VERSION, StripeApi

__all__ = ["WEBHOOKS", "changes_of"]

_ENTITIES = {"customer": "customers"}
_VERBS = ("created", "updated", "deleted")


def changes_of(kind: str) -> FeedStep:
    """Make the step that reads the log of one kind of object.

    ``types`` takes exact names: the prefix ``customer.*`` would bring
    subscriptions, discounts and tax ids too.
    """

    def step(api: StripeApi, params: PageParams, cursor: str | None) -> FeedPage:
        query: dict[str, Any] = {"limit": 100, "types": [f"{kind}.{verb}" for verb in _VERBS]}
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
        return FeedPage(
            changes=[_change(event) for event in events],
            next=events[-1]["id"] if body.get("has_more") else None,
            as_of=as_of(reply),
        )

    return step


def _change(event: Mapping[str, Any]) -> Change:
    record = event["data"]["object"]
    return Change(
        key=record["id"],
        at=datetime.fromtimestamp(event["created"], UTC),
        # An event stays in the API version of its day; another one is read again.
        record=record if event.get("api_version") == API_VERSION else None,
        is_deleted=event["type"].endswith(".deleted"),
    )


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
    record = (event.get("data") or {}).get("object") or {}
    return Event(
        id=event["id"],
        type=str(event.get("type", "")),
        entity=_ENTITIES.get(record.get("object", "")),
        key=record.get("id"),
        occurred_at=_time(event.get("created")),
        account=event.get("account"),
        record=record if event.get("api_version") == API_VERSION else None,
    )


def _thin(event: Mapping[str, Any]) -> Event:
    related = event.get("related_object") or {}
    return Event(
        id=event["id"],
        type=str(event.get("type", "")).removeprefix("v1."),
        entity=_ENTITIES.get(related.get("type", "")),
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
    owners=("connection", "application"),
    types=tuple(f"customer.{verb}" for verb in _VERBS),
)
