"""What plugins are given holds: secrets stay shut, nonsense is refused where it is written."""

from __future__ import annotations

import json
import pickle
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import EXCLUDE, RAISE, Schema

from tieline.contract import (
    CONTRACT_VERSION,
    OBSERVERS,
    OPTIONAL,
    REQUIRED,
    Account,
    ApiKey,
    Basic,
    Credential,
    Entity,
    Feed,
    FeedPage,
    Hmac,
    OAuth2,
    Page,
    PageParams,
    PathSecret,
    Provider,
    ProviderUnavailableError,
    Rate,
    RateLimitPolicy,
    RecordSchema,
    Reply,
    Secret,
    Webhooks,
    Window,
    Windows,
    Write,
    after_last_key,
    as_of,
    by_cursor,
    hookspecs,
    parse_json,
    retry_after,
)

CANARY = "sk_test_CANARY5d1e77"


@dataclass
class Holder:
    secret: Secret
    credential: Credential


def holder() -> Holder:
    return Holder(Secret(CANARY), Credential({"api_key": CANARY}))


def error_text(value: object) -> str:
    return "".join(traceback.format_exception(ValueError(value)))


SHOWN = {
    "str": str,
    "repr": repr,
    "ascii": ascii,
    "format": "{}".format,
    "format with !r": "{!r}".format,
    "f-string": lambda value: f"{value} {value!r} {value!s}",
    "percent s": lambda value: "%s" % (value,),  # noqa: UP031 - this form is what is tried
    "percent r": lambda value: "%r" % (value,),  # noqa: UP031 - this form is what is tried
    "in a list": lambda value: str([value]),
    "in a dict": lambda value: str({"value": value}),
    "json with a default": lambda value: json.dumps([value], default=repr),
    "orjson with a default": lambda value: orjson.dumps([value], default=repr).decode(),
    "exception": error_text,
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("part", ["secret", "credential", "holder"])
def test_no_way_of_showing_shows_a_secret(show, part):
    value = holder() if part == "holder" else getattr(holder(), part)
    assert CANARY not in show(value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("part", ["secret", "credential"])
def test_neither_secret_nor_credential_is_pickled(part, protocol):
    with pytest.raises(TypeError) as caught:
        pickle.dumps(getattr(holder(), part), protocol)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("dump", [json.dumps, orjson.dumps], ids=["json", "orjson"])
@pytest.mark.parametrize("part", ["secret", "credential"])
def test_neither_secret_nor_credential_is_json(part, dump):
    with pytest.raises(TypeError) as caught:
        dump({"value": getattr(holder(), part)})
    assert CANARY not in str(caught.value)


def test_a_secret_has_no_attribute_dictionary_to_look_into():
    assert not hasattr(Secret(CANARY), "__dict__")
    assert not hasattr(holder().credential, "__dict__")


def test_secrets_compare_by_text_and_with_nothing_else():
    assert Secret("a") == Secret("a")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"
    assert not Secret("")
    assert Secret("a").reveal() == "a"


def test_a_credential_is_a_mapping_of_secrets_that_prints_its_names():
    credential = Credential({"user": "u", "password": CANARY})
    assert list(credential) == ["user", "password"]
    assert len(credential) == 2
    assert credential["password"].reveal() == CANARY
    assert repr(credential) == "Credential(user, password)"
    with pytest.raises(KeyError):
        credential["other"]


class Thing(RecordSchema):
    pass


class Strict(Schema):
    class Meta:
        unknown = RAISE


class Loose(Schema):
    class Meta:
        unknown = EXCLUDE


def identify(_client) -> Account:
    return Account()


def page(_client, _params, _cursor) -> Page:
    return Page(records=[], next=None)


def feed_page(_client, _params, _cursor) -> FeedPage:
    return FeedPage(changes=[], next=None)


def provider(**given) -> Provider:
    environments = {"live": "https://api.example.com"}
    whole = {"name": "x", "title": "X", "contract": 1, "environments": environments}
    return Provider(**(whole | given))


def entity(**given) -> Entity:
    return Entity(**({"name": "things", "schema": Thing(), "page": page} | given))


def feed(**given) -> Feed:
    return Feed(**({"page": feed_page, "retention": timedelta(days=30)} | given))


def oauth(**given) -> OAuth2:
    whole = {
        "identify": identify,
        "authorize_url": "https://example.com/authorize",
        "token_url": "https://example.com/token",
    }
    return OAuth2(**(whole | given))


def webhooks(**given) -> Webhooks:
    return Webhooks(**({"scheme": Hmac(header="Sig"), "parse": lambda *_: []} | given))


def test_what_makes_sense_is_taken():
    assert provider(hosts=["https://files.example.com:8443"]).environments["live"]
    assert entity(schema=Loose(), deletes="feed", feed=feed()).directions == ("inbound",)
    written = Write(schema=Schema(), create=print, find=print)
    assert entity(write=written).directions == ("inbound", "outbound")
    assert [ApiKey(identify=identify).kind, Basic(identify=identify).kind, oauth().kind] == [
        "api_key",
        "basic",
        "oauth2",
    ]
    assert webhooks(scheme=PathSecret()).types == ()
    largest = "1000000000/366 days"
    for limit in ("25/second", "1/minute", "100 / hour", "5/10 seconds", "9/day", largest):
        assert Rate(limit=limit).limit == limit


NONSENSE = {
    "provider name with a capital": lambda: provider(name="Stripe"),
    "provider name with a dash": lambda: provider(name="my-shop"),
    "provider name empty": lambda: provider(name=""),
    "provider name too long": lambda: provider(name="a" * 41),
    "provider name ends in a line break": lambda: provider(name="stripe\n"),
    "provider name that begins with a digit": lambda: provider(name="1shop"),
    "provider name that is none": lambda: provider(name=None),
    "no environments": lambda: provider(environments={}),
    "environment with a space": lambda: provider(environments={"the live one": "https://x.com"}),
    "address with a trailing slash": lambda: provider(environments={"live": "https://x.com/"}),
    "address without a scheme": lambda: provider(environments={"live": "x.com"}),
    "address of another scheme": lambda: provider(environments={"live": "ftp://x.com"}),
    "address without a host": lambda: provider(environments={"live": "https://"}),
    "address that is none": lambda: provider(environments={"live": None}),
    "hosts as one text": lambda: provider(hosts="https://x.com"),
    "host without a scheme": lambda: provider(hosts=["x.com"]),
    "api key without a function": lambda: ApiKey(identify="identify"),
    "api key field with a space": lambda: ApiKey(identify=identify, field="the key"),
    "basic without a function": lambda: Basic(identify=None),
    "oauth without a function": lambda: oauth(identify=7),
    "window of no length": lambda: Windows(field="created", step=timedelta(0)),
    "window of a path with a gap": lambda: Windows(field="meta..created"),
    "window of no field": lambda: Windows(field=""),
    "window that runs back": lambda: Windows(field="created", step=timedelta(seconds=-1)),
    "feed without a function": lambda: feed(page="page"),
    "feed overlap as long as its log": lambda: feed(overlap=timedelta(days=30)),
    "entity name with a capital": lambda: entity(name="Things"),
    "entity schema as a class": lambda: entity(schema=Thing),
    "entity schema that is no schema": lambda: entity(schema={"id": str}),
    "entity schema that refuses unknown fields": lambda: entity(schema=Strict()),
    "entity page that is no function": lambda: entity(page=None),
    "entity deletes by a feed it has not": lambda: entity(deletes="feed"),
    "rate in words": lambda: Rate(limit="fast"),
    "rate without a time": lambda: Rate(limit="25"),
    "rate per fortnight": lambda: Rate(limit="25/fortnight"),
    "rate below nothing": lambda: Rate(limit="-1/second"),
    "rate that several paths share, of none": lambda: Rate(limit="4/second", match=[]),
    "rate that several paths share, one of all": lambda: Rate(limit="4/second", match=["/a", ""]),
    "policy that reserves all": lambda: RateLimitPolicy(reserve=1),
    "policy that reserves less than nothing": lambda: RateLimitPolicy(reserve=-0.1),
    "policy that alerts at nothing": lambda: RateLimitPolicy(alert_at=0),
    "policy that alerts above all": lambda: RateLimitPolicy(alert_at=1.1),
    "policy with no request in flight": lambda: RateLimitPolicy(concurrency=0),
    "signature over no body": lambda: Hmac(header="Sig", signed=("timestamp",), timestamp="t"),
    "signed time that stands nowhere": lambda: Hmac(header="Sig", signed=("timestamp", "body")),
}
# Nonsense that the declarations' docstring promises to refuse as well.
MORE_NONSENSE = {
    "oauth address that is none": lambda: oauth(authorize_url="nonsense"),
    "oauth token address that is empty": lambda: oauth(token_url=""),
    "address with a port beyond ports": lambda: provider(environments={"a": "https://x.com:99999"}),
    "api key whose check is no function": lambda: ApiKey(identify=identify, refuse="no"),
    "rate of nothing": lambda: Rate(limit="0/second"),
    "rate of more than can be counted": lambda: Rate(limit="1000000001/second"),
    "rate of more digits than are read": lambda: Rate(limit=f"{'9' * 5000}/second"),
    "rate in no time": lambda: Rate(limit="5/0 seconds"),
    "rate in more than a year": lambda: Rate(limit="5/367 days"),
    "policy with more in flight than can be": lambda: RateLimitPolicy(concurrency=10**7),
    "feed with an overlap below nothing": lambda: feed(overlap=timedelta(days=-1)),
    "entity without a key": lambda: entity(key=""),
    "entity whose key is a number": lambda: entity(key=7),
    "entity with one text for what is volatile": lambda: entity(volatile="stats"),
    "entity with a volatile path of nothing": lambda: entity(volatile=["stats..opens"]),
    "entity with a volatile path that is none": lambda: entity(volatile=[None]),
    "entity with one text for an event's key": lambda: entity(event_key="id", get=print),
    "entity with a path of nothing in an event's key": lambda: entity(event_key=["a."], get=print),
    "entity that cannot be read by an event's key": lambda: entity(event_key=["email"]),
    "entity whose key is volatile": lambda: entity(volatile=["id"]),
    "entity with an unknown way to delete": lambda: entity(deletes="sometimes"),
    "entity with an unknown event action": lambda: entity(events={"thing.made": "explode"}),
    "entity whose version is no function": lambda: entity(version="updated_at"),
    "entity whose get is no function": lambda: entity(get="get"),
    "write whose create is no function": lambda: Write(create="create"),
    "signature of an unknown hash": lambda: Hmac(header="Sig", algorithm="md6"),
    "webhooks whose parse is no function": lambda: webhooks(parse=None),
    "webhooks without a scheme": lambda: webhooks(scheme=None),
}


@pytest.mark.parametrize("case", NONSENSE | MORE_NONSENSE)
def test_nonsense_is_refused_where_it_is_written(case):
    with pytest.raises((TypeError, ValueError)):
        (NONSENSE | MORE_NONSENSE)[case]()


def test_declarations_do_not_change_afterwards():
    made = provider()
    with pytest.raises(AttributeError):
        made.name = "other"
    with pytest.raises(TypeError):
        made.environments["new"] = "https://example.com"


def test_the_named_hooks_are_the_specified_ones():
    specified = {name for name in vars(hookspecs) if name.startswith("tieline_")}
    named = [*REQUIRED, *OPTIONAL, *OBSERVERS]
    assert set(named) == specified
    assert len(named) == len(specified)
    assert CONTRACT_VERSION == 1


# JSON and pages: what test_json_and_pages.py does not try.

NUMBERS = st.integers(-(10**40), 10**40)
NESTED = st.recursive(
    NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.lists(NESTED), st.sampled_from([None, 2]), st.booleans())
def test_integers_stay_exact_wherever_they_stand(value, indent, is_ascii):
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    read = parse_json(text.encode("utf-8", "surrogatepass" if is_ascii else "surrogateescape"))
    assert repr(read) == repr(value)


@pytest.mark.parametrize("body", [b'{"a":1,"a":2}', b'{"a":[NaN],"a":2}'], ids=["quick", "exact"])
def test_of_two_equal_names_the_last_counts_on_both_ways(body):
    assert parse_json(body) == {"a": 2}


HOSTILE_BODIES = {
    "cut within a surrogate": b'["\\ud83d',
    "cut within a number's sign": b"[-",
    "cut after a comma": b'{"hunter2":"hunter2",',
    "two bodies": b'{"a":"hunter2"}{"a":"hunter2"}',
    "wrong escape": b'{"a":"\\hunter2"}',
    "a line break in a text": b'{"a":"hunter2\n"}',
    "only spaces": b" \n\t ",
    "html": b"<!doctype html><title>hunter2</title>",
    "binary": bytes(range(256)),
    "NUL": b"\x00hunter2",
    "objects 5,000 deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "lists 100,000 deep": b"[" * 100_000,
    "deep with a big number": b"[" * 5000 + b"9" * 30 + b"]" * 5000,
}


@pytest.mark.parametrize("case", HOSTILE_BODIES)
def test_a_body_that_is_no_json_is_put_off_and_not_quoted(case):
    with pytest.raises(ProviderUnavailableError) as caught:
        parse_json(HOSTILE_BODIES[case])
    assert "hunter2" not in caught.value.message
    assert caught.value.slug == "answer-malformed"


@given(st.binary())
def test_any_bytes_are_json_or_put_off(body):
    try:
        parse_json(body)
    except ProviderUnavailableError as error:
        assert error.slug == "answer-malformed"  # noqa: PT017 - not every body is refused


def answering(body: object, **headers: str):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def get(_client, _path, _query):
        return Reply(status=200, headers=headers, content=content, seconds=0)

    return get


def one_page(make, body: object, cursor: str | None = None) -> Page:
    return make(answering(body))(None, PageParams(), cursor)


def last_key(get):
    return after_last_key(get, "/things")


def cursor(get):
    return by_cursor(get, "/things", items="data", cursor_field="next")


HTML = b"<html>Sign in to the hotel's network</html>"
NO_PAGES = {
    "html, by key": (last_key, HTML),
    "html, by cursor": (cursor, HTML),
    "nothing, by key": (last_key, b""),
    "nothing, by cursor": (cursor, b""),
    "text for a body": (last_key, "hello"),
    "a number for a body": (cursor, 7),
    "records in an object": (cursor, {"data": {"id": "a"}, "next": None}),
    "records missing": (cursor, {"next": "x"}),
    "records null": (last_key, {"data": None, "has_more": False}),
    "has_more as a number": (last_key, {"data": [{"id": "a"}], "has_more": 1}),
    "has_more null": (last_key, {"data": [{"id": "a"}], "has_more": None}),
    "an id that is a list": (last_key, {"data": [{"id": ["a"]}], "has_more": True}),
    "an id that is a fraction": (last_key, {"data": [{"id": 1.5}], "has_more": True}),
    "an id that is true": (last_key, {"data": [{"id": True}], "has_more": True}),
    "an empty id": (last_key, {"data": [{"id": ""}], "has_more": True}),
    "no id at all": (last_key, {"data": [{}], "has_more": True}),
    "a list for a cursor": (cursor, {"data": [], "next": ["x"]}),
    "true for a cursor": (cursor, {"data": [], "next": True}),
    "a number for a cursor": (cursor, {"data": [], "next": 3}),
    "zero for a cursor": (cursor, {"data": [{"id": "a"}], "next": 0}),
}


@pytest.mark.parametrize("case", NO_PAGES)
def test_an_answer_that_is_no_page_is_put_off_and_never_the_end(case):
    make, body = NO_PAGES[case]
    with pytest.raises(ProviderUnavailableError) as caught:
        one_page(make, body)
    assert "hotel" not in caught.value.message


@pytest.mark.parametrize("number", [2, 1, 0])
def test_whole_numbers_are_keys_to_go_on_from(number):
    body = {"data": [{"id": 9}, {"id": number}], "has_more": True}
    assert one_page(last_key, body).next == str(number)


def test_an_empty_page_with_a_cursor_is_not_the_end():
    assert one_page(cursor, {"data": [], "next": "x"}).next == "x"


@pytest.mark.parametrize("body", [{"data": []}, {"data": [], "next": None}])
def test_a_missing_or_null_cursor_is_the_end(body):
    assert one_page(cursor, body).next is None


def test_a_step_asks_with_query_window_and_place():
    asked = []

    def get(_client, path, query):
        asked.append((path, query))
        return answering({"data": [], "has_more": False})(None, path, query)

    def bounds(window: Window):
        return {"since": window.start.year}

    step = after_last_key(get, "/x", query={"limit": 5}, after="from", bounds=bounds)
    step(None, PageParams(window=Window(start=datetime(2020, 1, 1, tzinfo=UTC))), "k")
    assert asked == [("/x", {"limit": 5, "since": 2020, "from": "k"})]


def test_a_page_is_as_new_as_its_answer_s_date():
    get = answering({"data": [], "has_more": False}, date="Sun, 01 Nov 2026 00:00:10 GMT")
    found = last_key(get)(None, PageParams(), None).as_of
    assert found == datetime(2026, 11, 1, 0, 0, 10, tzinfo=UTC)


# Headers: what test_json_and_pages.py does not try.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("900", 900),
        ("901", 900),
        ("-0.1", None),
        ("1e400", None),
        ("-inf", None),
        ("7 seconds", None),
        ("7, 9", None),
        ("Sunday, 01-Nov-26 00:00:30 GMT", 20),
        ("Sun, 01 Nov 2026 00:00:30 +0000", 20),
        ("Sun, 01 Nov 2026 01:00:30 +0100", 20),
        ("Tue, 01 Nov 2033 00:00:30 GMT", 900),
    ],
)
def test_retry_after_is_seconds_within_bounds(text, expected):
    headers = {"RETRY-AFTER": text, "date": "Sun, 01 Nov 2026 00:00:10 GMT"}
    assert retry_after(headers) == expected


def test_without_a_date_header_a_date_is_measured_by_our_clock():
    soon = datetime.now(UTC) + timedelta(seconds=60)
    found = retry_after({"Retry-After": soon.strftime("%a, %d %b %Y %H:%M:%S GMT")})
    assert 50 < found <= 60
    assert retry_after({}) is None


@given(st.text(), st.text())
def test_no_text_in_a_header_raises(after, date):
    found = retry_after({"Retry-After": after, "Date": date})
    assert found is None or 0 <= found <= 900
    as_of(Reply(status=200, headers={"date": date}, content=b"", seconds=1))


def test_a_call_that_seems_to_have_taken_years_moves_as_of_by_an_hour_at_most():
    headers = {"date": "Sun, 01 Nov 2026 02:00:00 GMT"}
    found = as_of(Reply(status=200, headers=headers, content=b"", seconds=1e12))
    assert found == datetime(2026, 11, 1, 1, tzinfo=UTC)


NESTED = {
    "there": ({"meta": {"made": {"at": "2026-11-01T00:00:00-08:00"}}}, 8),
    "in another zone": ({"meta": {"made": {"at": "2026-11-01T09:00:00+0100"}}}, 8),
    "without a zone": ({"meta": {"made": {"at": "2026-11-01T08:00:00"}}}, None),
    "no time": ({"meta": {"made": {"at": "soon"}}}, None),
    "missing at the end": ({"meta": {"made": {}}}, None),
    "missing on the way": ({"meta": {}}, None),
    "text on the way": ({"meta": "made"}, None),
    "list on the way": ({"meta": [{"made": {"at": "2026-11-01T08:00:00Z"}}]}, None),
    "null on the way": ({"meta": None}, None),
    "a name with dots": ({"meta.made.at": "2026-11-01T08:00:00Z"}, None),
    "no record": (7, None),
}


@pytest.mark.parametrize("case", NESTED)
def test_a_window_s_field_may_lie_inside_of_objects(case):
    record, hour = NESTED[case]
    expected = None if hour is None else datetime(2026, 11, 1, hour, tzinfo=UTC)
    assert Windows(field="meta.made.at", epoch=False).time_of(record) == expected


def test_a_nested_field_may_hold_seconds_too():
    record = {"meta": {"created": 1_700_000_000}}
    expected = datetime.fromtimestamp(1_700_000_000, UTC)
    assert Windows(field="meta.created").time_of(record) == expected
