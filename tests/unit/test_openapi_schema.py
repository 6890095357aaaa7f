"""Schemas made from OpenAPI documents: code that runs, and takes what the document describes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from marshmallow import ValidationError

from tieline.cli.main import cli
from tieline.contract import RecordSchema, SettingsError
from tieline.errors import InvalidInputError, NotFoundError
from tieline.scaffold.document import read_document
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
    (tmp_path / "api.yaml").write_text(YAML)
    done = run(str(tmp_path / "api.yaml"), "--path", "/v1/orders")
    assert done.exit_code == 0, done.output
    assert "country" in made(done.stdout)().fields
    assert run(str(SQUARE)).exit_code == 2


YAML = """
openapi: 3.1.0
info: {title: Acme, version: 2026-01-01}
paths:
  /v1/orders:
    get:
      responses:
        200:
          content:
            application/json:
              schema:
                type: object
                properties:
                  orders: {type: array, items: {$ref: "#/components/schemas/Order"}}
        4XX: {description: no}
components:
  schemas:
    Order: &order
      type: object
      required: [id, on]
      properties:
        id: {type: string, format: uuid}
        on: {type: string, format: date, example: 2026-01-01}
        country: {type: string, enum: [no, se, 08]}
        total: {type: number, nullable: true, maximum: 1.5e6}
        note: {type: [string, "null"]}
    Other: *order
"""


def test_yaml_is_read_as_the_same_document_in_json_would_be():
    read = read_document(YAML.encode())
    assert json.loads(json.dumps(read)) == read
    order = read["components"]["schemas"]["Order"]
    assert order["properties"]["country"]["enum"] == ["no", "se", 8]
    assert order["properties"]["on"]["example"] == "2026-01-01"
    assert order["properties"]["total"] == {"type": "number", "nullable": True, "maximum": 1.5e6}
    assert order["required"] == ["id", "on"]
    assert set(read["paths"]["/v1/orders"]["get"]["responses"]) == {"200", "4XX"}
    assert read["info"]["version"] == "2026-01-01"
    assert read["components"]["schemas"]["Other"] == order


BAD_DOCUMENTS = {
    "an open bracket": (b"a: [1", "neither JSON nor YAML: .* at line 2"),
    "a tab": (b"a:\n\tb: 1\n", "at line 2"),
    "an object of Python's": (b"!!python/object/apply:os.system [id]", "could not determine"),
    "bytes": (b"\xff\xfe\x00", "neither JSON nor YAML"),
    "a deep one": (b"[" * 100_000, "nested too deeply|neither JSON nor YAML"),
}


@pytest.mark.parametrize("case", BAD_DOCUMENTS)
def test_what_is_no_document_is_told_with_its_place(case):
    raw, words = BAD_DOCUMENTS[case]
    with pytest.raises(InvalidInputError, match=words):
        read_document(raw)


def test_references_that_multiply_cost_no_memory():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    read = read_document("\n".join(lines).encode())
    assert read["a11"][0] is read["a11"][9]


def test_without_what_reads_yaml_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SettingsError) as caught:
        read_document(b"openapi: 3.1.0")
    assert "tieline[yaml]" in caught.value.hint
    assert read_document(b'{"openapi": "3.1.0"}') == {"openapi": "3.1.0"}
