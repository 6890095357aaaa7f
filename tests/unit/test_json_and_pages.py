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
    Page,
    PageParams,
    ProviderUnavailableError,
    RecordNotFoundError,
    Reply,
    Window,
    after_last_key,
    as_of,
    by_cursor,
    by_link,
    by_offset,
    by_page_number,
    by_time_of_change,
    links_of,
    parse_json,
    retry_after,
    search_after_key,
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


@given(
    before=st.integers(0, 24),
    blanks=st.sampled_from(["", " ", "\n" * 70]),
    digits=st.integers(17, 21),
    sign=st.sampled_from(["", "-"]),
    after=st.text("0123456789", max_size=20),
)
def test_a_large_number_is_exact_wherever_it_stands(before, blanks, digits, sign, after):
    number = sign + "9" * digits
    body = f'{{"{"4" * before}":{blanks}{number},"b":"{after}","c":[{blanks}{number}]}}'.encode()
    assert parse_json(body) == json.loads(body)


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


LINKS = {
    '<https://a.example/x?page=2>; rel="next"': {"next": "https://a.example/x?page=2"},
    "</x?page=2>; rel=next": {"next": "/x?page=2"},
    '<a>; rel="prev", <b>; rel="next"': {"prev": "a", "next": "b"},
    '<a>;title="one, <two>; rel=next";rel="last NEXT"': {"last": "a", "next": "a"},
    '<a?x=1,2;3>; REL = "next"; title="\\"odd"': {"next": "a?x=1,2;3"},
    "<a>; rel=next, <b>; rel=next": {"next": "a"},
    "<a>": {},
    "next": {},
    "": {},
}


@pytest.mark.parametrize("text", LINKS, ids=list(LINKS))
def test_links_in_all_their_forms(text):
    assert links_of(reply([], link=text)) == LINKS[text]


FOLLOWED = {
    "https://api.acme.com/v2/things?page=2&a=": "/things?page=2&a=",
    "/v2/things?page=2": "/things?page=2",
    "?page=2": "/things?page=2",
    "more?page=2": "/more?page=2",
    "https://evil.example/v2/things?page=2": "/things?page=2",
    "//evil.example/v2/repositories/7/things?page=2": "/repositories/7/things?page=2",
}


@pytest.mark.parametrize("link", FOLLOWED)
def test_an_address_is_followed_at_the_base_address(link):
    get, asked = asking({"rows": [{}], "next": link}, {"rows": []})
    step = by_link(get, "/things", items="rows", link_field="next", prefix="/v2", query={"n": 5})
    first = step(None, PageParams(), None)
    assert first.next == FOLLOWED[link]
    assert step(None, PageParams(), first.next).next is None
    assert asked[0] == ("/things", {"n": 5})
    assert asked[1][0] == FOLLOWED[link].partition("?")[0]
    assert asked[1][1]["page"] == "2"


def test_a_parameter_that_an_address_has_twice_is_a_list():
    get, asked = asking([])
    by_link(get, "/")(None, PageParams(), "/things?state=a&state=b&page=2")
    assert asked == [("/things", {"state": ["a", "b"], "page": "2"})]


def test_where_a_cursor_is_given_at_the_end_too_the_body_says_whether_there_is_more():
    get, _ = asking(
        {"d": {"rows": [{}]}, "cursor": "x", "more": True},
        {"d": {"rows": []}, "cursor": "y", "more": False},
        {"d": {"rows": []}, "cursor": "", "more": True},
    )
    step = by_cursor(get, "/", items="d.rows", cursor_field="cursor", more="more")
    assert step(None, PageParams(), None).next == "x"
    assert step(None, PageParams(), "x").next is None
    with pytest.raises(ProviderUnavailableError):
        step(None, PageParams(), "y")


NO_PAGES = {
    "offset: an empty page says more": (
        by_offset, {"items": "rows", "more": "more"}, {"rows": [], "more": True}
    ),
    "offset: more is text": (by_offset, {"items": "rows", "more": "m"}, {"rows": [], "m": ""}),
    "number: no list": (by_page_number, {"items": "rows"}, {"rows": None}),
    "number: the count is text": (
        by_page_number, {"items": "rows", "pages": "pages"}, {"rows": [{}], "pages": "3"}
    ),
    "link: it is a number": (by_link, {"items": "rows", "link_field": "n"}, {"rows": [], "n": 7}),
    "link: no list": (by_link, {}, {"rows": []}),
}  # fmt: skip


@pytest.mark.parametrize("case", NO_PAGES)
def test_an_answer_that_is_no_page_of_its_shape_is_asked_for_again(case):
    make, options, body = NO_PAGES[case]
    get, _ = asking(body)
    with pytest.raises(ProviderUnavailableError):
        make(get, "/", **options)(None, PageParams(), None)


