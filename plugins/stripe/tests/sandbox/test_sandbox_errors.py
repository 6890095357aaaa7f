"""What is refused, and how Stripe words it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "parameter_invalid_integer", "limit"),
        ("limit=101", "parameter_invalid_integer", "limit"),
        ("limit=-1", "parameter_invalid_integer", "limit"),
        ("limit=ten", "parameter_invalid_integer", "limit"),
        ("limit=", "parameter_invalid_empty", "limit"),
        ("updated=1", "parameter_unknown", "updated"),
        ("updated[gte]=1", "parameter_unknown", "updated"),
        ("created[since]=1", "parameter_unknown", "created[since]"),
        ("created=yesterday", "parameter_invalid_integer", "created"),
        ("created[gte]=soon", "parameter_invalid_integer", "created[gte]"),
        ("email=", "parameter_invalid_empty", "email"),
        ("starting_after=cus_x&ending_before=cus_y", None, None),
        ("expand[]=data.nothing", None, "expand"),
        ("a]b=1", None, "a]b"),
    ],
)
def test_bad_parameters(sandbox: Any, query: str, code: str | None, param: str | None) -> None:
    reply = sandbox(customers=3).ask("GET", "/v1/customers", query=query)
    assert reply.status == 400
    assert reply.error["type"] == "invalid_request_error"
    assert (reply.error.get("code"), reply.error.get("param")) == (code, param)


def test_brackets_may_be_escaped(sandbox: Any) -> None:
    caller = sandbox(customers=700)
    plain = caller.ask("GET", "/v1/customers", query="created[gte]=1760000000&limit=3")
    escaped = caller.ask("GET", "/v1/customers", query="created%5Bgte%5D=1760000000&limit=3")
    assert plain.body == escaped.body


@pytest.mark.parametrize(
    ("key", "status", "code", "text"),
    [
        (None, 401, None, "You did not provide an API key."),
        ("sk_live_51abcd", 401, None, "Invalid API Key provided: sk_live_"),
        ("rk_live_51abcd", 401, None, "Invalid API Key provided: rk_live_"),
        ("nonsense", 401, None, "Invalid API Key provided: n"),
        ("sk_test_", 401, None, "Invalid API Key provided: sk_test_"),
        ("pk_test_51abcd", 401, "secret_key_required", "publishable API key"),
        ("sk_test_expired_1", 401, "api_key_expired", "Expired API Key provided: sk_test_"),
        ("rk_test_a_noread", 403, None, "does not have the required permissions"),
    ],
)
def test_bad_keys(sandbox: Any, key: str | None, status: int, code: str | None, text: str) -> None:
    reply = sandbox(customers=3).ask("GET", "/v1/customers", key=key)
    assert reply.status == status
    assert text in reply.error["message"]
    assert reply.error.get("code") == code
    assert ("www-authenticate" in reply.headers) == (status == 401)


def test_a_key_is_never_shown_whole(sandbox: Any) -> None:
    key = "sk_live_51abcdefghijkWXYZ"
    message = sandbox().ask("GET", "/v1/customers", key=key).error["message"]
    assert key not in message
    assert message.endswith("*WXYZ")


@pytest.mark.parametrize("key", ["sk_test_1", "rk_test_1", "sk_test_51_ab_CD"])
def test_good_keys(sandbox: Any, key: str) -> None:
    caller = sandbox(customers=1)
    basic = "Basic " + b64encode(f"{key}:".encode()).decode()
    headers = {"authorization": basic}
    assert caller.ask("GET", "/v1/customers", key=key).status == 200
    assert caller.ask("GET", "/v1/customers", key=None, headers=headers).status == 200


@pytest.mark.parametrize("header", ["Basic %%%", "Basic ", "Digest abc", "Bearer ", "Bearer"])
def test_headers_without_a_key(sandbox: Any, header: str) -> None:
    reply = sandbox().ask("GET", "/v1/customers", key=None, headers={"authorization": header})
    assert reply.status == 401
    assert reply.error["message"].startswith("You did not provide an API key.")


def test_only_the_chosen_key(sandbox: Any) -> None:
    caller = sandbox(customers=1, api_key="sk_test_right")
    assert caller.ask("GET", "/v1/customers", key="sk_test_right").status == 200
    assert caller.ask("GET", "/v1/customers", key="sk_test_wrong").status == 401


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("rk_test_noread", {"/v1/customers": 403, "/v1/events": 403, "/v1/account": 403}),
        ("rk_test_noevents", {"/v1/customers": 200, "/v1/events": 403, "/v1/account": 200}),
        ("rk_test_nowrite", {"/v1/customers": 200, "/v1/events": 200, "/v1/account": 200}),
        ("sk_test_noread", {"/v1/customers": 200, "/v1/events": 200, "/v1/account": 200}),
    ],
)
def test_rights_of_restricted_keys(sandbox: Any, key: str, allowed: dict[str, int]) -> None:
    caller = sandbox(customers=1)
    assert {path: caller.ask("GET", path, key=key).status for path in allowed} == allowed


def test_a_key_without_write(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    assert caller.ask("POST", "/v1/customers", key="rk_test_nowrite").status == 403
    assert len(caller.truth()) == 1


def test_another_account_is_out_of_reach(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    mine = caller.get("/v1/account").json["id"]
    for account, status in ((mine, 200), ("acct_Other", 403)):
        reply = caller.ask("GET", "/v1/customers", headers={"stripe-account": account})
        assert reply.status == status
    assert reply.error["code"] == "account_invalid"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v2/customers", 404),
        ("GET", "/v1/customers/", 404),
        ("GET", "/v1/customers/cus_x/sources", 404),
        ("DELETE", "/v1/customers", 404),
        ("POST", "/v1/events", 404),
        ("PUT", "/v1/customers", 405),
        ("HEAD", "/v1/customers", 405),
    ],
)
def test_unknown_urls(sandbox: Any, method: str, path: str, status: int) -> None:
    reply = sandbox().ask(method, path, key=None)
    assert reply.status == status
    assert f"({method}: {path})" in reply.error["message"]


def test_unknown_ids(sandbox: Any) -> None:
    reply = sandbox(customers=1).get("/v1/customers/cus_x")
    assert reply.status == 404
    assert reply.error["message"] == "No such customer: 'cus_x'"
    assert (reply.error["code"], reply.error["param"]) == ("resource_missing", "id")


def test_a_malformed_version_is_refused(sandbox: Any) -> None:
    reply = sandbox().ask("GET", "/v1/account", headers={"stripe-version": "latest"})
    assert reply.status == 400


def test_every_answer_carries_stripes_headers(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    caller.order("clock", {"frozen": True, "now": 1_793_491_261})
    asked = {"stripe-version": "2025-03-31.basil"}
    good = caller.get("/v1/customers")
    bad = caller.ask("GET", "/v1/customers", key=None, headers=asked)
    for reply, version in ((good, "2026-10-28.endive"), (bad, "2025-03-31.basil")):
        assert reply.headers["stripe-version"] == version
        assert reply.headers["content-type"] == "application/json"
        assert reply.headers["request-id"].startswith("req_")
        assert reply.headers["date"] == "Sun, 01 Nov 2026 00:01:01 GMT"
    assert good.headers["request-id"] != bad.headers["request-id"]


def test_the_rate_limit_refuses_with_a_reason(sandbox: Any) -> None:
    caller = sandbox(customers=1, rate=5)
    replies = [caller.get("/v1/customers") for _ in range(20)]
    refused = [reply for reply in replies if reply.status == 429]
    assert 10 <= len(refused) <= 15
    assert refused[0].error["type"] == "invalid_request_error"
    assert refused[0].error["code"] == "rate_limit"
    assert refused[0].headers["stripe-rate-limited-reason"] == "endpoint-rate"
    assert caller.get("/v1/events").headers["stripe-rate-limited-reason"] == "global-rate"
