"""The quick check of records never says yes where marshmallow says no."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from marshmallow import ValidationError, fields, post_load, pre_load, validate, validates

from tieline.contract import InvalidRecordError, NotFinite, Number, RecordSchema, Whole
from tieline.records.check import RecordCheck

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
KINDS = st.sampled_from(
    [
        fields.String,
        fields.Boolean,
        fields.Integer,
        Whole,
        Number,
        fields.Dict,
        fields.Float,
        fields.Raw,
        fields.DateTime,
        fields.Email,
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**70),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(["1", "true", "1.0", "a@example.com", "2026-11-01T00:00:00Z", "\ud800", b"x"]),
    st.builds(NotFinite, st.just("NaN")),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@st.composite
def schemas(draw):
    declared = {}
    for name in draw(st.sets(NAMES)):
        options = {"required": draw(st.booleans()), "allow_none": draw(st.booleans())}
        if draw(st.integers(0, 9)) == 0:
            options["validate"] = validate.Equal("nothing")
        if draw(st.integers(0, 9)) == 0:
            options["data_key"] = f"other_{name}"
        if not options["required"] and draw(st.integers(0, 4)) == 0:
            options["load_default"] = None
        declared[name] = draw(KINDS)(**options)
    return RecordSchema.from_dict(declared)()


RECORDS = st.dictionaries(NAMES | NAMES.map("other_{}".format), VALUES)


def load_accepts(schema, record) -> bool:
    try:
        schema.load(record)
    except (ValidationError, TypeError, ValueError, OverflowError):
        return False
    return True


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.lists(RECORDS, min_size=1, max_size=6))
def test_whatever_the_quick_check_takes_marshmallow_takes(schema, records):
    check = RecordCheck(schema)
    for record in records:
        is_quick = check._is_surely_valid(record)
        assert load_accepts(schema, record) or not is_quick


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.lists(RECORDS, min_size=1, max_size=6))
def test_the_whole_check_takes_exactly_what_marshmallow_takes(schema, records):
    check = RecordCheck(schema)
    for record in [*records, *records]:  # a second look comes from what the first one learned
        try:
            check(record)
        except InvalidRecordError:
            assert not load_accepts(schema, record)
        else:
            assert load_accepts(schema, record)


class Hooked(RecordSchema):
    a = fields.String()

    @pre_load
    def refuse(self, _data, **_options):
        raise ValidationError("never")


class Finished(RecordSchema):
    a = fields.String()

    @post_load
    def refuse(self, _data, **_options):
        raise ValidationError("never")


class Validated(RecordSchema):
    a = fields.String()

    @validates("a")
    def refuse(self, _value, **_options):
        raise ValidationError("never")


class Odd(fields.String):
    def _deserialize(self, *_args, **_options):
        raise ValidationError("never")


MORE_THAN_TYPES = {
    "pre_load": Hooked(),
    "post_load": Finished(),
    "validates": Validated(),
    "validator": RecordSchema.from_dict({"a": fields.String(validate=validate.Length(max=0))})(),
    "field of its own": RecordSchema.from_dict({"a": Odd()})(),
    "dict of numbers": RecordSchema.from_dict({"a": fields.Dict(values=fields.Integer())})(),
    "list": RecordSchema.from_dict({"a": fields.List(fields.Integer())})(),
}


@pytest.mark.parametrize("case", MORE_THAN_TYPES)
def test_a_schema_that_asks_more_than_types_is_always_asked(case):
    check = RecordCheck(MORE_THAN_TYPES[case])
    for _ in range(2):
        with pytest.raises(InvalidRecordError):
            check({"a": {"x": "y"} if "dict" in case else "x"})


class Thing(RecordSchema):
    id = fields.String(required=True)
    count = Whole()
    whole = fields.Integer()
    flag = fields.Boolean()
    info = fields.Dict()
    when = fields.DateTime()
    mail = fields.Email()
    kind = fields.String(validate=validate.OneOf(["good"]))
    parts = fields.List(fields.Integer())
    inner = fields.Nested(RecordSchema.from_dict({"size": fields.Integer(required=True)}))


WRONG = "hunter2"


def test_the_message_names_every_field_and_never_a_value():
    names = [name for name in Thing().fields if name != "id"]
    record = dict.fromkeys(names, WRONG) | {"parts": [1, WRONG], "inner": {"size": WRONG}}
    with pytest.raises(InvalidRecordError) as caught:
        RecordCheck(Thing())(record)
    message = caught.value.message
    assert [name for name in Thing().fields if f"{name}:" not in message] == []
    assert WRONG not in message
    assert caught.value.slug == "record-schema"


@pytest.mark.parametrize("name", ["count", "whole"])
def test_a_number_that_json_has_not_is_named_by_its_field(name):
    with pytest.raises(InvalidRecordError) as caught:
        RecordCheck(Thing())({"id": "a", name: NotFinite("NaN"), "flag": WRONG})
    assert f"{name}:" in caught.value.message
    assert "flag:" in caught.value.message


def test_the_cause_is_not_kept_since_it_holds_the_record():
    with pytest.raises(InvalidRecordError) as caught:
        RecordCheck(Thing())({"id": 5})
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("value", [0, -12, 310.77, 10**400])
def test_a_number_is_taken_as_it_came(value):
    found = RecordSchema.from_dict({"a": Number()})().load({"a": value})["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("value", ["12.50", True, None, NotFinite("1e999"), [1]])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InvalidRecordError, match="a: "):
        RecordCheck(RecordSchema.from_dict({"a": Number()})())({"a": value})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(schemas(), st.lists(RECORDS, max_size=4))
def test_all_are_good_only_if_each_is(schema, records):
    check = RecordCheck(schema)
    for _ in range(2):  # the second time the first's answers are known
        if check.all_good(records):
            assert all(load_accepts(schema, record) for record in records)


def test_a_page_of_good_records_is_good():
    check = RecordCheck(RecordSchema.from_dict({"a": fields.String(required=True), "b": Whole()})())
    good = [{"a": "x", "b": 1}, {"a": "y"}, {"a": "z", "b": 2, "c": None}]
    assert check.all_good(good)
    assert not check.all_good([*good, {"b": 3}])
