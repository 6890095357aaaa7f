"""OAuth's endpoints, rule by rule: authorize, token, deauthorize."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from jsonschema import Draft202012Validator

CLIENT = "ca_TielineSandboxApplication0000001"
PLATFORM = "sk_test_51TielineSandboxPlatform"
BACK = "https://tieline.example.com/oauth/callback/stripe"
GOOD = {"response_type": "code", "client_id": CLIENT, "redirect_uri": BACK, "state": "s/1 é"}
SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data" / "stripe-oauth.schema.json").read_text("utf-8")
)


def check(name: str, value: Any) -> None:
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    wrong = [error.message for error in Draft202012Validator(schema).iter_errors(value)]
    assert not wrong, wrong


def authorize(caller: Any, **asked: str) -> Any:
    """Go where the browser is sent; an empty parameter is left out."""
    query = {name: text for name, text in (GOOD | asked).items() if text}
    return caller.ask("GET", "/oauth/authorize", query=urlencode(query), key=None)


def returned(reply: Any) -> dict[str, str]:
    assert reply.status == 302, reply.body
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query, keep_blank_values=True))


def code_of(caller: Any, **asked: str) -> str:
    return returned(authorize(caller, **asked))["code"]


def call(caller: Any, name: str, key: str | None = PLATFORM, **form: str) -> Any:
    return caller.ask("POST", f"/oauth/{name}", body=urlencode(form).encode(), key=key)


def exchange(caller: Any, code: str, key: str | None = PLATFORM) -> Any:
    return call(caller, "token", key, grant_type="authorization_code", code=code)


def refresh(caller: Any, token: str, **form: str) -> Any:
    return call(caller, "token", grant_type="refresh_token", refresh_token=token, **form)


def open_grant(caller: Any, **asked: str) -> dict[str, Any]:
    told: dict[str, Any] = exchange(caller, code_of(caller, **asked)).json
    return told


def test_an_owner_who_agrees_is_sent_back_with_code_scope_and_state(sandbox: Any) -> None:
    reply = authorize(sandbox())
    assert reply.headers["location"].startswith(f"{BACK}?")
    params = returned(reply)
    assert params.keys() == {"code", "scope", "state"}
    assert params["code"].startswith("ac_")
    assert (params["scope"], params["state"]) == ("read_only", GOOD["state"])


def test_without_a_state_none_comes_back(sandbox: Any) -> None:
    assert returned(authorize(sandbox(), state="")).keys() == {"code", "scope"}


def test_the_query_of_a_redirect_address_stays(sandbox: Any) -> None:
    params = returned(authorize(sandbox(), redirect_uri=f"{BACK}?a=b%20c"))
    assert params["a"] == "b c"
    assert params["state"] == GOOD["state"]


@pytest.mark.parametrize(
    "address",
    [
        BACK,
        "http://127.0.0.1:8000/oauth/callback/stripe",
        "http://localhost/cb",
        "http://[::1]:9/cb",
    ],
)
def test_any_https_address_and_this_machine_may_be_returned_to(sandbox: Any, address: str) -> None:
    reply = authorize(sandbox(), redirect_uri=address)
    assert reply.headers["location"].startswith(f"{address}?")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"client_id": ""}, "No application matches the supplied client identifier"),
        ({"client_id": "ca_other"}, "No application matches the supplied client identifier"),
        ({"redirect_uri": ""}, "Invalid redirect URI: ''"),
        ({"redirect_uri": "http://example.com/cb"}, "Invalid redirect URI: 'http://example.com"),
        ({"redirect_uri": "https:///cb"}, "Invalid redirect URI"),
        ({"redirect_uri": "https://[half"}, "Invalid redirect URI"),
        ({"redirect_uri": "javascript:alert(1)"}, "Invalid redirect URI"),
        ({"redirect_uri": "https://example.com/\r\nset-cookie: a=b"}, "Invalid redirect URI"),
    ],
    ids=lambda value: next(iter(value.items()))[1] if isinstance(value, dict) else None,
)
def test_a_wrong_application_or_address_is_never_redirected(
    sandbox: Any, asked: dict[str, str], text: str
) -> None:
    reply = authorize(sandbox(), **asked)
    assert reply.status == 400
    assert "location" not in reply.headers
    assert text in reply.error["message"]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "read_everything"}, "invalid_scope"),
        ({"scope": "read_only read_write"}, "invalid_scope"),
    ],
)
def test_other_mistakes_are_told_to_the_application(
    sandbox: Any, asked: dict[str, str], error: str
) -> None:
    params = returned(authorize(sandbox(), **asked))
    assert (params["error"], params["state"]) == (error, GOOD["state"])
    assert params["error_description"]
    assert "code" not in params


def test_registered_addresses_must_match_exactly_and_the_first_is_the_default(sandbox: Any) -> None:
    caller = sandbox(redirect_uris="http://intranet.example/cb, https://b.example/cb")
    assert authorize(caller, redirect_uri="https://b.example/cb").status == 302
    default = authorize(caller, redirect_uri="").headers["location"]
    assert default.startswith("http://intranet.example/cb?")
    for address in (BACK, "https://b.example/cb/", "https://b.example/cb?a=1"):
        assert authorize(caller, redirect_uri=address).status == 400


def test_an_owner_who_refuses_is_sent_back_with_the_refusal(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("oauth", {"consent": "deny"})
    assert returned(authorize(caller)) == {
        "error": "access_denied",
        "error_description": "The user denied your request",
        "state": GOOD["state"],
    }
    assert caller.get("/_sandbox/oauth").json["grants"] == []


@pytest.mark.parametrize(("choice", "comes"), [("allow", "code"), ("deny", "error"), ("", "error")])
def test_the_page_asks_and_does_what_the_owner_chose(sandbox: Any, choice: str, comes: str) -> None:
    caller = sandbox(consent="page")
    page = authorize(caller, scope="read_write")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for part in (b">Allow<", b">Deny<", b'method="post"', b"read_write", b"Rosen&#x27;s"):
        assert part in page.body
    form = urlencode({"choice": choice}).encode()
    decided = caller.ask("POST", "/oauth/authorize", query=urlencode(GOOD), body=form, key=None)
    assert comes in returned(decided)


def test_the_page_shows_hostile_names_as_text(sandbox: Any) -> None:
    caller = sandbox(consent="page")
    caller.order("oauth", {"login_as": 1})
    body = authorize(caller).body.decode()
    assert "&lt;b&gt;Bread &amp; &quot;Butter&quot;&lt;/b&gt;" in body
    assert "<b>" not in body


def test_a_code_is_exchanged_for_the_account_that_logged_in(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("oauth", {"login_as": 2})
    reply = exchange(caller, code_of(caller, scope="read_write"))
    assert reply.status == 200
    check("oauth_token", reply.json)
    account = caller.get("/_sandbox/").json["accounts"][2]["id"]
    assert (reply.json["stripe_user_id"], reply.json["scope"]) == (account, "read_write")
    starts = {"access_token": "sk_test_", "refresh_token": "rt_", "stripe_publishable_key": "pk_"}
    assert all(reply.json[name].startswith(start) for name, start in starts.items())


@pytest.mark.parametrize(
    ("form", "key", "status", "error", "text"),
    [
        ({"grant_type": ""}, PLATFORM, 400, "invalid_request", "No grant type specified"),
        ({"grant_type": "password"}, PLATFORM, 400, "unsupported_grant_type", "password"),
        ({"code": ""}, PLATFORM, 400, "invalid_request", "No authorization code"),
        ({"code": "ac_x"}, PLATFORM, 400, "invalid_grant", "code does not exist: ac_x"),
        ({"grant_type": "refresh_token"}, PLATFORM, 400, "invalid_request", "No refresh token"),
        (
            {"grant_type": "refresh_token", "refresh_token": "rt_x"},
            PLATFORM,
            400,
            "invalid_grant",
            "Refresh token does not exist",
        ),
        ({}, None, 401, "invalid_client", "No API key provided"),
        ({}, "sk_test_51AnotherPlatform", 401, "invalid_client", "No such API key: sk_test_*"),
        ({}, "sk_live_51Platform", 400, "invalid_grant", "Passed in livemode API key but"),
        ({"client_secret": "sk_test_other"}, None, 401, "invalid_client", "No such API key"),
    ],
)
def test_what_the_token_endpoint_refuses(
    sandbox: Any, form: dict[str, str], key: str | None, status: int, error: str, text: str
) -> None:
    caller = sandbox()
    code = code_of(caller)
    asked = {"grant_type": "authorization_code", "code": code} | form
    reply = call(caller, "token", key, **asked)
    assert reply.status == status
    check("oauth_error", reply.json)
    assert reply.json["error"] == error
    assert text in reply.json["error_description"]
    assert exchange(caller, code).status == 200  # the code is still good


def test_the_platform_may_name_itself_in_three_ways(sandbox: Any) -> None:
    caller = sandbox(client_secret="sk_test_51Own")
    basic = "Basic " + b64encode(b"sk_test_51Own:").decode()
    form = {"grant_type": "authorization_code"}
    answers = [
        call(caller, "token", "sk_test_51Own", code=code_of(caller), **form),
        call(caller, "token", None, code=code_of(caller), client_secret="sk_test_51Own", **form),
        caller.ask(
            "POST",
            "/oauth/token",
            body=urlencode(form | {"code": code_of(caller)}).encode(),
            key=None,
            headers={"authorization": basic},
        ),
    ]
    assert [reply.status for reply in answers] == [200, 200, 200]


def test_a_code_used_twice_ends_what_it_gave(sandbox: Any) -> None:
    caller = sandbox()
    code = code_of(caller)
    told = exchange(caller, code).json
    again = exchange(caller, code)
    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    assert again.json["error_description"] == (
        "This authorization code has already been used. "
        "All tokens issued with this code have been revoked."
    )
    assert refresh(caller, told["refresh_token"]).json["error"] == "invalid_grant"
    [grant] = caller.get("/_sandbox/oauth").json["grants"]
    assert (grant["state"], grant["reuse"], grant["refused"]) == ("reused", 1, 2)


@pytest.mark.parametrize(("after_s", "status"), [(299, 200), (300, 200), (301, 400)])
def test_a_code_lives_for_five_minutes(sandbox: Any, after_s: int, status: int) -> None:
    caller = sandbox()
    caller.order("clock", {"frozen": True})
    code = code_of(caller)
    caller.order("clock", {"advance_s": after_s})
    reply = exchange(caller, code)
    assert reply.status == status
    if status == 400:
        assert reply.json["error_description"] == "Authorization code expired"


def test_a_refresh_gives_the_same_access_as_often_as_it_is_asked_for(sandbox: Any) -> None:
    caller = sandbox()
    told = open_grant(caller)
    for _ in range(3):
        reply = refresh(caller, told["refresh_token"])
        check("oauth_token", reply.json)
        assert reply.json == told
    assert caller.get("/_sandbox/oauth").json["refreshes"] == 3


def test_a_refresh_may_ask_for_a_lesser_scope_but_not_for_a_wider_one(sandbox: Any) -> None:
    caller = sandbox()
    wide = open_grant(caller, scope="read_write")
    lesser = [refresh(caller, wide["refresh_token"], scope="read_only").json for _ in range(2)]
    assert lesser[0] == lesser[1]
    assert lesser[0]["scope"] == "read_only"
    assert lesser[0]["access_token"] != wide["access_token"]
    narrow = open_grant(caller)
    refused = refresh(caller, narrow["refresh_token"], scope="read_write")
    assert (refused.status, refused.json["error"]) == (400, "invalid_scope")


def test_deauthorizing_names_the_account_and_ends_its_grants(sandbox: Any) -> None:
    caller = sandbox()
    told = [open_grant(caller) for _ in range(2)]
    account = told[0]["stripe_user_id"]
    reply = call(caller, "deauthorize", client_id=CLIENT, stripe_user_id=account)
    assert (reply.status, reply.json) == (200, {"stripe_user_id": account})
    check("oauth_deauthorization", reply.json)
    grants = caller.get("/_sandbox/oauth").json["grants"]
    assert [grant["state"] for grant in grants] == ["revoked", "revoked"]
    assert refresh(caller, told[1]["refresh_token"]).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("form", "key", "status", "error", "text"),
    [
        ({"client_id": ""}, PLATFORM, 400, "invalid_request", "client_id"),
        ({"stripe_user_id": ""}, PLATFORM, 400, "invalid_request", "stripe_user_id"),
        ({"client_id": "ca_x"}, PLATFORM, 401, "invalid_client", "No such application: 'ca_x'"),
        ({"stripe_user_id": "acct_x"}, PLATFORM, 401, "invalid_client", "is not connected to"),
        ({}, "sk_test_51AnotherPlatform", 401, "invalid_client", "No such API key"),
        ({}, "sk_live_51Platform", 401, "invalid_client", "No such API key"),
    ],
)
def test_what_the_deauthorize_endpoint_refuses(
    sandbox: Any, form: dict[str, str], key: str, status: int, error: str, text: str
) -> None:
    caller = sandbox()
    asked = {"client_id": CLIENT, "stripe_user_id": open_grant(caller)["stripe_user_id"]} | form
    reply = call(caller, "deauthorize", key, **asked)
    assert (reply.status, reply.json["error"]) == (status, error)
    check("oauth_error", reply.json)
    assert text in reply.json["error_description"]
    assert caller.get("/_sandbox/oauth").json["grants"][0]["state"] == "live"


def test_who_is_no_longer_connected_cannot_be_deauthorized_again(sandbox: Any) -> None:
    caller = sandbox()
    form = {"client_id": CLIENT, "stripe_user_id": open_grant(caller)["stripe_user_id"]}
    replies = [call(caller, "deauthorize", **form) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 401]
    assert replies[1].json == {
        "error": "invalid_client",
        "error_description": "This application is not connected to stripe account "
        f"{form['stripe_user_id']}, or that account does not exist.",
    }


def test_the_same_seed_gives_the_same_tokens_and_sandboxes_share_none(sandbox: Any) -> None:
    first, same, other = (open_grant(sandbox(seed=seed)) for seed in (5, 5, 6))
    assert first == same
    assert not set(first.values()) & (set(other.values()) - {False, "bearer", "read_only"})
    code = code_of(sandbox(seed=5))
    assert exchange(sandbox(seed=5), code).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("method", "name"), [("GET", "token"), ("GET", "deauthorize"), ("POST", "register")]
)
def test_there_are_no_other_endpoints(sandbox: Any, method: str, name: str) -> None:
    assert sandbox().ask(method, f"/oauth/{name}").status == 404


def test_bodies_are_forms(sandbox: Any) -> None:
    headers = {"content-type": "application/json"}
    reply = sandbox().ask("POST", "/oauth/token", body=b"{}", headers=headers)
    assert reply.status == 400
