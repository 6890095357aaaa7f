"""What is kept in step of a seller: customers, orders, the catalog and payments."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, Feed, Record, utc
from tieline_square.client import Answer, SquareApi
from tieline_square.mappings import contact, order, payment, product
from tieline_square.schema import BEGINNING, created_windows, promise
from tieline_square.walk import Query, Walk, changed_at, read_locations, reader, rfc3339
from tieline_square.webhooks import EVENTS

__all__ = ["CATALOG", "CUSTOMERS", "ORDERS", "PAYMENTS", "TYPES"]


# --- customers: ``POST /v2/customers/search``, oldest first, 100 at a time ----------------------


def _search_customers(api: SquareApi, query: Query) -> Answer:
    """Ask for a page; profiles can be sorted by creation or by name, never by change."""
    asked = {**query.filtered, "sort": {"field": "CREATED_AT", "order": "ASC"}}
    body = {"limit": 100, "query": asked, **query.place}
    return api.ask("POST", "/v2/customers/search", body=body)


def _version(record: Record) -> int:
    """Order copies by version, then by the second of change: segments move no version.

    The second has the lower 31 bits, which last until 2077.
    """
    version = record.get("version", 0)
    second = max(0, changed_at(record) // 1_000_000 - int(BEGINNING.timestamp()))
    if not 0 <= version < 1 << 32 or second >= 1 << 31:
        raise ValueError("version or updated_at is out of range")
    return int(version) << 31 | second


_CUSTOMERS = Walk(
    ask=_search_customers,
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
    page=_CUSTOMERS.page,
    get=reader("/v2/customers", "customer"),
    version=_version,
    windows=created_windows("oldest first"),
    # The index lags by a minute or more at times ("SearchCustomers").
    feed=Feed(page=_CUSTOMERS.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["customers"],
    deletes="sweep",
    canonical=contact,
    scope="CUSTOMERS_READ",
    hides="profiles without any name, company, e-mail address or phone number, which no list shows",
)


# --- orders: ``POST /v2/orders/search``, of ten locations at once, 500 at a time ----------------


def _search_orders(api: SquareApi, query: Query) -> Answer:
    """Ask for a page in the order of the times that it is about: Square wants them equal.

    Oldest first, so that an order that changes meanwhile moves to what is still
    to come; all states, since no filter names any.
    """
    sort = {"sort_field": query.field.upper(), "sort_order": "ASC"}
    filtered = {name: {"date_time_filter": dates} for name, dates in query.filtered.items()}
    asked = {"location_ids": query.locations, "limit": 500, "query": {**filtered, "sort": sort}}
    return api.ask("POST", "/v2/orders/search", body={**asked, **query.place})


_ORDERS = Walk(ask=_search_orders, items="orders", opening=read_locations, locations=10)

ORDERS = Entity(
    name="orders",
    schema=promise(
        required="id location_id",
        texts="state created_at updated_at closed_at customer_id reference_id ticket_name",
        objects="source metadata total_money total_tax_money total_discount_money"
        " total_tip_money net_amounts",
        numbers="version",
    ),
    page=_ORDERS.page,
    get=reader("/v2/orders", "order"),
    # Orders of the Point of Sale have no version, and each change moves the time.
    version=changed_at,
    # More than ten locations are read one ten after another: no order over all.
    windows=created_windows(),
    feed=Feed(page=_ORDERS.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["orders"],
    deletes="none",
    canonical=order,
    scope="ORDERS_READ, MERCHANT_PROFILE_READ",
)


# --- the catalog: items, variations, categories, taxes and the rest, as one list ----------------

TYPES = (
    *("ITEM", "IMAGE", "CATEGORY", "ITEM_VARIATION", "TAX", "DISCOUNT", "MODIFIER_LIST"),
    *("MODIFIER", "PRICING_RULE", "PRODUCT_SET", "TIME_PERIOD", "MEASUREMENT_UNIT"),
    *("SUBSCRIPTION_PLAN_VARIATION", "ITEM_OPTION", "ITEM_OPTION_VAL", "SUBSCRIPTION_PLAN"),
    *("CUSTOM_ATTRIBUTE_DEFINITION", "QUICK_AMOUNTS_SETTINGS", "AVAILABILITY_PERIOD"),
)
"""All types, by name: which come without one changes from version to version of the
API, and those that are nested in others never do."""


def _ask_catalog(api: SquareApi, query: Query) -> Answer:
    """Ask for a page: of what there is, or of what was changed or deleted since a time."""
    if not query.is_changes:
        return api.ask("GET", "/v2/catalog/list", query={"types": ",".join(TYPES), **query.place})
    body = {"object_types": TYPES, "include_deleted_objects": True, "limit": 1000, **query.place}
    if since := utc(query.since):  # which itself is not part of the answer
        body["begin_time"] = rfc3339(since - timedelta(milliseconds=1))
    return api.ask("POST", "/v2/catalog/search", body=body)


_CATALOG = Walk(ask=_ask_catalog, items="objects", sorts=(False, False))

CATALOG = Entity(
    name="catalog",
    schema=promise(
        required="id type",
        texts="updated_at",
        objects="item_data item_variation_data category_data tax_data discount_data"
        " modifier_list_data modifier_data image_data",
        numbers="version",
        flags="is_deleted present_at_all_locations",
    ),
    page=_CATALOG.page,
    get=reader("/v2/catalog/object", "object"),
    version=lambda record: record.get("version", 0),
    # No list can be bounded by time on both sides, so there are no windows.
    feed=Feed(page=_CATALOG.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["catalog"],
    deletes="feed",
    canonical=product,
    scope="ITEMS_READ",
    hides="types that are not named, and deleted objects",
)


# --- payments: ``GET /v2/payments``, location by location, 100 at a time ------------------------


def _list_payments(api: SquareApi, query: Query) -> Answer:
    """Ask for a page of one location; without it Square means the main one.

    ``begin_time`` bounds the creation and is a year ago if left out, perhaps in
    a read by time of change too: a refund of an older payment would be missed.
    """
    about = "updated_at_" if query.is_changes else ""
    asked = {
        "location_id": query.locations[0],
        "limit": 100,
        "sort_field": query.field.upper(),
        "sort_order": "ASC",
        "begin_time": rfc3339(BEGINNING),
        **query.bounds(f"{about}begin_time", f"{about}end_time"),
        **query.place,
    }
    return api.ask("GET", "/v2/payments", query=asked)


_PAYMENTS = Walk(ask=_list_payments, items="payments", opening=read_locations, locations=1)

PAYMENTS = Entity(
    name="payments",
    schema=promise(
        required="id",
        texts="status created_at updated_at source_type location_id order_id customer_id"
        " reference_id receipt_url note",
        objects="amount_money tip_money total_money refunded_money",
        flags="is_offline_payment",
    ),
    page=_PAYMENTS.page,
    get=reader("/v2/payments", "payment"),
    # ``version_token`` is for concurrency and has no order.
    version=changed_at,
    # Locations are read one after another: no order over all.
    windows=created_windows(),
    # New and changed payments show up some seconds late ("ListPayments").
    feed=Feed(page=_PAYMENTS.changes, retention=None, overlap=timedelta(minutes=2)),
    events=EVENTS["payments"],
    deletes="none",
    canonical=payment,
    scope="PAYMENTS_READ, MERCHANT_PROFILE_READ",
    hides="payments of other locations than the main one, and those of more than a year ago",
)
