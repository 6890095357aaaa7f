"""The examples of deliveries that the plugin ships are what Stripe would deliver."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from kit import entry_point
from tieline.registry import Registry, list_fixtures
from tieline_stripe.client import API_VERSION
from tieline_stripe.events import EVENTS, WEBHOOKS

DATA = Path(__file__).parent / "data"
NAMES = ("stripe-customers", "stripe-objects")
SCHEMAS = [json.loads((DATA / f"{name}.schema.json").read_text("utf-8")) for name in NAMES]
FIXTURES = list_fixtures(Registry(given=[entry_point("stripe", "tieline_stripe")]).get("stripe"))
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def check(name: str, value: object) -> bool:
    """Hold a value to a definition; say whether there is one."""
    for schema in SCHEMAS:
        if name in schema["$defs"]:
            used = {"$schema": schema["$schema"], "$ref": f"#/$defs/{name}"}
            errors = Draft202012Validator(used | {"$defs": schema["$defs"]}).iter_errors(value)
            wrong = [f"{error.json_path}: {error.message}" for error in errors]
            assert not wrong, wrong[:3]
            return True
    return False


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda each: each.name)
def test_each_is_an_event_with_an_object_as_stripe_describes_them(fixture):
    body = json.loads(fixture.fill(new_id="0" * 24, now=NOW))
    if body["object"] == "v2.core.event":
        assert check("event_notification", body)
        return
    assert check("event", body)
    assert (body["api_version"], body["created"]) == (API_VERSION, int(NOW.timestamp()))
    found = body["data"]["object"]
    assert check(found["object"], found) is (found["object"] != "dispute")
    assert set(body["data"].get("previous_attributes", {})) <= found.keys()
    [event] = WEBHOOKS.parse(json.dumps(body).encode(), {})
    entity = next(name for name, types in EVENTS.items() if fixture.type in types)
    is_whole = EVENTS[entity][fixture.type] != "re-read"
    assert (event.entity, event.record is not None) == (entity, is_whole)


def test_every_type_that_is_asked_for_has_one():
    assert {fixture.type for fixture in FIXTURES} == set(WEBHOOKS.types)
    assert {"customer.updated+thin", "customer.updated+connect"} <= {each.name for each in FIXTURES}
