"""Connected accounts: who gets in, in whose name, and what the sandbox tells of it."""

from __future__ import annotations

from typing import Any

import pytest

PLATFORM = "sk_test_51TielineSandboxPlatform"


def grant(caller: Any, account: int = 0, *scopes: str) -> dict[str, Any]:
    wanted = {"account": account} | ({"scopes": list(scopes)} if scopes else {})
    told: dict[str, Any] = caller.order("oauth", {"grant": wanted})
    return told


def get(caller: Any, account: str, path: str = "/v1/account", key: str = PLATFORM) -> Any:
    headers = {"stripe-account": account} if account else {}
    return caller.ask("GET", path, key=key, headers=headers)


def write(caller: Any, account: str, key: str = PLATFORM) -> Any:
    headers = {"stripe-account": account} if account else {}
    return caller.ask("POST", "/v1/customers", key=key, headers=headers)


def access(caller: Any, kind: str = "*") -> list[tuple[str, str]]:
    page = caller.get("/v1/events", type=f"account.application.{kind}").json
    return [(event["type"].rpartition(".")[2], event["account"]) for event in page["data"]]


def oracle(caller: Any, **query: str) -> dict[str, Any]:
    told: dict[str, Any] = caller.get("/_sandbox/oauth", **query).json
    return told


def test_a_connected_account_has_its_own_name_and_the_same_customers(sandbox: Any) -> None:
    caller = sandbox(customers=20)
    listed = caller.get("/_sandbox/").json["accounts"]
    for index, known in enumerate(listed):
        account = grant(caller, index)["stripe_user_id"]
        reply = get(caller, account)
        assert account == known["id"] == reply.json["id"] == reply.headers["stripe-account"]
        assert reply.json["settings"]["dashboard"]["display_name"] == known["name"]
        assert get(caller, account, "/v1/customers").body == caller.get("/v1/customers").body
    platform = get(caller, "")
    assert platform.json["settings"]["dashboard"]["display_name"] == "Tieline Sandbox"
    assert "stripe-account" not in platform.headers


def test_accounts_have_hostile_names_and_ids_of_their_own(sandbox: Any) -> None:
    overview = sandbox(accounts=9).get("/_sandbox/").json
    names = [account["name"] for account in overview["accounts"]]
    ids = [account["id"] for account in overview["accounts"]]
    assert len({*ids, overview["account"]}) == 10
    assert len(set(names)) == 9
    assert any("<b>" in name for name in names[:3])
    assert any(not name.isascii() for name in names[:3])


