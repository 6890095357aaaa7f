"""What a browser meets, and with what it comes back."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest

REDIRECT = "http://localhost:8080/oauth/callback/quickbooks"
ACCOUNTING = "com.intuit.quickbooks.accounting"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_an_approved_request_comes_back_with_code_state_and_realm(sandbox):
    caller = sandbox()
    told = caller.authorize().told
    assert told["state"] == "s t/a+te"
    assert told["realmId"] == caller.accounts()[0]["id"]
    assert re.fullmatch(r"AB11[0-9A-Za-z]{46}", told["code"])


CASES = {
    "another response type": ({"response_type": "token"}, "unsupported_response_type"),
    "no scope": ({"scope": None}, "invalid_scope"),
    "an unknown scope": ({"scope": f"{ACCOUNTING} com.intuit.everything"}, "invalid_scope"),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_a_mistake_goes_back_to_the_application(sandbox, case):
    changed, error = CASES[case]
    assert sandbox().authorize(**changed).told == {"error": error, "state": "s t/a+te"}


REFUSED = {
    "an unknown client": {"client_id": "ABother"},
    "no client": {"client_id": None},
    "no redirect": {"redirect_uri": None},
    "plain http to elsewhere": {"redirect_uri": "http://example.com/callback"},
    "a script": {"redirect_uri": "javascript:alert(1)"},
    "a fragment": {"redirect_uri": "https://example.com/#x"},
    "no address": {"redirect_uri": "https://[::1"},
}


@pytest.mark.parametrize("case", REFUSED, ids=list(REFUSED))
def test_a_request_that_may_be_forged_ends_on_a_page_of_intuit_s(sandbox, case):
    reply = sandbox().authorize(**REFUSED[case])
    assert reply.status == 400
    assert "location" not in reply.headers
    assert b"query parameter value is invalid" in reply.body


def test_registered_addresses_must_match_to_the_letter(sandbox):
    caller = sandbox(redirect_uris=f"https://a.example/cb, {REDIRECT}")
    assert caller.authorize().status == 302
    assert caller.authorize(redirect_uri="https://a.example/cb").status == 302
    assert caller.authorize(redirect_uri="https://a.example/cb/").status == 400


def test_a_missing_state_is_not_made_up(sandbox):
    assert "state" not in sandbox().authorize(state=None).told


def test_an_address_with_a_query_keeps_it(sandbox):
    reply = sandbox().authorize(redirect_uri="https://a.example/cb?tenant=1")
    assert reply.headers["location"].startswith("https://a.example/cb?tenant=1&code=")


def test_a_no_comes_back_as_access_denied(sandbox):
    caller = sandbox(consent="deny")
    assert caller.authorize().told == {"error": "access_denied", "state": "s t/a+te"}
    assert caller.grants() == []


def test_without_the_accounting_scope_no_company_is_named(sandbox):
    assert "realmId" not in sandbox().authorize(scope="openid email").told


def test_another_account_can_be_chosen_for_the_next_consents(sandbox):
    caller = sandbox()
    caller.order("oauth", {"login_as": 2})
    assert caller.authorize().told["realmId"] == caller.accounts()[2]["id"]


def page_of(caller, **changed):
    reply = caller.authorize(**changed)
    assert reply.status == 200
    return reply.body.decode()


def test_the_page_shows_hostile_names_as_text(sandbox):
    caller = sandbox(consent="page")
    html = page_of(caller, state='"><script>alert(1)</script>')
    assert "<script>" not in html
    assert "<b>" not in html
    shown = re.findall(r"<option[^>]*>([^<]*)</option>", html)
    assert [unescape(name) for name in shown] == [each["name"] for each in caller.accounts()]


@pytest.mark.parametrize(("decision", "expected"), [("allow", "code"), ("deny", "error")])
def test_the_page_s_form_decides(sandbox, decision, expected):
    caller = sandbox(consent="page")
    html = page_of(caller, state='a"b&c')
    fields = {
        name: unescape(text)
        for name, text in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', html)
    }
    chosen = caller.accounts()[1]["id"]
    sent = urlencode(fields | {"company": chosen, "decision": decision}).encode()
    told = caller.ask("POST", "/connect/oauth2", body=sent, headers=FORM).told
    assert expected in told
    assert told["state"] == 'a"b&c'
    if decision == "allow":
        assert told["realmId"] == chosen
        assert caller.exchange(told["code"]).status == 200


def test_a_form_without_a_request_of_ours_is_refused(sandbox):
    body = urlencode({"decision": "allow", "company": "1"}).encode()
    assert sandbox().ask("POST", "/connect/oauth2", body=body, headers=FORM).status == 400
