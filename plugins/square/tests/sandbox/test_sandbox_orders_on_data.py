"""What the sandbox's sellers can be told to change."""

from __future__ import annotations

import pytest

import tieline_square_sandbox
from tieline_square_sandbox.shop import ENTITIES


def test_what_is_planted_is_served_as_it_is(sandbox):
    caller = sandbox(customers=0)
    odd = {"id": "ODD", "email_address": 5, "created_at": "noon"}
    nameless = {"given_name": "Nobody"}
    assert caller.data("customers", plant=[odd, nameless])["created"] == ["ODD", "?1"]
    assert caller.get("/v2/customers").json["customers"] == [odd, nameless]
    assert caller.get("/v2/customers/ODD").json == {"customer": odd}


def test_customers_are_merged_into_a_new_one(sandbox):
    caller = sandbox(customers=10)
    one, two, *rest = sorted(caller.truth("customers"))
    done = caller.data("customers", merge=[one, two])
    assert done["deleted"] == [one, two]
    [merged] = done["created"]
    assert caller.truth("customers").keys() == {*rest, merged}
    assert caller.truth("customers")[merged]["creation_source"] == "MERGE"
    assert caller.get(f"/v2/customers/{one}").status == 404


def test_bustle_is_the_same_for_the_same_seed(sandbox):
    def made(seed):
        caller = sandbox(customers=30)
        done = caller.data("customers", create=3, update=5, delete=2, seed=seed)
        return done, caller.truth("customers")

    done, truth = made(1)
    assert (done, truth) == made(1) != made(2)
    assert [len(ids) for ids in done.values()] == [3, 5, 2]


@pytest.mark.parametrize("entity", ["orders", "payments"])
def test_orders_and_payments_are_never_deleted(sandbox, entity):
    caller = sandbox()
    key = next(iter(caller.truth(entity)))
    for given in ({"delete": 1}, {"remove": [key]}):
        reply = caller.post("/_sandbox/data", {"entity": entity} | given)
        assert (reply.status, list(reply.json)) == (400, ["error"])


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"entity": "invoices"},
        {"entity": "customers", "odd": 1},
        {"entity": "customers", "create": -1},
        {"entity": "customers", "update": True},
        {"entity": "customers", "account": 9},
        {"entity": "customers", "remove": ["nobody"]},
        {"entity": "customers", "alter": {"nobody": {}}},
        {"entity": "customers", "merge": ["nobody"]},
    ],
    ids=str,
)
def test_an_order_that_makes_no_sense_is_answered_with_400(sandbox, given):
    reply = sandbox().post("/_sandbox/data", given)
    assert (reply.status, list(reply.json)) == (400, ["error"])


def test_a_fault_can_change_the_data_between_two_pages(sandbox):
    caller = sandbox(customers=30)
    order = {"entity": "customers", "create": 1}
    fault = {"kind": "mutate", "path": "/v2/customers", "nth": 2, "order": order}
    caller.order("faults", [fault])
    cursor = caller.get("/v2/customers", limit=10).json["cursor"]
    before = len(caller.truth("customers"))
    caller.get("/v2/customers", limit=10, cursor=cursor)
    assert len(caller.truth("customers")) == before + 1
    reply = caller.post("/_sandbox/faults", [fault | {"order": {"entity": "x"}}])
    assert reply.status == 400


def test_sellers_and_their_data_are_their_own(sandbox):
    caller = sandbox(customers=10)
    assert caller.truth("customers").keys().isdisjoint(caller.truth("customers", account=1))
    before = caller.truth("customers")
    caller.data("customers", account=1, create=3)
    assert caller.truth("customers") == before
    reply = caller.get("/_sandbox/truth", entity="invoices")
    assert reply.status == 400


@pytest.mark.parametrize("option", ["customers", "orders", "items", "odd_pages"])
def test_amounts_below_nothing_are_refused(sandbox, option):
    with pytest.raises(ValueError, match=option):
        sandbox(**{option: -1})


def test_a_seller_can_have_many_locations(sandbox):
    caller = sandbox(locations=25)
    locations = caller.get("/v2/locations").json["locations"]
    assert len({each["id"] for each in locations}) == 25
    assert {each["status"] for each in locations} == {"ACTIVE", "INACTIVE"}
    with pytest.raises(ValueError, match="locations"):
        sandbox(locations=100)


def test_what_can_be_changed_is_documented():
    text = tieline_square_sandbox.__doc__
    words = ("/_sandbox/data", "/_sandbox/truth", "plant", "alter", "remove", "merge", *ENTITIES)
    assert [word for word in words if word not in text] == []
