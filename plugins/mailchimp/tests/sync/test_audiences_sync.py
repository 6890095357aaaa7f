"""Audiences that go, hide or refuse: the others are read, and nothing is deleted in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tieline_mailchimp import entities, walk

Make = Callable[..., Any]
NOT_FOUND = {
    "kind": "status",
    "status": 404,
    "body": {
        "type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": "Resource Not Found",
        "status": 404,
        "detail": "The requested resource could not be found.",
        "instance": "1",
    },
}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MEMBERS", walk._MEMBERS._replace(size=10))
    monkeypatch.setattr(entities, "_LISTS", entities._LISTS._replace(size=10))


def of_audience(made: Any, audience: str) -> list[str]:
    return [key for key in made.payloads() if key.startswith(f"{audience}:")]


@pytest.mark.parametrize("mode", ["incremental", "full"])
@pytest.mark.parametrize("nth", [1, 2])
def test_an_audience_that_stays_refused_fails_the_run_and_loses_and_deletes_nothing(
    bench: Make, in_step: Any, mode: str, nth: int
) -> None:
    made = bench(audiences=3, contacts=120)
    made.sync()
    _, middle, last = made.audiences()
    made.move(3600)
    made.mutate(audience=middle, update=15)
    made.mutate(audience=last, update=15, create=2)
    path = f"/3.0/lists/{middle}/members"
    made.order("faults", [NOT_FOUND | {"path": path, "times": 0, "nth": nth}])
    run = made.sync(mode=mode)
    assert (run.state, run.error_code) == ("failed", "request-rejected")
    assert middle in run.error_message
    assert "nothing was deleted" in run.error_message
    assert len(made.payloads()) == 122  # those of the last are there already
    made.order("faults", [])
    assert made.sync().state == "succeeded"
    in_step(made)


def test_an_audience_that_was_refused_once_is_read_at_the_end(bench: Make, in_step: Any) -> None:
    made = bench(audiences=3, contacts=90)
    first, _, _ = made.audiences()
    made.order("faults", [NOT_FOUND | {"path": f"/3.0/lists/{first}/members"}])
    run = made.sync()
    assert (run.state, run.counts.created) == ("succeeded", 90)
    in_step(made)
    asked = [path for path, _ in made.asked() if path.startswith("/3.0/lists/")]
    assert asked.index(f"/3.0/lists/{first}") < len(asked) - 2


def test_an_audience_that_goes_while_it_is_read_takes_its_contacts_with_it(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=3, contacts=45)
    made.sync()
    _, middle, _ = made.audiences()
    path = f"/3.0/lists/{middle}/members"
    drop = {"audience": middle, "drop": 1}
    made.order("faults", [{"kind": "mutate", "path": path, "nth": 2, "mutation": drop}])
    before = made.answered()
    run = made.sync(mode="full")
    assert (run.state, run.counts.deleted) == ("succeeded", 5)  # ten were met before
    assert made.asked(before)[-1][0] == f"/3.0/lists/{middle}"
    assert made.sync(mode="full").counts.deleted == 10
    in_step(made)


def test_the_contacts_of_a_deleted_audience_show_by_their_absence(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=4, contacts=60)
    made.sync()
    gone = made.audiences()[1]
    made.order("lists", {"audience": gone, "remove": True})
    assert made.sync().counts.deleted == 0
    assert len(of_audience(made, gone)) == 15
    run = made.sync(mode="full")
    assert (run.state, run.counts.deleted) == ("succeeded", 15)
    in_step(made)


def test_a_large_audience_that_is_gone_is_not_deleted_in_silence(bench: Make, in_step: Any) -> None:
    made = bench(audiences=2, contacts=120)
    made.sync()
    made.order("lists", {"audience": made.audiences()[0], "remove": True})
    run = made.sync(mode="full")
    assert (run.state, run.error_code) == ("failed", "deletes-held")
    assert len(made.payloads()) == 120
    run = made.sync(mode="full", allow_deletes=True)
    assert (run.state, run.counts.deleted) == ("succeeded", 60)
    in_step(made)


def test_an_audience_without_an_id_stops_the_run(bench: Make) -> None:
    made = bench(audiences=2, contacts=20)
    made.sync()
    body = {"lists": [{"id": "../../x", "date_created": ""}], "total_items": 1}
    made.order("faults", [{"kind": "status", "status": 200, "path": "/3.0/lists", "body": body,
                           "times": 0}])  # fmt: skip
    assert made.sync(mode="full").state == "retrying"
    assert len(made.payloads()) == 20


@pytest.mark.parametrize("audiences", [0, 1, 3, 35])
def test_lists_are_read_whole_each_time(bench: Make, audiences: int) -> None:
    made = bench(audiences=audiences, contacts=30)
    run = made.sync("lists")
    assert (run.mode, run.state, run.counts.created) == ("full", "succeeded", audiences)
    assert made.sync("lists").counts.seen >= audiences
    assert_lists(made)


def test_a_list_that_is_renamed_made_or_deleted(bench: Make) -> None:
    made = bench(audiences=5, contacts=30)
    made.sync("lists")
    first, second, *_ = made.audiences()
    made.order("lists", {"audience": first, "set": {"name": "Renamed"}})
    made.order("lists", {"audience": second, "remove": True})
    made.order("lists", {"add": {"name": "New"}})
    run = made.sync("lists")
    assert (run.counts.created, run.counts.updated, run.counts.deleted) == (1, 1, 1)
    assert_lists(made)
    assert made.found(made.sync("lists", mode="verify")) == {}


def test_statistics_make_no_change_of_a_list(bench: Make) -> None:
    made = bench(audiences=3, contacts=60)
    made.sync("lists")
    before = made.payloads("lists")
    made.mutate(create=5, update=20, count=30)
    run = made.sync("lists")
    assert (run.counts.updated, run.counts.unchanged) == (0, 3)
    assert made.payloads("lists") == before
    assert made.found(made.sync("lists", mode="verify")) == {}


def test_a_list_that_goes_while_the_pages_are_read_moves_no_other_out_of_sight(
    bench: Make,
) -> None:
    made = bench(audiences=30, contacts=0)
    made.sync("lists")
    drop = {"audience": made.audiences()[2], "drop": 1}
    made.order("faults", [{"kind": "mutate", "path": "/3.0/lists", "nth": 2, "mutation": drop}])
    run = made.sync("lists")
    assert (run.state, run.counts.deleted) == ("succeeded", 0)
    assert made.sync("lists").counts.deleted == 1
    assert_lists(made)


def assert_lists(made: Any) -> None:
    theirs = {one["id"]: one for one in made.facts("truth", entity="lists")}
    ours = made.payloads("lists")
    assert sorted(ours) == sorted(theirs)
    for key, record in ours.items():
        assert {k: v for k, v in record.items() if k != "stats"} == {
            k: v for k, v in theirs[key].items() if k != "stats"
        } | {"list_rating": record["list_rating"]}
        assert record["stats"].keys() == theirs[key]["stats"].keys()
