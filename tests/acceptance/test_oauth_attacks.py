"""Faults O8 to O13 against the real server: refused, nothing stored, no secret shown."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from contextlib import suppress
from hashlib import sha256
from html import escape
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest

import canary
from issued_plugin import ISSUER
from oauth_kit import (
    AUTHORIZE_PATHS,
    HEADERS,
    PROVIDERS,
    Browser,
    World,
    assert_no_secret_shows,
    assert_page,
    assert_refused,
    attacked_world,
    headers_of,
    param,
    with_params,
)
from site_of import wait_until
from tieline.vault import Context

pytestmark = pytest.mark.xdist_group("oauth attacks")

RETURN_URLS = ("https://app.example.com/done?from=tieline", "https://app.example.com/settings/")


@pytest.fixture(scope="module")
def world(redis_server, tmp_path_factory):
    url = redis_server.ensure().replace("db=0", "db=7")
    listed = ",".join(RETURN_URLS)
    with attacked_world(tmp_path_factory.mktemp("attacks"), url, return_urls=listed) as made:
        yield made


@pytest.fixture(scope="module")
def public(world):
    """A server that has no secret at Square, and therefore proves itself by PKCE."""
    with world.beside(square_client_secret="") as made:
        yield made


@pytest.fixture(scope="module")
def browsers():
    """Everybody's browsers: what they saw is looked for at the end."""
    return []


@pytest.fixture
def browser(browsers):
    made = Browser()
    browsers.append(made)
    yield made
    made.close()


@pytest.fixture
def other(browsers):
    """Somebody else's browser."""
    made = Browser()
    browsers.append(made)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clean(world, browsers):
    yield
    world.clean()


def token_calls(world: World) -> int:
    return sum(world[name].oracle()["token_calls"] for name in PROVIDERS)


# --- O8, O9, O10: states -------------------------------------------------------------------------


def replayed(world, browser, other, back):
    assert browser.get(back).status_code == 200
    world.forget()
    return browser.get(back)


def expired(world, browser, other, back):
    redis = world.site.installation.redis
    (key,) = world.redis_keys("tieline:oauth:state:*")
    assert 590_000 < redis.pttl(key) <= 600_000
    redis.pexpire(key, 30)
    wait_until(lambda: not redis.exists(key))
    return browser.get(back)


def of_another_browser(world, browser, other, back):
    return other.get(back)


def of_another_browser_that_signs_in_too(world, browser, other, back):
    other.back_from(world.link("square"))
    return other.get(back)


def taken_by_another_browser_before(world, browser, other, back):
    assert other.get(back).status_code == 403
    return browser.get(back)


def with_the_state_of_another_browser(world, browser, other, back):
    theirs = other.back_from(world.link("square"))
    return browser.get(with_params(back, state=param(theirs, "state")))


def with_a_cookie_of_their_own(world, browser, other, back):
    other.client.cookies.set("tieline-oauth", "A" * 43)
    return other.get(back)


def with_an_empty_cookie(world, browser, other, back):
    return httpx.get(back, headers={"Cookie": "tieline-oauth="}, trust_env=False)


def at_the_callback_of_another_provider(world, browser, other, back):
    return browser.get(back.replace("/callback/square", "/callback/stripe"))


def after_redis_was_emptied(world, browser, other, back):
    world.site.installation.redis.flushdb()
    return browser.get(back)


@pytest.mark.parametrize(
    "attack",
    [
        replayed,
        expired,
        of_another_browser,
        of_another_browser_that_signs_in_too,
        taken_by_another_browser_before,
        with_the_state_of_another_browser,
        with_a_cookie_of_their_own,
        with_an_empty_cookie,
        at_the_callback_of_another_provider,
        after_redis_was_emptied,
    ],
)
def test_a_state_is_good_once_in_its_browser_at_its_provider(world, browser, other, attack):
    back = browser.back_from(world.link("square"))
    codes = token_calls(world) + (attack is replayed)
    answer = attack(world, browser, other, back)
    assert_refused(world, answer, 403, "this sign-in is over", "start again")
    # Whatever was wrong, it looks the same.
    assert browser.get(f"{world.base}/oauth/callback/square").text == answer.text
    assert token_calls(world) == codes


