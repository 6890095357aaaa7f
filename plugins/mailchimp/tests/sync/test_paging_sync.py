"""Paging that loses nothing: rows of one second, rows that move, audiences that go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tieline.engine import help_run
from tieline.failpoints import Crash, set_failpoints
from tieline_mailchimp import entities, walk

Make = Callable[..., Any]
FEW = 10


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_MEMBERS", walk._MEMBERS._replace(size=FEW))
    monkeypatch.setattr(walk, "_AUDIENCES", walk._AUDIENCES._replace(size=FEW))
    monkeypatch.setattr(entities, "_LISTS", entities._LISTS._replace(size=FEW))


@pytest.fixture(autouse=True)
def no_failpoints() -> Any:
    yield
    set_failpoints("")


def pages_of(made: Any, audience: str, after: int = 0) -> list[dict[str, str]]:
    path = f"/3.0/lists/{audience}/members"
    return [query for asked, query in made.asked(after) if asked == path]


def test_a_page_is_asked_for_as_mailchimp_reads_it(bench: Make) -> None:
    made = bench(audiences=1, contacts=30)
    made.sync()
    made.move(3600)
    made.sync()
    [audience] = made.audiences()
    listed, archived, late, *since = pages_of(made, audience)
    plain = {"sort_field": "last_changed", "sort_dir": "ASC", "count": "1000", "offset": "0"}
    plain["exclude_fields"] = "_links,members._links"
    assert listed == plain
    assert archived == plain | {"status": "archived"}
    # It began at 00:01:00, less what the call took: the last whole second before.
    assert late == plain | {"since_last_changed": "2026-10-31T23:55:59+00:00"}
    # Five minutes of overlap, and two seconds for the edge that the filter leaves out.
    edge = {"since_last_changed": "2026-10-31T23:55:57+00:00"}
    assert since == [plain | edge, plain | edge | {"status": "archived"}]


def test_more_contacts_of_one_second_than_a_page_holds(bench: Make, in_step: Any) -> None:
    made = bench(audiences=1, contacts=40)
    made.sync()
    made.move(3600)
    made.mutate(create=2500)  # all of one second, as an import is
    made.move(3600)
    run = made.sync()
    assert (run.mode, run.state, run.counts.created) == ("incremental", "succeeded", 2500)
    in_step(made)
    offsets = [int(query["offset"]) for query in pages_of(made, *made.audiences())]
    assert max(offsets) == 1998
    assert made.found(made.sync(mode="verify")) == {}


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("act", ["update", "archive", "delete", "rename"])
@pytest.mark.parametrize("page", [2, 4, 7])
def test_rows_that_move_within_one_second_are_noticed(
    bench: Make, in_step: Any, act: str, page: int
) -> None:
    """An offset alone would pass over as many rows as went."""
    made = bench(audiences=1, contacts=0)
    made.mutate(create=75)
    made.move(3600)
    path = f"/3.0/lists/{made.audiences()[0]}/members"
    fault = {"kind": "mutate", "path": path, "nth": page, "mutation": {act: 3, "seed": page}}
    made.order("faults", [fault])
    assert made.sync().state == "succeeded"
    if act == "delete":
        made.sync(mode="full")  # those that were read before they went
    in_step(made)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("lists_archived", [False, True])
@pytest.mark.parametrize("page", [3, 6, 10, 14, 18])
def test_a_full_run_over_rows_that_change_meanwhile_loses_none(
    bench: Make, in_step: Any, page: int, lists_archived: bool
) -> None:
    made = bench(audiences=2, contacts=150, lists_archived=lists_archived)
    before = {f"{one['list_id']}:{one['contact_id']}" for one in made.facts("truth")}
    change = {"update": 6, "archive": 4, "unarchive": 4, "rename": 2, "create": 3, "seed": page}
    made.order("faults", [{"kind": "mutate", "path": "/3.0/*", "nth": page, "mutation": change}])
    run = made.sync(mode="full")
    assert run.state == "succeeded"
    assert set(made.payloads()) >= before
    made.sync()
    in_step(made)
    assert made.found(made.sync(mode="verify")) == {}


@pytest.mark.usefixtures("small_pages")
def test_a_contact_that_comes_back_from_the_archive_meanwhile_is_not_taken_for_deleted(
    bench: Make, in_step: Any
) -> None:
    """Neither pass sees it: it left the archive after the listing was read."""
    made = bench(audiences=1, contacts=60)
    made.sync()
    made.move(3600)
    mutation = {"unarchive": 3}
    fault = {"kind": "mutate", "path": "/3.0/*", "query": "archived", "mutation": mutation}
    made.order("faults", [fault])
    run = made.sync(mode="full")
    assert (run.counts.deleted, run.counts.updated) == (0, 3)
    in_step(made)


@pytest.mark.usefixtures("small_pages")
def test_changes_between_the_pages_of_an_incremental_run_come_with_it_or_the_next(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=2, contacts=80)
    made.sync()
    for page in range(1, 9):
        made.move(3600)
        made.mutate(update=25, archive=3, seed=page)
        change = {"update": 5, "unarchive": 2, "rename": 1, "create": 1, "seed": 100 + page}
        fault = {"kind": "mutate", "path": "/3.0/*", "nth": page, "mutation": change}
        made.order("faults", [fault])
        assert made.sync().mode == "incremental"
    made.sync()
    in_step(made)


@pytest.mark.usefixtures("small_pages")
def test_an_order_that_is_not_kept_is_not_gone_by(bench: Make) -> None:
    """A time from the middle of a page says nothing of the rows to come."""
    made = bench(audiences=1, contacts=0)
    [audience] = made.audiences()
    made.mutate(create=25)
    made.move(3600)
    members = made.facts("truth")
    for number, member in enumerate(members):
        member["last_changed"] = f"2026-01-{number * 7 % 25 + 1:02d}T00:00:00+00:00"
    path = f"/3.0/lists/{audience}/members"
    bodies = [{"members": members[at : at + 10], "total_items": 25} for at in (0, 9, 18)]
    fault = {"kind": "status", "status": 200, "path": path}
    made.order("faults", [fault | {"nth": n, "body": body} for n, body in enumerate(bodies, 1)])
    made.sync()
    assert [query["offset"] for query in pages_of(made, audience)[:4]] == ["0", "9", "18", "0"]
    assert {query.get("since_last_changed") for query in pages_of(made, audience)[:3]} == {None}
    expected = {f"{audience}:{member['contact_id']}" for member in members}
    assert set(made.payloads()) == expected


KEY = "0123456789abcdef0123456789abcdef-us6"
LIES = {
    "an empty page that says more": {"members": [], "total_items": 5},
    "no total": {"members": []},
    "a total of no number": {"members": [], "total_items": "0"},
    "no members": {"total_items": 0},
    "members of no list": {"members": {}, "total_items": 0},
}


@pytest.mark.parametrize("case", LIES)
def test_a_page_that_contradicts_itself_is_never_the_end(
    bench: Make, in_step: Any, case: str
) -> None:
    made = bench(audiences=2, contacts=40)
    made.sync()
    path = f"/3.0/lists/{made.audiences()[0]}/members"
    lie = {"kind": "status", "status": 200, "path": path, "body": LIES[case]}
    made.order("faults", [lie | {"times": 0}])
    run_id = made.ask("contacts", "full")
    assert made.help(run_id).state == "retrying"
    assert len(made.payloads()) == 40
    made.order("faults", [])
    made.move(3600)
    assert made.help(run_id).state == "succeeded"
    in_step(made)


FAULTS: dict[str, dict[str, Any]] = {
    "429": {"kind": "status", "status": 429},
    "429 without a body": {"kind": "status", "status": 429, "body": ""},
    "403 without a body": {"kind": "status", "status": 403, "body": ""},
    "500": {"kind": "status", "status": 500},
    "500 without a body": {"kind": "status", "status": 500, "body": ""},
    "503 in HTML": {"kind": "status", "status": 503, "body": "<h1>x</h1>"},
    "a page of HTML": {"kind": "html200"},
    "nothing": {"kind": "empty"},
    "a cut line": {"kind": "drop"},
}


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("case", FAULTS)
def test_a_bad_moment_costs_a_repetition(bench: Make, in_step: Any, case: str) -> None:
    made = bench(audiences=2, contacts=60)
    made.order("faults", [FAULTS[case] | {"path": "/3.0/lists*", "nth": n} for n in (1, 3, 6)])
    run_id = made.ask("contacts", "full")
    for _ in range(5):
        run = made.help(run_id)
        made.move(1200)
        if run.state == "succeeded":
            break
    assert run.state == "succeeded"
    in_step(made)


SLOW = {
    "a time-out": {"kind": "delay", "seconds": 2},
    "a gateway's": {"kind": "status", "status": 504, "body": "<h1>Gateway Time-out</h1>"},
}


@pytest.mark.parametrize("case", SLOW)
def test_a_page_that_is_too_slow_is_asked_for_in_halves(
    bench: Make, in_step: Any, case: str
) -> None:
    made = bench(audiences=2, contacts=60, deadline_s=1)
    fault = SLOW[case] | {"path": "/3.0/lists/*", "query": "count=1000", "times": 0}
    made.order("faults", [fault, fault | {"query": "count=500"}])
    assert made.sync().state == "succeeded"
    in_step(made)
    counts = [query["count"] for _, query in made.asked() if "offset" in query]
    assert counts.count("250") == 3 * 2  # those that timed out are logged when they are answered
    assert counts.count("1000") <= counts.count("500") + 1 <= 2


def test_a_page_that_is_too_slow_however_small_puts_the_run_off(bench: Make) -> None:
    made = bench(audiences=1, contacts=60)
    fault = SLOW["a gateway's"] | {"path": "/3.0/lists/*", "times": 0}
    made.order("faults", [fault])
    run = made.sync()
    assert (run.state, run.error_code) == ("retrying", "answer-too-slow")
    counts = [query["count"] for _, query in made.asked() if "offset" in query]
    assert counts == ["60", "1000", "500", "250", "125", *["62"] * 5]


@pytest.mark.usefixtures("small_pages")
def test_a_right_that_is_missing_fails_the_run_and_deletes_nothing(bench: Make) -> None:
    made = bench(audiences=2, contacts=40)
    made.sync()
    made.order("faults", [{"kind": "status", "status": 403, "path": "/3.0/lists/*", "nth": 2}])
    run = made.sync(mode="full")
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert len(made.payloads()) == 40


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("passage", [1, 2, 5, 9])
@pytest.mark.parametrize("point", ["sync.page.before_commit", "sync.page.after_commit"])
def test_a_worker_that_dies_goes_on_where_it_was(
    bench: Make, in_step: Any, point: str, passage: int
) -> None:
    made = bench(audiences=3, contacts=90)
    run_id = made.ask("contacts")
    set_failpoints(f"{point}=raise@{passage}")
    with pytest.raises(Crash):
        made.help(run_id)
    set_failpoints("")
    before = made.answered()
    made.move(made.engine.settings.lease_s + 1)
    other = made.other_engine()
    help_run(other, run_id, threading.Event())
    other.database.close()
    assert made.help(run_id).state == "succeeded"
    in_step(made)
    whole = made.answered()
    assert whole - before <= before + 1 or passage < 9
    assert made.found(made.sync(mode="verify")) == {}


@pytest.mark.usefixtures("small_pages")
def test_very_many_audiences_are_read_once_whatever_their_dates(bench: Make, in_step: Any) -> None:
    made = bench(audiences=1, contacts=0)
    for number in range(47):
        date = (
            "2021-01-01T00:00:00+00:00"
            if number % 4
            else f"2021-02-{number % 28 + 1:02d}T00:00:00+00:00"
        )
        made.order("lists", {"add": {"date_created": date}})
    made.mutate(create=96)
    made.move(3600)
    before = made.answered()
    assert made.sync().state == "succeeded"
    in_step(made)
    asked = [(path, str(query)) for path, query in made.asked(before) if path.endswith("members")]
    assert len(asked) == len(set(asked)) >= 3 * 48
