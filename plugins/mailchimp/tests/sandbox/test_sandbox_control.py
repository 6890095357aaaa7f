"""The control surface: log, clock, faults, and the oracle of what was granted."""

from __future__ import annotations

from typing import Any

import pytest

START = 1_793_491_200


def test_the_log_tells_what_was_answered_without_secrets(sandbox: Any) -> None:
    caller = sandbox()
    first = caller.get("/3.0/", fields="account_id")
    caller.ask("GET", "/3.0/ping", query="apikey=KEY&a=1&code=CODE&client_secret=SECRET&decode=2")
    log = caller.facts("log")
    assert log["total"] == 2
    one, two = log["requests"]
    assert (one["method"], one["path"], one["query"]) == ("GET", "/3.0/", "fields=account_id")
    assert (one["status"], two["status"]) == (200, 401)
    assert one["request_id"] == first.headers["x-request-id"]
    assert one["accepted_ms"] <= one["answered_ms"] <= two["answered_ms"]
    assert two["query"] == "apikey=***&a=1&code=***&client_secret=***&decode=2"
    assert caller.facts("log", after=1)["requests"] == [two]


def test_same_seed_same_bytes_and_applications_share_nothing(sandbox: Any) -> None:
    def story(seed: int) -> list[Any]:
        caller = sandbox(seed=seed)
        caller.order("clock", {"now": START + 50, "frozen": True})
        token = caller.token()
        replies = [caller.get_as("OAuth", token, "/oauth2/metadata"), caller.get("/3.0/nothing")]
        return [token, *((reply.headers, reply.body) for reply in replies)]

    assert story(1) == story(1)
    assert story(1)[0] != story(2)[0]


def test_the_clock_starts_at_its_start_and_never_goes_back(sandbox: Any) -> None:
    caller = sandbox()
    assert START <= caller.facts("clock")["now"] < START + 5
    caller.order("clock", {"now": START + 100, "frozen": True})
    assert caller.facts("clock") == {"now": START + 100, "frozen": True}
    assert caller.ask("POST", "/_sandbox/clock", body=b'{"now": 5}').status == 400
    caller.order("clock", {"advance_s": 10, "frozen": False})
    assert caller.facts("clock")["now"] >= START + 110


def test_the_oracle_tells_every_grant(sandbox: Any) -> None:
    caller = sandbox()
    token = caller.token()
    caller.order("oauth", {"login_as": 2})
    caller.token()
    caller.exchange("0" * 32)
    told = caller.facts("oauth")
    assert (told["token_calls"], told["refreshes"], told["max_in_flight"]) == (3, 0, 1)
    accounts = caller.facts()["accounts"]
    assert [grant["account"] for grant in told["grants"]] == [accounts[0]["id"], accounts[2]["id"]]
    assert told["grants"][0] == {
        "id": "grant_1",
        "account": accounts[0]["id"],
        "state": "live",
        "refreshes": 0,
        "refused": 0,
        "reuse": 0,
        "max_in_flight": 1,
        "access_token": token,
        "refresh_token": None,
    }
    assert caller.facts("oauth", grant="grant_2")["grants"] == told["grants"][1:]


def test_exchanges_at_the_same_time_are_counted_and_one_wins(sandbox: Any) -> None:
    caller = sandbox()
    code = caller.authorize().location["code"]
    caller.order(
        "faults", [{"kind": "delay", "path": "/oauth2/token", "seconds": 0.02, "times": 0}]
    )
    form = {"content-type": "application/x-www-form-urlencoded"}
    body = (
        f"grant_type=authorization_code&code={code}&client_id=628228172893"
        "&client_secret=0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a697887"
        "&redirect_uri=http://127.0.0.1:8377/oauth/callback/mailchimp"
    ).encode()
    asked = [caller.send("POST", "/oauth2/token", body=body, headers=form) for _ in range(3)]
    assert sorted(reply.status for reply in caller.together(*asked)) == [200, 400, 400]
    told = caller.facts("oauth")
    assert (told["token_calls"], told["max_in_flight"]) == (3, 3)
    assert (told["grants"][0]["max_in_flight"], told["grants"][0]["reuse"]) == (3, 2)


def test_a_grant_is_made_without_a_browser(sandbox: Any) -> None:
    caller = sandbox()
    answer = caller.order("oauth", {"grant": {"account": 1, "scopes": []}})
    assert (answer["expires_in"], answer["scope"]) == (0, None)
    found = caller.get_as("Bearer", answer["access_token"], "/3.0/").json["account_id"]
    assert found == caller.facts()["accounts"][1]["id"]


@pytest.mark.parametrize("by", ["grant", "account"])
def test_access_is_taken_away(sandbox: Any, by: str) -> None:
    caller = sandbox()
    token, other = caller.token(), caller.order("oauth", {"grant": {"account": 1}})["access_token"]
    name = "grant_1" if by == "grant" else caller.facts()["accounts"][0]["id"]
    assert caller.order("oauth", {"revoke": name})["grants"][0]["state"] == "revoked"
    refused = caller.get_as("Bearer", token, "/3.0/ping")
    assert (refused.status, refused.json["title"]) == (401, "API Key Invalid")
    assert caller.get_as("Bearer", other, "/3.0/ping").status == 200
    assert caller.get("/3.0/ping").status == 200


