"""What the walk asks for, request by request."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tieline.contract import (
    Credential,
    CursorExpiredError,
    PageParams,
    ProviderUnavailableError,
    Reply,
    RequestRejectedError,
    Window,
)
from tieline_square import tieline_entities
from tieline_square.client import SquareApi

ENTITIES = {entity.name: entity for entity in tieline_entities()}
DATE = "Sun, 01 Nov 2026 00:00:00 GMT"
SINCE = datetime(2026, 10, 31, 12, 0, 0, 500, UTC)


class Square:
    """A transport that gives prepared bodies and remembers what was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.api = SquareApi(
            "https://connect.squareup.com", Credential({"access_token": "EAAA"}), self
        )

    def send(self, method, url, *, headers, content=None):  # noqa: ARG002 - the contract's
        self.asked.append((method, url, content and json.loads(content)))
        status, body = self.answers.pop(0)
        content = json.dumps(body).encode()
        return Reply(status=status, headers={"date": DATE}, content=content, seconds=0.0)


def good(**body):
    return 200, body


def refused(code):
    return 400, {"errors": [{"category": "INVALID_REQUEST_ERROR", "code": code}]}


def places(count):
    return good(locations=[{"id": f"L{number:02}"} for number in reversed(range(count))])


def window(since=SINCE):
    return PageParams(window=Window(start=since))


def changes(square, entity, since=SINCE):
    """Read a walk of changes to its end; return the records' ids."""
    met, cursor = [], None
    while True:
        page = ENTITIES[entity].feed.page(square.api, window(since), cursor)
        met += [change.key for change in page.changes]
        cursor = page.next
        if cursor is None:
            return met


def test_a_search_for_changed_orders_is_one_that_square_takes():
    square = Square(places(12), good(orders=[{"id": "O1"}]), good())
    assert changes(square, "orders") == ["O1"]
    (_, first, _), (_, _, one), (_, _, two) = square.asked
    assert first.endswith("/v2/locations")
    assert one["location_ids"] == [f"L{number:02}" for number in range(10)]
    assert two["location_ids"] == ["L10", "L11"]
    times = {"start_at": "2026-10-31T12:00:00.000500Z", "end_at": "2026-11-01T00:00:00Z"}
    for body in (one, two):
        assert body["limit"] == 500
        assert body["query"] == {
            "filter": {"date_time_filter": {"updated_at": times}},  # and no state is left out
            "sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"},
        }


def test_the_end_of_an_incremental_read_is_square_s_own_time_at_its_start():
    square = Square(good(customers=[]), good(cursor="c1"), good())
    changes(square, "customers")
    (_, opening, _), (_, _, one), (_, _, two) = square.asked
    assert opening.endswith("/v2/customers?limit=1")
    ranges = [body["query"]["filter"]["updated_at"] for body in (one, two)]
    assert ranges[0] == ranges[1]
    assert ranges[0]["end_at"] == "2026-11-01T00:00:00Z"
    assert two == one | {"cursor": "c1"}  # the same query to the letter


def test_without_square_s_time_a_read_is_open_at_its_end():
    square = Square(good(), good())
    square.send = lambda *_args, **_given: Reply(status=200, headers={}, content=b"{}", seconds=0.0)
    page = ENTITIES["customers"].feed.page(square.api, window(), None)
    assert page.as_of is None
    assert json.loads(page.next)[2] == ""


def test_changes_of_the_catalog_are_asked_for_with_deletions_and_a_moment_earlier():
    square = Square(good(objects=[{"id": "A", "is_deleted": True}], latest_time="x"))
    assert changes(square, "catalog") == ["A"]
    [(_, url, body)] = square.asked
    assert url.endswith("/v2/catalog/search")
    assert body["include_deleted_objects"] is True
    assert body["begin_time"] == "2026-10-31T11:59:59.999500Z"
    assert (len(body["object_types"]), body["limit"]) == (19, 1000)
    assert "include_category_path_to_root" not in body


@pytest.mark.parametrize("code", ["INVALID_CURSOR", "BAD_REQUEST"])
def test_after_an_expired_cursor_a_sorted_walk_goes_on_from_the_time_it_reached(code):
    times = [f"2026-10-31T13:00:0{number}.123456789Z" for number in range(3)]
    records = [{"id": f"O{n}", "updated_at": time} for n, time in enumerate(times)]
    square = Square(
        places(2),
        good(orders=records[:2], cursor="c1"),
        refused(code),
        good(orders=records[1:], cursor="c2"),
        good(),
    )
    assert changes(square, "orders") == ["O0", "O1", "O1", "O2"]
    _, _, (_, _, dead), (_, _, anew), (_, _, last) = square.asked
    assert dead["cursor"] == "c1"
    assert "cursor" not in anew
    asked = anew["query"]["filter"]["date_time_filter"]["updated_at"]
    assert asked["start_at"] == "2026-10-31T13:00:01.123456Z"  # never later than it was
    assert last == anew | {"cursor": "c2"}


