"""Codes and tokens: who gets them, how often, and for how long."""

from __future__ import annotations

import orjson
import pytest

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636, appendix B
DAY = 86_400


def pkce(caller):
    """Return the code of a request with a challenge."""
    return caller.authorize(code_challenge=CHALLENGE).back["code"]


def test_a_code_becomes_tokens_for_thirty_days(sandbox):
    caller = sandbox()
    told = caller.exchange(caller.authorize().back["code"]).json
    assert told["access_token"].startswith("EAAA")
    assert told["refresh_token"].startswith("EQAA")
    assert max(map(len, (told["access_token"], told["refresh_token"]))) <= 1024
    assert told["token_type"] == "bearer"
    assert told["expires_at"] == "2026-12-01T00:00:01Z"
    assert told["merchant_id"] == caller.get("/_sandbox/").json["accounts"][0]["id"]
    assert told["short_lived"] is False
    assert "refresh_token_expires_at" not in told


def test_a_short_lived_token_lives_for_a_day(sandbox):
    caller = sandbox()
    told = caller.exchange(caller.authorize().back["code"], short_lived=True).json
    assert (told["expires_at"], told["short_lived"]) == ("2026-11-02T00:00:01Z", True)


def test_a_code_works_once_and_its_tokens_outlive_the_second_try(sandbox):
    caller = sandbox()
    code = caller.authorize().back["code"]
    token = caller.exchange(code).json["access_token"]
    again = caller.exchange(code)
    assert (again.status, again.code) == (401, "UNAUTHORIZED")
    assert "Authorization code not found for app" in again.json["errors"][0]["detail"]
    assert caller.get("/v2/locations", token=token).status == 200


@pytest.mark.parametrize(("seconds", "status"), [(299, 200), (300, 401)])
def test_a_code_lives_for_five_minutes(sandbox, seconds, status):
    caller = sandbox()
    code = caller.authorize().back["code"]
    caller.pass_time(seconds=seconds)
    assert caller.exchange(code).status == status


REFUSED = {
    "wrong secret": ({"client_secret": "sandbox-sq0csb-wrong"}, 401, "service.not_authorized"),
    "unknown client": ({"client_id": "sandbox-sq0idb-other"}, 401, "service.not_authorized"),
    "no client": ({"client_id": None}, 400, "MISSING_REQUIRED_PARAMETER"),
    "no secret": ({"client_secret": None}, 400, "MISSING_REQUIRED_PARAMETER"),
    "no grant type": ({"grant_type": None}, 400, "MISSING_REQUIRED_PARAMETER"),
    "odd grant type": ({"grant_type": "password"}, 400, "INVALID_VALUE"),
    "no code": ({"code": None}, 400, "MISSING_REQUIRED_PARAMETER"),
    "unknown code": ({"code": "sandbox-sq0cgb-nothing"}, 401, "UNAUTHORIZED"),
    "code is no text": ({"code": 5}, 400, "EXPECTED_STRING"),
    "no redirect": ({"redirect_uri": None}, 401, "UNAUTHORIZED"),
    "other redirect": ({"redirect_uri": "https://app.example.com/"}, 401, "UNAUTHORIZED"),
    "flag is no flag": ({"short_lived": "yes"}, 400, "EXPECTED_BOOLEAN"),
    "a JWT": ({"use_jwt": True}, 400, "BAD_REQUEST"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=list(REFUSED))
def test_an_exchange_is_refused_in_square_s_words_and_the_code_stays_good(sandbox, case):
    given, status, code = case
    caller = sandbox()
    authorization = caller.authorize().back["code"]
    reply = caller.exchange(authorization, **given)
    assert (reply.status, reply.code) == (status, code)
    assert caller.exchange(authorization).status == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"client_id=1", b"\xff"], ids=repr)
def test_a_body_that_is_no_object_is_refused(sandbox, body):
    reply = sandbox().ask("POST", "/oauth2/token", body=body)
    assert (reply.status, reply.code) == (400, "EXPECTED_JSON_BODY")


def test_a_code_without_a_redirect_is_exchanged_without_one(sandbox):
    caller = sandbox(redirect_uris="https://app.example.com/a")
    code = caller.authorize(redirect_uri=None).back["code"]
    assert caller.exchange(code, redirect_uri="https://app.example.com/a").status == 401
    assert caller.exchange(code, redirect_uri=None).status == 200


