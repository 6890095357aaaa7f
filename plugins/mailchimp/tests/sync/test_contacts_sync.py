"""Contacts, the whole way: every audience, archived ones too, changes, addresses, deletions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tieline_mailchimp import walk

Make = Callable[..., Any]


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pages of ten, so that a hundred contacts are many of them."""
    monkeypatch.setattr(walk, "_MEMBERS", walk._MEMBERS._replace(size=10))


def test_a_first_run_reads_every_contact_of_every_audience(bench: Make, in_step: Any) -> None:
    made = bench(audiences=3, contacts=300)
    run = made.sync()
    assert (run.mode, run.state, run.counts.created) == ("full", "succeeded", 300)
    in_step(made)
    stored = made.payloads()
    assert {record["status"] for record in stored.values()} == {
        "subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived",
    }  # fmt: skip
    assert len({record["list_id"] for record in stored.values()}) == 3
    assert made.quarantine() == []
    assert made.found(made.sync(mode="verify")) == {}


def test_the_same_person_in_two_audiences_is_two_contacts(bench: Make, in_step: Any) -> None:
    made = bench(audiences=2, contacts=20)
    made.sync()
    assert len(made.payloads()) == 20
    assert len({record["id"] for record in made.payloads().values()}) == 10
    assert len({record["contact_id"] for record in made.payloads().values()}) == 10
    in_step(made)


@pytest.mark.parametrize("lists_archived", [False, True])
def test_archived_contacts_are_read_whether_the_listing_has_them_or_not(
    bench: Make, in_step: Any, lists_archived: bool
) -> None:
    made = bench(contacts=60, lists_archived=lists_archived)
    made.sync()
    in_step(made)
    archived = made.mutate(archive=5)["archive"]
    run = made.sync()
    assert (run.mode, run.state, run.counts.updated) == ("incremental", "succeeded", 5)
    stored = made.payloads()
    for one in archived:
        assert stored[f"{one['list_id']}:{one['contact_id']}"]["status"] == "archived"
    made.mutate(unarchive=3)
    assert made.sync().counts.updated == 3
    in_step(made)
    assert made.found(made.sync(mode="verify")) == {}


def test_an_incremental_run_reads_what_changed_and_no_more(bench: Make, in_step: Any) -> None:
    made = bench(audiences=3, contacts=300)
    made.sync()
    made.move(3600)
    before = made.answered()
    made.mutate(create=4, update=9, archive=3, unarchive=2, rename=2)
    run = made.sync()
    assert (run.mode, run.state) == ("incremental", "succeeded")
    assert run.counts.created == 4
    in_step(made)
    listed = [query for path, query in made.asked(before) if path.endswith("/members")]
    assert len(listed) == 2 * 3
    assert {query["since_last_changed"][-6:] for query in listed} == {"+00:00"}


def test_a_run_in_which_nothing_changed_writes_no_record(bench: Make) -> None:
    made = bench(contacts=60)
    made.sync()
    before = [(row.position, row.revision, row.changed_at) for row in made.stored()]
    for mode in ("incremental", "full"):
        run = made.sync(mode=mode)
        assert run.counts.created == run.counts.updated == run.counts.deleted == 0
    assert [(row.position, row.revision, row.changed_at) for row in made.stored()] == before


def test_a_change_in_the_second_of_the_last_reading_is_seen(bench: Make, in_step: Any) -> None:
    """``since_last_changed`` leaves its own second out."""
    made = bench(contacts=30)
    made.help(made.ask("contacts", "full"))  # both clocks stand still
    made.mutate(update=3)
    made.move(3600)
    assert made.sync().counts.updated == 3
    in_step(made)


def test_a_change_of_the_first_audience_while_the_last_is_read_is_not_lost(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=3, contacts=90)
    first, _, last = made.audiences()
    change = {"audience": first, "update": 5, "archive": 2, "create": 2}
    made.order("faults", [{"kind": "mutate", "path": f"/3.0/lists/{last}/*", "mutation": change}])
    made.sync()
    made.move(3600)
    assert made.sync().mode == "incremental"
    in_step(made)


