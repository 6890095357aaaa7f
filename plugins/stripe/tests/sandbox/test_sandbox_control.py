"""The control surface: log, truth, mutate, clock, and faults that need no network."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tieline_stripe_sandbox.clock import BASE


def test_the_log_tells_what_was_answered(sandbox: Any) -> None:
    caller = sandbox(customers=5)
    first = caller.get("/v1/customers", limit=2)
    caller.get("/v1/nothing")
    log = caller.get("/_sandbox/log").json
    assert log["total"] == 2
    one, two = log["requests"]
    assert (one["method"], one["path"], one["query"]) == ("GET", "/v1/customers", "limit=2")
    assert (one["status"], two["status"]) == (200, 404)
    assert one["request_id"] == first.headers["request-id"]
    assert one["accepted_ms"] <= one["answered_ms"] <= two["answered_ms"]
    assert caller.get("/_sandbox/log", after=1).json["requests"] == [two]


def test_the_log_is_bounded(sandbox: Any) -> None:
    caller = sandbox(customers=1, log_size=3)
    for _ in range(5):
        caller.get("/v1/customers")
    log = caller.get("/_sandbox/log").json
    assert log["total"] == 5
    assert [entry["number"] for entry in log["requests"]] == [3, 4, 5]


def test_truth_is_what_the_api_says(sandbox: Any) -> None:
    caller = sandbox(customers=620)
    caller.order("mutate", {"create": 10, "update": 50, "delete": 50})
    truth = caller.truth()
    assert len(truth) == 580
    for line in truth[::20]:
        assert caller.get(f"/v1/customers/{line['id']}").json == line["object"]
    assert caller.truth(after=truth[99]["id"]) == truth[100:]
    assert caller.truth(ids_only="true") == [{"id": line["id"]} for line in truth]


def test_latency_is_added_and_overlaps(sandbox: Any) -> None:
    caller = sandbox(customers=1, latency_ms=50)
    start = time.monotonic()
    caller.together(*(caller.send("GET", "/v1/customers") for _ in range(10)))
    assert 0.05 <= time.monotonic() - start < 0.4


def test_the_clock_starts_at_the_base_and_never_goes_back(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    assert BASE <= caller.get("/_sandbox/clock").json["now"] < BASE + 5
    caller.order("clock", {"now": BASE + 100, "frozen": True})
    assert caller.get("/_sandbox/clock").json == {"now": BASE + 100, "frozen": True}
    reply = caller.ask("POST", "/_sandbox/clock", body=b'{"now": 5}')
    assert reply.status == 400
    caller.order("clock", {"frozen": False})
    assert caller.get("/_sandbox/clock").json["now"] > BASE + 100


def test_more_deletions_than_customers(sandbox: Any) -> None:
    caller = sandbox(customers=40)
    done = caller.order("mutate", {"delete": 100, "update": 1})
    assert len(set(done["deleted"])) == 40
    assert caller.truth() == []
    assert caller.get("/v1/customers").json["data"] == []
    assert caller.order("mutate", {"update": 1})["updated"] == []


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("mutate", b'{"create": -1}'),
        ("mutate", b'{"rename": 1}'),
        ("mutate", b"[]"),
        ("mutate", b"{"),
        ("clock", b'{"when": 1}'),
        ("clock", b'{"now": "late"}'),
        ("faults", b"{}"),
        ("faults", b'[{"kind": "explode"}]'),
        ("faults", b'[{"kind": "drop", "often": 1}]'),
        ("faults", b'[{"kind": "drop", "nth": "first"}]'),
        ("faults", b'[{"kind": "drop", "nth": 0}]'),
        ("faults", b'[{"kind": "status", "headers": {"retry-after": 1}}]'),
        ("faults", b'[{"kind": "mutate", "mutation": {"create": "x"}}]'),
    ],
)
def test_mistaken_orders(sandbox: Any, name: str, body: bytes) -> None:
    reply = sandbox(customers=1).ask("POST", f"/_sandbox/{name}", body=body)
    assert reply.status == 400
    assert reply.json["error"]


def test_the_overview(sandbox: Any) -> None:
    overview = sandbox(customers=3, seed=9).get("/_sandbox/").json
    assert (overview["customers"], overview["seed"]) == (3, 9)
    assert "drop" in overview["fault_kinds"]
    assert sandbox().get("/_sandbox/nothing").status == 404


def test_a_status_fault_hits_the_nth_matching_request(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    limited = {"kind": "status", "path": "/v1/cust*", "nth": 2, "times": 2, "status": 429}
    caller.order("faults", [limited | {"headers": {"Retry-After": "3"}, "body": {"error": {}}}])
    caller.get("/v1/events")
    replies = [caller.get("/v1/customers") for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 429, 429, 200]
    assert replies[1].headers["retry-after"] == "3"
    assert replies[1].json == {"error": {}}
    assert caller.get("/_sandbox/faults").json[0]["matched"] == 4


def test_faults_may_be_told_apart_by_method_and_query(sandbox: Any) -> None:
    caller = sandbox(customers=30)
    fault = {"kind": "status", "method": "GET", "query": "starting_after", "status": 502}
    caller.order("faults", [fault | {"times": 0}])
    first = caller.get("/v1/customers")
    second = caller.get("/v1/customers", starting_after=first.ids[-1])
    assert (first.status, second.status) == (200, 502)
    assert caller.post("/v1/customers").status == 200
    caller.order("faults", [])
    assert caller.get("/v1/customers", starting_after=first.ids[-1]).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "kind", "start"),
    [
        ({"kind": "status"}, 500, "application/json", b'{"error"'),
        (
            {"kind": "status", "status": 502, "body": ""},
            502,
            "text/html; charset=utf-8",
            b"<!DOCTYPE",
        ),
        ({"kind": "html200"}, 200, "text/html; charset=utf-8", b"<!DOCTYPE"),
        ({"kind": "empty"}, 200, "application/json", b""),
    ],
)
def test_answers_that_are_none(
    sandbox: Any, fault: dict[str, Any], status: int, kind: str, start: bytes
) -> None:
    caller = sandbox(customers=1)
    caller.order("faults", [fault])
    reply = caller.get("/v1/customers")
    assert (reply.status, reply.headers["content-type"]) == (status, kind)
    assert reply.body.startswith(start)
    assert bool(reply.body) == bool(start)
    assert caller.get("/v1/customers").status == 200


def test_a_repeated_page(sandbox: Any) -> None:
    caller = sandbox(customers=40)
    caller.order("faults", [{"kind": "repeat_page", "nth": 2}])
    pages = [caller.get("/v1/customers")]
    for _ in range(2):
        pages.append(caller.get("/v1/customers", starting_after=pages[0].ids[-1]))
    assert pages[1].body == pages[0].body
    assert pages[2].body != pages[0].body


def test_a_loop(sandbox: Any) -> None:
    caller = sandbox(customers=15)
    caller.order("faults", [{"kind": "loop", "nth": 2}])
    first = caller.get("/v1/customers")
    looped = caller.get("/v1/customers", starting_after=first.ids[-1])
    assert looped.json["has_more"] is True
    assert len(looped.ids) == 5
    for _ in range(3):
        assert caller.get("/v1/customers", starting_after=looped.ids[-1]).body == looped.body


def test_an_endless_list(sandbox: Any) -> None:
    caller = sandbox(customers=3)
    caller.order("faults", [{"kind": "endless"}])
    first = caller.get("/v1/customers").json
    assert first["has_more"] is True
    beyond = caller.get("/v1/customers", starting_after=first["data"][-1]["id"]).json
    expected = {"object": "list", "data": [], "has_more": True, "url": "/v1/customers"}
    assert beyond == expected


def test_a_mutation_between_two_pages(sandbox: Any) -> None:
    caller = sandbox(customers=40)
    caller.order("faults", [{"kind": "mutate", "nth": 2, "mutation": {"create": 2, "delete": 10}}])
    caller.get("/v1/customers")
    assert len(caller.truth()) == 40
    caller.get("/v1/customers")
    assert len(caller.truth()) == 32
    caller.get("/v1/customers")
    assert len(caller.truth()) == 32
