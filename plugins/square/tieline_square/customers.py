"""Customers: ``POST /v2/customers/search``, oldest first, 100 at a time."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, Feed, Record
from tieline_square.client import Answer, SquareApi
from tieline_square.mappings import contact
from tieline_square.schema import BEGINNING, created_windows, promise
from tieline_square.walk import Query, Walk, changed_at, reader
from tieline_square.webhooks import EVENTS

__all__ = ["CUSTOMERS"]

_SECONDS = 31


def _search(api: SquareApi, query: Query) -> Answer:
    """Ask for a page; profiles can be sorted by creation or by name, never by change."""
    asked = {**query.filtered, "sort": {"field": "CREATED_AT", "order": "ASC"}}
    body = {"limit": 100, "query": asked, **query.place}
    return api.ask("POST", "/v2/customers/search", body=body)


def _version(record: Record) -> int:
    """Order copies by version, then by the second of change: segments move no version."""
    version = record.get("version", 0)
    second = max(0, changed_at(record) // 1_000_000 - int(BEGINNING.timestamp()))
    if not 0 <= version < 1 << 32 or second >= 1 << _SECONDS:
        raise ValueError("version or updated_at is out of range")
    return int(version) << _SECONDS | second


_WALK = Walk(
    ask=_search,
    items="customers",
    # Only to learn Square's time: the window of an incremental read needs an end.
    opening=lambda api: api.ask("GET", "/v2/customers", query={"limit": 1}),
    sorts=(True, False),
)

CUSTOMERS = Entity(
    name="customers",
    # A birthday without a year is 0000-MM-DD: a text, and no date.
    schema=promise(
        required="id",
        texts="created_at updated_at given_name family_name nickname company_name email_address"
        " phone_number birthday reference_id note creation_source",
        objects="address preferences",
        numbers="version",
    ),
    page=_WALK.page,
    get=reader("/v2/customers", "customer"),
    version=_version,
    windows=created_windows("oldest first"),
    # The index lags by a minute or more at times ("SearchCustomers").
    feed=Feed(page=_WALK.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["customers"],
    deletes="sweep",
    canonical=contact,
    scope="CUSTOMERS_READ",
    hides="profiles without any name, company, e-mail address or phone number, which no list shows",
)