def test_an_index_that_lags_loses_nothing(bench: Make, in_step: Any) -> None:
    made = bench(contacts=60, lag_s=90)
    made.sync()
    for _ in range(3):
        made.mutate(create=2, update=5, archive=2, unarchive=1, rename=1)
        made.sync()
    made.move(120)
    made.sync()
    in_step(made)


def test_a_new_address_changes_the_record_and_not_its_key(bench: Make, in_step: Any) -> None:
    made = bench(contacts=30)
    made.sync()
    before = made.payloads()
    [moved] = made.mutate(rename=1)["rename"]
    run = made.sync()
    assert (run.counts.created, run.counts.updated) == (0, 1)
    key = f"{moved['list_id']}:{moved['contact_id']}"
    assert made.payloads()[key]["id"] == moved["id"] != before[key]["id"]
    assert made.payloads()[key]["email_address"].startswith("Moved.")
    in_step(made)


def test_without_a_contact_id_a_new_address_is_a_new_contact(bench: Make, in_step: Any) -> None:
    made = bench(contacts=30, contact_ids=False)
    made.sync()
    in_step(made)
    made.mutate(rename=1)
    assert made.sync().counts.created == 1
    assert len(made.payloads()) == 31  # the old one shows by its absence only
    assert made.sync(mode="full").counts.deleted == 1
    in_step(made)


def test_what_was_deleted_for_good_shows_by_its_absence(bench: Make, in_step: Any) -> None:
    made = bench(contacts=60)
    made.sync()
    gone = {f"{one['list_id']}:{one['contact_id']}" for one in made.mutate(delete=4)["delete"]}
    assert made.sync().counts.deleted == 0
    assert made.found(made.sync(mode="verify")) == dict.fromkeys(gone, "surplus")
    assert made.sync(mode="full").counts.deleted == 4
    in_step(made)
    assert made.found(made.sync(mode="verify")) == {}


def test_a_contact_that_was_deleted_and_is_there_again_is_a_record_again(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=1, contacts=30)
    made.sync()
    key, record = next(iter(made.payloads().items()))
    [audience] = made.audiences()
    made.order("contacts", {"audience": audience, "find": record["id"], "remove": True})
    made.sync(mode="full")
    assert key not in made.payloads()
    again = {"email_address": record["email_address"]}
    made.order("contacts", {"audience": audience, "add": again})
    assert made.sync().mode == "incremental"
    assert made.payloads()[key]["email_address"] == record["email_address"]
    in_step(made)


def test_two_accounts_in_one_process_keep_their_contacts_apart(bench: Make, in_step: Any) -> None:
    made = bench(contacts=30)
    other = made.beside(1)
    for one in (made, other):
        one.sync()
    changed = made.mutate(account=1, update=5)["update"]  # of whom some may come twice
    several = len({(one["list_id"], one["contact_id"]) for one in changed})
    assert [one.sync().counts.updated for one in (made, other)] == [0, several]
    assert not set(made.payloads()) & set(other.payloads())
    in_step(made)
    assert len(other.payloads()) == 30


def test_a_full_run_takes_nothing_that_an_index_still_hides_for_deleted(
    bench: Make, in_step: Any
) -> None:
    made = bench(contacts=60, lag_s=90)
    made.sync()
    for seed in range(3):
        made.mutate(unarchive=2, archive=3, rename=2, update=4, seed=seed)
        assert made.sync(mode="full").counts.deleted == 0
    made.move(120)
    made.sync()
    in_step(made)


def test_counters_and_ratings_make_no_change(bench: Make) -> None:
    made = bench(contacts=60)
    made.sync()
    made.mutate(count=60)
    run = made.sync(mode="full")
    assert (run.counts.updated, run.counts.unchanged > 0) == (0, True)
    assert made.found(made.sync(mode="verify")) == {}


