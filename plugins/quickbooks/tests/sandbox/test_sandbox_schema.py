"""Everything that is served about tokens and errors has the shape that is known of Intuit's."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "quickbooks.schema.json").read_text("utf-8")
)


@functools.cache
def validator(name):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check(name, value):
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]


def test_tokens_are_valid(sandbox):
    caller = sandbox(rotation="strict")
    tokens = caller.exchange(caller.authorize().told["code"]).json
    check("oauthToken", tokens)
    check("oauthToken", caller.refresh(tokens["refresh_token"]).json)
    check("oauthToken", caller.order("oauth", {"grant": {}}))


def test_errors_of_the_token_endpoint_are_valid(sandbox):
    caller = sandbox()
    for reply in (
        caller.exchange("AB11x"),
        caller.refresh("RT1-x"),
        caller.token_call(),
        caller.token_call({"authorization": ""}),
    ):
        assert reply.status in {400, 401}
        check("oauthError", reply.json)


def test_discovery_is_valid(sandbox):
    for name in ("openid_configuration", "openid_sandbox_configuration"):
        found = sandbox().get(f"/.well-known/{name}").json
        check("discovery", found)
        assert found["token_endpoint"] == "http://localhost/oauth2/v1/tokens/bearer"


@pytest.mark.parametrize(
    ("order", "name"),
    [
        ({"revoke": "grant-1"}, "gatewayFault"),
        ({"lost_rights": [0]}, "fault"),
        ({"suspended": [0]}, "fault"),
    ],
    ids=["revoked", "lost rights", "suspended"],
)
def test_errors_of_a_company_are_valid(sandbox, order, name):
    caller = sandbox()
    tokens = caller.connected()
    caller.order("oauth", order)
    check(name, caller.company(tokens["realm"], tokens["access_token"]).json)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_errors_on_order_are_valid(sandbox, status):
    caller = sandbox()
    caller.order("faults", [{"kind": "status", "status": status}])
    check("fault" if status >= 500 else "gatewayFault", caller.company("1", "x").json)


def opened(sandbox, **options):
    """Open the first company; return how to read it, and its caller."""
    caller = sandbox(**options)
    tokens = caller.connected()

    def read(path, body=b"", **query):
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        given = {"query": urlencode(query), "body": body, "headers": headers}
        where = f"/v3/company/{tokens['realm']}/{path}"
        return caller.ask("POST" if body else "GET", where, **given)

    return caller, read


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("entity", ["Customer", "Invoice"])
def test_every_object_is_valid_whatever_was_done_to_it(sandbox, entity, seed):
    caller, _ = opened(sandbox, customers=400, invoices=400, seed=seed)
    verbs = ["create", "update", "rebalance", "silent", "delete"]
    verbs += {"Customer": ["deactivate", "merge"], "Invoice": ["pay", "void"]}[entity]
    caller.order("mutate", {"entity": entity} | dict.fromkeys(verbs, 30))
    lines = caller.get("/_sandbox/truth", entity=entity).body.splitlines()
    assert 300 < len(lines) < 431
    for line in lines:
        check(entity.lower(), json.loads(line))


def test_lists_changes_and_single_reads_are_valid(sandbox):
    caller, read = opened(sandbox)
    for entity in ("Customer", "Invoice"):
        caller.order("mutate", {"entity": entity, "create": 5, "update": 5, "delete": 3})
        check("queryResponse", read("query", f"SELECT * FROM {entity}".encode()).json)
        check("queryResponse", read("query", f"SELECT COUNT(*) FROM {entity}".encode()).json)
        none = f"SELECT * FROM {entity} WHERE Id = '99999'".encode()
        check("queryResponse", read("query", none).json)
        check(f"single{entity}", read(f"{entity.lower()}/11").json)
    since = "2026-11-01T00:00:00Z"
    log = read("cdc", entities="Customer,Invoice", changedSince=since).json
    check("cdcResponse", log)
    tombstones = [each for group in log["CDCResponse"][0]["QueryResponse"]
                  for kind in ("Customer", "Invoice") for each in group.get(kind, [])
                  if each.get("status") == "Deleted"]  # fmt: skip
    assert len(tombstones) == 6
    for each in tombstones:
        check("tombstone", each)
    check("cdcResponse", read("cdc", entities="Customer", changedSince="2026-11-02T00:00:00Z").json)


@pytest.mark.parametrize(
    ("path", "body", "query"),
    [
        ("query", b"SELECT", {}),
        ("query", b"SELECT * FROM Customer WHERE Foo = 1", {}),
        ("cdc", b"", {"entities": "Customer"}),
        ("cdc", b"", {"entities": "Customer", "changedSince": "2020-01-01"}),
        ("customer/99999", b"", {}),
    ],
)
def test_errors_of_reads_are_valid(sandbox, path, body, query):
    reply = opened(sandbox)[1](path, body, **query)
    assert reply.status == 400
    check("fault", reply.json)


EXAMPLES = json.loads(
    (Path(__file__).parents[1] / "data" / "quickbooks-examples.json").read_text("utf-8")
)


@pytest.mark.parametrize("place", range(len(EXAMPLES)))
def test_every_documented_example_is_valid(place):
    check(EXAMPLES[place]["schema"], EXAMPLES[place]["value"])


@pytest.mark.parametrize("entity", ["Customer", "Invoice"])
def test_objects_have_the_fields_of_the_documented_ones(sandbox, entity):
    """Fields that only some have are seen somewhere among many."""
    known = set()
    for each in EXAMPLES:
        known |= set(each["value"]) if each["schema"] == entity.lower() else set()
    caller, _ = opened(sandbox)
    lines = caller.get("/_sandbox/truth", entity=entity).body.splitlines()
    seen = set().union(*(json.loads(line) for line in lines))
    assert known - seen <= {"CompanyName", "BillAddr", "ShipAddr", "FreeFormAddress",
                            "SalesTermRef", "BillEmail"}  # fmt: skip
