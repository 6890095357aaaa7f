"""Payments: ``GET /v2/payments``, location by location, 100 at a time."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, Feed
from tieline_square.client import Answer, SquareApi
from tieline_square.mappings import payment
from tieline_square.schema import BEGINNING, created_windows, promise
from tieline_square.walk import Query, Walk, changed_at, read_locations, reader, rfc3339
from tieline_square.webhooks import EVENTS

__all__ = ["PAYMENTS"]


def _list(api: SquareApi, query: Query) -> Answer:
    """Ask for a page of one location; without it Square means the main one.

    ``begin_time`` bounds the creation and is a year ago if left out, perhaps in
    a read by time of change too: a refund of an older payment would be missed.
    """
    edges = {"begin_time": query.since, "end_time": query.until}
    if query.is_changes:
        edges = {f"updated_at_{name}": edge for name, edge in edges.items()}
    asked = {
        "location_id": query.locations[0],
        "limit": 100,
        "sort_field": query.field.upper(),
        "sort_order": "ASC",
        "begin_time": rfc3339(BEGINNING),
        **{name: rfc3339(edge) for name, edge in edges.items() if edge},
        **query.place,
    }
    return api.ask("GET", "/v2/payments", query=asked)


_WALK = Walk(ask=_list, items="payments", opening=read_locations, locations=1)

PAYMENTS = Entity(
    name="payments",
    schema=promise(
        required="id",
        texts="status created_at updated_at source_type location_id order_id customer_id"
        " reference_id receipt_url note",
        objects="amount_money tip_money total_money refunded_money",
        flags="is_offline_payment",
    ),
    page=_WALK.page,
    get=reader("/v2/payments", "payment"),
    # ``version_token`` is for concurrency and has no order.
    version=changed_at,
    # Locations are read one after another: no order over all.
    windows=created_windows(),
    # New and changed payments show up some seconds late ("ListPayments").
    feed=Feed(page=_WALK.changes, retention=None, overlap=timedelta(minutes=2)),
    events=EVENTS["payments"],
    deletes="none",
    canonical=payment,
    scope="PAYMENTS_READ, MERCHANT_PROFILE_READ",
    hides="payments of other locations than the main one, and those of more than a year ago",
)
