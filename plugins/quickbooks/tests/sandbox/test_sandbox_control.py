"""Orders and looks: faults, clock, log, and the oracle."""

from __future__ import annotations

import pytest

TOKENS = "/oauth2/v1/tokens/bearer"


def test_facts_name_all_that_a_test_needs(sandbox):
    facts = sandbox(accounts=2, seed=3).get("/_sandbox/").json
    assert [each["index"] for each in facts["accounts"]] == [0, 1]
    assert facts["client_id"].startswith("AB")
    assert (facts["seed"], facts["clock"]["frozen"]) == (3, False)
    assert {"status", "drop", "delay", "slow", "html200", "empty"} <= facts["fault_kinds"].keys()


def test_an_ordered_grant_answers_as_the_token_endpoint_does(sandbox):
    caller = sandbox()
    tokens = caller.order("oauth", {"grant": {"account": 1}, "rotation": "strict"})
    realm = caller.accounts()[1]["id"]
    assert tokens["token_type"] == "bearer"
    assert caller.company(realm, tokens["access_token"]).status == 200
    assert caller.refresh(tokens["refresh_token"]).json["refresh_token"] != tokens["refresh_token"]
    caller.order("oauth", {"grant": {"account": 1, "scopes": ["openid"]}})
    first, second = caller.grants()
    assert (first["state"], second["state"], second["scopes"]) == ("revoked", "live", ["openid"])


def test_the_oracle_tells_of_every_token(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    caller.refresh(tokens["refresh_token"])
    caller.refresh("RT1-unknown")
    told = caller.get("/_sandbox/oauth").json
    assert (told["token_calls"], told["refreshes"], told["max_in_flight"]) == (3, 1, 1)
    [grant] = told["grants"]
    assert (grant["account"], grant["refresh_token"]) == (tokens["realm"], tokens["refresh_token"])
    assert grant["access_token"] != tokens["access_token"]
    assert caller.get("/_sandbox/oauth", grant="grant-1").json["grants"] == [grant]
    assert caller.get("/_sandbox/oauth", grant="grant-2").json["grants"] == []


def test_calls_under_way_at_once_are_counted_per_grant_too(sandbox):
    caller = sandbox(latency_ms=20)
    tokens = [caller.order("oauth", {"grant": {"account": index}}) for index in range(2)]

    def refreshing(number):
        form = {"grant_type": "refresh_token", "refresh_token": tokens[number]["refresh_token"]}
        return caller.send("POST", TOKENS, **caller.token_request(**form))

    caller.together(refreshing(0), refreshing(0), refreshing(1))
    told = caller.get("/_sandbox/oauth").json
    assert told["max_in_flight"] == 3
    assert [grant["max_in_flight"] for grant in told["grants"]] == [2, 1]
    caller.together(refreshing(0))
    assert caller.get("/_sandbox/oauth").json["max_in_flight"] == 3


def test_what_a_fault_swallowed_was_not_carried_out(sandbox):
    caller = sandbox()
    token = caller.connected()["refresh_token"]
    caller.order("faults", [{"kind": "status", "status": 503, "path": TOKENS}])
    assert caller.refresh(token).status == 503
    told = caller.get("/_sandbox/oauth").json
    assert (told["token_calls"], told["refreshes"]) == (1, 0)


@pytest.mark.parametrize(
    ("status", "code"), [(401, "3200"), (403, "3100"), (429, "3001"), (500, "10000")]
)
def test_a_status_without_a_body_has_intuit_s_own(sandbox, status, code):
    caller = sandbox()
    caller.order("faults", [{"kind": "status", "status": status, "headers": {"Retry-After": "5"}}])
    reply = caller.company("1", "x")
    body = reply.json
    error = body["fault"]["error"][0] if "fault" in body else body["Fault"]["Error"][0]
    assert (reply.status, error["code"], reply.headers["retry-after"]) == (status, code, "5")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<?xml version='1.0'?><IntuitResponse/>", "application/xml"),
        ("<h1>Bad</h1>", "text/html"),
        ({"a": 1}, "application/json;charset=UTF-8"),
    ],
    ids=["xml", "html", "json"],
)
def test_a_body_can_be_given_in_any_form(sandbox, body, kind):
    caller = sandbox()
    caller.order("faults", [{"kind": "status", "status": 400, "body": body}])
    assert caller.get("/x").headers["content-type"] == kind


def test_a_fault_counts_only_what_it_matches(sandbox):
    caller = sandbox()
    fault = {"kind": "empty", "method": "GET", "path": "/v3/*", "query": "minor", "nth": 2}
    caller.order("faults", [fault])
    caller.get("/elsewhere")
    caller.get("/v3/x")
    caller.ask("POST", "/v3/x", query="minorversion=75")
    assert caller.company("1", "x").status == 401
    assert (caller.company("1", "x").status, caller.company("1", "x").status) == (200, 401)
    assert caller.get("/_sandbox/faults").json[0]["matched"] == 3
    caller.order("faults", [])
    assert caller.get("/_sandbox/faults").json == []


def test_the_log_holds_what_was_asked_without_secrets(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    caller.company(tokens["realm"], tokens["access_token"])
    log = caller.get("/_sandbox/log").json
    paths = [entry["path"] for entry in log["requests"]]
    company = f"/v3/company/{tokens['realm']}/companyinfo/{tokens['realm']}"
    assert paths == ["/connect/oauth2", TOKENS, company]
    assert "state=-" in log["requests"][0]["query"]
    assert log["requests"][2]["query"] == "minorversion=75"
    assert [entry["status"] for entry in log["requests"]] == [302, 200, 200]
    assert caller.get("/_sandbox/log", after=2).json["requests"] == log["requests"][2:]


def test_the_clock_can_be_stopped_and_moved_but_not_back(sandbox):
    caller = sandbox()
    stopped = caller.order("clock", {"frozen": True})["now"]
    assert caller.order("clock", {"advance_s": 5}) == {"now": stopped + 5, "frozen": True}
    reply = caller.ask("POST", "/_sandbox/clock", body=b'{"now": 1}')
    assert reply.status == 400
    assert "cannot go back" in reply.json["error"]


MISTAKES = {
    "faults": ['{"kind": "drop"}', '[{"kind": "rain"}]', '[{"kind": "drop", "colour": 1}]'],
    "oauth": [
        "[]",
        '{"consent": "maybe"}',
        '{"rotation": "weekly"}',
        '{"login_as": 3}',
        '{"login_as": true}',
        '{"lost_rights": 1}',
        '{"grant": {"account": 9}}',
        '{"grant": {"scopes": "x"}}',
        '{"revoke": "grant-9"}',
        '{"grace_s": "soon"}',
        '{"colour": 1}',
        "{",
    ],
    "clock": ['{"backwards": 1}'],
}


@pytest.mark.parametrize(
    ("name", "body"), [(name, body) for name, bodies in MISTAKES.items() for body in bodies]
)
def test_a_wrong_order_is_refused_with_its_reason(sandbox, name, body):
    reply = sandbox().ask("POST", f"/_sandbox/{name}", body=body.encode())
    assert reply.status == 400
    assert reply.json["error"]


def test_an_unknown_order_is_not_there(sandbox):
    assert sandbox().get("/_sandbox/rain").status == 404
