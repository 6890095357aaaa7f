"""The endpoints that list, search and read a seller's objects.

Rules are from the Square API reference, page by page: SearchCustomers,
ListCustomers, SearchOrders, ListCatalog, SearchCatalogObjects, ListPayments.
Where it leaves something open, the harsher reading is taken: the default of
``begin_time`` limits payments that are asked for by time of change as well.
What is not needed here is refused rather than ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tieline_square_sandbox.answers import bad_request, missing_parameter, not_found
from tieline_square_sandbox.goods import TYPES
from tieline_square_sandbox.pager import Pager
from tieline_square_sandbox.people import is_listed
from tieline_square_sandbox.request import Request, parameters
from tieline_square_sandbox.shelf import Copy, Object
from tieline_square_sandbox.shop import Shop
from tieline_square_sandbox.times import DAY, read_time, whole_ms, write_time

__all__ = ["ROUTES", "Ask"]

Ask = Callable[[Shop, Request, str], Object]
"""``(shop, request, id) -> body``; the id is that of the path, if it names one."""

_ONE, _HUNDRED, _THOUSAND = 1, 100, 1000
_MOST_LOCATIONS = 10
_YEAR = 365 * DAY
_DEFAULT_TYPES = frozenset(
    {
        *("ITEM", "CATEGORY", "TAX", "DISCOUNT", "MODIFIER_LIST", "PRICING_RULE", "PRODUCT_SET"),
        *("TIME_PERIOD", "MEASUREMENT_UNIT", "SUBSCRIPTION_PLAN", "ITEM_OPTION"),
        *("CUSTOM_ATTRIBUTE_DEFINITION", "QUICK_AMOUNTS_SETTINGS"),
    }
)


def list_customers(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``GET /v2/customers``."""
    asked = parameters(request.query)
    sort = {"field": asked.get("sort_field"), "order": asked.get("sort_order")}
    query = {"sort": {name: text for name, text in sort.items() if text}}
    limit = _number(asked.get("limit"))
    return _customers(shop, query, limit, asked.get("cursor"))


