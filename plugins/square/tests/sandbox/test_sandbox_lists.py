"""Lists and searches: Square's own schema, and the rules of each endpoint."""

from __future__ import annotations

import functools
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data/square-entities.schema.json").read_text("utf-8")
)
RECORDS = {
    "customers": "record_customer",
    "orders": "record_order",
    "catalog": "record_catalog_object",
    "payments": "record_payment",
}
TYPES = SCHEMA["$defs"]["CatalogObjectType"]["x-known-values"]


def closed(schema):
    """Turn known values into the only ones: the sandbox makes none up."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {"enum": schema["x-known-values"]} if "x-known-values" in schema else {}
    return {name: closed(value) for name, value in schema.items()} | known


DEFINITIONS = closed(SCHEMA["$defs"])


@functools.cache
def validator(name):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": DEFINITIONS}
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def check(name, value):
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]


def moment(text):
    return datetime.fromisoformat(text)


def walk(ask, items):
    """Read a list to its end; ``ask(cursor)`` sends a request."""
    found, cursor = [], None
    for _ in range(1000):
        reply = ask(cursor)
        assert reply.status == 200, reply.body
        found.append(reply.json.get(items, []))
        cursor = reply.json.get("cursor")
        if cursor is None:
            return found
    raise AssertionError("it never ends")


def customers(caller, query=None, **given):
    body = {"query": query or {}} | given
    return lambda cursor: caller.post(
        "/v2/customers/search", body | ({"cursor": cursor} if cursor else {})
    )


def places(caller):
    return [each["id"] for each in caller.get("/v2/locations").json["locations"]]


def orders(caller, **given):
    body = {"location_ids": places(caller)} | given
    return lambda cursor: caller.post(
        "/v2/orders/search", body | ({"cursor": cursor} if cursor else {})
    )


def catalog(caller, **given):
    body = {"object_types": TYPES} | given
    return lambda cursor: caller.post(
        "/v2/catalog/search", body | ({"cursor": cursor} if cursor else {})
    )


def listed(caller, path, **query):
    return lambda cursor: caller.get(path, **query, **({"cursor": cursor} if cursor else {}))


def flat(pages):
    return [each for page in pages for each in page]


# --- everything that is served ------------------------------------------------------------------


@pytest.mark.parametrize("account", [0, 1, 2])
@pytest.mark.parametrize("entity", RECORDS)
def test_every_object_is_what_square_s_schema_describes(sandbox, entity, account):
    caller = sandbox(customers=200, orders=200, items=60)
    caller.data(entity, account=account, create=10, update=40, seed=account)
    truth = caller.truth(entity, account=account)
    assert len(truth) > 100
    for value in truth.values():
        check(RECORDS[entity], value)


def test_every_answer_is_what_square_s_schema_describes(sandbox):
    caller = sandbox()
    gone = next(iter(caller.truth("catalog")))
    caller.data("catalog", remove=[gone])
    main = places(caller)[0]
    for name, reply in (
        ("ListCustomersResponse", caller.get("/v2/customers", limit=7)),
        ("SearchCustomersResponse", customers(caller)(None)),
        ("SearchOrdersResponse", orders(caller, limit=7)(None)),
        ("ListCatalogResponse", caller.get("/v2/catalog/list", types=",".join(TYPES))),
        ("SearchCatalogObjectsResponse", catalog(caller, include_deleted_objects=True)(None)),
        ("ListPaymentsResponse", caller.get("/v2/payments", location_id=main)),
    ):
        assert reply.status == 200
        check(name, reply.json)
    for entity, path, name in (
        ("customers", "/v2/customers/", "RetrieveCustomerResponse"),
        ("orders", "/v2/orders/", "RetrieveOrderResponse"),
        ("catalog", "/v2/catalog/object/", "RetrieveCatalogObjectResponse"),
        ("payments", "/v2/payments/", "GetPaymentResponse"),
    ):
        key, value = next(iter(caller.truth(entity).items()))
        reply = caller.get(path + key)
        check(name, reply.json)
        assert list(reply.json.values()) == [value]
        lost = caller.get(f"{path}NOBODY")
        assert (lost.status, lost.code) == (404, "NOT_FOUND")
        check("ErrorBody", lost.json)


def test_the_data_has_the_awkward_forms_of_square_s(sandbox):
    caller = sandbox(customers=200, orders=200)
    people, sales = caller.truth("customers").values(), caller.truth("orders").values()
    paid = caller.truth("payments").values()
    assert {len(each["updated_at"]) for each in people} >= {20, 24, 29, 30}
    assert any(each.get("birthday", "").startswith("0000-") for each in people)
    assert any("address" not in each for each in people)
    assert {each["state"] for each in sales} == {"OPEN", "COMPLETED", "CANCELED"}
    assert any("version" not in each for each in sales)
    assert any(each["net_amounts"]["total_money"]["amount"] < 0 for each in sales)
    assert {each["status"] for each in paid} == {"COMPLETED", "FAILED"}
    assert any(each.get("is_offline_payment") for each in paid)
    assert len({each["location_id"] for each in paid}) == 2
    yen = caller.truth("orders", account=2).values()
    assert {each["total_money"]["currency"] for each in yen} == {"JPY"}


@pytest.mark.parametrize("entity", RECORDS)
def test_many_objects_share_one_instant(sandbox, entity):
    caller = sandbox(customers=200, orders=200, items=200)
    times = [moment(each["updated_at"]) for each in caller.truth(entity).values()]
    assert max(map(times.count, times)) > 100


def test_an_empty_shop_answers_with_nothing_at_all(sandbox):
    caller = sandbox(customers=0, orders=0, items=0)
    assert caller.get("/v2/customers").json == {}
    assert customers(caller)(None).json == {}
    assert orders(caller)(None).json == {}
    assert caller.get("/v2/payments").json == {}
    assert caller.get("/v2/catalog/list").json == {}
    assert catalog(caller)(None).json.keys() == {"latest_time"}


def test_each_right_opens_its_own_lists(sandbox):
    caller = sandbox()
    token = caller.grant(scopes="ORDERS_READ")["access_token"]
    for path in ("/v2/customers", "/v2/catalog/list", "/v2/payments"):
        reply = caller.get(path, token=token)
        assert (reply.status, reply.code) == (403, "INSUFFICIENT_SCOPES")
    body = {"location_ids": places(caller)}
    assert caller.post("/v2/orders/search", body, token=token).status == 200


# --- cursors ------------------------------------------------------------------------------------


def test_a_walk_meets_every_object_once(sandbox):
    caller = sandbox(customers=230, orders=230, items=80)
    people = walk(listed(caller, "/v2/customers", limit=50), "customers")
    assert [len(page) for page in people[:-1]] == [50] * (len(people) - 1)
    goods = walk(listed(caller, "/v2/catalog/list", types=",".join(TYPES)), "objects")
    sales = walk(orders(caller, limit=50), "orders")
    for pages, entity in ((people, "customers"), (goods, "catalog"), (sales, "orders")):
        ids = [each["id"] for each in flat(pages)]
        assert len(pages) > 1
        assert len(ids) == len(set(ids))
        assert set(ids) == caller.truth(entity).keys()


def test_pages_may_be_short_or_empty_and_still_not_the_last(sandbox):
    caller = sandbox(customers=230, odd_pages=3)
    pages = walk(listed(caller, "/v2/customers", limit=20), "customers")
    assert [] in pages[:-1]
    assert {each["id"] for each in flat(pages)} == caller.truth("customers").keys()


def test_a_cursor_belongs_to_its_query_and_lives_for_fifteen_minutes(sandbox):
    caller = sandbox(customers=230)
    cursor = caller.get("/v2/customers", sort_field="CREATED_AT").json["cursor"]
    for reply in (
        caller.get("/v2/customers", cursor=cursor),
        caller.get("/v2/customers", cursor="made up"),
        customers(caller)(cursor),
    ):
        assert (reply.status, reply.code) == (400, "INVALID_CURSOR")
    caller.pass_time(seconds=899)
    following = caller.get("/v2/customers", sort_field="CREATED_AT", cursor=cursor)
    assert following.status == 200
    caller.pass_time(seconds=899)  # renewed by each call
    cursor = following.json["cursor"]
    assert caller.get("/v2/customers", sort_field="CREATED_AT", cursor=cursor).status == 200
    caller.pass_time(seconds=900)
    dead = caller.get("/v2/customers", sort_field="CREATED_AT", cursor=cursor)
    assert (dead.status, dead.code) == (400, "INVALID_CURSOR")


# --- customers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 101, -1, "many"])
def test_a_customer_page_has_one_to_a_hundred(sandbox, limit):
    caller = sandbox()
    assert caller.get("/v2/customers", limit=limit).status == 400
    assert customers(caller, limit=limit)(None).status == 400


def test_a_bare_profile_is_in_no_list_and_still_there(sandbox):
    caller = sandbox(customers=30)
    shown = {each["id"] for each in flat(walk(listed(caller, "/v2/customers"), "customers"))}
    hidden = [f"{max(shown)[:-9]}{number:09}" for number in (5, 18)]
    assert not shown & set(hidden)
    for key in hidden:
        assert caller.get(f"/v2/customers/{key}").status == 200


@pytest.mark.parametrize("field", ["created_at", "updated_at"])
def test_a_range_of_customers_has_its_start_and_not_its_end(sandbox, field):
    caller = sandbox(customers=60)
    times = {moment(each[field]) for each in caller.truth("customers").values()}
    first, *_, last = sorted(times)
    bounds = {"start_at": first.isoformat(), "end_at": last.isoformat()}
    found = flat(walk(customers(caller, {"filter": {field: bounds}}), "customers"))
    assert {moment(each[field]) for each in found} == times - {last}


def test_customers_are_sorted_by_name_or_creation_and_by_nothing_else(sandbox):
    caller = sandbox(customers=60)
    query = {"sort": {"field": "CREATED_AT", "order": "DESC"}}
    found = flat(walk(customers(caller, query), "customers"))
    times = [moment(each["created_at"]) for each in found]
    assert times == sorted(times, reverse=True)
    odd = customers(caller, {"sort": {"field": "UPDATED_AT"}})(None)
    assert (odd.status, odd.code) == (400, "INVALID_ENUM_VALUE")


def test_the_index_lags_behind_and_an_object_by_its_id_does_not(sandbox):
    caller = sandbox(customers=10, index_delay_s=30)
    key = min(caller.truth("customers"))
    caller.data("customers", alter={key: {"note": "new"}}, create=1)

    def notes():
        found = flat(walk(customers(caller), "customers"))
        return len(found), [each["note"] for each in found if "note" in each]

    before = notes()
    assert caller.get(f"/v2/customers/{key}").json["customer"]["note"] == "new"
    assert before[1] == []
    caller.pass_time(seconds=30)
    assert notes() == (before[0] + 1, ["new"])


def test_membership_of_a_segment_moves_neither_version_nor_time(sandbox):
    caller = sandbox(customers=3)
    key, before = next(iter(caller.truth("customers").items()))
    caller.pass_time(seconds=60)
    caller.data("customers", alter={key: {"segment_ids": ["S1"]}})
    assert caller.truth("customers")[key] == before | {"segment_ids": ["S1"]}
    caller.data("customers", alter={key: {"note": "x"}})
    assert caller.truth("customers")[key]["version"] == before["version"] + 1


# --- orders -------------------------------------------------------------------------------------

DATES = {"start_at": "2020-01-01T00:00:00Z"}
BAD_SEARCHES = {
    "no location": ({"location_ids": []}, "MISSING_REQUIRED_PARAMETER"),
    "eleven locations": ({"location_ids": ["L"] * 11}, "ARRAY_LENGTH_TOO_LONG"),
    "sorted by another field": (
        {"query": {"filter": {"date_time_filter": {"updated_at": DATES}}}},
        "BAD_REQUEST",
    ),
    "two dates": (
        {"query": {"filter": {"date_time_filter": {"updated_at": DATES, "created_at": DATES}}}},
        "BAD_REQUEST",
    ),
    "page too large": ({"limit": 1001}, "VALUE_TOO_HIGH"),
    "no time": (
        {"query": {"filter": {"date_time_filter": {"created_at": {"start_at": "noon"}}}}},
        "INVALID_TIME",
    ),
    "backwards": (
        {"query": {"filter": {"date_time_filter": {
            "created_at": {"start_at": "2026-01-02T00:00:00Z", "end_at": "2026-01-01T00:00:00Z"}
        }}}},
        "INVALID_TIME_RANGE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SEARCHES.values(), ids=list(BAD_SEARCHES))
def test_a_search_for_orders_that_square_refuses_is_refused(sandbox, case):
    given, code = case
    reply = orders(sandbox(), **given)(None)
    assert (reply.status, reply.code) == (400, code)


def test_a_range_of_orders_has_both_its_ends(sandbox):
    caller = sandbox(orders=60)
    times = sorted({moment(each["updated_at"]) for each in caller.truth("orders").values()})
    bounds = {"start_at": times[3].isoformat(), "end_at": times[-3].isoformat()}
    query = {
        "filter": {"date_time_filter": {"updated_at": bounds}},
        "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
    }
    found = flat(walk(orders(caller, query=query), "orders"))
    assert [moment(each["updated_at"]) for each in found][:: len(found) - 1] == [
        times[3],
        times[-3],
    ]


def test_without_an_end_orders_are_those_up_to_the_first_call(sandbox):
    caller = sandbox(orders=60)
    query = {"sort": {"sort_field": "CREATED_AT", "sort_order": "ASC"}}
    ask = orders(caller, query=query, limit=40)
    cursor = ask(None).json["cursor"]
    caller.pass_time(seconds=10)
    caller.data("orders", create=5)
    assert len(ask(cursor).json["orders"]) == 20


# --- the catalog --------------------------------------------------------------------------------


def test_nested_types_come_only_when_they_are_named(sandbox):
    caller = sandbox()
    found = flat(walk(listed(caller, "/v2/catalog/list"), "objects"))
    assert {"ITEM_VARIATION", "MODIFIER", "IMAGE"}.isdisjoint(each["type"] for each in found)
    named = flat(walk(listed(caller, "/v2/catalog/list", types="item_variation"), "objects"))
    assert {each["type"] for each in named} == {"ITEM_VARIATION"}
    assert caller.get("/v2/catalog/list", types="HOLOGRAM").code == "INVALID_ENUM_VALUE"


def test_what_changes_inside_an_object_changes_the_object(sandbox):
    caller = sandbox(items=5)
    before = caller.truth("catalog")
    variation = next(each for each in before.values() if each["type"] == "ITEM_VARIATION")
    item = variation["item_variation_data"]["item_id"]
    caller.pass_time(seconds=60)
    renamed = {"item_variation_data": {"name": "Huge"}}
    caller.data("catalog", alter={variation["id"]: renamed})
    after = caller.truth("catalog")
    nested = after[item]["item_data"]["variations"]
    assert nested[0] == after[variation["id"]]
    assert nested[0]["item_variation_data"]["name"] == "Huge"
    assert nested[0]["item_variation_data"]["sku"] == variation["item_variation_data"]["sku"]
    assert after[item]["version"] > before[item]["version"]


def test_a_deleted_object_is_a_tombstone_in_searches_that_ask_for_it(sandbox):
    caller = sandbox(items=5)
    item = next(each for each in caller.truth("catalog").values() if each["type"] == "ITEM")
    family = {item["id"], *(each["id"] for each in item["item_data"]["variations"])}
    caller.pass_time(seconds=60)
    done = caller.data("catalog", remove=[item["id"]])
    assert done["deleted"] == [item["id"]]
    everything = flat(walk(catalog(caller, include_deleted_objects=True), "objects"))
    gone = [each for each in everything if each["is_deleted"]]
    assert {each["id"] for each in gone} == family
    for each in gone:
        check("record_catalog_object", each)
        assert "item_data" not in each
    assert family.isdisjoint(each["id"] for each in flat(walk(catalog(caller), "objects")))
    assert family.isdisjoint(caller.truth("catalog"))
    assert caller.get(f"/v2/catalog/object/{item['id']}").status == 404


def test_the_begin_time_of_a_catalog_search_is_not_part_of_it(sandbox):
    caller = sandbox(items=5)
    caller.pass_time(seconds=60)
    key = next(iter(caller.truth("catalog")))
    caller.data("catalog", alter={key: {"present_at_all_locations": False}})
    latest = catalog(caller)(None).json["latest_time"]
    assert catalog(caller, begin_time=latest)(None).json == {"latest_time": latest}
    before = (moment(latest) - timedelta(milliseconds=1)).isoformat()
    assert [each["id"] for each in catalog(caller, begin_time=before)(None).json["objects"]] == [
        key
    ]


def test_a_path_to_the_root_and_deleted_objects_exclude_each_other(sandbox):
    given = {"include_category_path_to_root": True, "include_deleted_objects": True}
    assert catalog(sandbox(), **given)(None).code == "CONFLICTING_PARAMETERS"


# --- payments -----------------------------------------------------------------------------------


def test_payments_are_of_the_main_location_and_of_the_last_year_unless_asked(sandbox):
    caller = sandbox(orders=300)
    main, other = places(caller)
    shown = flat(walk(listed(caller, "/v2/payments"), "payments"))
    assert {each["location_id"] for each in shown} == {main}
    old = {"begin_time": "2009-01-01T00:00:00Z"}
    everything = [
        each
        for place in (main, other)
        for each in flat(walk(listed(caller, "/v2/payments", location_id=place, **old), "payments"))
    ]
    assert len(shown) < len(everything) == len(caller.truth("payments"))
    changed = {"updated_at_begin_time": "2009-01-01T00:00:00Z"}
    assert flat(walk(listed(caller, "/v2/payments", **changed), "payments")) == shown


def test_a_page_of_payments_is_cut_at_a_hundred_without_a_word(sandbox):
    caller = sandbox(orders=300)
    asked = {"limit": 500, "begin_time": "2009-01-01T00:00:00Z"}
    assert len(caller.get("/v2/payments", **asked).json["payments"]) == 100


def test_payments_are_in_the_order_that_is_asked_for(sandbox):
    caller = sandbox()
    for field, order in (("created_at", "ASC"), ("updated_at", "DESC")):
        asked = {"sort_field": field.upper(), "sort_order": order, "begin_time": DATES["start_at"]}
        found = flat(walk(listed(caller, "/v2/payments", **asked), "payments"))
        times = [moment(each[field]) for each in found]
        assert len(times) > 1
        assert times == sorted(times, reverse=order == "DESC")
