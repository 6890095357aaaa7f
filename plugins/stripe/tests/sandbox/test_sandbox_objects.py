"""Products, subscriptions and charges: valid, listed as Stripe lists them, changed with events."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tieline_stripe_sandbox.clock import BASE
from tieline_stripe_sandbox.shelf import SAME_SECOND, official
from tieline_stripe_sandbox.subscriptions import STATUSES

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "stripe-objects.schema.json").read_text("utf-8")
)
KINDS = {"products": "product", "subscriptions": "subscription", "charges": "charge"}


@functools.cache
def validator(name: str) -> Draft202012Validator:
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return Draft202012Validator(schema)


def check(name: str, value: Any) -> None:
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]


def read_all(caller: Any, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = caller.get(path, **{"limit": 100, **query}).json
        found += page["data"]
        if not page["has_more"]:
            return found
        query["starting_after"] = found[-1]["id"]


def happened(caller: Any, **query: Any) -> list[dict[str, Any]]:
    """Return the events since the start, oldest first."""
    return read_all(caller, "/v1/events", **{"created[gte]": BASE, **query})[::-1]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("entity", KINDS)
def test_every_object_is_valid_and_has_the_official_fields(
    sandbox: Any, entity: str, seed: int
) -> None:
    query = {"status": "all"} if entity == "subscriptions" else {}
    caller = sandbox(customers=9, seed=seed, **{entity: 300})
    check(f"list_{KINDS[entity]}", caller.get(f"/v1/{entity}", limit=100, **query).json)
    found = read_all(caller, f"/v1/{entity}", **query)
    assert len(found) == 300 - (entity == "subscriptions")  # one is of a test clock
    fields = official(KINDS[entity]).keys() - {"refunds", "source"}
    for each in found:
        check(KINDS[entity], each)
        assert each.keys() >= fields
        assert caller.get(f"/v1/{entity}/{each['id']}").json == each


@pytest.mark.parametrize("entity", KINDS)
def test_the_same_seed_gives_the_same_objects_and_another_seed_others(
    sandbox: Any, entity: str
) -> None:
    one, same = sandbox(customers=5), sandbox(customers=5)
    other = sandbox(customers=5, seed=2)
    assert one.truth(entity=entity) == same.truth(entity=entity)
    ids = [{line["id"] for line in caller.truth(entity=entity)} for caller in (one, other)]
    shared = ids[0] & ids[1]
    assert all(name.startswith("SKU ") for name in shared)  # those their merchants chose


@pytest.mark.parametrize("entity", KINDS)
def test_lists_are_newest_first_and_a_second_may_hold_more_than_a_page(
    sandbox: Any, entity: str
) -> None:
    caller = sandbox(customers=5, **{entity: 300})
    query = {"status": "all"} if entity == "subscriptions" else {}
    times = [each["created"] for each in read_all(caller, f"/v1/{entity}", **query)]
    assert times == sorted(times, reverse=True)
    second, count = Counter(times).most_common(1)[0]
    assert count == len(SAME_SECOND)
    in_it = read_all(caller, f"/v1/{entity}", created=second, **query)
    assert len({each["id"] for each in in_it}) == len(SAME_SECOND)


def test_what_exists_from_the_start_is_older_than_the_log(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    for entity in KINDS:
        assert all(
            line["object"]["created"] < BASE - 30 * 86400 for line in caller.truth(entity=entity)
        )
    assert happened(caller) == []


def test_cancelled_subscriptions_are_listed_only_when_asked_for(sandbox: Any) -> None:
    caller = sandbox(customers=9, subscriptions=80)
    shown = Counter(each["status"] for each in read_all(caller, "/v1/subscriptions"))
    assert set(shown) == set(STATUSES) - {"canceled"}
    everything = read_all(caller, "/v1/subscriptions", status="all")
    for status in STATUSES:
        found = read_all(caller, "/v1/subscriptions", status=status)
        assert found == [each for each in everything if each["status"] == status]
    ended = {each["status"] for each in read_all(caller, "/v1/subscriptions", status="ended")}
    assert ended == {"canceled", "incomplete_expired"}
    assert caller.get("/v1/subscriptions", status="cancelled").error["param"] == "status"


def test_subscriptions_of_a_test_clock_are_in_no_list_that_does_not_name_it(sandbox: Any) -> None:
    caller = sandbox(customers=9, subscriptions=20)
    everything = read_all(caller, "/v1/subscriptions", status="all")
    assert len(everything) == 19
    assert all(each["test_clock"] is None for each in everything)
    on_clock = caller.get("/v1/subscriptions", status="all", test_clock="clock_1Tie8").json
    [hidden] = on_clock["data"]
    assert caller.get(f"/v1/subscriptions/{hidden['id']}").json == hidden


@pytest.mark.parametrize(("index", "count"), [(5, 25), (6, 11), (7, 10)])
def test_items_end_after_ten_and_the_rest_is_elsewhere(
    sandbox: Any, index: int, count: int
) -> None:
    caller = sandbox(customers=9, subscriptions=20)
    line = caller.truth(entity="subscriptions")[index]
    shown = caller.get(f"/v1/subscriptions/{line['id']}").json["items"]
    assert shown["has_more"] is (count > 10)
    everything = read_all(caller, "/v1/subscription_items", subscription=line["id"], limit=7)
    assert len(everything) == count
    assert everything == line["object"]["items"]["data"]
    assert shown["data"] == everything[:10]
    for item in everything:
        check("subscription_item", item)


def test_items_are_refused_without_their_subscription(sandbox: Any) -> None:
    caller = sandbox(customers=9)
    assert caller.get("/v1/subscription_items").error["code"] == "parameter_missing"
    reply = caller.get("/v1/subscription_items", subscription="sub_none")
    assert (reply.status, reply.error["code"]) == (400, "resource_missing")


def test_archived_products_are_listed_and_can_be_left_out(sandbox: Any) -> None:
    caller = sandbox(customers=1, products=40)
    everything = read_all(caller, "/v1/products")
    assert {each["active"] for each in everything} == {True, False}
    active = read_all(caller, "/v1/products", active="true")
    assert active == [each for each in everything if each["active"]]
    asked = [everything[3]["id"], everything[9]["id"], "prod_none"]
    found = caller.get("/v1/products", **{"ids[]": asked}).json["data"]
    assert [each["id"] for each in found] == [everything[3]["id"], everything[9]["id"]]
    both = caller.get("/v1/products", starting_after=asked[0], **{"ids[]": asked})
    assert both.error["param"] == "ids"


def test_merchants_choose_ids_of_products(sandbox: Any) -> None:
    caller = sandbox(customers=1, products=40)
    own = [each["id"] for each in read_all(caller, "/v1/products") if each["id"][:5] != "prod_"]
    assert len(own) == 4
    assert any(" " in name for name in own)


def test_charges_are_of_many_kinds(sandbox: Any) -> None:
    charges = read_all(sandbox(customers=5, charges=400), "/v1/charges")
    assert {each["status"] for each in charges} == {"succeeded", "pending", "failed"}
    assert {each["currency"] for each in charges} >= {"usd", "jpy", "kwd", "isk", "mga"}
    assert {each["id"][:3] for each in charges} == {"ch_", "py_"}
    partly = [each for each in charges if 0 < each["amount_refunded"] < each["amount"]]
    assert partly
    assert not any(each["refunded"] for each in partly)
    assert any(each["status"] == "succeeded" and not each["captured"] for each in charges)
    assert any(each["failure_code"] for each in charges)
    assert all("refunds" not in each for each in charges)


def test_charges_can_be_filtered(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    one = next(each for each in read_all(caller, "/v1/charges") if each["customer"])
    for name in ("customer", "payment_intent"):
        found = read_all(caller, "/v1/charges", **{name: one[name]})
        assert one in found
        assert {each[name] for each in found} == {one[name]}


@pytest.mark.parametrize("path", ["/v1/products", "/v1/subscriptions", "/v1/charges"])
def test_what_a_list_does_not_take_is_refused(sandbox: Any, path: str) -> None:
    caller = sandbox(customers=1)
    assert caller.get(path, email="a@example.com").error["code"] == "parameter_unknown"
    assert caller.get(path, limit=101).error["param"] == "limit"
    missing = caller.get(path, starting_after="x_none")
    assert (missing.status, missing.error["param"]) == (400, "starting_after")
    assert caller.get(f"{path}/x_none").status == 404


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("rk_test_a_nocharges", "/v1/charges"),
        ("rk_test_a_nosubscriptions", "/v1/subscription_items"),
        ("rk_test_a_noread", "/v1/products"),
    ],
)
def test_each_right_is_of_its_own(sandbox: Any, key: str, path: str) -> None:
    caller = sandbox(customers=1)
    assert caller.ask("GET", path, key=key).status == 403
    if "noread" not in key:
        assert caller.ask("GET", "/v1/products", key=key).status == 200


@pytest.mark.parametrize("entity", KINDS)
def test_mutations_are_told_by_valid_events_that_hold_the_object(sandbox: Any, entity: str) -> None:
    caller = sandbox(customers=9)
    delete = 0 if entity == "charges" else 10
    given = {"entity": entity, "create": 10, "update": 40, "delete": delete, "seed": 3}
    done = caller.order("mutate", given)
    assert [len(done[name]) for name in ("created", "updated", "deleted")] == [10, 40, delete]
    events = happened(caller)
    check("list_event", caller.get("/v1/events", limit=100).json)
    last: dict[str, Any] = {}
    for event in events:
        check("event", event)
        found = event["data"]["object"]
        check(found["object"], found) if found["object"] != "dispute" else None
        if found["object"] == KINDS[entity]:
            last[found["id"]] = found
    for name, found in last.items():
        reply = caller.get(f"/v1/{entity}/{name}")
        told_by_others = {"amount_refunded": 0, "refunded": False, "disputed": False}
        ours, theirs = found | told_by_others, reply.json | told_by_others
        assert (
            reply.status == 404
            if entity == "products" and name in done["deleted"]
            else (ours == theirs)
        )


def test_cancelling_is_told_as_a_deletion_and_leaves_the_subscription(sandbox: Any) -> None:
    caller = sandbox(customers=9)
    [name] = caller.order("mutate", {"entity": "subscriptions", "delete": 1, "seed": 9})["deleted"]
    [event] = happened(caller)
    assert event["type"] == "customer.subscription.deleted"
    assert event["data"]["object"]["status"] == "canceled"
    assert caller.get(f"/v1/subscriptions/{name}").json == event["data"]["object"]


def test_a_deleted_customer_s_subscriptions_are_cancelled(sandbox: Any) -> None:
    caller = sandbox(customers=3, subscriptions=30)
    customer = caller.truth()[0]["id"]
    running = caller.get("/v1/subscriptions", customer=customer, limit=100)
    caller.delete(f"/v1/customers/{customer}")
    for each in read_all(caller, "/v1/subscriptions", status="all", customer=customer):
        assert each["ended_at"] is not None
    kinds = [event["type"] for event in happened(caller)]
    assert kinds[-1] == "customer.deleted"
    assert set(kinds[:-1]) == {"customer.subscription.deleted"}
    assert len(kinds) - 1 == len([s for s in running.json["data"] if not s["ended_at"]])


def test_disputes_and_failed_refunds_are_told_by_no_event_of_the_charge(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    caller.order("mutate", {"entity": "charges", "update": 300, "seed": 1})
    by_kind = {event["type"]: event for event in happened(caller)}
    assert {"charge.dispute.created", "refund.failed", "charge.refund.updated"} <= set(by_kind)
    for kind, thing in {"charge.dispute.created": "dispute", "refund.failed": "refund"}.items():
        found = by_kind[kind]["data"]["object"]
        assert found["object"] == thing
        assert caller.get(f"/v1/charges/{found['charge']}").status == 200


def test_orders_make_change_and_delete_one_object(sandbox: Any) -> None:
    caller = sandbox(customers=5, products=5)
    given = {"entity": "products", "fields": {"id": "my-own", "name": "Own"}}
    assert caller.order("objects", given) == {"id": "my-own"}
    caller.order("clock", {"advance_s": 10})
    caller.order("objects", {"entity": "products", "id": "my-own", "fields": {"name": "Other"}})
    found = caller.get("/v1/products/my-own").json
    assert found["name"] == "Other"
    assert found["updated"] > found["created"]
    silent = {"entity": "products", "id": "my-own", "fields": {"name": "Silent"}, "event": None}
    caller.order("objects", silent)
    caller.order("objects", {"entity": "products", "id": "my-own", "delete": True})
    assert caller.get("/v1/products/my-own").status == 404
    kinds = [event["type"] for event in happened(caller)]
    assert kinds == ["product.created", "product.updated", "product.deleted"]


@pytest.mark.parametrize(
    "given",
    [
        {"entity": "prices"},
        {"entity": "products", "id": "none"},
        {"entity": "products", "colour": 1},
        {"fields": {}},
        {"entity": "customers", "id": "cus_none"},
        {"entity": "charges", "id": "FIRST", "delete": True},
        [],
    ],
)
def test_orders_that_make_no_sense_are_refused(sandbox: Any, given: Any) -> None:
    caller = sandbox(customers=5)
    if isinstance(given, dict) and given.get("id") == "FIRST":
        given = given | {"id": caller.truth(entity="charges")[0]["id"]}
    reply = caller.ask("POST", "/_sandbox/objects", body=json.dumps(given).encode())
    assert reply.status == 400
    assert (
        caller.ask("POST", "/_sandbox/mutate", body=b'{"entity": "x", "create": 1}').status == 400
    )
