"""Below ``/v2``: who is let in, who that is, and Square's own schema."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tieline_square_sandbox import API_KEY

SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data/square-oauth.schema.json").read_text("utf-8")
)


def closed(schema):
    """Turn known values into the only ones: the sandbox makes none up."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = {"enum": schema["x-known-values"]} if "x-known-values" in schema else {}
    return {name: closed(value) for name, value in schema.items()} | known


DEFINITIONS = closed(SCHEMA["$defs"])


@functools.cache
def validator(name):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": DEFINITIONS}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check(name, value):
    wrong = [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(value)]
    assert not wrong, wrong[:3]
    assert value.keys() <= DEFINITIONS[name]["properties"].keys()


def test_a_token_opens_its_own_seller(sandbox):
    caller = sandbox()
    accounts = caller.get("/_sandbox/").json["accounts"]
    token = caller.grant(account=1)["access_token"]
    merchant = caller.get("/v2/merchants/me", token=token).json["merchant"]
    assert (merchant["id"], merchant["business_name"]) == (
        accounts[1]["id"],
        '<b>Bits & "Bytes"</b>',
    )
    assert caller.get(f"/v2/merchants/{merchant['id']}", token=token).json["merchant"] == merchant
    assert caller.get("/v2/merchants", token=token).json == {"merchant": [merchant]}
    assert caller.get(f"/v2/merchants/{accounts[0]['id']}", token=token).status == 404


def test_a_seller_has_one_or_two_locations_of_its_own(sandbox):
    caller = sandbox()
    seen = []
    for index in range(3):
        granted = caller.grant(account=index)
        locations = caller.get("/v2/locations", token=granted["access_token"]).json["locations"]
        assert {each["merchant_id"] for each in locations} == {granted["merchant_id"]}
        assert [each["name"] for each in locations] == sorted(each["name"] for each in locations)
        main = caller.get("/v2/merchants/me", token=granted["access_token"]).json["merchant"]
        assert main["main_location_id"] == locations[0]["id"]
        seen += [each["id"] for each in locations]
    assert len(seen) == len(set(seen)) == 5


def test_the_personal_token_has_every_right_and_no_end(sandbox):
    caller = sandbox()
    status = caller.status(API_KEY).json
    assert "expires_at" not in status
    assert {"CUSTOMERS_WRITE", "PAYMENTS_READ"} <= set(status["scopes"])
    caller.pass_time(days=4000)
    assert caller.get("/v2/merchants/me").status == 200
    assert sandbox(api_key="").get("/v2/merchants/me").code == "UNAUTHORIZED"


HEADERS = {
    "none": {},
    "basic": {"authorization": f"Basic {API_KEY}"},
    "empty": {"authorization": "Bearer "},
    "unknown": {"authorization": "Bearer EAAAnobody"},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=list(HEADERS))
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v2/locations"), ("POST", "/oauth2/token/status")]
)
def test_without_a_known_token_nothing_is_answered(sandbox, headers, method, path):
    reply = sandbox().ask(method, path, headers=headers)
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(("seconds", "status"), [(-1, 200), (0, 401)])
def test_an_access_token_ends_after_thirty_days(sandbox, seconds, status):
    caller = sandbox()
    token = caller.grant()["access_token"]
    caller.pass_time(seconds=30 * 86_400 + seconds)
    assert caller.get("/v2/locations", token=token).status == status
    assert caller.status(token).status == status


def test_a_dead_token_is_named_by_the_api_and_unknown_to_the_status(sandbox):
    caller = sandbox()
    old, gone = caller.grant()["access_token"], caller.grant(account=1)
    caller.pass_time(days=31)
    caller.order("oauth", {"revoke": gone["merchant_id"]})
    assert caller.get("/v2/locations", token=old).code == "ACCESS_TOKEN_EXPIRED"
    assert caller.get("/v2/locations", token=gone["access_token"]).code == "ACCESS_TOKEN_REVOKED"
    assert caller.status(old).code == caller.status(gone["access_token"]).code == "UNAUTHORIZED"


def test_a_missing_right_is_named(sandbox):
    caller = sandbox()
    token = caller.grant(scopes="CUSTOMERS_READ")["access_token"]
    reply = caller.get("/v2/locations", token=token)
    assert (reply.status, reply.code) == (403, "INSUFFICIENT_SCOPES")
    assert "[MERCHANT_PROFILE_READ]" in reply.json["errors"][0]["detail"]
    assert caller.status(token).json["scopes"] == ["CUSTOMERS_READ"]


def test_an_odd_version_and_an_unknown_path_are_refused(sandbox):
    caller = sandbox()
    headers = {"authorization": f"Bearer {API_KEY}", "square-version": "latest"}
    odd = caller.ask("GET", "/v2/locations", headers=headers)
    assert (odd.status, odd.code) == (400, "INVALID_SQUARE_VERSION_FORMAT")
    for method, path in (("GET", "/v2/nothing"), ("POST", "/v2/locations"), ("GET", "/x")):
        lost = caller.ask(method, path, token=API_KEY)
        assert (lost.status, lost.code) == (404, "NOT_FOUND")


def test_all_that_is_served_is_what_square_s_schema_describes(sandbox):
    caller = sandbox(accounts=6)
    for index in range(6):
        granted = caller.grant(account=index, pkce=bool(index % 2))
        token = granted["access_token"]
        check("ObtainTokenResponse", granted)
        check("ObtainTokenResponse", caller.refresh(granted["refresh_token"]).json)
        check("RetrieveTokenStatusResponse", caller.status(token).json)
        check("RetrieveMerchantResponse", caller.get("/v2/merchants/me", token=token).json)
        check("ListMerchantsResponse", caller.get("/v2/merchants", token=token).json)
        check("ListLocationsResponse", caller.get("/v2/locations", token=token).json)
    check("RetrieveTokenStatusResponse", caller.status(API_KEY).json)
    check("RevokeTokenResponse", caller.revoke(merchant_id=granted["merchant_id"]).json)


def test_all_refusals_are_what_square_s_schema_describes(sandbox):
    caller = sandbox()
    narrow = caller.grant(scopes="CUSTOMERS_READ")["access_token"]
    for reply in (
        caller.get("/v2/locations", token="x"),
        caller.get("/v2/locations", token=narrow),
        caller.get("/v2/merchants/M"),
        caller.get("/v2/nothing"),
        caller.exchange("x"),
        caller.exchange("x", grant_type="odd"),
        caller.token(),
        caller.refresh("x"),
        caller.revoke(),
    ):
        assert reply.status >= 400
        check("ErrorBody", reply.json)
    check("OAuthErrorBody", caller.refresh("x", client_secret="wrong").json)
    check("OAuthErrorBody", caller.revoke(secret="wrong").json)
    for status in (400, 401, 403, 404, 409, 429, 500, 503, 504):
        caller.order("faults", [{"kind": "status", "status": status}])
        check("ErrorBody", caller.get("/v2/locations").json)
