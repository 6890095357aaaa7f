"""A provider's JSON is read exactly, and a page that is none is asked for again."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieline.contract import (
    NotFinite,
    PageParams,
    ProviderUnavailableError,
    Reply,
    after_last_key,
    as_of,
    by_cursor,
    parse_json,
    retry_after,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_orjson_writes_is_read_as_it_was(value):
    assert parse_json(orjson.dumps(value)) == value


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 2**70, 10**400, 123456789012345678])
@pytest.mark.parametrize("form", ['{"a": %d}', "[1,%d]", "[%d]", '{"a":\n  %d\n}', "%d"])
def test_integers_of_any_size_stay_exact(number, form):
    body = (form % number).encode()
    assert parse_json(body) == json.loads(body)


def test_long_digits_in_a_text_do_not_matter():
    assert parse_json(b'{"a":"12345678901234567890","b":1.5}') == {
        "a": "12345678901234567890",
        "b": 1.5,
    }


@pytest.mark.parametrize("body", [b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[1e400]"])
def test_what_json_has_not_is_marked(body):
    [value] = parse_json(body)
    assert isinstance(value, NotFinite)


def test_a_number_beyond_any_bound_is_marked():
    [value] = parse_json(b"[" + b"9" * 5000 + b"]")
    assert isinstance(value, NotFinite)


def test_lone_surrogates_and_wrong_bytes_cost_no_page():
    assert parse_json(b'["\\ud800", 1]') == ["\ud800", 1]
    assert parse_json(b'["\xff", 1]') == ["\udcff", 1]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>secret</html>", b'{"a": "secret', b'{"a"', b"[" * 5000 + b"]" * 5000],
    ids=["empty", "html", "cut text", "cut key", "deep"],
)
def test_what_is_no_json_is_asked_for_again_and_not_quoted(body):
    with pytest.raises(ProviderUnavailableError) as caught:
        parse_json(body)
    assert "secret" not in caught.value.message


def reply(body: object, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=200, headers=headers, content=content, seconds=0.5)


def asking(*bodies: object):
    asked = []
    left = list(bodies)

    def get(_client, path, query):
        asked.append((path, dict(query)))
        return reply(left.pop(0))

    return get, asked


def test_after_last_key_walks_to_the_end():
    get, asked = asking(
        {"data": [{"id": "a"}, {"id": "b"}], "has_more": True},
        {"data": [{"id": "c"}], "has_more": False},
    )
    step = after_last_key(get, "/things", query={"limit": 2})
    first = step(None, PageParams(), None)
    second = step(None, PageParams(), first.next)
    assert [first.next, second.next] == ["b", None]
    assert asked == [
        ("/things", {"limit": 2}),
        ("/things", {"limit": 2, "starting_after": "b"}),
    ]


@pytest.mark.parametrize(
    ("records", "key"),
    [
        ([{"id": "a"}, {"id": None}], "a"),
        ([{"id": 7}], "7"),
        ([{"id": "a"}, "text"], "a"),
    ],
)
def test_a_bad_last_record_costs_no_page(records, key):
    get, _ = asking({"data": records, "has_more": True})
    assert after_last_key(get, "/")(None, PageParams(), None).next == key


BROKEN = {
    "empty page that says more": {"data": [], "has_more": True},
    "no key to go on from": {"data": [{"id": None}], "has_more": True},
    "has_more is missing": {"data": []},
    "has_more is text": {"data": [], "has_more": "false"},
    "no list": {"data": {}, "has_more": False},
    "a list for a body": [],
    "null": None,
}


@pytest.mark.parametrize("case", BROKEN, ids=list(BROKEN))
def test_a_page_that_is_none_is_not_the_end(case):
    get, _ = asking(BROKEN[case])
    with pytest.raises(ProviderUnavailableError):
        after_last_key(get, "/")(None, PageParams(), None)


def test_by_cursor_follows_the_provider_s_cursor():
    get, asked = asking({"items": [{}], "next": "x"}, {"items": [], "next": ""})
    step = by_cursor(get, "/", items="items", cursor_field="next")
    assert step(None, PageParams(), None).next == "x"
    assert step(None, PageParams(), "x").next is None
    assert asked[1] == ("/", {"cursor": "x"})
    get, _ = asking({"items": [], "next": 5})
    with pytest.raises(ProviderUnavailableError):
        by_cursor(get, "/", items="items", cursor_field="next")(None, PageParams(), None)


def test_by_cursor_finds_a_cursor_in_objects_and_takes_no_oddity_for_the_end():
    step = {"items": "items", "cursor_field": "paging.next.after"}
    ends = {"missing": {}, "null": {"paging": None}, "half": {"paging": {"next": None}}}
    get, _ = asking({"items": [], "paging": {"next": {"after": "7"}}})
    assert by_cursor(get, "/", **step)(None, PageParams(), None).next == "7"
    for end in ends.values():
        get, _ = asking({"items": []} | end)
        assert by_cursor(get, "/", **step)(None, PageParams(), None).next is None
    get, _ = asking({"items": [], "paging.next.after": "8", "paging": None})
    assert by_cursor(get, "/", **step)(None, PageParams(), None).next == "8"
    for odd in ({"paging": []}, {"paging": {"next": "7"}}, {"paging": {"next": {"after": 7}}}):
        get, _ = asking({"items": []} | odd)
        with pytest.raises(ProviderUnavailableError):
            by_cursor(get, "/", **step)(None, PageParams(), None)


RETRY_AFTER = {
    "7": 7,
    " 7 ": 7,
    "0.5": 0.5,
    "1e9": 900,
    "-1": None,
    "nan": None,
    "inf": None,
    "soon": None,
    "": None,
    "Sun, 01 Nov 2026 00:00:30 GMT": 20,
    "Sat, 31 Oct 2026 23:00:00 GMT": 0,
    "Fri, 31 Dec 9999 23:59:59 -1200": None,
    "Sun, 01 Nov 99999999999 00:00:30 GMT": None,
}


@pytest.mark.parametrize("text", RETRY_AFTER, ids=list(RETRY_AFTER))
def test_retry_after_in_all_its_forms(text):
    headers = {"Retry-After": text, "Date": "Sun, 01 Nov 2026 00:00:10 GMT"}
    assert retry_after(headers) == RETRY_AFTER[text]


def test_as_of_is_the_answer_s_date_less_its_duration():
    found = as_of(reply({}, date="Sun, 01 Nov 2026 00:00:10 GMT"))
    assert found == datetime(2026, 11, 1, 0, 0, 9, tzinfo=UTC)
    for text in ("", "yesterday", "Sun, 01 Nov 99999999999 00:00:30 GMT"):
        assert as_of(reply({}, date=text)) is None
    assert as_of(reply({})) is None