def test_a_refresh_token_of_the_code_flow_stays_and_works_again(sandbox):
    caller = sandbox()
    first = caller.grant()
    one, two = caller.refresh(first["refresh_token"]).json, caller.refresh(first["refresh_token"])
    assert one["refresh_token"] == two.json["refresh_token"] == first["refresh_token"]
    tokens = {first["access_token"], one["access_token"], two.json["access_token"]}
    assert len(tokens) == 3
    assert {caller.get("/v2/locations", token=each).status for each in tokens} == {200}


def test_a_refresh_token_of_the_code_flow_never_ends(sandbox):
    caller = sandbox()
    first = caller.grant()
    caller.pass_time(days=4000)
    assert caller.refresh(first["refresh_token"]).status == 200


def test_a_refresh_of_the_code_flow_needs_the_secret(sandbox):
    caller = sandbox()
    refresh_token = caller.grant()["refresh_token"]
    bare = caller.refresh(refresh_token, client_secret=None)
    assert (bare.status, bare.code) == (400, "MISSING_REQUIRED_PARAMETER")
    wrong = caller.refresh(refresh_token, client_secret="sandbox-sq0csb-wrong")
    assert (wrong.status, wrong.code) == (401, "service.not_authorized")
    assert wrong.json == {"message": "Not Authorized", "type": "service.not_authorized"}


def test_an_unknown_refresh_token_is_refused(sandbox):
    reply = sandbox().refresh("EQAAnothing")
    assert (reply.status, reply.code) == (401, "UNAUTHORIZED")


def test_a_refresh_can_narrow_the_rights_but_not_widen_them(sandbox):
    caller = sandbox()
    first = caller.grant()
    narrow = caller.refresh(first["refresh_token"], scopes=["CUSTOMERS_READ", "ORDERS_READ"]).json
    assert caller.status(narrow["access_token"]).json["scopes"] == ["CUSTOMERS_READ"]
    whole = caller.refresh(first["refresh_token"]).json
    assert len(caller.status(whole["access_token"]).json["scopes"]) == 2
    assert caller.refresh(first["refresh_token"], scopes="X").code == "EXPECTED_ARRAY"


def test_by_pkce_no_secret_is_needed_and_the_refresh_token_has_ninety_days(sandbox):
    caller = sandbox()
    told = caller.exchange(pkce(caller), client_secret=None, code_verifier=VERIFIER).json
    assert told["refresh_token_expires_at"] == "2027-01-30T00:00:01Z"
    again = caller.refresh(told["refresh_token"], client_secret=None).json
    assert again["refresh_token"] != told["refresh_token"]


PROOFS = {
    "no verifier": ({}, 400, "MISSING_REQUIRED_PARAMETER"),
    "wrong verifier": ({"code_verifier": VERIFIER[::-1]}, 401, "UNAUTHORIZED"),
    "secret alone": ({"client_secret": "right"}, 400, "MISSING_REQUIRED_PARAMETER"),
}


@pytest.mark.parametrize("case", PROOFS.values(), ids=list(PROOFS))
def test_a_code_with_a_challenge_needs_its_verifier(sandbox, case):
    given, status, code = case
    secret = {} if given.get("client_secret") else {"client_secret": None}
    caller = sandbox()
    rest = {name: text for name, text in given.items() if name != "client_secret"}
    reply = caller.exchange(pkce(caller), **secret, **rest)
    assert (reply.status, reply.code) == (status, code)


def test_a_code_whose_challenge_was_taken_out_is_refused_with_a_verifier(sandbox):
    caller = sandbox()
    code = caller.authorize().back["code"]
    assert caller.exchange(code, code_verifier=VERIFIER).status == 401
    assert caller.exchange(code, client_secret=None, code_verifier=VERIFIER).status == 400


def test_a_used_refresh_token_of_pkce_is_refused_and_the_present_one_stays_good(sandbox):
    caller = sandbox()
    first = caller.grant(pkce=True)
    second = caller.refresh(first["refresh_token"]).json
    again = caller.refresh(first["refresh_token"])
    assert (again.status, again.code) == (401, "UNAUTHORIZED")
    assert caller.refresh(second["refresh_token"]).status == 200
    [grant] = caller.oracle()["grants"]
    assert (grant["state"], grant["refreshes"], grant["refused"], grant["reuse"]) == (
        "live",
        2,
        1,
        1,
    )


@pytest.mark.parametrize(("seconds", "status"), [(-1, 200), (0, 401)])
def test_a_refresh_token_of_pkce_ends_after_ninety_days(sandbox, seconds, status):
    caller = sandbox()
    first = caller.grant(pkce=True)
    caller.pass_time(seconds=90 * DAY + seconds)
    assert caller.refresh(first["refresh_token"]).status == status


