"""Everything that is served is what Stripe's own schema describes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "stripe-customers.schema.json").read_text("utf-8")
)


@functools.cache
def validator(name: str) -> Draft202012Validator:
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check(name: str, value: Any) -> None:
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("seed", [1, 2])
def test_customers_are_valid(sandbox: Any, seed: int) -> None:
    truth = sandbox(customers=2500, seed=seed).truth()
    assert len(truth) == 2500
    for line in truth:
        check("customer", line["object"])
        check("metadata", line["object"]["metadata"] or {})


def test_customers_have_every_field_of_the_official_fixture(sandbox: Any) -> None:
    package = Path(__file__).parents[2] / "tieline_stripe_sandbox"
    examples = json.loads((package / "data" / "customers.json").read_text("utf-8"))
    official = examples[0]["value"].keys()
    assert all(line["object"].keys() == official for line in sandbox(customers=600).truth())


def test_customers_are_full_size(sandbox: Any) -> None:
    page = sandbox(customers=5000).get("/v1/customers", limit=100)
    assert 850 <= len(page.body) / 100 <= 1200


def test_lists_and_stubs_are_valid(sandbox: Any) -> None:
    caller = sandbox(customers=300)
    gone = caller.order("mutate", {"create": 30, "update": 30, "delete": 30})["deleted"]
    check("list_customer", caller.get("/v1/customers", limit=100).json)
    check("list_customer", caller.get("/v1/customers", email="nobody@example.com").json)
    for name in gone:
        check("deleted_customer", caller.get(f"/v1/customers/{name}").json)


def test_events_are_valid(sandbox: Any) -> None:
    caller = sandbox(customers=2000, subscriptions=0)
    caller.order("mutate", {"create": 30, "update": 30, "delete": 30})
    page = caller.get("/v1/events", limit=100).json
    check("list_event", page)
    kinds = {"customer.created", "customer.updated", "customer.deleted"}
    assert {event["type"] for event in page["data"]} == kinds
    for event in page["data"]:
        check("customer", event["data"]["object"])
        check("event", caller.get(f"/v1/events/{event['id']}").json)


def test_expanded_customers_are_valid(sandbox: Any) -> None:
    query = {"expand[]": ["data.sources", "data.subscriptions", "data.tax_ids"]}
    page = sandbox(customers=20, subscriptions=40).get("/v1/customers", limit=20, **query).json
    check("list_customer", page)
    held = [one["subscriptions"]["data"] for one in page["data"]]
    assert any(held)
    assert all(each["ended_at"] is None for those in held for each in those)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/customers?limit=0", "sk_test_a"),
        ("/v1/customers", None),
        ("/v1/customers", "rk_test_expired"),
        ("/v1/customers", "rk_test_noread"),
        ("/v1/customers/cus_unknown", "sk_test_a"),
        ("/v1/nothing", "sk_test_a"),
    ],
)
def test_errors_are_valid(sandbox: Any, path: str, key: str | None) -> None:
    path, _, query = path.partition("?")
    reply = sandbox(customers=1).ask("GET", path, query=query, key=key)
    assert reply.status >= 400
    check("error", reply.json)
