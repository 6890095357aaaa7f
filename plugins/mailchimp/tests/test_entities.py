"""Contacts and lists without a network: documented examples, keys, and what is declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tieline_mailchimp
from tieline.contract import (
    Connection,
    Credential,
    CursorExpiredError,
    PageParams,
    ProviderUnavailableError,
    RecordNotFoundError,
    Reply,
)
from tieline_mailchimp import walk
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.entities import CONTACTS, LISTS, key_of
from tieline_mailchimp.pages import Place, Sorted, earlier, read_after

EXAMPLES = json.loads(
    (Path(__file__).parent / "data" / "mailchimp-audiences.examples.json").read_text("utf-8")
)
HOST = "https://us6.api.mailchimp.com"


class Answers:
    """A transport that gives prepared answers and remembers what was asked."""

    def __init__(self, *bodies: Any) -> None:
        self.bodies = list(bodies)
        self.asked: list[str] = []

    def send(self, _method: str, url: str, **_also: Any) -> Reply:
        self.asked.append(url)
        body = self.bodies.pop(0)
        status = 404 if body is None else 200
        return Reply(status=status, headers={}, content=json.dumps(body).encode(), seconds=0.1)


def api(*bodies: Any) -> tuple[MailchimpApi, Answers]:
    connection = Connection(
        id="con_1", name="n", provider="mailchimp", environment="production", base_url=HOST
    )
    transport = Answers(*bodies)
    return MailchimpApi(connection, Credential({"api_key": "0a-us6"}), transport), transport


def examples(schema: str) -> list[dict[str, Any]]:
    return [one["value"] for one in EXAMPLES if one["schema"] == schema]


def test_there_are_examples_of_everything():
    assert {one["schema"] for one in EXAMPLES} == {"member", "membersPage", "list", "listsPage"}
    assert {one["status"] for one in examples("member")} == {
        "subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived",
    }  # fmt: skip


def check(entity: Any, record: dict[str, Any]) -> None:
    loaded = entity.schema.load(record)
    promised = {name for name in entity.schema.load_fields if name in record}
    assert loaded == {name: record[name] for name in promised}
    assert len(promised) > 8


@pytest.mark.parametrize("record", examples("member"), ids=lambda one: one["status"])
def test_every_documented_contact_is_taken_as_it_is(record: dict[str, Any]):
    check(CONTACTS, record)
    lists = {"lists": [{"id": record["list_id"]}], "total_items": 1}
    page = {"members": [record], "list_id": record["list_id"], "total_items": 1}
    mailchimp, _ = api(lists, page, page, record)
    first = CONTACTS.page(mailchimp, PageParams(), None)
    assert (first.records, first.deleted) == ([], ())
    assert CONTACTS.page(mailchimp, PageParams(), first.next).records == [record]
    [change] = CONTACTS.feed.page(mailchimp, PageParams(), first.next).changes
    assert (change.record, change.key) == (record, key_of(record))
    assert CONTACTS.get(mailchimp, key_of(record)) == record


@pytest.mark.parametrize("record", examples("list"), ids=lambda one: one["name"])
def test_every_documented_list_is_taken_as_it_is(record: dict[str, Any]):
    check(LISTS, record)
    mailchimp, _ = api({"lists": [record], "total_items": 1}, record, None)
    page = LISTS.page(mailchimp, PageParams(), None)
    assert (page.records, page.next) == ([record], None)
    assert LISTS.get(mailchimp, record["id"]) == record
    assert LISTS.get(mailchimp, record["id"]) is None


def test_documented_pages_are_read():
    [lists] = examples("listsPage")
    whole, past = examples("membersPage")
    mailchimp, _ = api(lists, whole | {"total_items": 2}, past | {"total_items": 0})
    assert LISTS.page(mailchimp, PageParams(), None).records == lists["lists"]
    of = Sorted("members", "last_changed", 1000)
    read = read_after(mailchimp, mailchimp.lists.get_list_members_info, "l", of=of, at=Place())
    assert (read.rows, read.place) == (whole["members"], None)
    read = read_after(mailchimp, mailchimp.lists.get_list_members_info, "l", of=of, at=Place())
    assert (read.rows, read.place) == ([], None)


KEYS = {
    "by contact id": ({"list_id": "a1", "contact_id": "c", "id": "h"}, "a1:c"),
    "by id": ({"list_id": "a1", "id": "h"}, "a1:h"),
    "contact id empty": ({"list_id": "a1", "contact_id": "", "id": "h"}, "a1:h"),
    "contact id null": ({"list_id": "a1", "contact_id": None, "id": "h"}, "a1:h"),
    "no list": ({"id": "h"}, None),
    "nothing": ({}, None),
    "a slash": ({"list_id": "a1", "contact_id": "c/../d"}, None),
    "a list with a colon": ({"list_id": "a:1", "contact_id": "c"}, None),
    "a number": ({"list_id": "a1", "contact_id": 7}, None),
    "no object": (["a1", "c"], None),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_key_is_the_audience_and_what_stays_of_the_contact(case: str):
    record, key = KEYS[case]
    assert key_of(record) == key


def test_a_contact_is_read_again_by_what_its_key_says():
    mailchimp, transport = api({"id": "h"}, None)
    assert CONTACTS.get(mailchimp, "a1:c2") == {"id": "h"}
    assert CONTACTS.get(mailchimp, "a1:c2") is None
    assert transport.asked == [f"{HOST}/3.0/lists/a1/members/c2?exclude_fields=_links"] * 2


def test_what_is_declared():
    assert [one.name for one in tieline_mailchimp.tieline_entities()] == ["contacts", "lists"]
    assert CONTACTS.deletes == LISTS.deletes == "sweep"
    assert CONTACTS.feed.retention is None
    assert (LISTS.feed, CONTACTS.windows, CONTACTS.version) == (None, None, None)
    assert "archived" in CONTACTS.hides


def rows(*times: str) -> list[dict[str, str]]:
    return [{"id": f"r{number}", "last_changed": time} for number, time in enumerate(times)]


A, B = "2026-01-01T00:00:05+00:00", "2026-01-01T00:00:09+00:00"
BEFORE_A, BEFORE_B = "2026-01-01T00:00:04+00:00", "2026-01-01T00:00:08+00:00"
PLACES = {
    "the end": (Place(), rows(A, B), 2, None),
    "nothing there": (Place(), [], 0, None),
    "later": (Place(), rows(A, B), 9, Place(BEFORE_B)),
    "other zone": (Place(), rows("2026-01-01T01:00:09+01:00"), 9, Place(BEFORE_B)),
    "one second": (Place(BEFORE_A), rows(A, A, A), 9, Place(BEFORE_A, 2, "r2")),
    "one second, on": (Place(BEFORE_A, 2, "r0"), rows(A, A, A), 9, Place(BEFORE_A, 4, "r2")),
    "one second, then later": (Place(BEFORE_A, 2, "r0"), rows(A, A, B), 9, Place(BEFORE_B)),
    "one second, to the end": (Place(BEFORE_A, 2, "r0"), rows(A, A), 4, None),
    "moved": (Place(BEFORE_A, 2, "x"), rows(A, A), 9, Place(BEFORE_A, again=1)),
    "moved, at what seems the end": (Place(BEFORE_A, 2, "x"), rows(A), 3, Place(BEFORE_A, again=1)),
    "moved beyond the end": (Place(BEFORE_A, 2, "x"), [], 2, Place(BEFORE_A, again=1)),
    "no order": (Place(), rows(B, A, B), 9, Place("", 2, "r2")),
    "no times": (Place(), rows("", "", ""), 9, Place("", 2, "r2")),
    "nonsense": (Place(), rows("x", "y", "z"), 9, Place("", 2, "r2")),
    "no zone": (Place(), rows("2026-01-01T00:00:05", "2026-01-01T00:00:05"), 9, Place("", 1, "r1")),
    "the first year": (Place(), rows(*["0001-01-01T00:00:00+00:00"] * 2), 9, Place("", 1, "r1")),
    "empty ones first": (Place(), rows("", "", A), 9, Place(BEFORE_A)),
    "rows without ids": (Place(), [{}, {}, {}], 9, Place("", 2, "")),
    "rows that are none": (Place(), [None, 7, "x"], 9, Place("", 2, "")),
}


@pytest.mark.parametrize("total", [0, 3, 9])
def test_a_count_that_is_too_low_does_not_end_a_list(total: int):
    mailchimp, _ = api({"members": rows(A, A, B), "total_items": total})
    of = Sorted("members", "last_changed", 3)
    call = mailchimp.lists.get_list_members_info
    assert read_after(mailchimp, call, "l", of=of, at=Place()).place == Place(BEFORE_B)


@pytest.mark.parametrize("case", PLACES)
def test_a_page_tells_where_the_next_begins(case: str):
    at, found, total, following = PLACES[case]
    mailchimp, _ = api({"members": found, "total_items": total})
    of = Sorted("members", "last_changed", 1000)
    call = mailchimp.lists.get_list_members_info
    assert read_after(mailchimp, call, "l", of=of, at=at).place == following


@pytest.mark.parametrize(
    ("at", "found", "error"),
    [
        (Place(), [], ProviderUnavailableError),
        (Place(BEFORE_A, 0), rows(A), ProviderUnavailableError),
        (Place(BEFORE_A, 4, "r0"), rows(A), ProviderUnavailableError),
        (Place(BEFORE_A, 4, "x", 10), rows(A, A), CursorExpiredError),
    ],
)
def test_a_page_from_which_there_is_no_way_on_is_an_error(at: Place, found: Any, error: Any):
    mailchimp, _ = api({"members": found, "total_items": 99})
    of = Sorted("members", "last_changed", 1000)
    with pytest.raises(error):
        read_after(mailchimp, mailchimp.lists.get_list_members_info, "l", of=of, at=at)


def test_times_that_are_none_are_nothing():
    assert [earlier(time, walk.OVERLAP) for time in (None, "", "x", "2026-01-01")] == [""] * 4


def test_the_longest_cursor_is_within_the_contract():
    names = [f"{number:020d}" for number in range(60)]
    place = Place("2026-01-01T00:00:00+00:00", 10**6, "f" * 32, 9)
    whole = walk._Walk(1000, place, names, names, 2, place, place.since, names[:30], names[0])
    assert len(whole.page().next) <= 4096
    assert walk._Walk.read(whole.page().next).page().next == whole.page().next


def test_a_thirty_first_audience_that_is_refused_ends_the_reading():
    names = [f"a{number}" for number in range(31)]
    walked = walk._Walk(1000, None, [names[30]], (), 0, None, "", names[:30], "")
    mailchimp, _ = api(None)
    with pytest.raises(Exception, match="a30") as caught:
        CONTACTS.page(mailchimp, PageParams(), walked.page().next)
    assert isinstance(caught.value.__cause__, RecordNotFoundError)