def test_a_first_page_that_is_not_found_is_no_empty_list():
    def get(_client, _path, _query):
        raise RecordNotFoundError("there is no such list")

    with pytest.raises(RecordNotFoundError):
        by_page_number(get, "/", items="rows")(None, PageParams(), None)


def test_a_count_of_pages_that_is_capped_is_not_the_end():
    """Whoever says that there are two pages, and has five, is read to the fifth."""
    left = {number: [{"id": str(number)}] for number in range(1, 6)}

    def get(_client, _path, query):
        return reply({"rows": left.get(query["page"], []), "pages": 2})

    step, cursor, met = by_page_number(get, "/", items="rows", pages="pages"), None, set()
    while True:
        page = step(None, PageParams(), cursor)
        met |= {record["id"] for record in page.records}
        if (cursor := page.next) is None:
            break
    assert met == set("12345")


SENT = {"date": "Mon, 02 Mar 2026 09:00:00 GMT"}
NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)


def searching(*bodies, further="", key="id"):
    """Return a search over these answers, and what it was asked."""
    left, asked = list(bodies), []

    def get(_client, _path, query):
        asked.append(query)
        content = json.dumps(left.pop(0)).encode()
        return Reply(status=200, headers=SENT, content=content, seconds=0.0)

    def query(window, last):
        return {"since": window.start, "above": last}

    step = search_after_key(get, "/search", asked=query, items="rows", further=further, key=key)
    return step, asked


def test_a_search_is_asked_with_its_window_and_goes_on_behind_the_last_key():
    rows = [{"id": "9"}, {"id": "10"}]
    step, asked = searching({"rows": rows, "more": {"after": "2"}}, {"rows": []}, further="more")
    params = PageParams(window=Window(start=NINE))
    page = step(None, params, None)
    assert (page.records, page.next, page.as_of) == (rows, "10", NINE)
    assert step(None, params, page.next).next is None
    assert asked == [{"since": NINE, "above": None}, {"since": NINE, "above": "10"}]


@pytest.mark.parametrize(
    ("rows", "after"),
    [
        ([{"id": 2}, {"id": 1}], None),
        ([{"id": "10"}, {"id": "9"}], None),
        ([{"id": "3"}], "3"),
        ([{"id": "b"}], "b"),
        ([{"name": "without"}], None),
    ],
    ids=["falling", "sorted as text", "the same number", "the same text", "no key at all"],
)
def test_a_search_that_would_lose_records_or_never_end_is_refused(rows, after):
    step, _ = searching({"rows": rows})
    with pytest.raises(ProviderUnavailableError):
        step(None, PageParams(), after)


def test_one_odd_record_costs_no_page_of_a_search():
    rows = [{"id": "1"}, 7, {"id": "2"}, {"id": {"deep": 1}}, {"id": "9" * 9000}]
    step, _ = searching({"rows": rows[:4]}, {"rows": rows[4:]})
    assert step(None, PageParams(), None).next == "2"
    assert step(None, PageParams(), "2").records == rows[4:]


def test_a_record_that_is_no_object_costs_no_page():
    content = json.dumps({"data": [{"id": "a"}, 5], "has_more": True}).encode()
    step = after_last_key(lambda *_: Reply(status=200, headers={}, content=content, seconds=0), "/")
    assert step(None, PageParams(), None).next == "a"


def test_a_list_of_what_changed_is_read_as_a_log():
    rows = [
        {"id": "1", "meta": {"at": "2026-03-01T00:00:00+01:00"}},
        {"id": 2, "meta": {"at": 1_772_442_000}},
        {"id": "3", "meta": {"at": "yesterday"}},
        {"meta": {"at": None}},
        "none",
    ]
    page = Page(records=rows, next="c", deleted=("4",), as_of=NINE)
    found = by_time_of_change(lambda *_: page, "meta.at")(None, PageParams(), None)
    assert (found.next, found.as_of) == ("c", NINE)
    told = [(each.key, each.at, each.is_deleted) for each in found.changes]
    assert told == [
        ("1", datetime(2026, 2, 28, 23, tzinfo=UTC), False),
        ("2", NINE, False),
        ("3", NINE, False),
        ("", NINE, False),
        ("", NINE, False),
        ("4", NINE, True),
    ]
    assert [each.record for each in found.changes] == [*rows, None]


def test_a_list_that_says_no_time_at_all_is_asked_again():
    page = Page(records=[{"id": "1"}], next=None)
    with pytest.raises(ProviderUnavailableError):
        by_time_of_change(lambda *_: page, "updated")(None, PageParams(), None)