def test_an_account_that_is_not_connected_is_out_of_reach(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    known = caller.get("/_sandbox/").json["accounts"][1]["id"]
    for account in (known, "acct_1Unknown"):
        reply = get(caller, account, "/v1/customers")
        assert (reply.status, reply.error["code"]) == (403, "account_invalid")
        assert reply.error["message"] == (
            f"The provided key 'sk_test_{'*' * 20}form' does not have access to account "
            f"'{account}' (or that account does not exist). Application access may have been "
            "revoked."
        )


@pytest.mark.parametrize("key", ["sk_test_51Other", "rk_test_51Other"])
def test_only_the_platform_s_own_key_opens_connected_accounts(sandbox: Any, key: str) -> None:
    caller = sandbox(customers=1)
    account = grant(caller)["stripe_user_id"]
    assert get(caller, account, key=key).error["code"] == "account_invalid"
    assert get(caller, "", key=key).status == 200
    assert get(caller, account).status == 200


def test_the_platform_s_key_is_good_beside_the_chosen_one(sandbox: Any) -> None:
    caller = sandbox(customers=1, api_key="sk_test_right", client_secret="sk_test_platform")
    keys = {"sk_test_right": 200, "sk_test_platform": 200, PLATFORM: 401}
    assert {key: get(caller, "", key=key).status for key in keys} == keys


def test_a_good_key_is_looked_at_anew_where_it_names_an_account(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    account = grant(caller)["stripe_user_id"]
    answers = []
    for order in ({}, {"revoke": account}, {"grant": {"account": 0}}, {"revoke": account}):
        caller.order("oauth", order)
        answers.append(get(caller, account, "/v1/customers").status)
    assert answers == [200, 403, 200, 403]


@pytest.mark.parametrize(("scope", "status"), [("read_only", 403), ("read_write", 200)])
def test_writing_needs_the_scope_for_it(sandbox: Any, scope: str, status: int) -> None:
    caller = sandbox(customers=0)
    told = grant(caller, 0, scope)
    for account, key in ((told["stripe_user_id"], PLATFORM), ("", told["access_token"])):
        reply = write(caller, account, key)
        assert reply.status == status
        if status == 403:
            assert "code" not in reply.error  # a missing right, not an account that is gone
            assert told["stripe_user_id"] in reply.error["message"]


def test_an_access_token_opens_its_own_account_only(sandbox: Any) -> None:
    caller = sandbox(customers=1, api_key="sk_test_right")
    mine, other = grant(caller, 0), grant(caller, 1)
    token, account = mine["access_token"], mine["stripe_user_id"]
    assert get(caller, "", key=token).json["id"] == account
    assert get(caller, account, key=token).json["id"] == account
    assert get(caller, other["stripe_user_id"], key=token).error["code"] == "account_invalid"
    caller.order("oauth", {"revoke": account})
    gone = get(caller, "", key=token)
    assert (gone.status, gone.error["code"]) == (403, "platform_api_key_expired")
    assert token not in gone.error["message"]


def test_a_restricted_platform_key_lacks_its_rights_for_connected_accounts_too(
    sandbox: Any,
) -> None:
    caller = sandbox(customers=1, client_secret="rk_test_platform_noread")
    account = grant(caller)["stripe_user_id"]
    reply = get(caller, account, "/v1/customers", key="rk_test_platform_noread")
    assert (reply.status, "code" in reply.error) == (403, False)


@pytest.mark.parametrize("by", ["id", "account"])
def test_an_owner_takes_access_away_from_all_grants_and_events_tell(sandbox: Any, by: str) -> None:
    caller = sandbox(customers=0)
    accounts = [grant(caller, index)["stripe_user_id"] for index in (0, 1, 1)]
    caller.order("oauth", {"revoke": oracle(caller)["grants"][2][by]})
    states = [grant["state"] for grant in oracle(caller)["grants"]]
    assert states == ["live", "revoked", "revoked"]
    assert [get(caller, account).status for account in accounts] == [200, 403, 403]
    assert access(caller) == [
        ("deauthorized", accounts[1]),
        ("authorized", accounts[1]),
        ("authorized", accounts[0]),
    ]


def test_an_event_about_access_names_the_application(sandbox: Any) -> None:
    caller = sandbox(customers=0, client_id="ca_own")
    account = grant(caller)["stripe_user_id"]
    caller.order("oauth", {"revoke": account})
    [event] = caller.get("/v1/events", type="account.application.deauthorized").json["data"]
    assert event["account"] == account
    assert event["data"]["object"] == {"id": "ca_own", "name": "Tieline", "object": "application"}
    assert caller.get(f"/v1/events/{event['id']}").json == event


def test_events_of_the_platform_s_own_name_no_account(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    caller.order("mutate", {"create": 1})
    assert "account" not in caller.get("/v1/events").json["data"][0]


def test_an_account_stays_open_while_one_of_its_grants_is_live(sandbox: Any) -> None:
    caller = sandbox(customers=0)
    form = {"response_type": "code", "client_id": caller.get("/_sandbox/").json["client_id"]}
    form |= {"redirect_uri": "https://example.com/cb", "scope": "read_write"}
    location = caller.get("/oauth/authorize", **form).headers["location"]
    code = location.rpartition("code=")[2]
    exchange = {"grant_type": "authorization_code", "code": code, "client_secret": PLATFORM}
    account = caller.ask("POST", "/oauth/token", body=_form(exchange), key=None).json[
        "stripe_user_id"
    ]
    grant(caller, 0, "read_only")
    assert write(caller, account).status == 200
    caller.ask("POST", "/oauth/token", body=_form(exchange), key=None)
    assert [one["state"] for one in oracle(caller)["grants"]] == ["reused", "live"]
    assert (get(caller, account).status, write(caller, account).status) == (200, 403)
    assert access(caller, "deauthorized") == []


def test_the_oracle_counts_calls_that_were_carried_out(sandbox: Any) -> None:
    caller = sandbox()
    first, second = grant(caller, 0), grant(caller, 1)
    caller.order("faults", [{"kind": "status", "path": "/oauth/token", "nth": 2, "status": 503}])
    replies = [_refresh(caller, first["refresh_token"]) for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 503, 200]
    _refresh(caller, "rt_unknown")
    told = oracle(caller)
    assert (told["token_calls"], told["refreshes"]) == (3, 2)
    assert [one["refreshes"] for one in told["grants"]] == [2, 0]
    [only] = oracle(caller, grant=told["grants"][1]["id"])["grants"]
    assert only["refresh_token"] == second["refresh_token"]
    assert oracle(caller, grant="grant_x")["grants"] == []


def test_the_oracle_sees_calls_that_are_under_way_at_once(sandbox: Any) -> None:
    caller = sandbox(latency_ms=20)
    tokens = [grant(caller, index)["refresh_token"] for index in (0, 0, 1)]
    asked = [tokens[0], tokens[0], tokens[1], "rt_unknown"]
    forms = [_form({"grant_type": "refresh_token", "refresh_token": token}) for token in asked]
    sent = [caller.send("POST", "/oauth/token", body=form, key=PLATFORM) for form in forms]
    caller.together(*sent)
    _refresh(caller, tokens[2])
    told = oracle(caller)
    assert told["max_in_flight"] == 4
    assert [one["max_in_flight"] for one in told["grants"]] == [2, 1, 1]


def test_faults_hit_the_token_endpoint_as_any_other(sandbox: Any) -> None:
    caller = sandbox()
    token = grant(caller)["refresh_token"]
    lost = {"kind": "status", "path": "/oauth/token", "status": 502, "body": "", "executed": True}
    caller.order("faults", [lost])
    assert _refresh(caller, token).status == 502
    assert oracle(caller)["refreshes"] == 1


def test_the_log_keeps_no_secret_of_a_query(sandbox: Any) -> None:
    caller = sandbox()
    query = "response_type=code&state=hunter2&client_secret=hunter3&code=hunter4&scope=read_only"
    caller.ask("GET", "/oauth/authorize", query=query)
    [entry] = caller.get("/_sandbox/log").json["requests"]
    shown = "response_type=code&state=…&client_secret=…&code=…&scope=read_only"
    assert (entry["path"], entry["query"]) == ("/oauth/authorize", shown)


def test_orders_answer_how_the_next_owner_decides(sandbox: Any) -> None:
    caller = sandbox(consent="page")
    assert caller.order("oauth", {}) == {"consent": "page", "login_as": 0}
    assert caller.order("oauth", {"consent": "deny", "login_as": 2}) == {
        "consent": "deny",
        "login_as": 2,
    }
    assert oracle(caller)["login_as"] == 2


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"rotation": "strict"}',
        b'{"consent": "maybe"}',
        b'{"login_as": 3}',
        b'{"login_as": true}',
        b'{"login_as": 1, "revoke": "acct_x"}',
        b'{"login_as": 1, "grant": 1}',
        b'{"login_as": 1, "grant": {"account": -1}}',
        b'{"login_as": 1, "grant": {"scopes": []}}',
        b'{"login_as": 1, "grant": {"scopes": ["admin"]}}',
        b'{"login_as": 1, "grant": {"scopes": [[]]}}',
        b'{"login_as": 1, "consent": "maybe"}',
    ],
)
def test_mistaken_orders_change_nothing(sandbox: Any, body: bytes) -> None:
    caller = sandbox()
    assert caller.ask("POST", "/_sandbox/oauth", body=body).status == 400
    told = oracle(caller)
    assert (told["consent"], told["login_as"], told["grants"]) == ("auto", 0, [])


@pytest.mark.parametrize("options", [{"consent": "maybe"}, {"accounts": 0}])
def test_options_that_make_no_sense_are_refused(sandbox: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        sandbox(**options)


def _form(fields: dict[str, str]) -> bytes:
    return "&".join(f"{name}={text}" for name, text in fields.items()).encode()


def _refresh(caller: Any, token: str) -> Any:
    form = _form({"grant_type": "refresh_token", "refresh_token": token})
    return caller.ask("POST", "/oauth/token", body=form, key=PLATFORM)