FORGED = {
    "other": "A" * 43,
    "none": None,
    "empty": "",
    "short": "A",
    "long": "A" * 5000,
    "star": "*",
    "nul": "\0" * 43,
    "script": "٣" * 43,
    "redis": "x\r\nFLUSHALL\r\n",
    "markup": "<script>alert(1)</script>",
}


@pytest.mark.parametrize("state", FORGED.values(), ids=FORGED)
def test_a_forged_state_is_refused(world, browser, state):
    back = browser.back_from(world.link("square"))
    calls = token_calls(world)
    assert_refused(world, browser.get(with_params(back, state=state)), 403, "this sign-in is over")
    # A digest is what Redis knows it by; that one is none either.
    digest = sha256(param(back, "state").encode()).hexdigest()
    assert_refused(world, browser.get(with_params(back, state=digest)), 403)
    assert token_calls(world) == calls
    assert browser.get(back).status_code == 200  # nobody else's try used it up


def test_a_link_that_was_opened_by_a_mail_scanner_still_works(world, browser, other):
    link = world.link("square", name="shop")
    assert other.client.head(link).status_code == 405
    other.back_from(link)
    other.client.get(link)
    assert browser.open(link).status_code == 200
    assert world.stored() == {"shop": 1}
    assert_page(other.get(link), 403, "over or was used already")
    assert world.stored() == {"shop": 1}


def test_two_tabs_of_one_browser_both_work(world, browser):
    link = world.link("square", name="shop")
    backs = [browser.back_from(link), browser.back_from(link)]
    elsewhere = browser.back_from(world.link("stripe", name="books"))
    assert_page(browser.get(backs[0]), 200, "is connected as shop")
    assert_page(browser.get(elsewhere), 200, "is connected as books")
    assert_page(browser.get(backs[1]), 200, "is connected as shop")
    assert world.stored() == {"shop": 2, "books": 1}


# --- O10: mix-up ---------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["stripe", "mailchimp", "quickbooks"])
def test_a_code_of_one_provider_opens_nothing_at_another(world, browser, provider):
    code = param(browser.back_from(world.link("square")), "code")
    back = browser.back_from(world.link(provider))
    answer = browser.get(with_params(back, code=code))
    assert_refused(world, answer, 502, "the code is used, too old, or another&#x27;s")


@pytest.fixture
def issued_link(world):
    given = ["connect", "issued", "--name", "iss", "--base-url", world["square"].url, "--link"]
    return world.site.json(*given)["link"]


def test_the_issuer_has_to_be_the_right_one(world, browser, issued_link):
    right = ISSUER
    for wrong in (None, "", "https://evil.example.com", f"{right}/", f"{right}.evil.com"):
        back = with_params(browser.back_from(issued_link), iss=wrong)
        assert_refused(world, browser.get(back), 403, "the answer does not come from Issued")
    twice = f"{browser.back_from(issued_link)}&iss={quote(right)}&iss=https://evil.example.com"
    assert_refused(world, browser.get(twice), 400, "a parameter came twice")
    denied = with_params(browser.back_from(issued_link), error="access_denied", code=None)
    assert_refused(world, browser.get(denied), 403, "the answer does not come from Issued")
    good = with_params(browser.back_from(issued_link), iss=right)
    assert_page(browser.get(good), 200, "Harbour Coffee is connected as iss")


# --- O11: PKCE -----------------------------------------------------------------------------------


def test_the_challenge_is_s256_and_the_verifier_stays_here(public, browser):
    link = public.link("square", name="shop")
    back = browser.back_from(link)
    (asked,) = (url for url in browser.seen if AUTHORIZE_PATHS["square"] in url)
    given = dict(parse_qsl(urlsplit(asked).query))
    assert given["code_challenge_method"] == "S256"
    (key,) = public.redis_keys("tieline:oauth:state:*")
    sealed = public.site.installation.redis.get(key).decode()
    opened = public.site.installation.vault.open(
        sealed, Context(connection_id=key.decode(), field="sign-in")
    )
    verifier = json.loads(opened.reveal())["verifier"]
    assert 43 <= len(verifier) <= 128
    digest = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
    assert given["code_challenge"] == digest.decode()
    assert_page(browser.get(back), 200, "is connected as shop")
    assert not any(verifier in url for url in browser.seen)
    assert canary.scan(public.site.logs().encode(), {"the verifier": verifier}) == []
    assert public["square"].oracle()["grants"][-1]["flow"] == "pkce"


