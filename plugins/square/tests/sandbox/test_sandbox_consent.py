"""``/oauth2/authorize``: what is sent on, what is shown instead, and the page."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import urlencode

import pytest

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_seller_who_allows_comes_back_with_a_code_and_the_state(sandbox):
    back = sandbox().authorize(state="a b&c=d").back
    assert re.fullmatch(r"sandbox-sq0cgb-[\w-]{22}", back.pop("code"))
    assert back == {"response_type": "code", "state": "a b&c=d"}


def test_without_a_state_none_comes_back(sandbox):
    assert "state" not in sandbox().authorize(state=None).back


def test_a_seller_who_denies_comes_back_with_square_s_words(sandbox):
    caller = sandbox(consent="deny")
    told = {"error": "access_denied", "error_description": "user_denied", "state": "s1"}
    assert caller.authorize().back == told


def test_a_query_of_the_redirect_address_stays(sandbox):
    reply = sandbox().authorize(redirect_uri="https://app.example.com/back?for=me")
    assert reply.headers["location"].startswith("https://app.example.com/back?for=me&code=")


REFUSED = {
    "no client": {"client_id": None},
    "unknown client": {"client_id": "sandbox-sq0idb-somebodyelse"},
    "no redirect": {"redirect_uri": None},
    "plain http elsewhere": {"redirect_uri": "http://app.example.com/back"},
    "no scheme": {"redirect_uri": "app.example.com/back"},
    "script": {"redirect_uri": "javascript:alert(1)"},
    "fragment": {"redirect_uri": "https://app.example.com/back#x"},
    "line feed": {"redirect_uri": "https://app.example.com/\r\nx: y"},
    "broken address": {"redirect_uri": "https://[::1"},
    "unknown permission": {"scope": "CUSTOMERS_READ EVERYTHING"},
    "plain challenge": {"code_challenge": CHALLENGE, "code_challenge_method": "plain"},
    "no challenge": {"code_challenge": "short"},
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=list(REFUSED))
def test_a_request_that_cannot_be_trusted_is_not_sent_on(sandbox, given):
    reply = sandbox().authorize(**given)
    assert reply.status == 400
    assert "location" not in reply.headers
    assert reply.headers["content-type"].startswith("text/html")


TAKEN = {
    "https": "https://app.example.com/back",
    "localhost": "http://localhost:8080/oauth/callback/square",
    "IPv4": "http://127.0.0.1:8080/back",
    "IPv6": "http://[::1]:8080/back",
}


@pytest.mark.parametrize("uri", TAKEN.values(), ids=list(TAKEN))
def test_https_and_this_machine_are_taken_where_nothing_is_registered(sandbox, uri):
    assert sandbox().authorize(redirect_uri=uri).headers["location"].startswith(f"{uri}?code=")


def test_registered_addresses_are_compared_letter_by_letter(sandbox):
    caller = sandbox(redirect_uris="https://a.example/back, http://localhost:1/b")
    for uri in ("https://a.example/back", "http://localhost:1/b"):
        assert caller.authorize(redirect_uri=uri).status == 302
    for uri in ("https://a.example/back/", "https://A.example/back", "http://localhost:2/b"):
        assert caller.authorize(redirect_uri=uri).status == 400
    # The first registered one is meant where none is named.
    first = caller.authorize(redirect_uri=None).headers["location"]
    assert first.startswith("https://a.example/back?code=")


def test_without_a_scope_the_default_ones_are_granted(sandbox):
    caller = sandbox()
    code = caller.authorize(scope=None, scopes="CUSTOMERS_READ").back["code"]
    token = caller.exchange(code).json["access_token"]
    assert caller.status(token).json["scopes"] == [
        "MERCHANT_PROFILE_READ",
        "PAYMENTS_READ",
        "SETTLEMENTS_READ",
        "BANK_ACCOUNTS_READ",
    ]


def test_the_seller_who_consents_can_be_chosen(sandbox):
    caller = sandbox()
    wanted = caller.get("/_sandbox/").json["accounts"][2]["id"]
    caller.order("oauth", {"login_as": 2})
    code = caller.authorize().back["code"]
    assert caller.exchange(code).json["merchant_id"] == wanted


def press(caller, page, **chosen):
    """Send the page's form with one of its buttons."""
    hidden = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', page.body.decode())
    form = {unescape(name): unescape(value) for name, value in hidden} | chosen
    return caller.ask("POST", "/oauth2/authorize", body=urlencode(form).encode())


def test_the_page_asks_with_every_name_escaped(sandbox):
    page = sandbox(consent="page").authorize(state='"><script>x')
    html = page.body.decode()
    assert "&lt;b&gt;Bits &amp; &quot;Bytes&quot;&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "<script" not in html
    assert "مقهى الميناء ☕🚀" in html
    assert "CUSTOMERS_READ" in html
    assert [unescape(name) for name in re.findall(r"<button[^>]*>(\w+)<", html)] == [
        "Allow",
        "Deny",
    ]


def test_the_page_s_buttons_decide(sandbox):
    caller = sandbox(consent="page")
    accounts = caller.get("/_sandbox/").json["accounts"]
    page = caller.authorize(state='"><&')
    denied = press(caller, page, account="1", decision="deny").back
    assert denied == {"error": "access_denied", "error_description": "user_denied", "state": '"><&'}
    allowed = press(caller, page, account="1", decision="allow").back
    assert allowed["state"] == '"><&'
    assert caller.exchange(allowed["code"]).json["merchant_id"] == accounts[1]["id"]


FORGED = {
    "no button": {"account": "0"},
    "no account": {"decision": "allow"},
    "an account too many": {"account": "3", "decision": "allow"},
    "another address": {
        "account": "0",
        "decision": "allow",
        "redirect_uri": "http://evil.example/",
    },
    "another client": {"account": "0", "decision": "allow", "client_id": "x"},
}


@pytest.mark.parametrize("chosen", FORGED.values(), ids=list(FORGED))
def test_a_forged_form_is_refused(sandbox, chosen):
    caller = sandbox(consent="page")
    assert press(caller, caller.authorize(), **chosen).status == 400
