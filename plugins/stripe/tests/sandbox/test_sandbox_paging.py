"""Lists are complete, newest first, whichever way they are read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

LAST_SECOND = 1_793_491_200 - 1


def forwards(caller: Any, path: str = "/v1/customers", **query: Any) -> list[str]:
    """Read from the newest on."""
    found: list[str] = []
    while True:
        page = caller.get(path, **query).json
        found += [item["id"] for item in page["data"]]
        if not page["has_more"]:
            return found
        query["starting_after"] = found[-1]


def backwards(caller: Any, last: str, **query: Any) -> list[str]:
    """Read from an id towards the newest; newest first all the same."""
    found: list[str] = []
    while True:
        page = caller.get("/v1/customers", ending_before=last, **query).json
        found = [item["id"] for item in page["data"]] + found
        if not page["has_more"]:
            return found
        last = found[0]


@pytest.mark.parametrize("limit", [1, 7, 100])
@pytest.mark.parametrize("customers", [0, 1, 7, 100, 101, 700])
def test_both_directions_read_every_customer_once(sandbox: Any, customers: int, limit: int) -> None:
    caller = sandbox(customers=customers)
    newest_first = [line["id"] for line in caller.truth()][::-1]
    assert forwards(caller, limit=limit) == newest_first
    if customers:
        assert backwards(caller, newest_first[-1], limit=limit) == newest_first[:-1]


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_paging_leaves_out_what_was_deleted(sandbox: Any, limit: int) -> None:
    caller = sandbox(customers=300)
    caller.order("mutate", {"create": 20, "delete": 200})
    newest_first = [line["id"] for line in caller.truth()][::-1]
    assert len(newest_first) == 120
    assert forwards(caller, limit=limit) == newest_first
    assert backwards(caller, newest_first[-1], limit=limit) == newest_first[:-1]


def test_the_default_limit_is_ten(sandbox: Any) -> None:
    assert len(sandbox(customers=50).get("/v1/customers").ids) == 10


def test_created_never_rises_along_a_list(sandbox: Any) -> None:
    times = [line["object"]["created"] for line in sandbox(customers=700, skew=0.8).truth()]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("bounds", "keep"),
    [
        ({"gte": 0}, lambda created, at: created >= at),
        ({"gt": 0}, lambda created, at: created > at),
        ({"lte": 0}, lambda created, at: created <= at),
        ({"lt": 0}, lambda created, at: created < at),
        ({"gt": -1, "lt": 1}, lambda created, at: created == at),
        ({"gte": 0, "lt": 90_000}, lambda created, at: at <= created < at + 90_000),
        ({"gte": 1, "lt": 1}, lambda _created, _at: False),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 299, 300, 420, 549, 550, 699])
def test_created_bounds(sandbox: Any, bounds: dict[str, int], keep: Any, index: int) -> None:
    caller = sandbox(customers=700)
    truth = caller.truth()
    at = truth[index]["object"]["created"]
    query = {f"created[{name}]": at + offset for name, offset in bounds.items()}
    expected = [line["id"] for line in truth[::-1] if keep(line["object"]["created"], at)]
    assert forwards(caller, limit=100, **query) == expected


def test_created_exactly(sandbox: Any) -> None:
    caller = sandbox(customers=700)
    truth = caller.truth()
    second = truth[300]["object"]["created"]
    block = [line["id"] for line in truth[300:550]]
    assert forwards(caller, limit=100, created=second) == block[::-1]


def test_windows_side_by_side_hold_everything_once(sandbox: Any) -> None:
    caller = sandbox(customers=700)
    edges = [0, 1_500_000_000, 1_740_000_000, 1_760_000_000, 1_793_000_000, LAST_SECOND + 1]
    found = []
    for since, until in pairwise(edges):
        found += forwards(caller, limit=100, **{"created[gte]": since, "created[lt]": until})
    assert sorted(found) == sorted(line["id"] for line in caller.truth())


def test_email_is_matched_exactly(sandbox: Any) -> None:
    caller = sandbox(customers=200)
    for line in caller.truth():
        email = line["object"]["email"]
        if email:
            assert caller.get("/v1/customers", email=email).ids == [line["id"]]
            assert caller.get("/v1/customers", email=email.upper()).ids == []


def test_email_of_changed_customers(sandbox: Any) -> None:
    caller = sandbox(customers=20)
    old = caller.truth()[0]
    caller.post(f"/v1/customers/{old['id']}", {"email": "both@example.com"})
    new = caller.post("/v1/customers", {"email": "both@example.com"}).json
    caller.post("/v1/customers", {"metadata[email]": "both@example.com"})
    assert caller.get("/v1/customers", email="both@example.com").ids == [new["id"], old["id"]]
    assert caller.get("/v1/customers", email=old["object"]["email"]).ids == []


def test_test_clock_customers_are_listed_only_with_their_clock(sandbox: Any) -> None:
    caller = sandbox(customers=3)
    clocked = caller.post("/v1/customers", {"test_clock": "clock_1", "email": "c@example.com"}).json
    assert clocked["id"] not in caller.get("/v1/customers").ids
    assert caller.get("/v1/customers", test_clock="clock_1").ids == [clocked["id"]]
    assert caller.get("/v1/customers", email="c@example.com").ids == []
    assert caller.get(f"/v1/customers/{clocked['id']}").json == clocked


@pytest.mark.parametrize("cursor", ["starting_after", "ending_before"])
def test_a_cursor_that_is_gone_is_refused(sandbox: Any, cursor: str) -> None:
    caller = sandbox(customers=20)
    name = caller.truth()[7]["id"]
    caller.delete(f"/v1/customers/{name}")
    for given in (name, "cus_unknown", sandbox(seed=2).truth()[0]["id"]):
        reply = caller.get("/v1/customers", **{cursor: given})
        assert reply.status == 400
        assert (reply.error["code"], reply.error["param"]) == ("resource_missing", cursor)


def test_a_million_customers_are_paged_like_ten(sandbox: Any) -> None:
    caller = sandbox(customers=1_000_000)
    first = caller.get("/v1/customers", limit=100)
    second = caller.get("/v1/customers", limit=100, starting_after=first.ids[-1])
    back = caller.get("/v1/customers", limit=100, ending_before=second.ids[0])
    assert back.ids == first.ids
    oldest = caller.get("/v1/customers", limit=100, **{"created[lt]": 1_300_000_000})
    assert len(oldest.ids) == 1
    assert oldest.json["has_more"] is False
