"""Schemas made from OpenAPI documents: code that runs, and takes what the document describes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from marshmallow import ValidationError

from tieline.cli.main import cli
from tieline.contract import RecordSchema
from tieline.errors import InvalidInputError, NotFoundError
from tieline.scaffold.openapi import write_schema

SQUARE = Path(__file__).parents[1] / "independent/data/square-api.openapi3.json"
TEXT = {"type": "string"}
ORDER = {
    "allOf": [
        {"$ref": "#/components/schemas/Base"},
        {
            "properties": {
                "state": {"type": "string", "enum": ["OPEN", "PAID"]},
                "total": {"type": "number"},
                "count": {"type": "integer", "nullable": True},
                "note": {"anyOf": [TEXT, {"type": "null"}]},
                "customer": {"anyOf": [TEXT, {"$ref": "#/components/schemas/Base"}]},
                "at": {"type": ["string", "null"], "format": "date-time"},
                "lines": {"type": "array", "items": {"type": "object"}},
                "kind": {"enum": ["order"]},
                "from": TEXT,
                "@type": TEXT,
                "fields": TEXT,
            },
            "required": ["state"],
        },
    ]
}
RECORD = {
    "id": "1", "state": "NEW", "total": 1.5, "count": None, "note": None, "customer": {"id": "2"},
    "at": None, "lines": [{"a": 1}], "kind": "order", "from": "x",
}  # fmt: skip


def document(answer=None, **schemas) -> dict:
    base = {"type": "object", "properties": {"id": TEXT}, "required": ["id"]}
    answer = answer or {
        "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Order"}}}
    }
    content = {"application/json": {"schema": answer}}
    return {
        "openapi": "3.1.0",
        "paths": {
            "/v1/orders": {"get": {"responses": {"200": {"content": content}}}},
            "/v1/files": {"get": {"responses": {"200": {"content": {"text/csv": {}}}}}},
        },
        "components": {"schemas": {"Base": base, "Order": ORDER, **schemas}},
    }


def made(source: str) -> type:
    names: dict = {}
    exec(source, names)
    [found] = [
        each
        for each in names.values()
        if isinstance(each, type) and issubclass(each, RecordSchema) and each is not RecordSchema
    ]
    return found


def test_a_schema_takes_what_the_document_describes_and_refuses_what_it_does_not():
    source = write_schema(document(), path="/v1/orders")
    schema = made(source)()
    assert schema.load(RECORD)["id"] == "1"
    for wrong in ({"id": None}, {"state": 7}, {"count": "7"}, {"lines": {}}, {"total": "1"}):
        with pytest.raises(ValidationError):
            schema.load(RECORD | wrong)
    with pytest.raises(ValidationError):
        schema.load({"id": "1"})
    assert set(schema.fields) == set(RECORD) - {"from"}
    for remark in (
        "money?",
        "now OPEN, PAID",
        "a time, date-time",
        "'from'",
        "'@type'",
        "'fields'",
    ):
        assert remark in source


def test_a_path_and_a_component_give_the_same_fields():
    by_path, by_name = (
        made(write_schema(document(), **asked))
        for asked in ({"path": "/v1/orders"}, {"component": "Order"})
    )
    assert [by_path.__name__, by_name.__name__] == ["OrdersRecord", "OrderRecord"]
    assert by_path().fields.keys() == by_name().fields.keys()


NESTED = {"properties": {"data": {"properties": {"orders": {"type": "array", "items": ORDER}}}}}
TWO = {"properties": {name: {"type": "array", "items": ORDER} for name in ("errors", "orders")}}


@pytest.mark.parametrize(
    ("answer", "items"),
    [(NESTED, "data.orders"), (TWO, "orders"), ({"type": "array", "items": ORDER}, "")],
    ids=["nested", "two lists", "the body is the list"],
)
def test_records_are_found_where_the_answer_has_them(answer, items):
    source = write_schema(document(answer), path="/v1/orders", items=items)
    assert "state" in made(source)().fields


LOOP = {"$ref": "#/components/schemas/Loop"}
WRONG = {
    "swagger 2": ({"swagger": "2.0"}, {"path": "/"}, "no OpenAPI 3 document"),
    "no document": ([], {"path": "/"}, "no OpenAPI 3 document"),
    "no such path": (document(), {"path": "/v1/order"}, "no path"),
    "no such component": (document(), {"component": "Ordr"}, "no component"),
    "no such field": (document(), {"path": "/v1/orders", "items": "rows"}, "no field"),
    "several lists": (document(TWO), {"path": "/v1/orders"}, "has errors, orders"),
    "no list": (document(ORDER), {"path": "/v1/orders"}, "has no list of objects"),
    "no JSON": (document(), {"path": "/v1/files"}, "no answer in JSON"),
    "a text": (document(Text=TEXT), {"component": "Text"}, "nothing that has fields"),
    "out of the document": (
        document(Far={"$ref": "other.json#/X"}), {"component": "Far"}, "leads out of the document"
    ),
    "a reference to itself": (document(Loop=LOOP), {"component": "Loop"}, "leads back to itself"),
    "made of itself": (
        document(Loop={"allOf": [LOOP]}), {"component": "Loop"}, "made of itself"
    ),
    "made of itself twice": (
        document(Loop={"allOf": [LOOP, LOOP]}), {"component": "Loop"}, "made of itself"
    ),
    "a reference to nothing": (
        document(Gone={"$ref": "#/components/schemas/Away"}), {"component": "Gone"}, "no part for"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_no_schema_can_be_made_of_is_said(case):
    given, asked, words = WRONG[case]
    with pytest.raises(InvalidInputError, match=words):
        write_schema(given, **asked)


def test_a_misspelt_name_gets_the_nearest():
    with pytest.raises(NotFoundError) as caught:
        write_schema(document(), component="Ordr")
    assert "did you mean Order?" in caught.value.hint


def test_every_component_of_an_official_document_makes_code_that_runs():
    official = json.loads(SQUARE.read_text())
    count = 0
    for name, schema in official["components"]["schemas"].items():
        if schema.get("properties"):
            assert made(write_schema(official, component=name))().fields is not None
            count += 1
    assert count > 100


def test_the_command_writes_it_and_says_what_is_wrong(tmp_path):
    def run(*words):
        return CliRunner().invoke(cli, ["plugin", "schema", "from-openapi", *words])

    done = run(str(SQUARE), "--path", "/v2/payments", "--items", "payments")
    assert done.exit_code == 0, done.output
    assert "amount_money" in made(done.stdout)().fields
    (tmp_path / "api.yaml").write_text("openapi: 3.1.0\n")
    assert "not JSON" in str(run(str(tmp_path / "api.yaml"), "--component", "X").exception)
    assert run(str(SQUARE)).exit_code == 2
