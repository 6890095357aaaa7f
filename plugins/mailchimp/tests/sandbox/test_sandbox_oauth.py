"""Authorize, token and metadata: every rule of Mailchimp's OAuth, one by one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

REDIRECT = "http://127.0.0.1:8377/oauth/callback/mailchimp"
HOSTILE = 'a b&c="d"/ü'


def test_consent_leads_to_a_token_that_opens_the_account(sandbox: Any) -> None:
    caller = sandbox()
    consent = caller.authorize(state=HOSTILE)
    assert consent.status == 302
    assert consent.headers["location"].startswith(f"{REDIRECT}?code=")
    assert consent.location["state"] == HOSTILE
    answer = caller.exchange(consent.location["code"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json == {
        "access_token": answer.json["access_token"],
        "expires_in": 0,
        "scope": None,
    }
    opened = caller.get_as("Bearer", answer.json["access_token"], "/3.0/")
    assert opened.json["account_id"] == caller.get("/3.0/").json["account_id"]


def test_without_a_state_none_comes_back(sandbox: Any) -> None:
    assert set(sandbox().authorize().location) == {"code"}


def test_a_redirect_with_a_query_keeps_it(sandbox: Any) -> None:
    found = sandbox().authorize(redirect_uri="https://a.example/back?tenant=7")
    assert found.headers["location"].startswith("https://a.example/back?tenant=7&code=")


REFUSED_HERE = {
    "unknown client": ({"client_id": "628228172894"}, "invalid_client"),
    "no client": ({"client_id": None}, "invalid_client"),
    "no redirect": ({"redirect_uri": None}, "invalid_request"),
    "http far away": ({"redirect_uri": "http://a.example/back"}, "redirect_uri_mismatch"),
    "localhost": ({"redirect_uri": "http://localhost:8377/back"}, "redirect_uri_mismatch"),
    "fragment": ({"redirect_uri": "https://a.example/back#x"}, "redirect_uri_mismatch"),
    "line break": (
        {"redirect_uri": "https://a.example/\r\nset-cookie: x"},
        "redirect_uri_mismatch",
    ),
    "no address": ({"redirect_uri": "https://[bad/back"}, "redirect_uri_mismatch"),
    "script": ({"redirect_uri": "javascript:alert(1)"}, "redirect_uri_mismatch"),
}


@pytest.mark.parametrize("case", REFUSED_HERE)
def test_what_must_not_be_redirected_is_refused_in_place(sandbox: Any, case: str) -> None:
    changed, code = REFUSED_HERE[case]
    reply = sandbox().authorize(**changed)
    assert (reply.status, reply.json["error"]) == (400, code)
    assert "location" not in reply.headers


@pytest.mark.parametrize("kind", [None, "token"])
def test_another_response_type_is_refused_with_the_state(sandbox: Any, kind: str | None) -> None:
    reply = sandbox().authorize(response_type=kind, state="s1")
    assert reply.location == {"error": "unsupported_response_type", "state": "s1"}


def test_only_registered_redirects_are_taken_when_some_are(sandbox: Any) -> None:
    caller = sandbox(redirect_uris=f"https://a.example/back, {REDIRECT}")
    assert caller.authorize().status == 302
    assert caller.authorize(redirect_uri="https://a.example/back").status == 302
    assert caller.authorize(redirect_uri="https://a.example/back/").status == 400


def test_a_user_who_denies_is_sent_back_with_access_denied(sandbox: Any) -> None:
    caller = sandbox(consent="deny")
    assert caller.authorize(state="s2").location == {"error": "access_denied", "state": "s2"}
    assert caller.facts("oauth")["grants"] == []


@pytest.mark.parametrize(
    ("decision", "expected"), [("allow", "code"), ("deny", "error"), (None, "error")]
)
def test_the_page_asks_and_its_buttons_answer(
    sandbox: Any, decision: str | None, expected: str
) -> None:
    caller = sandbox(consent="page")
    caller.order("oauth", {"login_as": 1})
    page = caller.authorize(state='"><script>')
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    text = page.body.decode()
    assert "<b>Sons</b>" not in text
    assert "&lt;b&gt;Sons&lt;/b&gt;" in text
    assert "<script>" not in text
    assert "Allow</button>" in text
    assert "Deny</button>" in text
    form = {"response_type": "code", "client_id": "628228172893", "redirect_uri": REDIRECT}
    answer = caller.form("/oauth2/authorize", **form, state="s3", decision=decision)
    assert expected in answer.location
    assert answer.location["state"] == "s3"


def test_the_buttons_do_not_go_round_the_checks(sandbox: Any) -> None:
    reply = sandbox(consent="page").form(
        "/oauth2/authorize",
        client_id="628228172893",
        redirect_uri="http://a.example/",
        decision="allow",
    )
    assert reply.status == 400


REFUSED_EXCHANGES = {
    "no grant type": ({"grant_type": None}, "invalid_request"),
    "refresh": ({"grant_type": "refresh_token"}, "unsupported_grant_type"),
    "unknown client": ({"client_id": "1"}, "invalid_client"),
    "wrong secret": ({"client_secret": "0"}, "invalid_client"),
    "no secret": ({"client_secret": None}, "invalid_client"),
    "secret of no alphabet": ({"client_secret": "ключ"}, "invalid_client"),
    "no code": ({"code": None}, "invalid_request"),
    "unknown code": ({"code": "0" * 32}, "invalid_grant"),
    "no redirect": ({"redirect_uri": None}, "invalid_grant"),
    "another redirect": ({"redirect_uri": REDIRECT + "/"}, "invalid_grant"),
}


@pytest.mark.parametrize("case", REFUSED_EXCHANGES)
def test_a_wrong_exchange_is_refused_and_leaves_the_code_good(sandbox: Any, case: str) -> None:
    changed, error = REFUSED_EXCHANGES[case]
    caller = sandbox()
    code = caller.authorize().location["code"]
    reply = caller.exchange(code, **changed)
    assert (reply.status, reply.json["error"]) == (400, error)
    assert caller.exchange(code).status == 200


def test_client_credentials_in_a_header_are_not_taken(sandbox: Any) -> None:
    caller = sandbox()
    code = caller.authorize().location["code"]
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "authorization": "Basic NjI4MjI4MTcyODkzOnNlY3JldA==",
    }
    reply = caller.ask("POST", "/oauth2/token", body=urlencode(body).encode(), headers=headers)
    assert reply.json["error"] == "invalid_client"


def test_json_is_no_form(sandbox: Any) -> None:
    reply = sandbox().ask(
        "POST",
        "/oauth2/token",
        body=b'{"grant_type": "authorization_code"}',
        headers={"content-type": "application/json"},
    )
    assert reply.json["error"] == "invalid_request"


def test_a_code_is_good_once_and_its_token_outlives_the_second_try(sandbox: Any) -> None:
    caller = sandbox()
    code = caller.authorize().location["code"]
    token = caller.exchange(code).json["access_token"]
    again = caller.exchange(code)
    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    assert caller.get_as("Bearer", token, "/3.0/ping").status == 200
    [grant] = caller.facts("oauth")["grants"]
    assert (grant["refused"], grant["reuse"], grant["state"]) == (1, 1, "live")


@pytest.mark.parametrize(("seconds", "status"), [(599, 200), (601, 400)])
def test_a_code_is_good_for_ten_minutes(sandbox: Any, seconds: int, status: int) -> None:
    caller = sandbox()
    caller.order("clock", {"frozen": True})
    code = caller.authorize().location["code"]
    caller.order("clock", {"advance_s": seconds})
    assert caller.exchange(code).status == status


def test_a_token_never_expires(sandbox: Any) -> None:
    caller = sandbox()
    token = caller.token()
    caller.order("clock", {"advance_s": 10 * 365 * 86400})
    assert caller.get_as("Bearer", token, "/3.0/ping").status == 200
    assert "api_endpoint" in caller.get_as("OAuth", token, "/oauth2/metadata").json


def test_the_metadata_name_the_address_that_was_asked(sandbox: Any) -> None:
    caller = sandbox(accounts=2, api_key="0123456789abcdef-us21")
    caller.order("oauth", {"login_as": 1})
    found = caller.get_as("OAuth", caller.token(), "/oauth2/metadata").json
    assert found["api_endpoint"] == "http://127.0.0.1:12112"
    assert found["dc"] == "us21"
    assert found["accountname"] == 'Smith & <b>Sons</b> "Bakery"'


@pytest.mark.parametrize("how", ["revoked", "unknown", "none"])
def test_a_dead_token_gets_200_and_an_error_from_the_metadata(sandbox: Any, how: str) -> None:
    caller = sandbox()
    token = caller.token() if how == "revoked" else "0" * 32 if how == "unknown" else ""
    if how == "revoked":
        caller.order("oauth", {"revoke": "grant_1"})
    reply = caller.get_as("OAuth", token, "/oauth2/metadata")
    assert reply.status == 200
    assert reply.json["error"] == "invalid_token"
    assert "api_endpoint" not in reply.json


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/oauth2/token"),
        ("POST", "/oauth2/metadata"),
        ("GET", "/oauth2/revoke"),
        ("GET", "/"),
    ],
)
def test_there_is_nothing_else(sandbox: Any, method: str, path: str) -> None:
    assert sandbox().ask(method, path).status == 404
