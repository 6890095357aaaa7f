"""Codes, refresh tokens and their rotation, revocation: rule by rule."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest

HOUR, DAY = 3600, 86_400
OPT_IN = {"x-include-refresh-token-hard-expires-in": "true"}
REFUSED = {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}


def test_a_code_gives_tokens_of_intuit_s_shape(sandbox):
    caller = sandbox()
    reply = caller.exchange(caller.authorize().told["code"])
    tokens = reply.json
    assert reply.status == 200
    assert tokens["token_type"] == "bearer"
    assert (tokens["expires_in"], tokens["x_refresh_token_expires_in"]) == (3600, 8_726_400)
    assert "x_refresh_token_hard_expires_in" not in tokens
    assert re.fullmatch(r"RT1-\d{3}-H0-\d{10}\w{20}", tokens["refresh_token"])
    assert tokens["access_token"].startswith("eyJ")
    assert re.fullmatch(r"1-[0-9a-f]{8}-[0-9a-f]{24}", reply.headers["intuit_tid"])


def test_the_hard_end_is_told_to_those_who_ask(sandbox):
    caller = sandbox()
    caller.order("clock", {"frozen": True})
    token = caller.connected()["refresh_token"]
    assert caller.refresh(token, OPT_IN).json["x_refresh_token_hard_expires_in"] == 157_680_000
    caller.pass_time(10 * DAY)
    later = caller.refresh(token, OPT_IN).json
    assert later["x_refresh_token_hard_expires_in"] == 157_680_000 - 10 * DAY
    assert later["x_refresh_token_expires_in"] == 8_726_400


CLIENTS = {
    "none": {"authorization": ""},
    "bearer": {"authorization": "Bearer x"},
    "no base64": {"authorization": "Basic ***"},
    "no colon": {"authorization": f"Basic {b64encode(b'x').decode()}"},
    "a wrong secret": {
        "authorization": "Basic "
        + b64encode(b"ABtielinesandboxclientid0000000000000000000000001a:x").decode()
    },
}


@pytest.mark.parametrize("case", CLIENTS, ids=list(CLIENTS))
def test_an_unknown_client_is_refused(sandbox, case):
    caller = sandbox()
    tokens = caller.connected()
    reply = caller.refresh(tokens["refresh_token"], CLIENTS[case])
    assert (reply.status, reply.json) == (401, {"error": "invalid_client"})
    assert caller.revoke(tokens["refresh_token"], **CLIENTS[case]).status == 401
    assert caller.grants()[0]["state"] == "live"


FORMS = {
    "nothing": ({}, "invalid_request"),
    "another grant type": ({"grant_type": "password"}, "unsupported_grant_type"),
    "no code": ({"grant_type": "authorization_code", "redirect_uri": "x"}, "invalid_request"),
    "no redirect": ({"grant_type": "authorization_code", "code": "x"}, "invalid_request"),
    "no refresh token": ({"grant_type": "refresh_token"}, "invalid_request"),
    "an unknown code": (
        {"grant_type": "authorization_code", "code": "AB11x", "redirect_uri": "x"},
        "invalid_grant",
    ),
    "an unknown refresh token": (
        {"grant_type": "refresh_token", "refresh_token": "RT1-x"},
        "invalid_grant",
    ),
}


@pytest.mark.parametrize("case", FORMS, ids=list(FORMS))
def test_a_request_that_lacks_something_is_refused(sandbox, case):
    form, error = FORMS[case]
    reply = sandbox().token_call(**form)
    assert (reply.status, reply.json["error"]) == (400, error)


def test_parameters_in_json_are_none(sandbox):
    reply = sandbox().token_call({"content-type": "application/json"}, grant_type="refresh_token")
    assert reply.json == {"error": "invalid_request"}


def test_a_code_sent_elsewhere_is_refused_and_stays_good(sandbox):
    caller = sandbox()
    code = caller.authorize().told["code"]
    assert caller.exchange(code, redirect_uri="https://evil.example/").status == 400
    assert caller.exchange(code).status == 200


def test_a_code_lives_ten_minutes(sandbox):
    caller = sandbox()
    old, young = caller.authorize().told["code"], caller.authorize().told["code"]
    caller.pass_time(590)
    assert caller.exchange(young).status == 200
    caller.pass_time(11)
    assert caller.exchange(old).json == {"error": "invalid_grant"}


def test_a_code_used_twice_ends_what_it_gave(sandbox):
    caller = sandbox()
    told = caller.authorize().told
    tokens = caller.exchange(told["code"]).json
    assert caller.exchange(told["code"]).status == 400
    assert caller.company(told["realmId"], tokens["access_token"]).status == 401
    assert caller.refresh(tokens["refresh_token"]).json == REFUSED
    assert caller.grants()[0]["state"] == "reused"


def test_daily_the_value_stays_for_a_day_and_the_old_one_is_taken_for_a_day_more(sandbox):
    caller = sandbox()
    first = caller.connected()
    same = caller.refresh(first["refresh_token"]).json
    assert same["refresh_token"] == first["refresh_token"]
    assert same["access_token"] != first["access_token"]
    caller.pass_time(DAY)
    new = caller.refresh(first["refresh_token"]).json
    assert new["refresh_token"] != first["refresh_token"]
    caller.pass_time(DAY - 60)
    again = caller.refresh(first["refresh_token"]).json
    assert again["refresh_token"] == new["refresh_token"]
    caller.pass_time(61)
    assert caller.refresh(first["refresh_token"]).json == REFUSED
    assert caller.refresh(new["refresh_token"]).status == 200
    [grant] = caller.grants()
    assert (grant["state"], grant["reuse"], grant["refused"]) == ("live", 2, 1)


def test_strict_every_refresh_brings_a_new_value_and_reuse_ends_all(sandbox):
    caller = sandbox(rotation="strict")
    first = caller.connected()
    second = caller.refresh(first["refresh_token"]).json
    third = caller.refresh(second["refresh_token"]).json
    assert len({each["refresh_token"] for each in (first, second, third)}) == 3
    assert caller.refresh(first["refresh_token"]).json == REFUSED
    assert caller.refresh(third["refresh_token"]).json == REFUSED
    assert caller.company(first["realm"], third["access_token"]).status == 401
    [grant] = caller.grants()
    assert (grant["state"], grant["refreshes"], grant["refused"]) == ("reused", 2, 2)
    assert grant["reuse"] == 1


def test_grace_answers_the_old_value_with_the_present_pair_for_a_while(sandbox):
    caller = sandbox(rotation="grace", grace_s=30)
    first = caller.connected()["refresh_token"]
    new = caller.refresh(first).json
    caller.pass_time(25)
    again = caller.refresh(first).json
    assert [again[name] for name in ("access_token", "refresh_token")] == [
        new[name] for name in ("access_token", "refresh_token")
    ]
    assert again["expires_in"] <= HOUR - 25
    caller.pass_time(6)
    assert caller.refresh(first).json == REFUSED
    assert caller.grants()[0]["state"] == "reused"


def test_the_present_pair_has_an_access_token_that_is_good(sandbox):
    caller = sandbox(rotation="grace", grace_s=2 * HOUR)
    first = caller.connected()
    new = caller.refresh(first["refresh_token"]).json
    caller.pass_time(HOUR)
    again = caller.refresh(first["refresh_token"]).json
    assert again["refresh_token"] == new["refresh_token"]
    assert caller.company(first["realm"], again["access_token"]).status == 200


@pytest.mark.parametrize(
    ("rotation", "is_survived"), [("daily", True), ("grace", True), ("strict", False)]
)
def test_a_lost_answer_is_survived_where_the_old_value_is_taken(sandbox, rotation, is_survived):
    caller = sandbox(rotation=rotation)
    tokens = caller.connected()
    caller.pass_time(DAY)
    caller.order("faults", [{"kind": "drop", "form": "refresh_token", "executed": True}])
    with pytest.raises(ConnectionAbortedError):
        caller.refresh(tokens["refresh_token"])
    assert caller.grants()[0]["refresh_token"] != tokens["refresh_token"]
    again = caller.refresh(tokens["refresh_token"])
    assert (again.status == 200) is is_survived
    if is_survived:
        assert again.json["refresh_token"] == caller.grants()[0]["refresh_token"]


def test_a_refresh_token_ends_101_days_after_its_last_use(sandbox):
    caller = sandbox()
    token = caller.connected()["refresh_token"]
    caller.pass_time(100 * DAY)
    token = caller.refresh(token).json["refresh_token"]
    caller.pass_time(100 * DAY)
    token = caller.refresh(token).json["refresh_token"]
    caller.pass_time(101 * DAY)
    assert caller.refresh(token).json == REFUSED


def test_a_refresh_restarts_the_101_days_also_where_the_value_stays(sandbox):
    caller = sandbox()
    token = caller.connected()["refresh_token"]
    caller.pass_time(DAY - HOUR)
    assert caller.refresh(token).json["refresh_token"] == token
    caller.pass_time(101 * DAY - HOUR)
    assert caller.refresh(token).status == 200


def test_a_consent_ends_after_five_years_however_often_it_is_used(sandbox):
    caller = sandbox()
    token = caller.connected()["refresh_token"]
    for _ in range(18):
        caller.pass_time(100 * DAY)
        token = caller.refresh(token).json["refresh_token"]
    caller.pass_time(15 * DAY)
    last = caller.refresh(token, OPT_IN).json
    assert last["x_refresh_token_expires_in"] == last["x_refresh_token_hard_expires_in"]
    caller.pass_time(10 * DAY)
    assert caller.refresh(last["refresh_token"]).json == REFUSED


def test_connecting_a_company_again_ends_its_old_grant_and_no_other(sandbox):
    caller = sandbox()
    first = caller.connected()
    caller.order("oauth", {"login_as": 1})
    other = caller.connected()
    caller.order("oauth", {"login_as": 0})
    second = caller.connected()
    assert [grant["state"] for grant in caller.grants()] == ["revoked", "live", "live"]
    assert caller.refresh(first["refresh_token"]).json == REFUSED
    assert caller.company(first["realm"], first["access_token"]).status == 401
    for each in (other, second):
        assert caller.company(each["realm"], each["access_token"]).status == 200


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_any_token_revokes_its_grant_and_only_once(sandbox, name):
    caller = sandbox()
    tokens = caller.connected()
    reply = caller.revoke(tokens[name])
    assert (reply.status, reply.body) == (200, b"")
    assert caller.refresh(tokens["refresh_token"]).json == REFUSED
    again = caller.revoke(tokens[name])
    assert (again.status, again.body) == (400, b"")
    assert caller.grants()[0]["state"] == "revoked"
