"""The data are a function of the seed, and the edge cases are where they should be."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tieline_stripe_sandbox.clock import BASE
from tieline_stripe_sandbox.edges import EDGES
from tieline_stripe_sandbox.history import SAME_SECOND, History
from tieline_stripe_sandbox.ids import Ids


def test_same_seed_same_bytes(sandbox: Any) -> None:
    one, other = sandbox(customers=900), sandbox(customers=900)
    assert one.get("/_sandbox/truth").body == other.get("/_sandbox/truth").body


def test_other_seed_other_ids_and_people(sandbox: Any) -> None:
    one, other = sandbox(customers=900).truth(), sandbox(customers=900, seed=2).truth()
    assert not {line["id"] for line in one} & {line["id"] for line in other}
    names = [[line["object"]["name"] for line in lines[20:]] for lines in (one, other)]
    assert names[0] != names[1]


def test_same_mutation_same_bytes(sandbox: Any) -> None:
    bodies = []
    for _ in range(2):
        caller = sandbox(customers=200)
        caller.order("clock", {"frozen": True, "now": BASE + 60})
        caller.order("mutate", {"create": 20, "update": 20, "delete": 20, "seed": 5})
        bodies.append((caller.get("/_sandbox/truth").body, caller.get("/v1/events").body))
    assert bodies[0] == bodies[1]


def test_two_sandboxes_in_one_process_share_nothing(sandbox: Any) -> None:
    one, other = sandbox(customers=5), sandbox(customers=5)
    one.order("mutate", {"create": 1, "delete": 2})
    one.order("clock", {"advance_s": 3600})
    assert len(other.truth()) == 5
    assert other.get("/_sandbox/clock").json["now"] < BASE + 3600
    assert other.get("/_sandbox/log").json["total"] == 0


@pytest.mark.parametrize("index", [0, 1, 61, 62, 999_999, 62**8 - 1])
def test_ids_lead_back_to_their_index(index: int) -> None:
    ids = Ids("cus", 1)
    assert ids.index(ids.of(index)) == index
    assert Ids("cus", 2).index(ids.of(index)) is None


def test_ids_are_unique_and_case_matters() -> None:
    names = [Ids("cus", 1).of(index) for index in range(100_000)]
    assert len(set(names)) == len(names)
    assert all(len(name) == 18 and name.startswith("cus_") for name in names)


@pytest.mark.parametrize("name", ["", "cus_", "cus_123", "cus_" + "é" * 14, "cus_" + "-" * 14])
def test_foreign_ids_have_no_index(name: str) -> None:
    assert Ids("cus", 1).index(name) is None


@pytest.mark.parametrize("skew", [0.0, 0.1, 0.8, 1.0])
@pytest.mark.parametrize("customers", [1, 5, 1000])
def test_skew_is_the_share_of_the_last_tenth(skew: float, customers: int) -> None:
    history = History(customers=customers, skew=skew, edge_cases=False)
    times = [history.created(index) for index in range(customers)]
    assert times == sorted(times)
    assert times[-1] < BASE
    late = sum(time >= BASE - 2 * 365 * 8640 for time in times)
    assert late == round(customers * max(skew, 0.1))


def test_edge_cases_stand_at_their_indices(sandbox: Any) -> None:
    customers = [line["object"] for line in sandbox(customers=700).truth()]
    for index, edge in EDGES.items():
        plain = {name: text for name, text in edge.items() if name != "email"}
        assert customers[index] | plain == customers[index]
    assert [customers[index]["created"] for index in (0, 1)] == [1_234_567_890, 1_317_254_400]
    assert {customers[index]["created"] for index in SAME_SECOND} == {customers[300]["created"]}
    assert "\0" in customers[5]["name"]
    assert "\0" in customers[6]["metadata"]["before"]
    sizes = [(len(key), len(text)) for key, text in customers[7]["metadata"].items()]
    assert sizes == [(40, 500)] * 50


def test_nul_travels_escaped(sandbox: Any) -> None:
    body = sandbox(customers=10).get("/v1/customers").body
    assert b"\\u0000" in body
    assert b"\0" not in body


def test_without_edge_cases_there_are_none(sandbox: Any) -> None:
    caller = sandbox(customers=700, edge_cases=False)
    assert b"\\u0000" not in caller.get("/_sandbox/truth").body
    seconds = Counter(line["object"]["created"] for line in caller.truth())
    assert max(seconds.values()) == 1


def test_people_are_varied(sandbox: Any) -> None:
    customers = [line["object"] for line in sandbox(customers=3000).truth()]
    for field in ("name", "email", "address", "shipping", "discount", "phone", "currency"):
        assert 0.02 < sum(one[field] is None for one in customers) / 3000 < 0.95, field
    assert {len(one["metadata"] or {}) for one in customers} >= {0, 2, 5, 11, 50}
    assert len({one["name"] for one in customers}) > 100
    emails = [one["email"] for one in customers if one["email"]]
    assert len(set(emails)) == len(emails)
