"""Customers: ``GET /v1/customers``, newest first, 100 at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from marshmallow import fields

from tieline.contract import (
    Entity,
    Feed,
    Record,
    RecordNotFoundError,
    RecordSchema,
    Reply,
    Whole,
    Window,
    Windows,
    after_last_key,
    parse_json,
)
from tieline_stripe.client import StripeApi
from tieline_stripe.events import changes_of

__all__ = ["CUSTOMERS"]


class CustomerSchema(RecordSchema):
    """What may be relied on: these types, or null. Only the id is always there."""

    id = fields.String(required=True)
    object = fields.String(allow_none=True)
    created = Whole(allow_none=True)
    livemode = fields.Boolean(allow_none=True)
    email = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)
    description = fields.String(allow_none=True)
    balance = Whole(allow_none=True)
    currency = fields.String(allow_none=True)
    delinquent = fields.Boolean(allow_none=True)
    address = fields.Dict(allow_none=True)
    metadata = fields.Dict(allow_none=True)


def get_page(api: StripeApi, path: str, query: Mapping[str, object]) -> Reply:
    """Send one read of a list."""
    return api.get(path, query)


def get_customer(api: StripeApi, key: str) -> Record | None:
    """Read one customer; a deleted one answers 200 with a stub."""
    try:
        found: Record = parse_json(api.get(f"/v1/customers/{key}", {}).content)
    except RecordNotFoundError:
        return None
    return None if found.get("deleted") else found


def created_in(window: Window) -> Mapping[str, object]:
    """Bound ``created``, in whole seconds; no bound sends no parameter."""
    edges = {"gte": window.start, "lt": window.end}
    created = {name: int(edge.timestamp()) for name, edge in edges.items() if edge}
    return {"created": created} if created else {}


CUSTOMERS = Entity(
    name="customers",
    schema=CustomerSchema(),
    page=after_last_key(get_page, "/v1/customers", query={"limit": 100}, bounds=created_in),
    get=get_customer,
    # Oldest objects of accounts that were moved to Stripe are from 2009 (fixtures3.json).
    windows=Windows(
        field="created", order="newest first", earliest=datetime(2009, 1, 1, tzinfo=UTC)
    ),
    # Lists cannot be filtered by "updated"; the event log reaches back 30 days
    # and fills with some delay (Stripe API reference, "Events").
    feed=Feed(
        page=changes_of("customer"), retention=timedelta(days=29), overlap=timedelta(minutes=10)
    ),
    events={
        "customer.created": "upsert",
        "customer.updated": "upsert",
        "customer.deleted": "delete",
    },
    deletes="sweep",
    scope="Customers: Read",
    hides="customers of a test clock, which no list shows",
)