def test_a_code_of_another_login_fails_its_proof(public, browser, other):
    """A stolen code, brought into a sign-in of the thief's own."""
    stolen = param(browser.back_from(public.link("square")), "code")
    own = other.back_from(public.link("square"))
    answer = other.get(with_params(own, code=stolen))
    assert_refused(public, answer, 502, "the code is used, too old, or another&#x27;s")


def test_the_proof_cannot_be_left_out(public, world, browser, issued_link):
    """Somebody takes the challenge out of the authorize address."""
    for link, extra in (
        (public.link("square"), {}),
        (issued_link, {"iss": ISSUER}),
    ):
        start = browser.get(link)
        asked = with_params(
            start.headers["location"], code_challenge=None, code_challenge_method=None
        )
        answer = browser.get(with_params(browser.back_from(asked), **extra))
        assert_refused(world, answer, 502)


# --- O12: where people are sent afterwards -------------------------------------------------------

OPEN_REDIRECTS = [
    "//evil.example.com",
    "///evil.example.com",
    "////evil.example.com",
    "//evil.example.com/%2f..",
    "/\\evil.example.com",
    "\\\\evil.example.com",
    "\\evil.example.com",
    "/\\/evil.example.com",
    "/\t/evil.example.com",
    "/\n/evil.example.com",
    "/\r\n/evil.example.com",
    "\t//evil.example.com",
    "\x00//evil.example.com",
    " //evil.example.com",
    "/ /evil.example.com",
    "/\u00a0/evil.example.com",
    "/\u200b/evil.example.com",
    "/\u2028/evil.example.com",
    "https:evil.example.com",
    "https:/evil.example.com",
    "https://evil.example.com",
    "http://evil.example.com",
    "HTTPS://evil.example.com",
    "hTtPs:\\\\evil.example.com",
    "ftp://evil.example.com",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "%2f%2fevil.example.com",
    "/%2f/evil.example.com",
    "/%2fevil.example.com",
    "/%5cevil.example.com",
    "/%09/evil.example.com",
    "/%0d%0aLocation:https://evil.example.com",
    "%68ttps://evil.example.com",
    "/path\r\nSet-Cookie: a=b",
    "/@evil.example.com",
    "/:@evil.example.com",
    "@evil.example.com",
    "evil.example.com",
    "./evil",
    "../evil",
    "?next=//evil.example.com",
    "#//evil.example.com",
    "/done#@evil.example.com",
    "/;@evil.example.com",
    "/done?x=https://evil.example.com",
    "/done?x=<script>",
    "/done//evil.example.com",
    "/done/\u2215evil.example.com",
    "/\uff0fevil.example.com",
    "\uff0f\uff0fevil.example.com",
    "https://app.example.com",
    "https://app.example.com/done",
    "https://app.example.com/settings/../evil",
    "https://app.example.com/settings//",
    "https://app.example.com/settings?x=1",
    "https://app.example.com.evil.com/settings",
    "https://app.example.com@evil.example.com/settings",
    "https://evil.example.com/https://app.example.com/settings",
    "http://app.example.com/settings",
    "https://APP.example.com/settings",
    f"/{'a' * 60}!",  # one that a careless pattern takes for ever over
    f"/{'a/' * 1500}",
]


def test_nobody_is_sent_elsewhere(world, browser):
    assert len(set(OPEN_REDIRECTS)) >= 40
    link = world.link("square")
    began = time.monotonic()
    taken = {}
    for evil in OPEN_REDIRECTS:
        answer = browser.get(f"{link}?next={quote(evil, safe='')}")
        if answer.status_code != 400 or "location" in answer.headers:
            taken[evil] = answer
        assert "<script" not in answer.text
    assert taken == {}
    assert time.monotonic() - began < 10
    assert world.redis_keys("tieline:oauth:state:*") == []


