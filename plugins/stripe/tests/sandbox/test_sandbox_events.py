"""The event log."""

from __future__ import annotations

from typing import Any

import pytest

from tieline_stripe_sandbox.clock import BASE

DAY_S = 86400


def all_events(caller: Any, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = caller.get("/v1/events", limit=100, **query).json
        found += page["data"]
        if not page["has_more"]:
            return found
        query["starting_after"] = found[-1]["id"]


def test_customers_of_the_last_thirty_days_have_their_event(sandbox: Any) -> None:
    caller = sandbox(customers=2000)
    events = all_events(caller)
    now = caller.get("/_sandbox/clock").json["now"]
    young = [line["object"] for line in caller.truth()][::-1]
    young = [one for one in young if one["created"] > now - 30 * DAY_S]
    assert [event["data"]["object"] for event in events] == young
    assert [event["created"] for event in events] == [one["created"] for one in young]
    assert {event["type"] for event in events} == {"customer.created"}


def test_every_change_writes_an_event(sandbox: Any) -> None:
    caller = sandbox(customers=50, edge_cases=False, subscriptions=0)
    seeded = len(all_events(caller))
    done = caller.order("mutate", {"create": 5, "update": 6, "delete": 7})
    events = all_events(caller)[: 5 + 6 + 7]
    assert len(all_events(caller)) == seeded + 18
    touched = [event["data"]["object"]["id"] for event in events[::-1]]
    assert touched == done["created"] + done["updated"] + done["deleted"]
    assert {event["api_version"] for event in events} == {"2026-10-28.endive"}


def test_an_update_names_the_old_values(sandbox: Any) -> None:
    caller = sandbox(customers=20)
    line = caller.truth()[15]
    new = caller.post(f"/v1/customers/{line['id']}", {"name": "New", "metadata[x]": "1"}).json
    data = all_events(caller)[0]["data"]
    assert data["object"] == new
    old = {"name": line["object"]["name"], "metadata": {"x": None}}
    assert data["previous_attributes"] == old


def test_an_update_without_a_change_writes_nothing(sandbox: Any) -> None:
    caller = sandbox(customers=20)
    line = caller.truth()[3]
    before = len(all_events(caller))
    caller.post(f"/v1/customers/{line['id']}", {"name": line["object"]["name"]})
    assert len(all_events(caller)) == before


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ({"type": "customer.deleted"}, {"customer.deleted"}),
        ({"type": "customer.*"}, {"customer.created", "customer.updated", "customer.deleted"}),
        ({"type": "*"}, {"customer.created", "customer.updated", "customer.deleted"}),
        ({"type": "product.*"}, set()),
        (
            {"types[]": ["customer.created", "customer.deleted"]},
            {"customer.created", "customer.deleted"},
        ),
        ({"types[0]": "customer.updated"}, {"customer.updated"}),
        ({"types[]": "customer.*"}, set()),
        ({"delivery_success": "false"}, set()),
    ],
)
def test_types(sandbox: Any, query: dict[str, Any], kinds: set[str]) -> None:
    caller = sandbox(customers=500, subscriptions=0)
    caller.order("mutate", {"create": 3, "update": 3, "delete": 3})
    assert {event["type"] for event in all_events(caller, **query)} == kinds


@pytest.mark.parametrize(
    "query",
    [
        {"type": "customer.created", "types[]": "customer.created"},
        {"types[]": [f"customer.{number}" for number in range(21)]},
        {"type": "cus*tomer.*"},
        {"starting_after": "evt_unknown"},
        {"customer": "cus_x"},
    ],
)
def test_bad_queries(sandbox: Any, query: dict[str, Any]) -> None:
    assert sandbox(customers=1).get("/v1/events", **query).status == 400


def test_both_directions_and_created(sandbox: Any) -> None:
    caller = sandbox(customers=2000)
    caller.order("clock", {"advance_s": DAY_S})
    caller.order("mutate", {"update": 40})
    names = [event["id"] for event in all_events(caller)]
    page = caller.get("/v1/events", limit=7, ending_before=names[20])
    assert page.ids == names[13:20]
    assert page.json["has_more"] is True
    assert len(all_events(caller, **{"created[gte]": BASE})) == 40
    assert len(all_events(caller, **{"created[lt]": BASE})) == len(names) - 40


def test_events_vanish_after_thirty_days(sandbox: Any) -> None:
    caller = sandbox(customers=10)
    caller.order("mutate", {"update": 1})
    event = all_events(caller)[0]
    caller.order("clock", {"advance_s": 30 * DAY_S - 60})
    assert [one["id"] for one in all_events(caller)] == [event["id"]]
    caller.order("clock", {"advance_s": 120})
    assert all_events(caller) == []
    assert caller.get(f"/v1/events/{event['id']}").status == 404
    assert caller.get("/v1/events", starting_after=event["id"]).status == 400


def test_events_may_show_late(sandbox: Any) -> None:
    caller = sandbox(customers=0, event_delay_s=60)
    caller.order("mutate", {"create": 1})
    assert all_events(caller) == []
    caller.order("clock", {"advance_s": 62})
    assert len(all_events(caller)) == 1


def test_events_carry_the_accounts_version(sandbox: Any) -> None:
    caller = sandbox(customers=0, api_version="2024-06-20")
    caller.order("mutate", {"create": 1})
    reply = caller.ask("GET", "/v1/events", headers={"stripe-version": "2026-10-28.endive"})
    assert reply.headers["stripe-version"] == "2026-10-28.endive"
    assert reply.json["data"][0]["api_version"] == "2024-06-20"
