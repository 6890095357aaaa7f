"""The control surface: journal, clock, faults, orders and the oracle."""

from __future__ import annotations

import time

import httpx
import orjson
import pytest

NOW = 1_793_491_200


def test_facts_name_the_sellers_but_no_secret(sandbox):
    caller = sandbox()
    reply = caller.get("/_sandbox/")
    assert [each["name"] for each in reply.json["accounts"]] == [
        "Harbour Coffee",
        '<b>Bits & "Bytes"</b>',
        "مقهى الميناء ☕🚀",
    ]
    assert "secret" not in reply.body.decode().lower()
    assert reply.json["rotations"] == ["single-use", "strict", "grace"]


def test_the_journal_tells_what_was_answered_without_secrets(sandbox):
    caller = sandbox()
    caller.authorize(state="very-private")
    caller.get("/v2/nothing")
    log = caller.get("/_sandbox/log").json
    assert log["total"] == 2
    one, two = log["requests"]
    assert (one["number"], one["method"], one["path"]) == (1, "GET", "/oauth2/authorize")
    assert (one["status"], two["status"]) == (302, 404)
    assert one["accepted_ms"] <= one["answered_ms"] <= two["answered_ms"]
    assert "very-private" not in str(log)
    assert "state=…" in one["query"]
    assert caller.get("/_sandbox/log", after=1).json["requests"] == [two]


def test_the_clock_starts_at_the_machine_s_time_unless_told_otherwise(sandbox):
    frozen = sandbox().get("/_sandbox/clock").json
    assert frozen == {"now": NOW + 1, "frozen": True}


def test_a_clock_of_this_machine_can_be_compared_with_expires_at(server):
    base = server()
    before = time.time()
    now = httpx.get(f"{base}/_sandbox/clock").json()["now"]
    assert before - 2 <= now <= time.time() + 2


def test_the_clock_goes_forward_only_and_answers_carry_its_time(sandbox):
    caller = sandbox()
    assert caller.order("clock", {"advance_s": 3600})["now"] == NOW + 3601
    assert caller.get("/v2/locations").headers["date"] == "Sun, 01 Nov 2026 01:00:01 GMT"
    assert caller.ask("POST", "/_sandbox/clock", body=b'{"advance_s": -1}').status == 400
    assert caller.order("clock", {"frozen": False})["frozen"] is False


MISTAKES = {
    "no such page": ("GET", "nothing", None, 404),
    "unknown order": ("POST", "oauth", {"dance": True}, 400),
    "unknown consent": ("POST", "oauth", {"consent": "maybe"}, 400),
    "unknown rotation": ("POST", "oauth", {"rotation": "always"}, 400),
    "a seller too many": ("POST", "oauth", {"login_as": 3}, 400),
    "no seller": ("POST", "oauth", {"login_as": True}, 400),
    "nobody to revoke": ("POST", "oauth", {"revoke": "grant_9"}, 400),
    "a grant of nobody": ("POST", "oauth", {"grant": {"account": -1}}, 400),
    "odd scopes": ("POST", "oauth", {"grant": {"account": 0, "scopes": ["ALL"]}}, 400),
    "scopes of lists": ("POST", "oauth", {"grant": {"scopes": [[]]}}, 400),
    "faults are no list": ("POST", "faults", {}, 400),
    "unknown fault": ("POST", "faults", [{"kind": "fire"}], 400),
    "unknown field": ("POST", "faults", [{"kind": "drop", "when": 1}], 400),
    "odd nth": ("POST", "faults", [{"kind": "drop", "nth": 0}], 400),
    "odd status": ("POST", "faults", [{"kind": "status", "status": "500"}], 400),
    "odd headers": ("POST", "faults", [{"kind": "status", "headers": {"a": 1}}], 400),
    "odd time": ("POST", "clock", {"now": "noon"}, 400),
    "no JSON": ("POST", "oauth", b"{", 400),
}