def search_customers(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``POST /v2/customers/search``; the end of a range is not part of it."""
    body = _some_of(request.json(), {"query", "limit", "cursor"})
    query = _some_of(body.get("query") or {}, {"filter", "sort"})
    return _customers(shop, query, body.get("limit"), body.get("cursor"))


def _customers(shop: Shop, query: Object, limit: Any, cursor: Any) -> Object:
    size = _limit(limit, default=_HUNDRED, most=_HUNDRED)
    sort = _some_of(query.get("sort") or {}, {"field", "order"})
    field = _one_of(sort.get("field", "DEFAULT"), {"DEFAULT", "CREATED_AT"}, "sort.field")
    ranges = _some_of(query.get("filter") or {}, {"created_at", "updated_at"})
    bounds = [
        (name.removesuffix("_at"), *_range(given, "start_at", "end_at"))
        for name, given in ranges.items()
    ]
    found = [
        copy
        for copy in filter(is_listed, shop.customers.indexed())
        if all(
            (start is None or start <= getattr(copy, name))
            and (end is None or getattr(copy, name) < end)
            for name, start, end in bounds
        )
    ]
    return _page(
        shop.pager,
        "customers",
        found,
        {"customers": query},
        cursor=cursor,
        limit=size,
        key=_created if field == "CREATED_AT" else _name,
        is_descending=_is_descending(sort.get("order", "ASC")),
    )


def search_orders(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``POST /v2/orders/search``; both ends of a range are part of it."""
    body = _some_of(request.json(), {"location_ids", "query", "limit", "cursor"})
    places = body.get("location_ids")
    if not places or not isinstance(places, list):
        raise missing_parameter("location_ids")
    if len(places) > _MOST_LOCATIONS:
        detail = f"Array must not contain more than {_MOST_LOCATIONS} elements."
        raise bad_request(detail, "ARRAY_LENGTH_TOO_LONG", "location_ids")
    query = _some_of(body.get("query") or {}, {"filter", "sort"})
    asked = _some_of(query.get("filter") or {}, {"date_time_filter", "state_filter"})
    sort = _some_of(query.get("sort") or {}, {"sort_field", "sort_order"})
    field = _one_of(
        sort.get("sort_field", "CREATED_AT"), {"CREATED_AT", "UPDATED_AT"}, "query.sort.sort_field"
    ).lower()
    dates = _some_of(asked.get("date_time_filter") or {}, {"created_at", "updated_at"})
    if dates and list(dates) != [field]:
        detail = "The sort field must be the field of the date time filter."
        raise bad_request(detail, "BAD_REQUEST", "query.sort.sort_field")
    states = (asked.get("state_filter") or {}).get("states")
    start, end = _range(dates.get(field) or {}, "start_at", "end_at")
    identity = {"orders": query, "at": places}
    began = whole_ms(shop.pager.first_call(identity, body.get("cursor")))
    end = began if end is None else end
    key = _created if field == "created_at" else _updated
    found = [
        copy
        for copy in shop.orders.indexed()
        if copy.value.get("location_id") in places
        and (states is None or copy.value.get("state") in states)
        and (start is None or start <= key(copy))
        and key(copy) <= end
    ]
    return _page(
        shop.pager,
        "orders",
        found,
        identity,
        cursor=body.get("cursor"),
        limit=_limit(body.get("limit"), default=500, most=_THOUSAND),
        key=key,
        is_descending=_is_descending(sort.get("sort_order", "DESC")),
    )


def list_payments(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``GET /v2/payments``: of one location, and of the last year unless told otherwise."""
    asked = _some_of(
        parameters(request.query),
        {
            *("location_id", "begin_time", "end_time", "updated_at_begin_time"),
            *("updated_at_end_time", "sort_field", "sort_order", "limit", "cursor"),
        },
    )
    cursor = asked.pop("cursor", None)
    limit = min(_limit(asked.pop("limit", None), default=_HUNDRED, most=10**9), _HUNDRED)
    place = asked.get("location_id") or shop.seller.merchant["main_location_id"]
    start, end = _range(asked, "begin_time", "end_time")
    now = whole_ms(shop.pager.first_call({"payments": asked}, cursor))
    start = now - _YEAR if start is None else start
    end = now if end is None else end
    changed, until = _range(asked, "updated_at_begin_time", "updated_at_end_time")
    field = _one_of(
        asked.get("sort_field", "CREATED_AT"), {"CREATED_AT", "UPDATED_AT"}, "sort_field"
    )
    found = [
        copy
        for copy in shop.payments.indexed()
        if copy.value.get("location_id") == place
        and start <= copy.created <= end
        and (changed is None or changed <= copy.updated)
        and (until is None or copy.updated <= until)
    ]
    return _page(
        shop.pager,
        "payments",
        found,
        {"payments": asked},
        cursor=cursor,
        limit=limit,
        key=_created if field == "CREATED_AT" else _updated,
        is_descending=_is_descending(asked.get("sort_order", "DESC")),
    )


def list_catalog(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``GET /v2/catalog/list``: never what is deleted."""
    asked = _some_of(parameters(request.query), {"types", "cursor"})
    named = [each.strip().upper() for each in asked.get("types", "").split(",") if each.strip()]
    types = _types(named, "types")
    live = [copy for copy in _goods(shop, types) if not copy.is_deleted]
    identity = {"catalog": sorted(types)}
    return _page(
        shop.pager,
        "objects",
        live,
        identity,
        cursor=asked.get("cursor"),
        limit=_HUNDRED,
        key=_shuffled,
    )


def search_catalog(shop: Shop, request: Request, _id: str) -> Object:
    """Answer ``POST /v2/catalog/search``; ``begin_time`` itself is not part of the answer."""
    names = {"object_types", "include_deleted_objects", "begin_time", "limit", "cursor"}
    body = _some_of(request.json(), names | {"include_category_path_to_root"})
    cursor = body.pop("cursor", None)
    if body.get("include_category_path_to_root") and body.get("include_deleted_objects"):
        detail = "Cannot include the path to root with deleted objects."
        raise bad_request(detail, "CONFLICTING_PARAMETERS", "include_category_path_to_root")
    types = _types(body.get("object_types") or [], "object_types")
    since = read_time(body.get("begin_time"), "begin_time")
    given = body.get("limit")
    limit = given if type(given) is int and _ONE <= given <= _THOUSAND else _HUNDRED
    found = [
        copy
        for copy in _goods(shop, types)
        if (since is None or copy.updated > since)
        and (not copy.is_deleted or body.get("include_deleted_objects"))
    ]
    latest = max((copy.updated for copy in shop.catalog.indexed()), default=shop.now())
    page = _page(
        shop.pager, "objects", found, {"search": body}, cursor=cursor, limit=limit, key=_shuffled
    )
    return page | {"latest_time": write_time(latest)}


def _one(entity: str, item: str) -> Ask:
    def ask(shop: Shop, _request: Request, name: str) -> Object:
        copy = shop.shelf(entity).find(name)
        if copy is None or copy.is_deleted:
            raise not_found(f"{item.title()} with ID `{name}` not found.")
        return {item: copy.value}

    return ask


class ListRoute(NamedTuple):
    """One endpoint."""

    method: str
    path: str
    scope: str
    ask: Ask


_ID = "([^/]+)"
ROUTES = (
    ListRoute("GET", "/v2/customers", "CUSTOMERS_READ", list_customers),
    ListRoute("POST", "/v2/customers/search", "CUSTOMERS_READ", search_customers),
    ListRoute("GET", f"/v2/customers/{_ID}", "CUSTOMERS_READ", _one("customers", "customer")),
    ListRoute("POST", "/v2/orders/search", "ORDERS_READ", search_orders),
    ListRoute("GET", f"/v2/orders/{_ID}", "ORDERS_READ", _one("orders", "order")),
    ListRoute("GET", "/v2/catalog/list", "ITEMS_READ", list_catalog),
    ListRoute("POST", "/v2/catalog/search", "ITEMS_READ", search_catalog),
    ListRoute("GET", f"/v2/catalog/object/{_ID}", "ITEMS_READ", _one("catalog", "object")),
    ListRoute("GET", "/v2/payments", "PAYMENTS_READ", list_payments),
    ListRoute("GET", f"/v2/payments/{_ID}", "PAYMENTS_READ", _one("payments", "payment")),
)
"""The endpoints, each tried in this order."""


def _page(pager: Pager, items: str, found: list[Copy], identity: Object, **asked: Any) -> Object:
    """Write a page: a list that is empty is left out, and an empty answer is ``{}``."""
    values, more = pager.page(identity, found, **asked)
    return ({items: values} if values else {}) | more


def _goods(shop: Shop, types: frozenset[str]) -> list[Copy]:
    return [copy for copy in shop.catalog.indexed() if copy.value.get("type") in types]


def _types(named: list[str], field: str) -> frozenset[str]:
    if odd := set(named) - TYPES:
        raise bad_request(f"{min(odd)!r} is not a type.", "INVALID_ENUM_VALUE", field)
    return frozenset(named) or _DEFAULT_TYPES


def _created(copy: Copy) -> int:
    return copy.created


def _updated(copy: Copy) -> int:
    return copy.updated


def _name(copy: Copy) -> str:
    return f"{copy.value.get('given_name', '')} {copy.value.get('family_name', '')}"


def _shuffled(copy: Copy) -> str:
    """Sort by nothing that callers could rely on."""
    return copy.id[::-1]


def _range(given: Object, first: str, last: str) -> tuple[int | None, int | None]:
    start, end = read_time(given.get(first), first), read_time(given.get(last), last)
    if start is not None and end is not None and start > end:
        raise bad_request("The range ends before it begins.", "INVALID_TIME_RANGE", last)
    return start, end


def _limit(given: Any, *, default: int, most: int) -> int:
    found = default if given is None else _number(given)
    if found is None or found < _ONE:
        raise bad_request("Field must be greater than or equal to 1.", "VALUE_TOO_LOW", "limit")
    if found > most:
        raise bad_request(f"Field must not be greater than {most}.", "VALUE_TOO_HIGH", "limit")
    return found


def _number(given: Any) -> int | None:
    if given is None or type(given) is int:
        return given
    try:
        return int(given)
    except (ValueError, TypeError):
        raise bad_request("Expected an integer.", "EXPECTED_INTEGER", "limit") from None


def _is_descending(order: Any) -> bool:
    return _one_of(order, {"ASC", "DESC"}, "sort_order") == "DESC"


def _one_of(value: Any, known: set[str], field: str) -> str:
    if value not in known:
        raise bad_request(f"{value!r} is not one of the known values.", "INVALID_ENUM_VALUE", field)
    return str(value)


def _some_of(given: Any, names: set[str]) -> Any:
    if not isinstance(given, dict):
        raise bad_request("Expected an object.", "EXPECTED_OBJECT")
    if odd := given.keys() - names:
        raise bad_request(f"The sandbox does not serve {min(odd)!r}.", "BAD_REQUEST")
    return dict(given)