def test_strict_rotation_ends_the_grant_when_a_used_token_comes_again(sandbox):
    caller = sandbox()
    caller.order("oauth", {"rotation": "strict"})
    first = caller.grant(pkce=True)
    second = caller.refresh(first["refresh_token"]).json
    assert caller.refresh(first["refresh_token"]).status == 401
    assert caller.refresh(second["refresh_token"]).code == "UNAUTHORIZED"
    dead = caller.get("/v2/locations", token=second["access_token"])
    assert (dead.status, dead.code) == (401, "ACCESS_TOKEN_REVOKED")
    assert caller.oracle()["grants"][0]["state"] == "reused"


def test_rotation_with_grace_answers_a_used_token_with_the_present_ones(sandbox):
    caller = sandbox()
    caller.order("oauth", {"rotation": "grace", "grace_s": 60})
    first = caller.grant(pkce=True)
    second = caller.refresh(first["refresh_token"]).json
    caller.pass_time(seconds=59)
    assert caller.refresh(first["refresh_token"]).json == second
    caller.pass_time(seconds=1)
    assert caller.refresh(first["refresh_token"]).status == 401
    assert caller.refresh(second["refresh_token"]).status == 200


def test_revoking_by_merchant_ends_all_of_that_seller_s_tokens_and_no_other_s(sandbox):
    caller = sandbox()
    one, two, other = caller.grant(), caller.grant(), caller.grant(account=1)
    reply = caller.revoke(merchant_id=one["merchant_id"])
    assert (reply.status, reply.json) == (200, {"success": True})
    for dead in (one, two):
        assert caller.get("/v2/locations", token=dead["access_token"]).code == (
            "ACCESS_TOKEN_REVOKED"
        )
        assert caller.refresh(dead["refresh_token"]).code == "UNAUTHORIZED"
    assert caller.get("/v2/locations", token=other["access_token"]).status == 200


def test_revoking_by_one_token_ends_all_unless_it_alone_is_meant(sandbox):
    caller = sandbox()
    one, two = caller.grant(), caller.grant()
    only = {"access_token": one["access_token"], "revoke_only_access_token": True}
    assert caller.revoke(**only).status == 200
    assert caller.get("/v2/locations", token=one["access_token"]).status == 401
    assert caller.refresh(one["refresh_token"]).status == 200
    assert caller.revoke(access_token=one["access_token"]).status == 200
    assert caller.refresh(two["refresh_token"]).status == 401


NOT_REVOKED = {
    "wrong secret": ({"secret": "wrong", "merchant_id": "M"}, 401, "service.not_authorized"),
    "as bearer": ({"scheme": "Bearer", "merchant_id": "M"}, 401, "service.not_authorized"),
    "other client": ({"client_id": "x", "merchant_id": "M"}, 401, "service.not_authorized"),
    "nothing named": ({}, 400, "MISSING_REQUIRED_PARAMETER"),
    "both named": ({"merchant_id": "M", "access_token": "E"}, 400, "CONFLICTING_PARAMETERS"),
    "unknown merchant": ({"merchant_id": "M"}, 404, "NOT_FOUND"),
    "unknown token": ({"access_token": "EAAAx"}, 404, "NOT_FOUND"),
}


@pytest.mark.parametrize("case", NOT_REVOKED.values(), ids=list(NOT_REVOKED))
def test_a_revocation_that_is_refused_takes_nothing_away(sandbox, case):
    given, status, code = case
    caller = sandbox()
    token = caller.grant()["access_token"]
    reply = caller.revoke(**given)
    assert (reply.status, reply.code) == (status, code)
    assert caller.get("/v2/locations", token=token).status == 200


def test_refreshes_at_once_are_carried_out_one_after_the_other(sandbox):
    caller = sandbox(latency_ms=20)
    first = caller.grant(pkce=True)
    body = {"client_id": "", "grant_type": "refresh_token"} | {
        "client_id": caller.get("/_sandbox/").json["client_id"],
        "refresh_token": first["refresh_token"],
    }
    asked = [caller.send("POST", "/oauth2/token", body=orjson.dumps(body)) for _ in range(5)]
    assert sorted(reply.status for reply in caller.together(*asked)) == [200, 401, 401, 401, 401]
    told = caller.oracle()
    assert (told["token_calls"], told["refreshes"], told["max_in_flight"]) == (5, 1, 5)
    assert (told["grants"][0]["max_in_flight"], told["grants"][0]["reuse"]) == (5, 4)
