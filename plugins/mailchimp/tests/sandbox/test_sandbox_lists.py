"""Lists and members as Mailchimp lists them: filters, order, pages, lag, and who is archived."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

START = 1_793_491_200


def lists_of(caller: Any) -> list[str]:
    return [one["id"] for one in caller.facts("truth", entity="lists")]


def members(caller: Any, audience: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = caller.get(f"/3.0/lists/{audience}/members", **query).json[
        "members"
    ]
    return found


def test_a_page_has_ten_rows_unless_more_are_asked_for(sandbox: Any) -> None:
    caller = sandbox(audiences=2, contacts=60)
    audience = lists_of(caller)[0]
    path = f"/3.0/lists/{audience}/members"
    page = caller.get(path).json
    assert (len(page["members"]), page["list_id"]) == (10, audience)
    whole = members(caller, audience, count=1000)
    assert len(whole) == page["total_items"]
    pages = [members(caller, audience, count=7, offset=at) for at in range(0, len(whole) + 7, 7)]
    assert [one for each in pages for one in each] == whole
    past = caller.get(path, offset=1000).json
    assert (past["members"], past["total_items"]) == ([], page["total_items"])


REFUSED = {
    "too many": {"count": 1001},
    "a count of no number": {"count": "all"},
    "a negative offset": {"offset": -1},
    "a status that is none": {"status": "gone"},
    "an order that is none": {"sort_field": "email_address"},
    "a direction that is none": {"sort_dir": "UP"},
    "a time without a zone": {"since_last_changed": "2026-01-01T00:00:00"},
    "a time whose plus became a space": {"since_last_changed": "2026-01-01T00:00:00 00:00"},
    "a time that is none": {"before_last_changed": "yesterday"},
}


@pytest.mark.parametrize("case", REFUSED)
def test_parameters_that_make_no_sense_are_refused_by_their_names(sandbox: Any, case: str) -> None:
    caller = sandbox()
    reply = caller.get(f"/3.0/lists/{lists_of(caller)[0]}/members", **REFUSED[case])
    assert (reply.status, reply.json["title"]) == (400, "Invalid Resource")
    assert [error["field"] for error in reply.json["errors"]] == list(REFUSED[case])


@pytest.mark.parametrize("is_listed", [False, True])
def test_archived_members_are_had_by_their_status(sandbox: Any, is_listed: bool) -> None:
    caller = sandbox(audiences=1, contacts=100, lists_archived=is_listed)
    [audience] = lists_of(caller)
    default = {one["id"]: one["status"] for one in members(caller, audience, count=1000)}
    archived = {one["id"] for one in members(caller, audience, count=1000, status="archived")}
    assert len(archived) > 3
    assert ("archived" in default.values()) is is_listed
    assert len(default) + (0 if is_listed else len(archived)) == 100


def test_since_leaves_its_own_second_out(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=20)
    [audience] = lists_of(caller)
    caller.order("clock", {"now": START + 100, "frozen": True})
    caller.order("mutate", {"update": 1})
    for second, count in ((39, 1), (40, 0)):
        since = f"2026-11-01T00:01:{second}+00:00"
        assert len(members(caller, audience, since_last_changed=since)) == count
    assert len(members(caller, audience, since_last_changed="2026-11-01T02:01:39+02:00")) == 1


def test_who_is_changed_goes_to_the_end(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=30)
    [audience] = lists_of(caller)
    order = {"sort_field": "last_changed", "sort_dir": "ASC", "count": 1000}
    before = members(caller, audience, **order)
    assert [one["last_changed"] for one in before] == sorted(one["last_changed"] for one in before)
    assert len({one["last_changed"] for one in before}) < len(before) - 3
    caller.order("contacts", {"audience": audience, "find": before[0]["id"], "set": {"vip": True}})
    after = members(caller, audience, **order)
    assert after[-1]["id"] == before[0]["id"]
    down = members(caller, audience, **order | {"sort_dir": "DESC"})
    assert down[0]["id"] == after[-1]["id"]


def test_a_member_is_had_by_id_address_and_contact_id(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=5)
    [audience] = lists_of(caller)
    one = members(caller, audience)[0]
    for name in (one["id"], one["email_address"], one["email_address"].lower(), one["contact_id"]):
        assert caller.get(f"/3.0/lists/{audience}/members/{name}").json == one
    assert caller.get(f"/3.0/lists/{audience}/members/nobody").status == 404
    assert caller.get(f"/3.0/lists/nothing/members/{one['id']}").status == 404
    assert caller.get("/3.0/lists/nothing/members").status == 404
    assert caller.get("/3.0/lists/nothing").status == 404


def test_an_address_change_is_a_new_id_for_the_same_contact(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=5)
    [audience] = lists_of(caller)
    before = members(caller, audience)[0]
    order = {"audience": audience, "find": before["id"], "set": {"email_address": "X@Example.com"}}
    caller.order("contacts", order)
    after = caller.get(f"/3.0/lists/{audience}/members/{before['contact_id']}").json
    assert after["id"] == hashlib.md5(b"x@example.com").hexdigest()
    assert after["contact_id"] == before["contact_id"]
    assert caller.get(f"/3.0/lists/{audience}/members/{before['id']}").status == 404
    assert caller.get(f"/3.0/lists/{audience}/members/{after['id']}").json == after


def test_an_index_is_late_and_a_reading_by_id_is_not(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=5, lag_s=60)
    [audience] = lists_of(caller)
    caller.order("clock", {"frozen": True})
    one = members(caller, audience)[0]
    path = f"/3.0/lists/{audience}/members/{one['id']}"
    caller.order("contacts", {"audience": audience, "find": one["id"], "set": {"full_name": "N"}})
    caller.order("contacts", {"audience": audience, "add": {"email_address": "new@example.com"}})
    gone = members(caller, audience)[1]["id"]
    caller.order("contacts", {"audience": audience, "find": gone, "remove": True})
    assert caller.get(path).json["full_name"] == "N"
    assert len(members(caller, audience)) == len(members(caller, audience, count=50))
    assert "N" not in {each["full_name"] for each in members(caller, audience)}
    assert gone in {each["id"] for each in members(caller, audience)}
    caller.order("clock", {"advance_s": 61})
    assert "N" in {each["full_name"] for each in members(caller, audience)}
    assert gone not in {each["id"] for each in members(caller, audience)}
    assert len(caller.facts("truth")) == 5


def test_lists_can_be_had_by_the_time_when_they_were_made(sandbox: Any) -> None:
    caller = sandbox(audiences=5, contacts=0)
    order = {"sort_field": "date_created", "sort_dir": "ASC"}
    found = caller.get("/3.0/lists", **order).json["lists"]
    dates = [one["date_created"] for one in found]
    assert dates == sorted(dates)
    assert dates[1] == dates[2]
    later = caller.get("/3.0/lists", since_date_created=dates[1]).json
    assert {one["id"] for one in later["lists"]} == {one["id"] for one in found[3:]}
    assert caller.get("/3.0/lists", sort_field="name").status == 400
    one = caller.get(f"/3.0/lists/{found[0]['id']}", include_total_contacts="true").json
    assert one["stats"]["total_contacts"] == 0


def test_fields_reach_into_rows(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=5)
    [audience] = lists_of(caller)
    path = f"/3.0/lists/{audience}/members"
    wanted = caller.get(path, fields="members.id,total_items").json
    assert {*wanted} == {"members", "total_items"}
    assert {name for one in wanted["members"] for name in one} == {"id"}
    less = caller.get(path, exclude_fields="_links,members._links").json
    assert "_links" not in less
    assert all("_links" not in one and "stats" in one for one in less["members"])


def test_the_same_seed_makes_the_same_contacts_and_changes(sandbox: Any) -> None:
    def story(seed: int) -> Any:
        caller = sandbox(contacts=40)
        caller.order("clock", {"now": START + 10, "frozen": True})
        numbers = {"create": 3, "update": 3, "archive": 2, "rename": 2, "delete": 2, "tag": 1}
        caller.order("mutate", numbers | {"unarchive": 1, "count": 2, "seed": seed})
        return caller.facts("truth")

    assert story(1) == story(1)
    assert story(1) != story(2)


def test_accounts_share_no_contact(sandbox: Any) -> None:
    caller = sandbox(accounts=2, contacts=20)
    caller.order("mutate", {"account": 1, "create": 5})
    first, second = (caller.facts("truth", account=number) for number in (0, 1))
    assert (len(first), len(second)) == (20, 25)
    assert not {one["list_id"] for one in first} & {one["list_id"] for one in second}
    key = caller.facts()["accounts"][1]["api_key"]
    assert caller.get(f"/3.0/lists/{second[0]['list_id']}", key=key).status == 200
    assert caller.get(f"/3.0/lists/{second[0]['list_id']}").status == 404


def test_a_quiet_order_leaves_the_time_alone(sandbox: Any) -> None:
    caller = sandbox(audiences=1, contacts=5)
    [audience] = lists_of(caller)
    one = members(caller, audience)[0]
    order = {"audience": audience, "find": one["id"], "quiet": True, "set": {"vip": True}}
    assert caller.order("contacts", order)["last_changed"] == one["last_changed"]
    order = {"audience": audience, "find": one["id"], "set": {"vip": True}}
    assert caller.order("contacts", order)["last_changed"] > one["last_changed"]
