"""One form per record, and a quick check that never says yes where marshmallow says no."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from marshmallow import fields

from tieline.contract import InvalidRecordError, NotFinite, RecordSchema, Whole
from tieline.records.canonical import MAX_BYTES, canonical, restore
from tieline.records.check import RecordCheck
from tieline.records.draft import record_key, usual_copies
from tieline.records.order import Copy

ANY_TEXT = st.text(st.characters(categories=["L", "N", "Cs", "Cc", "So"]) | st.just("␛"))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(ANY_TEXT, ANY_JSON))
def test_the_form_loses_nothing(record):
    form = canonical(record)
    assert json.loads(restore(form.text.decode(), is_escaped=form.is_escaped)) == record
    assert b"\\u0000" not in form.text
    assert not any(0xD800 <= ord(character) < 0xE000 for character in form.text.decode())


KEYS = st.sampled_from(
    ["a", "b", "c", "a b", "", "é", "a\x00", "\ud800", 1, 2**70, None, True, 1.5]
)
ODD_RECORDS = st.dictionaries(ANY_TEXT, ANY_JSON).flatmap(
    lambda record: st.builds(lambda key: {**record, "id": key}, KEYS)
)


def one_by_one(records, name) -> dict:
    found = {}
    for record in records:
        form = canonical(record)
        copy = Copy(record_key(record, name), form.text, form.digest, 7, "list", False, False)  # noqa: FBT003
        assert copy.key not in found
        assert not form.is_escaped
        found[copy.key] = (copy, record)
    return found


@given(st.lists(ODD_RECORDS | st.dictionaries(ANY_TEXT, ANY_JSON) | ANY_JSON, max_size=4))
def test_a_page_is_drafted_at_once_only_as_one_record_after_the_other_would_be(records):
    for name in ("id", lambda record: record["id"]):
        at_once = usual_copies(records, name, [7] * len(records), "list")
        assert at_once is None or at_once == one_by_one(records, name)


LONG = "k" * 255
USUAL = [{"id": key, "text": "a\\b \n", "n": 2**63} for key in ("a", "é", LONG)]
UNUSUAL = {
    "an escaped text": {"id": "b", "text": "\x00"},
    "a long key": {"id": LONG + "k"},
    "an empty key": {"id": ""},
    "a whole number as a key": {"id": 1},
    "no key": {},
    "a key that is there": {"id": "a"},
    "too deep": {"id": "b", "x": json.loads("[" * 250 + "]" * 250)},
    "too large": {"id": "b", "x": "x" * MAX_BYTES},
    "no record": ["id"],
}


def test_a_usual_page_is_drafted_at_once():
    drafted = usual_copies(USUAL, "id", [7] * 3, "list")
    assert drafted == one_by_one(USUAL, "id")
    assert list(drafted) == ["a", "é", LONG]


@pytest.mark.parametrize("case", UNUSUAL)
def test_one_odd_record_has_its_page_drafted_one_after_the_other(case):
    assert usual_copies([*USUAL, UNUSUAL[case]], "id", [7] * 4, "list") is None


def refusing(record):
    raise InvalidRecordError("nothing to tell a key by", code="record-key")


def test_a_key_that_cannot_be_told_is_odd():
    assert usual_copies(USUAL, refusing, [7] * 3, "list") is None


def test_the_order_of_keys_changes_nothing_and_content_does():
    assert canonical({"a": 1, "b": [2]}) == canonical({"b": [2], "a": 1})
    assert canonical({"a": 1}).digest != canonical({"a": "1"}).digest


@pytest.mark.parametrize("value", [NotFinite("NaN"), [{"x": NotFinite("1e400")}]])
def test_what_json_has_not_is_refused(value):
    with pytest.raises(InvalidRecordError) as caught:
        canonical({"id": "a", "value": value})
    assert caught.value.slug == "record-not-finite"


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_250_levels_are_taken_and_more_are_not():
    assert canonical({"a": nested(249)})
    for depth in (250, 254, 900, 5000):
        with pytest.raises(InvalidRecordError) as caught:
            canonical({"a": nested(depth)})
        assert caught.value.slug == "record-too-deep"


def test_what_is_too_large_is_refused():
    assert canonical({"a": "x" * 5_000_000})
    with pytest.raises(InvalidRecordError):
        canonical({"a": "x" * MAX_BYTES})


@pytest.mark.parametrize("key", [None, "", True, 1.5, [], "a\x00", "a\n", "\ud800", "x" * 256])
def test_keys_that_cannot_be_stored_are_refused(key):
    with pytest.raises(InvalidRecordError):
        record_key({"id": key}, "id")


def test_a_function_tells_a_key_that_no_field_holds():
    tell = lambda record: record["shop"] + ":" + record["id"]  # noqa: E731 - as a plugin writes it
    assert record_key({"shop": "s", "id": "a"}, tell) == "s:a"


@pytest.mark.parametrize(
    ("tell", "words"),
    [
        (lambda record: record["shop"], "cannot be told: KeyError"),
        (lambda record: record["id"] + 1, "cannot be told: TypeError"),
        (lambda record: record["id"].name, "cannot be told: AttributeError"),
        (lambda _record: None, "has no key"),
        (lambda _record: "", "has no key"),
        (lambda _record: ["a"], "has no key"),
        (lambda _record: "x" * 256, "key is longer"),
        (lambda _record: "a\n", "not printable"),
    ],
)
def test_a_key_that_is_not_told_costs_one_record(tell, words):
    with pytest.raises(InvalidRecordError, match=words) as caught:
        record_key({"id": "a"}, tell)
    assert caught.value.slug == "record-key"


def test_whole_numbers_are_keys_too():
    assert record_key({"id": 7}, "id") == "7"
    assert record_key({"id": "é😀 x"}, "id") == "é😀 x"


class Thing(RecordSchema):
    id = fields.String(required=True)
    count = Whole(allow_none=True)
    flag = fields.Boolean()
    info = fields.Dict(allow_none=True)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}) | st.just([])
)


@example({"id": "x", "count": float("inf")})
@example({"id": "x", "count": float("nan")})
@example({"id": "x", "count": 1e300})
@given(st.dictionaries(st.sampled_from(["id", "count", "flag", "info", "other"]), VALUES))
def test_the_quick_check_agrees_with_marshmallow(record):
    check = RecordCheck(Thing())
    is_quick = check._is_surely_valid(record)
    is_valid = not Thing().validate(record)
    assert is_valid or not is_quick
    if is_valid:
        check(record)
    else:
        with pytest.raises(InvalidRecordError):
            check(record)


def test_a_message_names_every_field_and_no_value():
    with pytest.raises(InvalidRecordError) as caught:
        RecordCheck(Thing())({"count": "hunter2", "flag": "hunter2"})
    message = caught.value.message
    assert "id:" in message
    assert "count:" in message
    assert "flag:" in message
    assert "hunter2" not in message


def test_a_schema_that_does_more_than_types_is_marshmallow_s_alone():
    from marshmallow import validate

    class Strict(RecordSchema):
        id = fields.String(validate=validate.Length(max=3))

    check = RecordCheck(Strict())
    check({"id": "abc"})
    assert not check._is_surely_valid({"id": "abc"})
    with pytest.raises(InvalidRecordError):
        check({"id": "long"})
