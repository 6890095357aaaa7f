"""How often a company may be called."""

from __future__ import annotations

import orjson
import pytest

FORMS = [b'{"warnings"', b'{"Fault"', b"<?xml"]


def opened(sandbox, **options):
    caller = sandbox(accounts=2, **options)
    tokens = caller.connected()
    path = f"/v3/company/{tokens['realm']}/companyinfo/{tokens['realm']}"
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    return caller, tokens, lambda: caller.send("GET", path, headers=headers)


@pytest.mark.parametrize("name", ["per_second", "per_minute"])
def test_calls_beyond_a_rate_are_refused_in_all_known_forms(sandbox, name):
    caller, tokens, ask = opened(sandbox, **{name: 4})
    replies = [caller.together(ask())[0] for _ in range(10)]
    assert [reply.status for reply in replies] == [200] * 4 + [429] * 6
    seen = {form for reply in replies[4:] for form in FORMS if reply.body.startswith(form)}
    assert seen == set(FORMS)
    assert all(b"3001" in reply.body for reply in replies[4:])
    used = caller.get("/_sandbox/limits").json[tokens["realm"]]
    assert (used["reads"], used["refused"], used["most"][name]) == (4, 6, 4)


def test_so_many_calls_at_once_are_answered_and_no_more(sandbox):
    caller, tokens, ask = opened(sandbox, at_once=3, latency_ms=20)
    statuses = [reply.status for reply in caller.together(*(ask() for _ in range(5)))]
    assert sorted(set(statuses)) == [200, 429]
    assert 1 <= statuses.count(200) <= 3
    assert caller.get("/_sandbox/limits").json[tokens["realm"]]["most"]["at_once"] == 5
    assert caller.together(ask())[0].status == 200


def test_without_limits_calls_are_counted_all_the_same(sandbox):
    caller, tokens, ask = opened(sandbox)
    assert {caller.together(ask())[0].status for _ in range(20)} == {200}
    used = caller.get("/_sandbox/limits").json[tokens["realm"]]
    assert (used["reads"], used["refused"], used["most"]["per_second"]) == (20, 0, 20)


def test_a_company_s_calls_are_nobody_else_s(sandbox):
    caller, _, ask = opened(sandbox, per_second=2)
    assert [caller.together(ask())[0].status for _ in range(3)] == [200, 200, 429]
    caller.order("oauth", {"login_as": 1})
    other = caller.connected()
    assert caller.company(other["realm"], other["access_token"]).status == 200


def test_batches_have_a_rate_of_their_own(sandbox):
    caller, tokens, ask = opened(sandbox, batches_per_minute=3)
    path = f"/v3/company/{tokens['realm']}/batch"
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    statuses = []
    for place in range(5):
        item = {"bId": "a", "operation": "create", "Customer": {"DisplayName": f"n{place}"}}
        body = orjson.dumps({"BatchItemRequest": [item]})
        statuses.append(caller.ask("POST", path, body=body, headers=headers).status)
    assert statuses == [200] * 3 + [429] * 2
    assert caller.together(ask())[0].status == 200
    assert caller.get("/_sandbox/limits").json[tokens["realm"]]["most"]["batches_per_minute"] == 3
