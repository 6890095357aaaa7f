"""A schema's fields as columns: names that every database takes, values that fit or do not."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from marshmallow import Schema, fields

from tieline.contract import Number, RecordSchema, Whole
from tieline.records.columns import NOTHING, columns_of, fit, json_text
from tieline.store.view_sql import TAKEN, Column, Kind


class Inner(Schema):
    a = fields.String()


KINDS = {
    "text": (fields.String(), Kind.TEXT),
    "address": (fields.Email(), Kind.TEXT),
    "uuid": (fields.UUID(), Kind.TEXT),
    "whole": (Whole(), Kind.WHOLE),
    "integer": (fields.Integer(), Kind.WHOLE),
    "number": (Number(), Kind.FLOAT),
    "float": (fields.Float(), Kind.FLOAT),
    "decimal": (fields.Decimal(), Kind.DECIMAL),
    "boolean": (fields.Boolean(), Kind.BOOLEAN),
    "time": (fields.DateTime(), Kind.TIME),
    "aware time": (fields.AwareDateTime(format="iso"), Kind.TIME),
    "seconds": (fields.DateTime(format="timestamp"), Kind.FLOAT),
    "mail's time": (fields.DateTime(format="rfc"), Kind.TEXT),
    "date": (fields.Date(), Kind.DATE),
    "clock": (fields.Time(), Kind.TEXT),
    "dict": (fields.Dict(), Kind.OBJECT),
    "list": (fields.List(fields.String()), Kind.ARRAY),
    "nested": (fields.Nested(Inner), Kind.OBJECT),
    "many nested": (fields.Nested(Inner, many=True), Kind.ARRAY),
    "plucked": (fields.Pluck(Inner, "a"), Kind.ANY),
    "raw": (fields.Raw(), Kind.ANY),
}


@pytest.mark.parametrize("case", KINDS, ids=list(KINDS))
def test_a_field_s_type_gives_its_column_s(case):
    field, kind = KINDS[case]
    [column] = columns_of(RecordSchema.from_dict({"x": field})(), taken=())
    assert (column.name, column.key, column.kind) == ("x", "x", kind)


def test_columns_have_the_provider_s_names_in_the_schema_s_order():
    class Order(RecordSchema):
        zeta = fields.String()
        alpha = fields.String(data_key="Alpha")
        secret = fields.String(dump_only=True)

    assert [column.name for column in columns_of(Order(), taken=())] == ["zeta", "Alpha"]


def test_names_that_are_taken_long_empty_or_alike_stay_apart():
    keys = ["position", "Name", "name", "NAME", "", "x" * 200, "x" * 199 + "y", "é" * 40, "a\x00"]
    schema = RecordSchema.from_dict(
        {f"f{number}": fields.String(data_key=key) for number, key in enumerate(keys)}
    )
    columns = columns_of(schema(), taken=TAKEN)
    names = [column.name for column in columns]
    assert names[:5] == ["field_position", "Name", "field_name", "field_NAME_2", "field"]
    assert all(0 < len(name.encode()) <= 63 for name in names)
    assert len({name.casefold() for name in names}) == len(names)
    assert "\x00" not in "".join(names)
    assert columns[-1].key == "a␛0"


def column(kind: Kind, *, takes_text: bool = False) -> Column:
    return Column(name="x", key="x", kind=kind, takes_text=takes_text)


FITTING = {
    "7.0 is whole": (Kind.WHOLE, 7.0, 7),
    "7.5 is not": (Kind.WHOLE, 7.5, NOTHING),
    "64 bits": (Kind.WHOLE, -(2**63), -(2**63)),
    "65 bits": (Kind.WHOLE, 2**63, NOTHING),
    "true is no number": (Kind.WHOLE, True, NOTHING),
    "1 is not true": (Kind.BOOLEAN, 1, NOTHING),
    "a number is no text": (Kind.TEXT, 1, NOTHING),
    "a number beyond floats": (Kind.FLOAT, 10**400, NOTHING),
    "null": (Kind.WHOLE, None, None),
    "a zone": (
        Kind.TIME,
        "2024-01-01T10:00:00.1234567+05:30",
        datetime(2024, 1, 1, 4, 30, 0, 123456, UTC),
    ),
    "no zone": (Kind.TIME, "2024-01-01 10:00:00", datetime(2024, 1, 1, 10, tzinfo=UTC)),
    "no such day": (Kind.TIME, "2023-02-29T10:00:00Z", NOTHING),
    "a leap day": (Kind.DATE, "2024-02-29", date(2024, 2, 29)),
    "a list is no object": (Kind.OBJECT, [], NOTHING),
}


@pytest.mark.parametrize("case", FITTING, ids=list(FITTING))
def test_a_value_fits_its_column_or_is_nothing(case):
    kind, value, wanted = FITTING[case]
    assert fit(column(kind), value) is wanted or fit(column(kind), value) == wanted


def test_numbers_written_as_text_fit_where_the_schema_takes_them():
    assert fit(column(Kind.WHOLE), "7") is NOTHING
    assert fit(column(Kind.WHOLE, takes_text=True), "-7") == -7
    assert fit(column(Kind.DECIMAL, takes_text=True), "12.50") == "12.50"
    assert fit(column(Kind.FLOAT, takes_text=True), "1e5") is NOTHING


def test_json_text_keeps_large_numbers_exact():
    assert json_text([2**70, "é"]) == '[1180591620717411303424,"é"]'
