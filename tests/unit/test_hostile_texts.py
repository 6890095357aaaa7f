"""Which text of a record is made hostile: one that nothing depends on, wherever it stands."""

from __future__ import annotations

import pytest
from marshmallow import fields

from tieline.checks.hostile import _text_field
from tieline.contract import Entity, Page, RecordSchema


class Inner(RecordSchema):
    email = fields.String()
    first = fields.String(data_key="firstName")
    city = fields.String()


class Flat(RecordSchema):
    id = fields.String(required=True)
    title = fields.String()
    inner = fields.Nested(Inner)


class Deep(RecordSchema):
    id = fields.String(required=True)
    created_at = fields.String()
    inner = fields.Nested(Inner, required=True)


class Bare(RecordSchema):
    id = fields.String(required=True)
    rows = fields.Nested(Inner, many=True)


RECORD = {"id": "1", "title": "t", "inner": {"email": "e", "firstName": "f", "city": "c"}}


@pytest.mark.parametrize(
    ("schema", "path"),
    [(Flat, ("title",)), (Deep, ("inner", "firstName")), (Bare, ())],
    ids=["at the top", "only inside of an object", "nowhere"],
)
def test_a_text_at_the_top_is_chosen_before_one_inside_of_an_object(schema, path):
    entity = Entity(name="things", schema=schema(), page=lambda *_: Page(records=[], next=None))
    assert _text_field(entity, {"1": RECORD}, "{id}") == path


def test_a_text_that_no_record_has_is_not_chosen():
    entity = Entity(name="things", schema=Deep(), page=lambda *_: Page(records=[], next=None))
    assert _text_field(entity, {"1": {"id": "1", "inner": None}}, "{id}") == ()
