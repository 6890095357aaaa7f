"""Everything that is served is what Mailchimp's own schema describes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

DATA = Path(__file__).parents[1] / "data"
SCHEMA = json.loads((DATA / "mailchimp-accounts.schema.json").read_text("utf-8"))
AUDIENCES = json.loads((DATA / "mailchimp-audiences.schema.json").read_text("utf-8"))["$defs"]
SCHEMA["$defs"] |= AUDIENCES


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


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("options", [{}, {"contact_ids": False}, {"lists_archived": True}])
def test_lists_and_members_are_valid_and_have_no_field_of_their_own(
    sandbox: Any, seed: int, options: dict[str, Any]
) -> None:
    caller = sandbox(seed=seed, contacts=200, **options)
    caller.order("mutate", {"create": 3, "update": 3, "archive": 3, "unarchive": 2, "rename": 3,
                            "delete": 2, "tag": 3, "count": 3})  # fmt: skip
    page = caller.get("/3.0/lists", count=1000, include_total_contacts="true").json
    check("listsPage", page)
    for one in page["lists"]:
        assert one.keys() == AUDIENCES["list"]["properties"].keys()
        assert one["stats"].keys() == AUDIENCES["list"]["properties"]["stats"]["properties"].keys()
        check("list", caller.get(f"/3.0/lists/{one['id']}").json)
        for status in ({}, {"status": "archived"}):
            path = f"/3.0/lists/{one['id']}/members"
            found = caller.get(path, count=1000, **status).json
            check("membersPage", found)
            rare = {"unsubscribe_reason", "marketing_permissions", "last_note", "contact_id"}
            for member in found["members"]:
                assert member.keys() | rare == AUDIENCES["member"]["properties"].keys()
                assert ("contact_id" in member) is options.get("contact_ids", True)
            check("member", caller.get(f"{path}/{found['members'][0]['id']}").json)


@pytest.mark.parametrize("field", ["id", "email_address", "status", "last_changed", "list_id"])
def test_the_schema_would_notice_a_field_that_is_missing(sandbox: Any, field: str) -> None:
    caller = sandbox()
    list_id = caller.facts("truth", entity="lists")[0]["id"]
    member = caller.get(f"/3.0/lists/{list_id}/members").json["members"][0]
    del member[field]
    with pytest.raises(AssertionError):
        check("member", member)


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
