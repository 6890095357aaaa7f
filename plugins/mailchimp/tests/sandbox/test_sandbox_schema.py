"""Everything that is served is what Mailchimp's own schema describes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "mailchimp-accounts.schema.json").read_text("utf-8")
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
def test_accounts_are_valid_and_have_every_field(sandbox: Any, seed: int) -> None:
    caller = sandbox(accounts=7, seed=seed)
    for account in caller.facts()["accounts"]:
        root = caller.get("/3.0/", key=account["api_key"]).json
        check("Root", root)
        assert root.keys() == SCHEMA["$defs"]["Root"]["properties"].keys()
    check("Ping", caller.get("/3.0/ping").json)


def test_oauth_answers_are_valid(sandbox: Any) -> None:
    caller = sandbox()
    token = caller.exchange(caller.authorize().location["code"]).json
    check("oauthToken", token)
    headers = {"authorization": f"OAuth {token['access_token']}"}
    place = {"scheme": "https", "host": "login.mailchimp.example", "headers": headers}
    metadata = caller.ask("GET", "/oauth2/metadata", **place).json
    check("oauthMetadata", metadata)
    assert metadata.keys() == SCHEMA["$defs"]["oauthMetadata"]["properties"].keys()
    check("oauthMetadataError", caller.ask("GET", "/oauth2/metadata").json)


@pytest.mark.parametrize("path", ["/3.0/nothing", "/3.0/ping"])
@pytest.mark.parametrize("key", [None, "00-us6", "0123456789abcdef0123456789abcdef-us6"])
def test_errors_are_valid(sandbox: Any, path: str, key: str | None) -> None:
    caller = sandbox()
    caller.order("faults", [{"kind": "status", "status": 500, "path": "/3.0/ping"}])
    reply = caller.get(path, key=key)
    assert reply.status >= 400
    check("problem", reply.json)
    assert reply.json["status"] == reply.status