@pytest.mark.parametrize(
    "place",
    [
        "/",
        "/healthz",
        "/console/connections",
        "/console/connections/?tab=1&name=a-b_c.d~e",
        "https://app.example.com/done?from=tieline",
        "https://app.example.com/settings/",
        "https://app.example.com/settings",
    ],
)
def test_own_paths_and_listed_addresses_are_where_people_go(world, browser, place):
    back = browser.back_from(world.link("square", next_url=place))
    answer = browser.get(back)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"] == place
    assert headers_of(answer) == HEADERS


# --- O13: what the provider says -----------------------------------------------------------------

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"


def test_an_error_with_markup_is_text_and_short(world, browser):
    back = browser.back_from(world.link("square"))
    said = f"{MARKUP}\x1b[31m\r\n\u202e{'x' * 3000}"
    error = with_params(back, code=None, error=MARKUP, error_description=said)
    answer = browser.get(error)
    assert_refused(world, answer, 403, "Square gave no consent: ", escape(MARKUP)[:60])
    assert len(answer.text) < 2500
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", answer.text)
    line = [each for each in world.site.logs().splitlines() if "gave no consent" in each][-1]
    assert len(line) < 1500
    assert json.loads(line)["reason"].startswith("Square gave no consent: <script>")


def test_odd_addresses_are_refused_and_the_server_goes_on(world, browser):
    link = world.link("square", name="shop")
    back = browser.back_from(link)
    for odd, status, words in (
        (f"{back}&state=x", 400, "a parameter came twice"),
        (f"{back}&code={param(back, 'code')}", 400, "a parameter came twice"),
        (f"{back}&{'&'.join(f'p{n}=1' for n in range(1500))}&p1=2", 400, "came twice"),
        (f"{world.base}/oauth/callback/square", 403, "this sign-in is over"),
        (f"{world.base}/oauth/callback/nothing?{urlsplit(back).query}", 404, "nothing here"),
        (f"{world.base}/oauth/callback/%00%ff?{urlsplit(back).query}", 404, "nothing here"),
        (f"{world.base}/oauth/start/{'a' * 43}", 403, "over or was used"),
        (f"{world.base}/oauth/start/{'a' * 4000}", 403, "over or was used"),
        (f"{world.base}/oauth/start/%00%f0%9f", 403, "over or was used"),
    ):
        assert_refused(world, browser.get(odd), status, words)
    parts = urlsplit(back)
    with socket.create_connection((parts.hostname, parts.port)) as huge:
        with suppress(OSError):  # it is cut off before all of it is sent
            huge.sendall(f"GET {parts.path}?{parts.query}&pad={'x' * 5_000_000}".encode())
        with suppress(ConnectionResetError):
            assert huge.recv(12) in {b"HTTP/1.1 400", b""}
    assert_page(browser.get(back), 200, "is connected as shop")


@pytest.mark.parametrize("code", ["", "x" * 4097, "a b", "a\nb", "ä"], ids=repr)
def test_what_can_be_no_code_is_not_sent_anywhere(world, browser, code):
    back = browser.back_from(world.link("square"))
    calls = token_calls(world)
    answer = browser.get(with_params(back, code=code))
    assert_refused(world, answer, 400, "Square sent no code along")
    assert token_calls(world) == calls


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_only_get_is_answered(world, browser, method):
    link = world.link("square", name="shop")
    back = browser.back_from(link)
    states = world.redis_keys()
    for url in (link, back):
        answer = browser.client.request(method, url)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET"
        assert headers_of(answer) == HEADERS
        assert answer.headers["content-type"] == "application/problem+json"
    assert world.redis_keys() == states
    assert_page(browser.get(back), 200, "is connected as shop")


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_shows_anywhere(world, public, browsers, browser, other):
    """Of all tests of this module that ran before, and of sign-ins that stay in the store."""
    for provider in PROVIDERS:
        assert browser.open(world.link(provider, name=provider)).status_code == 200
    world["square"].order(login_as=1)
    assert browser.open(public.link("square", name="by-proof")).status_code == 200
    assert browser.open(world.link_again("quickbooks")).status_code == 200
    back = other.back_from(world.link("square"))
    assert other.get(with_params(back, state="A" * 43)).status_code == 403
    assert world.redis_keys("tieline:oauth:state:*")  # one is open still
    assert_no_secret_shows(world, browsers, public)
