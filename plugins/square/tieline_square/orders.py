"""Orders: ``POST /v2/orders/search``, of ten locations at once, 500 at a time."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, Feed
from tieline_square.client import Answer, SquareApi
from tieline_square.mappings import order
from tieline_square.schema import created_windows, promise
from tieline_square.walk import Query, Walk, changed_at, read_locations, reader
from tieline_square.webhooks import EVENTS

__all__ = ["ORDERS"]


def _search(api: SquareApi, query: Query) -> Answer:
    """Ask for a page in the order of the times that it is about: Square wants them equal.

    Oldest first, so that an order that changes meanwhile moves to what is still
    to come; all states, since no filter names any.
    """
    sort = {"sort_field": query.field.upper(), "sort_order": "ASC"}
    filtered = {name: {"date_time_filter": dates} for name, dates in query.filtered.items()}
    asked = {"location_ids": query.locations, "limit": 500, "query": {**filtered, "sort": sort}}
    return api.ask("POST", "/v2/orders/search", body={**asked, **query.place})


_WALK = Walk(ask=_search, items="orders", opening=read_locations, locations=10)

ORDERS = Entity(
    name="orders",
    schema=promise(
        required="id location_id",
        texts="state created_at updated_at closed_at customer_id reference_id ticket_name",
        objects="source metadata total_money total_tax_money total_discount_money"
        " total_tip_money net_amounts",
        numbers="version",
    ),
    page=_WALK.page,
    get=reader("/v2/orders", "order"),
    # Orders of the Point of Sale have no version, and each change moves the time.
    version=changed_at,
    # More than ten locations are read one ten after another: no order over all.
    windows=created_windows(),
    feed=Feed(page=_WALK.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["orders"],
    deletes="none",
    canonical=order,
    scope="ORDERS_READ, MERCHANT_PROFILE_READ",
)
