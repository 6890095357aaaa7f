"""One form for every record that JSON can write, whatever it holds."""

from __future__ import annotations

import json
from random import Random
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tieline.contract import InvalidRecordError, ProviderUnavailableError, parse_json
from tieline.records.canonical import (
    APPROXIMATE,
    canonical,
    holds,
    is_same_content,
    raw_text,
    read_raw,
    restore,
)


def deep(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


KEPT = {
    "NUL in a value": r'{"x":"a\u0000b"}',
    "NUL in a key": r'{"a\u0000b":1}',
    "lone high surrogate": r'{"x":"\ud83d"}',
    "lone low surrogate in a key": r'{"\ude00":1}',
    "pair of surrogates": r'{"x":"\ud83d\ude00"}',
    "pair the wrong way round": r'{"x":"\ude00\ud83d"}',
    "2^70": '{"x":1180591620717411303424}',
    "a 400-digit integer": '{"x":' + "7" * 400 + "}",
    "a 4,300-digit integer": '{"x":' + "7" * 4300 + "}",
    "250 levels": '{"x":' + deep(249) + "}",
    "emoji": '{"x":"😀"}',
    "right to left": '{"x":"שלום\u202eabc"}',
    "5 MB": '{"x":"' + "x" * 5_000_000 + '"}',
    "5 MB with a NUL": '{"x":"' + "x" * 5_000_000 + r'\u0000"}',
    "the sign and what looks escaped": '{"x":"␛0 ␛␛ ␛ud800"}',
    "the sign, what looks escaped, and a NUL": r'{"x":"␛0 ␛␛ ␛ud800 \u0000"}',
}


@pytest.mark.parametrize("case", KEPT)
def test_what_was_sent_comes_back(case):
    record = parse_json(KEPT[case].encode())
    form = canonical(record)
    assert json.loads(restore(form.text.decode(), is_escaped=form.is_escaped)) == record
    assert b"\\u0000" not in form.text


def test_bytes_that_are_no_utf_8_come_back_as_they_were():
    record = parse_json(b'{"x":"a\xffb"}')
    form = canonical(record)
    text = json.loads(restore(form.text.decode(), is_escaped=form.is_escaped))["x"]
    assert text.encode("utf-8", "surrogateescape") == b"a\xffb"


def test_of_two_equal_names_the_last_is_kept():
    assert canonical(parse_json(b'{"a":1,"a":2}')).text == b'{"a":2}'


REFUSED = {
    "NaN": ('{"x":NaN}', "record-not-finite"),
    "infinite": ('{"x":[{"y":-Infinity}]}', "record-not-finite"),
    "beyond a float": ('{"x":1e400}', "record-not-finite"),
    "a 5,000-digit integer": ('{"x":' + "7" * 5000 + "}", "record-not-finite"),
    "251 levels": ('{"x":' + deep(250) + "}", "record-too-deep"),
    "300 levels": ('{"x":' + deep(300) + "}", "record-too-deep"),
    "17 MB": ('{"x":"' + "x" * 17_000_000 + '"}', "record-too-large"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stored_is_refused_by_a_name_and_can_be_quarantined(case):
    text, code = REFUSED[case]
    record = parse_json(text.encode())
    with pytest.raises(InvalidRecordError) as caught:
        canonical(record)
    assert caught.value.slug == code
    json.loads(raw_text(record))


def test_what_cannot_be_read_at_all_is_put_off():
    with pytest.raises(ProviderUnavailableError):
        parse_json(('{"x":' + deep(5000) + "}").encode())


@pytest.mark.parametrize("depth", [251, 5000])
def test_any_depth_that_an_sdk_hands_over_is_refused(depth):
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    with pytest.raises(InvalidRecordError) as caught:
        canonical({"x": value})
    assert caught.value.slug == "record-too-deep"


# An SDK that parses by itself hands over Python's own values.
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")], ids=repr)
def test_a_float_that_json_has_not_is_refused_where_json_is_written_slowly(number):
    with pytest.raises(InvalidRecordError) as caught:
        canonical({"x": number, "y": 2**70})
    assert caught.value.slug == "record-not-finite"


def test_an_integer_too_long_to_be_written_is_refused():
    with pytest.raises(InvalidRecordError):
        canonical({"x": 10**5000})


def test_a_record_may_be_any_mapping():
    assert canonical(MappingProxyType({"id": "a"})).text == canonical({"id": "a"}).text


HOSTILE = st.sampled_from(["\x00", "␛", "␛0", "␛␛", "␛ud800", "\ud800", "\udfff", "0", "u", "d"])
TEXT = st.lists(HOSTILE | st.text(st.characters(), max_size=3), max_size=5).map("".join)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
RECORD = st.dictionaries(TEXT, JSON, max_size=5)


def same(one: object, other: object) -> bool:
    """Compare as JSON does, to which two halves of a pair in a row are the pair."""
    texts = (json.dumps(json.loads(json.dumps(each)), sort_keys=True) for each in (one, other))
    return next(texts) == next(texts)


@given(RECORD)
@example({"␛0": 1, "\x00": 2})
@example({"␛": "\x00", "␛␛": "␛"})
@example({"\ud800": 1, "␛ud800": 2})
def test_every_record_comes_back_whole(record):
    form = canonical(record)
    assert same(json.loads(restore(form.text.decode(), is_escaped=form.is_escaped)), record)


@given(RECORD)
def test_both_databases_can_take_every_form(record):
    text = canonical(record).text.decode("utf-8")
    assert "\\u0000" not in text.replace("\\\\", "")
    assert json.loads(text) is not None


def shuffled(value: object, random: Random) -> object:
    if isinstance(value, list):
        return [shuffled(item, random) for item in value]
    if not isinstance(value, dict):
        return value
    items = list(value.items())
    random.shuffle(items)
    return {key: shuffled(item, random) for key, item in items}


@given(RECORD, st.randoms(use_true_random=False))
def test_the_order_of_keys_changes_nothing(record, random):
    assert canonical(shuffled(record, random)) == canonical(record)


@given(RECORD, RECORD)
@example({"x": 1}, {"x": "1"})
@example({"x": None}, {})
@example({"x": [[]]}, {"x": []})
@example({"x": "\ud800"}, {"x": "\udfff"})
def test_different_content_has_a_different_digest(one, other):
    assert (canonical(one).digest == canonical(other).digest) == same(one, other)


@pytest.mark.parametrize(
    ("one", "other"), [("a\x00", "a␛0"), ("\ud800", "␛ud800"), ("␛\x00", "␛␛␛0")]
)
def test_an_escaped_text_and_one_that_looks_like_it_differ(one, other):
    assert canonical({"x": one}).digest != canonical({"x": other}).digest


@given(RECORD)
def test_a_raw_text_is_read_back_exactly_or_not_at_all(record):
    raw = raw_text(record)
    if APPROXIMATE not in raw.decode():
        assert read_raw(raw) == record
    else:
        with pytest.raises(InvalidRecordError):
            read_raw(raw)


@pytest.mark.parametrize(
    "value",
    [float("nan"), {1}, b"x", {1: 2}, 10**5000],
    ids=["NaN", "set", "bytes", "number as key", "endless"],
)
def test_what_json_cannot_say_is_told_and_never_read_back(value):
    raw = raw_text({"id": "a", "x": value})
    json.loads(raw)
    with pytest.raises(InvalidRecordError) as caught:
        read_raw(raw)
    assert caught.value.slug == "raw-not-exact"


SAME = {
    "other words": ('{"b": 1.0, "a": 10000000000000000000000}', '{"a":1e22,"b":1}', True),
    "true is not 1": ("[true]", "[1]", False),
    "text is not a number": ('["1"]', "[1]", False),
    "one more": ("[1,2]", "[1]", False),
    "another key": ('{"a":1}', '{"b":1}', False),
    "no JSON": ("{", "{}", False),
}


@pytest.mark.parametrize("case", SAME)
def test_a_payload_is_compared_by_what_it_says(case):
    payload, copy, is_same = SAME[case]
    assert holds(payload, copy.encode()) is is_same


VOLATILE = ("stats", "a.opens", "b.c.d")
PAIRS = {
    "a counter": ({"x": 1, "stats": {"n": 1}}, {"x": 1, "stats": {"n": 2}}, True),
    "a counter that is new": ({"x": 1}, {"x": 1, "stats": {"n": 2}}, True),
    "one inside": ({"a": {"opens": 1, "k": 2}}, {"a": {"opens": 9, "k": 2}}, True),
    "beside one inside": ({"a": {"opens": 1, "k": 2}}, {"a": {"opens": 1, "k": 3}}, False),
    "deeper": ({"b": {"c": {"d": 1, "e": 1}}}, {"b": {"c": {"d": 2, "e": 1}}}, True),
    "beside deeper": ({"b": {"c": {"d": 1, "e": 1}}}, {"b": {"c": {"d": 1, "e": 2}}}, False),
    "of another kind": ({"a": 5}, {"a": {"opens": 5}}, False),
    "the same name elsewhere": ({"z": {"stats": 1}}, {"z": {"stats": 2}}, False),
    "escaped, where it does not count": ({"x": "␛", "stats": "\x00"}, {"x": "␛"}, True),
    "escaped, where it counts": ({"x": "␛\x00", "stats": 1}, {"x": "␛␛0", "stats": 1}, False),
}


@pytest.mark.parametrize("case", PAIRS)
def test_what_is_volatile_makes_no_change_and_everything_else_does(case):
    one, other, is_same = PAIRS[case]
    ours, theirs = canonical(one, VOLATILE), canonical(other, VOLATILE)
    assert (ours.digest == theirs.digest) is is_same
    escaped = (ours.is_escaped, theirs.is_escaped)
    told = is_same_content(ours.text.decode(), theirs.text, escaped=escaped, volatile=VOLATILE)
    assert told is is_same


def test_what_is_volatile_is_stored_as_it_came():
    record = {"x": 1, "stats": {"n": 1}, "a": {"opens": 1}}
    assert json.loads(canonical(record, VOLATILE).text) == record
    assert canonical(record, VOLATILE).text == canonical(record).text
    assert canonical({"x": 1}, VOLATILE) == canonical({"x": 1})