def test_a_tag_that_moves_no_time_is_seen_by_a_full_run(bench: Make, in_step: Any) -> None:
    made = bench(contacts=60)
    made.sync()
    made.move(3600)
    [tagged] = made.mutate(tag=1)["tag"]
    key = f"{tagged['list_id']}:{tagged['contact_id']}"
    assert made.sync().counts.updated == 0
    assert made.found(made.sync(mode="verify")) == {key: "stale"}
    assert made.sync(mode="full").counts.updated == 1
    in_step(made)


AWKWARD = {
    "null merge fields and interests": {"merge_fields": None, "interests": None},
    "an address of nothing": {"merge_fields": {"ADDRESS": "", "POINTS": ""}},
    "an address": {"merge_fields": {"ADDRESS": {"addr1": "1"}, "POINTS": 12.5}},
    "dates that never were": {"timestamp_signup": "", "timestamp_opt": ""},
    "emoji and right to left": {"full_name": "🌸 שלום"},
    "a last note": {"last_note": {"note_id": 1, "created_by": "x", "note": "called"}},
    "fields that nobody knows": {"sms": {"new": [1, 2]}, "future": 2**70},
    "no time of change": {"last_changed": ""},
    "a time that is none": {"last_changed": "yesterday"},
    "a time of the last year": {"last_changed": "9999-12-31T23:59:59+00:00"},
}


@pytest.mark.parametrize("case", AWKWARD)
def test_awkward_contacts_come_through_whole(bench: Make, in_step: Any, case: str) -> None:
    made = bench(audiences=1, contacts=30)
    [audience] = made.audiences()
    added = made.order("contacts", {"audience": audience, "add": AWKWARD[case]})
    run = made.sync()
    assert run.state == "succeeded"
    assert f"{audience}:{added['contact_id']}" in made.payloads()
    if case != "fields that nobody knows":  # the sandbox's own JSON rounds what is beyond 64 bits
        in_step(made)
    assert made.sync(mode="full").counts.updated == 0


BAD = {
    "no id and no contact id": {"id": None, "contact_id": None},
    "an id with a slash": {"contact_id": "a/b"},
    "a status that is a number": {"status": 7},
}


@pytest.mark.parametrize("case", BAD)
def test_a_contact_that_cannot_be_used_costs_no_other(bench: Make, case: str) -> None:
    made = bench(audiences=1, contacts=30)
    [audience] = made.audiences()
    page = made.http.get(
        f"/3.0/lists/{audience}/members",
        params={"count": 30, "status": "subscribed"},
        auth=("x", "0123456789abcdef0123456789abcdef-us6"),
    ).json()
    rows = page["members"][:5]
    body = {"members": [rows[0] | BAD[case], *rows[1:]], "total_items": 5}
    path = f"/3.0/lists/{audience}/members"
    fault = {"kind": "status", "status": 200, "path": path, "body": body}
    made.order("faults", [fault])
    run = made.sync()
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 1)
    assert len(made.quarantine()) == 1


def test_an_account_without_audiences_has_no_contacts(bench: Make) -> None:
    made = bench(audiences=0)
    run = made.sync()
    assert (run.state, run.counts.seen) == ("succeeded", 0)
    made.order("lists", {"add": {}})
    run = made.sync()
    assert (run.mode, run.state, run.counts.seen) == ("incremental", "succeeded", 0)


def test_every_audience_of_an_account_with_very_many_is_read_once(
    bench: Make, in_step: Any
) -> None:
    made = bench(audiences=130, contacts=260)
    before = made.answered()
    assert made.sync().state == "succeeded"
    in_step(made)
    asked = [(path, str(query)) for path, query in made.asked(before) if path.endswith("members")]
    assert len(asked) == len(set(asked)) == 3 * 130
