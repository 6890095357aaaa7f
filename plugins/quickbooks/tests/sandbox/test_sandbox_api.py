"""What a company answers, and to whom."""

from __future__ import annotations

import pytest


def fault(reply):
    """Return where an error stands, its code, and its type."""
    body = reply.json
    if "fault" in body:
        return "gateway", body["fault"]["error"][0]["code"], body["fault"]["type"]
    return "service", body["Fault"]["Error"][0]["code"], body["Fault"]["type"]


DEAD = ("gateway", "3200", "AUTHENTICATION")
NOT_CONNECTED = ("gateway", "3100", "AUTHORIZATION")


def test_a_company_tells_its_name(sandbox):
    caller = sandbox()
    for account in caller.accounts():
        caller.order("oauth", {"login_as": account["index"]})
        tokens = caller.connected()
        reply = caller.company(tokens["realm"], tokens["access_token"])
        assert reply.status == 200
        assert reply.json["CompanyInfo"]["CompanyName"] == account["name"]
        assert reply.json["time"].startswith("2026-10-31T16:00:0")
        assert reply.json["time"].endswith("-08:00")


def test_names_and_ids_are_awkward(sandbox):
    accounts = sandbox(accounts=5).accounts()
    assert {len(each["id"]) for each in accounts} == {16, 19}
    assert "<b>" in accounts[1]["name"]
    assert "&" in accounts[1]["name"]
    assert "\u202b" in accounts[2]["name"]
    assert len({each["id"] for each in accounts}) == 5


def test_an_access_token_lives_an_hour_and_a_refresh_does_not_end_it(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    caller.pass_time(3590)
    new = caller.refresh(tokens["refresh_token"]).json["access_token"]
    assert caller.company(tokens["realm"], tokens["access_token"]).status == 200
    caller.pass_time(11)
    reply = caller.company(tokens["realm"], tokens["access_token"])
    assert (reply.status, fault(reply)) == (401, DEAD)
    assert caller.company(tokens["realm"], new).status == 200


@pytest.mark.parametrize("token", ["", "eyJ.unknown", "RT1-1"], ids=["none", "unknown", "refresh"])
def test_a_token_that_is_none_is_refused(sandbox, token):
    caller = sandbox()
    caller.connected()
    reply = caller.company(caller.accounts()[0]["id"], token)
    assert (reply.status, fault(reply)) == (401, DEAD)


@pytest.mark.parametrize("named", ["grant", "account"])
def test_a_user_can_take_access_away_in_quickbooks(sandbox, named):
    caller = sandbox()
    tokens = caller.connected()
    caller.order("oauth", {"revoke": "grant-1" if named == "grant" else tokens["realm"]})
    assert fault(caller.company(tokens["realm"], tokens["access_token"])) == DEAD
    assert caller.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"


def test_a_token_opens_its_own_company_alone(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    for realm in (caller.accounts()[1]["id"], "1"):
        reply = caller.company(realm, tokens["access_token"])
        assert (reply.status, fault(reply)) == (403, NOT_CONNECTED)


def test_a_token_without_the_scope_opens_nothing(sandbox):
    caller = sandbox()
    token = caller.connected(scope="openid")["access_token"]
    assert fault(caller.company(caller.accounts()[0]["id"], token)) == NOT_CONNECTED


def test_a_user_who_lost_the_right_is_told_so_until_somebody_connects_again(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    caller.order("oauth", {"lost_rights": [0]})
    reply = caller.company(tokens["realm"], tokens["access_token"])
    assert (reply.status, fault(reply)) == (401, ("service", "120", "AuthorizationFault"))
    renewed = caller.refresh(tokens["refresh_token"]).json["access_token"]
    assert fault(caller.company(tokens["realm"], renewed))[1] == "120"
    again = caller.connected()
    assert caller.company(again["realm"], again["access_token"]).status == 200


def test_a_subscription_can_end_and_begin_again(sandbox):
    caller = sandbox()
    tokens = caller.connected()
    caller.order("oauth", {"suspended": [0, 2]})
    reply = caller.company(tokens["realm"], tokens["access_token"])
    assert (reply.status, fault(reply)) == (400, ("service", "6190", "ValidationFault"))
    caller.order("oauth", {"suspended": []})
    assert caller.company(tokens["realm"], tokens["access_token"]).status == 200


@pytest.mark.parametrize(
    ("method", "rest", "code"),
    [
        ("GET", "companyinfo/2", "610"),
        ("GET", "starship/1", "500"),
        ("DELETE", "companyinfo/1", "500"),
    ],
    ids=["another id", "no resource", "no method"],
)
def test_what_a_company_cannot_do_is_a_fault(sandbox, method, rest, code):
    caller = sandbox()
    tokens = caller.connected()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    reply = caller.ask(method, f"/v3/company/{tokens['realm']}/{rest}", headers=headers)
    assert (reply.status, fault(reply)[:2]) == (400, ("service", code))


@pytest.mark.parametrize("path", ["/", "/v3/company/1", "/v2/oauth2/tokens/revoke"])
def test_other_addresses_are_not_there(sandbox, path):
    assert sandbox().get(path).status == 404
