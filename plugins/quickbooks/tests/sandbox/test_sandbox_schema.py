"""Everything that is served about tokens and errors has the shape that is known of Intuit's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "quickbooks.schema.json").read_text("utf-8")
)


def check(name, value):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator.check_schema(schema)
    wrong = [
        f"{error.json_path}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(value)
    ]
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