def test_a_walk_that_made_no_headway_begins_anew_rather_than_going_round():
    record = {"id": "O1", "updated_at": "2026-10-31T13:00:00Z"}
    square = Square(
        places(1),
        good(orders=[record], cursor="c1"),
        refused("INVALID_CURSOR"),
        good(orders=[record], cursor="c2"),
        refused("INVALID_CURSOR"),
    )
    with pytest.raises(CursorExpiredError):
        changes(square, "orders")


@pytest.mark.parametrize("entity", ["customers", "catalog"])
def test_changes_that_are_not_in_order_are_read_again_from_their_start(entity):
    items = {"customers": "customers", "catalog": "objects"}[entity]
    record = {"id": "A", "updated_at": "2026-10-31T13:00:00Z"}
    first = [good()] if entity == "customers" else []
    square = Square(*first, good(**{items: [record]}, cursor="c1"), refused("INVALID_CURSOR"))
    with pytest.raises(CursorExpiredError):
        changes(square, entity)


def test_a_bad_request_without_a_cursor_is_a_refusal():
    square = Square(places(1), refused("BAD_REQUEST"))
    with pytest.raises(RequestRejectedError):
        changes(square, "orders")


def test_another_process_goes_on_with_a_walk():
    square = Square(places(3), good(payments=[{"id": "P1"}]))
    first = ENTITIES["payments"].page(square.api, PageParams(), None)
    second = ENTITIES["payments"].page(square.api, PageParams(), first.next)
    other = Square(places(3), good(payments=[{"id": "P2"}]), good(payments=[{"id": "P3"}]))
    third = ENTITIES["payments"].page(other.api, PageParams(), second.next)
    fourth = ENTITIES["payments"].page(other.api, PageParams(), third.next)
    assert [each["id"] for page in (second, third, fourth) for each in page.records] == [
        "P1",
        "P2",
        "P3",
    ]
    assert fourth.next is None
    assert ["location_id=L01" in url for _, url, _ in other.asked] == [False, True, False]


MALFORMED = {
    "records that are no list": good(customers={}),
    "a cursor that is no text": good(customers=[], cursor=5),
    "a list": (200, []),
    "text": (200, "x"),
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=list(MALFORMED))
def test_an_answer_that_is_no_page_is_never_the_end(answer):
    with pytest.raises(ProviderUnavailableError):
        ENTITIES["customers"].page(Square(answer).api, PageParams(), None)


def test_a_location_without_an_id_is_not_passed_over():
    square = Square(good(locations=[{"id": "L1"}, {"name": "?"}]))
    with pytest.raises(ProviderUnavailableError, match="a location has no id"):
        ENTITIES["orders"].page(square.api, PageParams(), None)


def test_a_seller_without_a_location_has_no_orders():
    square = Square(good())
    first = ENTITIES["orders"].page(square.api, PageParams(), None)
    assert ENTITIES["orders"].page(square.api, PageParams(), first.next).next is None


def test_what_stands_in_a_list_and_is_no_record_comes_through_for_the_quarantine():
    square = Square(good(), good(customers=[None, 5, "x", {"updated_at": 1}, {"id": "C1"}]))
    assert changes(square, "customers") == ["", "", "", "", "C1"]
    page = ENTITIES["customers"].page(
        Square(good(customers=[5])).api,
        PageParams(window=Window(end=SINCE + timedelta(days=1))),
        None,
    )
    assert page.records == [5]


@pytest.mark.parametrize("entity", ENTITIES)
def test_one_record_is_read_by_its_id_quoted(entity):
    item = {"customers": "customer", "orders": "order", "catalog": "object"}.get(entity, "payment")
    record = {"id": "a/b?c#d"}
    gone = (404, {"errors": [{"category": "INVALID_REQUEST_ERROR", "code": "NOT_FOUND"}]})
    square = Square(
        good(**{item: record}), gone, good(**{item: record | {"is_deleted": True}}), good()
    )
    get = ENTITIES[entity].get
    assert get(square.api, "a/b?c#d") == record
    assert square.asked[0][1].endswith("/a%2Fb%3Fc%23d")
    assert get(square.api, "a/b?c#d") is None
    assert get(square.api, "a/b?c#d") is None
    with pytest.raises(ProviderUnavailableError):
        get(square.api, "a/b?c#d")


PROBE = """
import sys
from tieline.contract import Credential, PageParams, Reply
from tieline_square import tieline_entities
from tieline_square.client import SquareApi

class Transport:
    def send(self, method, url, *, headers, content=None):
        return Reply(status=200, headers={}, content=b'{"customers": [{"id": "C1"}]}', seconds=0)

api = SquareApi("https://connect.squareup.com", Credential({"access_token": "EAAA"}), Transport())
assert tieline_entities()[0].page(api, PageParams(), None).records == [{"id": "C1"}]
models = [name for name in sys.modules if name.startswith("square.types.")]
print([name for name in models if not name.startswith("square.types.error")])
"""


def test_no_model_of_the_sdk_is_built_for_a_page():
    """They cost 0.4 ms a customer and 7 ms a catalog item; unimported, they cannot be built."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
