"""What is kept in step: lists newest first, 100 at a time, and the log of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tieline.contract import (
    Entity,
    Feed,
    Page,
    PageParams,
    PageStep,
    ProviderUnavailableError,
    Record,
    RecordNotFoundError,
    Windows,
    parse_json,
)
from tieline_stripe.client import StripeApi
from tieline_stripe.events import EVENTS, changes_of
from tieline_stripe.lists import pages_of
from tieline_stripe.mappings import contact, order, payment, product
from tieline_stripe.schemas import CHARGE, CUSTOMER, PRODUCT, SUBSCRIPTION

__all__ = ["CHARGES", "CUSTOMERS", "PRODUCTS", "SUBSCRIPTIONS"]

_MOST_ITEM_PAGES = 50
# Oldest objects of accounts that were moved to Stripe are from 2009 (fixtures3.json).
_WINDOWS = Windows(field="created", order="newest first", earliest=datetime(2009, 1, 1, tzinfo=UTC))


def reader_of(name: str) -> Callable[[StripeApi, str], Record | None]:
    """Make the read of one object; a deleted one is not found, or answers 200 with a stub."""

    def read(api: StripeApi, key: str) -> Record | None:
        try:  # merchants choose ids of products
            reply = api.get(f"/v1/{name}/{quote(key, safe='')}", {})
        except RecordNotFoundError:
            return None
        found: Record = parse_json(reply.content)
        return None if found.get("deleted") else found

    return read


def subscription_page(api: StripeApi, params: PageParams, cursor: str | None) -> Page:
    """Read a page of subscriptions, each with all of its items."""
    page = pages_of("subscriptions", status="all")(api, params, cursor)
    return replace(page, records=[with_items(api, record) for record in page.records])


def get_subscription(api: StripeApi, key: str) -> Record | None:
    """Read one subscription with all of its items."""
    found = reader_of("subscriptions")(api, key)
    return None if found is None else with_items(api, found)


def with_items(api: StripeApi, record: Any) -> Any:
    """Put the items that the answer has no room for into a subscription.

    The list inside a subscription ends early and says so in its own
    ``has_more`` (Stripe API reference, "The Subscription object": ``items``).
    """
    items = record.get("items") if isinstance(record, dict) else None
    if not isinstance(items, dict) or not items.get("has_more"):
        return record
    step = pages_of("subscription_items", subscription=record.get("id"))
    return {**record, "items": {**items, "data": _all(step, api), "has_more": False}}


def _all(step: PageStep, api: StripeApi, cursor: str | None = None, page: int = 1) -> list[Record]:
    if page > _MOST_ITEM_PAGES:
        raise ProviderUnavailableError("the items of a subscription do not end")
    read = step(api, PageParams(), cursor)
    return read.records + (_all(step, api, read.next, page + 1) if read.next else [])


def _entity(name: str, *, scope: str, **more: Any) -> Entity:
    usual: dict[str, Any] = {"page": pages_of(name), "get": reader_of(name), "deletes": "none"}
    return Entity(
        name=name,
        windows=_WINDOWS,
        # Lists cannot be filtered by "updated"; the event log reaches back 30 days
        # and fills with some delay (Stripe API reference, "Events").
        feed=Feed(page=changes_of(name), retention=timedelta(days=29)),
        events=EVENTS[name],
        scope=f"{scope}: Read, Events: Read",
        **(usual | more),
    )


CUSTOMERS = _entity(
    "customers",
    schema=CUSTOMER,
    canonical=contact,
    scope="Customers",
    deletes="feed",
    hides="customers of a test clock, which no list shows",
)
PRODUCTS = _entity(
    "products",
    schema=PRODUCT,
    canonical=product,
    scope="Products",
    deletes="feed",
    # The one object of Stripe's that has it; two changes in one second are read again.
    version=lambda record: int(record["updated"]),
)
SUBSCRIPTIONS = _entity(
    "subscriptions",
    schema=SUBSCRIPTION,
    canonical=order,
    scope="Subscriptions",
    page=subscription_page,
    get=get_subscription,
    hides="cancelled ones, unless status=all; those of a test clock, which no list shows",
)
CHARGES = _entity("charges", schema=CHARGE, canonical=payment, scope="Charges and Refunds")