@pytest.mark.parametrize("case", MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_answered_with_a_reason(sandbox, case):
    method, name, given, status = case
    caller = sandbox()
    body = given if isinstance(given, bytes) else orjson.dumps(given)
    reply = caller.ask(method, f"/_sandbox/{name}", body=body)
    assert reply.status == status
    assert reply.json["error"]
    assert caller.oracle()["grants"] == []


def test_a_grant_can_be_made_without_a_browser(sandbox):
    caller = sandbox()
    answer = caller.order("oauth", {"grant": {"account": 2, "scopes": ["ORDERS_READ"]}})
    [grant] = caller.oracle()["grants"]
    assert answer["merchant_id"] == grant["account"]
    assert (grant["access_token"], grant["refresh_token"]) == (
        answer["access_token"],
        answer["refresh_token"],
    )
    assert (grant["flow"], grant["state"], grant["scopes"]) == ("code", "live", ["ORDERS_READ"])
    assert caller.oracle()["token_calls"] == 0


def test_orders_stay_until_others_come(sandbox):
    caller = sandbox()
    told = {"consent": "page", "login_as": 1, "rotation": "grace", "grace_s": 5.0}
    assert caller.order("oauth", told) == told
    assert caller.order("oauth", {}) == told


@pytest.mark.parametrize("by", ["id", "account"])
def test_a_seller_can_take_access_away(sandbox, by):
    caller = sandbox()
    token = caller.grant()["access_token"]
    caller.order("oauth", {"revoke": caller.oracle()["grants"][0][by]})
    assert caller.get("/v2/locations", token=token).code == "ACCESS_TOKEN_REVOKED"
    assert caller.oracle()["grants"][0]["state"] == "revoked"


def test_the_oracle_tells_of_one_grant_when_asked(sandbox):
    caller = sandbox()
    caller.grant()
    second = caller.grant(account=1)
    caller.refresh(second["refresh_token"])
    name = caller.oracle()["grants"][1]["id"]
    told = caller.oracle(grant=name)
    assert [each["refreshes"] for each in told["grants"]] == [1]
    assert caller.get("/_sandbox/oauth", grant="grant_9").status == 400


REPLACED = {
    "status": ({"kind": "status", "status": 503}, 503, b'{"errors":[{"category":"API_ERROR"'),
    "own body": ({"kind": "status", "status": 200, "body": {"errors": []}}, 200, b'{"errors":[]}'),
    "page": ({"kind": "status", "status": 502, "body": "<p>bad"}, 502, b"<p>bad"),
    "html200": ({"kind": "html200"}, 200, b"<!DOCTYPE html>"),
    "empty": ({"kind": "empty"}, 200, b""),
}


@pytest.mark.parametrize("case", REPLACED.values(), ids=list(REPLACED))
@pytest.mark.parametrize("executed", [False, True])
def test_a_fault_replaces_the_answer_and_may_carry_the_request_out(sandbox, case, executed):
    fault, status, begins = case
    caller = sandbox()
    first = caller.grant()
    caller.order("faults", [fault | {"path": "/oauth2/token", "executed": executed}])
    reply = caller.refresh(first["refresh_token"])
    assert (reply.status, reply.body[: len(begins)]) == (status, begins)
    told = caller.oracle()
    assert (told["token_calls"], told["refreshes"]) == (int(executed), int(executed))
    assert caller.refresh(first["refresh_token"]).status == 200


def test_a_fault_fires_from_the_nth_on_as_often_as_told(sandbox):
    caller = sandbox()
    fault = {"kind": "status", "status": 429, "headers": {"Retry-After": "7"}, "nth": 2, "times": 2}
    caller.order("faults", [fault | {"path": "/v2/*", "method": "GET"}])
    caller.status("x")  # of another path
    replies = [caller.get("/v2/locations") for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 429, 429, 200]
    assert replies[1].headers["retry-after"] == "7"
    assert caller.get("/_sandbox/faults").json[0]["matched"] == 4
    assert caller.order("faults", []) == []


def test_headers_come_once(server):
    reply = httpx.get(f"{server()}/v2/locations")
    names = [name for name, _ in reply.headers.multi_items()]
    assert len(names) == len(set(names))


def test_a_lost_answer_was_carried_out_or_not_as_told(server):
    base = server()
    answer = httpx.post(f"{base}/_sandbox/oauth", json={"grant": {"account": 0, "pkce": True}})
    body = {
        "client_id": httpx.get(f"{base}/_sandbox/").json()["client_id"],
        "grant_type": "refresh_token",
        "refresh_token": answer.json()["refresh_token"],
    }
    for executed in (False, True):
        fault = {"kind": "drop", "path": "/oauth2/token", "executed": executed}
        httpx.post(f"{base}/_sandbox/faults", json=[fault]).raise_for_status()
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            httpx.post(f"{base}/oauth2/token", json=body)
        assert httpx.get(f"{base}/_sandbox/oauth").json()["refreshes"] == int(executed)
    assert httpx.get(f"{base}/_sandbox/log").json()["requests"][0]["status"] == 0
    assert httpx.post(f"{base}/oauth2/token", json=body).status_code == 401


def test_a_slow_and_a_delayed_answer_take_their_time(server):
    base = server()
    for fault in ({"kind": "slow", "chunks": 4}, {"kind": "delay"}):
        script = [fault | {"seconds": 0.2}]
        httpx.post(f"{base}/_sandbox/faults", json=script).raise_for_status()
        began = time.monotonic()
        assert httpx.get(f"{base}/v2/locations").status_code == 401
        assert time.monotonic() - began >= 0.2