def test_a_key_is_switched_off(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("oauth", {"revoke": caller.facts()["accounts"][0]["api_key"]})
    assert caller.get("/3.0/ping").json["title"] == "API Key Invalid"


FAULTS = {
    "problem": ({"kind": "status", "status": 503}, 503, "application/problem+json"),
    "own problem": (
        {"kind": "status", "status": 403, "body": {"title": "User Disabled"}},
        403,
        "application/problem+json",
    ),
    "html": ({"kind": "status", "status": 502, "body": "<h1>Bad gateway</h1>"}, 502, "text/html"),
    "bare 429": ({"kind": "status", "status": 429, "body": ""}, 429, None),
    "bare 403": ({"kind": "status", "status": 403, "body": ""}, 403, None),
    "bare 500": ({"kind": "status", "status": 500, "body": ""}, 500, None),
    "html200": ({"kind": "html200"}, 200, "text/html"),
    "empty": ({"kind": "empty"}, 200, None),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_replaces_the_answer(sandbox: Any, case: str) -> None:
    fault, status, kind = FAULTS[case]
    caller = sandbox()
    caller.order("faults", [{"path": "/3.0/*", "nth": 2, **fault}])
    assert caller.get("/3.0/ping").status == 200
    reply = caller.get("/3.0/ping")
    assert reply.status == status
    assert (reply.headers.get("content-type") or "").split(";")[0] == (kind or "")
    assert (reply.body == b"") is (kind is None)
    assert caller.get("/3.0/ping").status == 200
    assert caller.facts("faults")[0]["matched"] == 3


@pytest.mark.parametrize("executed", [False, True])
def test_a_lost_answer_may_have_been_carried_out(sandbox: Any, *, executed: bool) -> None:
    caller = sandbox()
    code = caller.authorize().location["code"]
    fault = {"kind": "drop", "path": "/oauth2/token", "method": "POST", "executed": executed}
    caller.order("faults", [fault])
    with pytest.raises(ConnectionAbortedError):
        caller.exchange(code)
    assert caller.facts("log")["requests"][-1]["status"] == 0
    assert caller.facts("oauth")["token_calls"] == int(executed)
    assert caller.exchange(code).status == (400 if executed else 200)


def test_a_fault_has_headers_of_its_own(sandbox: Any) -> None:
    caller = sandbox()
    fault = {"kind": "status", "status": 429, "body": "", "headers": {"Retry-After": "7"}}
    caller.order("faults", [fault])
    assert caller.get("/3.0/ping").headers["retry-after"] == "7"
    caller.order("faults", [])
    assert caller.get("/3.0/ping").status == 200


def test_a_slow_body_arrives_whole(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("faults", [{"kind": "slow", "seconds": 0.02, "chunks": 3}])
    assert caller.get("/3.0/ping").json == {"health_status": "Everything's Chimpy!"}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("oauth", b'{"consent": "maybe"}'),
        ("oauth", b'{"login_as": 3}'),
        ("oauth", b'{"login_as": true}'),
        ("oauth", b'{"rotation": "strict"}'),
        ("oauth", b'{"revoke": "grant_9"}'),
        ("oauth", b'{"grant": {"account": -1}}'),
        ("oauth", b"[]"),
        ("clock", b"{"),
        ("clock", b'{"now": "soon"}'),
        ("faults", b"{}"),
        ("faults", b'[{"kind": "unknown"}]'),
        ("faults", b'[{"kind": "delay", "seconds": "1"}]'),
        ("faults", b'[{"kind": "delay", "seconds": -1}]'),
        ("faults", b'[{"kind": "status", "status": 99}]'),
        ("faults", b'[{"kind": "status", "status": true}]'),
        ("faults", b'[{"kind": "status", "headers": {"a": 1}}]'),
        ("faults", b'[{"kind": "drop", "query": 7}]'),
        ("faults", b'[{"kind": "mutate", "mutation": {"create": -1}}]'),
        ("mutate", b'{"create": true}'),
        ("mutate", b'{"explode": 1}'),
        ("mutate", b'{"audience": "none"}'),
        ("contacts", b'{"audience": "none"}'),
        ("contacts", b"[]"),
        ("lists", b'{"audience": "none"}'),
        ("lists", b'{"add": 7}'),
    ],
)
def test_mistakes_are_told(sandbox: Any, name: str, body: bytes) -> None:
    reply = sandbox().ask("POST", f"/_sandbox/{name}", body=body)
    assert reply.status == 400
    assert reply.json["error"]


@pytest.mark.parametrize("name", ["nothing", "log/x"])
def test_what_the_control_surface_lacks_is_told(sandbox: Any, name: str) -> None:
    assert sandbox().ask("GET", f"/_sandbox/{name}").status == 404


@pytest.mark.parametrize(
    "options", [{"accounts": 0}, {"consent": "x"}, {"api_key": "abc"}], ids=str
)
def test_options_that_make_no_sense_are_refused(sandbox: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        sandbox(**options)
