"""What goes wrong while accounts are connected, and the server that it goes wrong at."""

from __future__ import annotations

import re
import signal
import socket
import time
from html import escape
from urllib.parse import urlsplit

import httpx
import pytest

from issued_plugin import ISSUER
from oauth_kit import (
    HEADERS,
    PROVIDERS,
    Browser,
    assert_no_secret_shows,
    assert_page,
    assert_refused,
    attacked_world,
    free_port,
    headers_of,
    param,
    start_command,
    with_params,
)
from site_of import wait_until
from tieline.services import connections as service

pytestmark = pytest.mark.xdist_group("oauth trouble")


@pytest.fixture(scope="module")
def world(redis_server, tmp_path_factory):
    url = redis_server.ensure().replace("db=0", "db=8")
    with attacked_world(tmp_path_factory.mktemp("trouble"), url) as made:
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


@pytest.fixture(autouse=True)
def clean(world, browsers):
    yield
    world.clean()


# --- O14 and others: on the way ------------------------------------------------------------------


def test_after_redis_was_emptied_people_are_told_to_start_again(world, browser):
    link = world.link("square")
    world.site.installation.redis.flushdb()
    assert_refused(world, browser.get(link), 403, "over or was used already", "ask for a new one")


def test_without_redis_people_are_told_to_come_later(world, browser):
    with world.beside(redis_url="", home=str(world.site.cwd / "embedded"), key="A" * 43 + "=") as (
        alone
    ):
        link = alone.link("square")
        back = browser.back_from(link)
        alone.site.installation.embedded.stop()
        for url in (link, back):
            assert_page(browser.get(url), 503, "cannot do it now")
        assert "Redis does not answer" in alone.site.logs()
    assert world.stored() == {}


MARKUP = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&"
TOKEN_TROUBLE = {
    "no answer": ({"kind": "drop"}, 503, ""),
    "too slow": ({"kind": "delay", "seconds": 3.0}, 503, ""),
    "a page": ({"kind": "html200"}, 503, "what is no JSON object"),
    "nothing": ({"kind": "empty"}, 503, "what is no JSON object"),
    "a list": ({"kind": "status", "status": 200, "body": []}, 503, "no JSON object"),
    "no token": (
        {"kind": "status", "status": 200, "body": {"token_type": "bearer"}},
        503,
        "no access token",
    ),
    "a token that is none": (
        {"kind": "status", "status": 200, "body": {"access_token": {"a": "b"}}},
        503,
        "no access token",
    ),
    "500": ({"kind": "status", "status": 500}, 503, "answered 500"),
    "a page of 503": ({"kind": "status", "status": 503, "body": "<h1>503</h1>"}, 503, "503"),
    "429": ({"kind": "status", "status": 429}, 503, "answered 429"),
    "a redirect": (
        {"kind": "status", "status": 302, "headers": {"Location": "https://evil.example.com/"}},
        502,
        "redirects are not followed",
    ),
    "400 without a word": ({"kind": "status", "status": 400, "body": {}}, 503, "answered 400"),
    "a code that is gone": (
        {"kind": "status", "status": 400, "body": {"error": "invalid_grant"}},
        502,
        "the code is used, too old, or another",
    ),
    "the same, well": (
        {"kind": "status", "status": 200, "body": {"error": "invalid_grant"}},
        502,
        "the code is used, too old, or another",
    ),
    "another refusal, with markup": (
        {
            "kind": "status",
            "status": 400,
            "body": {"error": "invalid_scope", "error_description": MARKUP},
        },
        502,
        escape(f"invalid_scope: {MARKUP}"),
    ),
    "an unknown application": (
        {"kind": "status", "status": 401, "body": {"error": "invalid_client"}},
        500,
        "its log says why",
    ),
}


@pytest.mark.parametrize(("fault", "status", "words"), TOKEN_TROUBLE.values(), ids=TOKEN_TROUBLE)
def test_trouble_at_the_token_endpoint_stores_nothing(world, browser, fault, status, words):
    link = world.link("square", name="shop")
    back = browser.back_from(link)
    world["square"].fail_token(**fault)
    answer = browser.get(back)
    assert_refused(world, answer, status, words)
    if status == 500:
        assert "invalid_client" not in answer.text
        assert "TIELINE_SQUARE_CLIENT_SECRET" not in answer.text
        assert '"code": "application-refused"' in world.site.logs()
    world["square"].fail()
    assert_page(browser.open(link), 200, "is connected as shop")


def test_a_provider_that_is_down_for_a_moment_costs_no_consent(world, browser):
    back = browser.back_from(world.link("square", name="shop"))
    world["square"].fail({"kind": "status", "status": 503, "path": "/v2/*", "times": 2})
    assert_page(browser.get(back), 200, "is connected as shop")


def test_an_account_that_nobody_names_is_not_connected(world, browser):
    back = browser.back_from(world.link("square"))
    world["square"].fail({"kind": "status", "status": 503, "path": "/v2/*", "times": 0})
    assert_refused(world, browser.get(back), 503, "answered 503")


def test_a_plugin_that_breaks_ends_the_wait_and_shows_no_secret(world, browser):
    world["square"].order(login_as=2)
    command = start_command(
        world.site,
        *("connect", "issued", "--name", "x", "--no-browser", "--base-url", world["square"].url),
        TIELINE_ISSUED_REDIRECT_URI=f"http://127.0.0.1:{free_port()}/back",
    )
    back = browser.back_from(command.wait_for(r"(http://\S+/oauth/start/\S+)"))
    answer = browser.get(with_params(back, iss=ISSUER))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert headers_of(answer) == HEADERS
    assert "broken by" not in answer.text
    assert command.end() == 1
    assert "error[bug]: RuntimeError" in command.err
    assert "broken by [redacted]" in command.err
    assert world.stored() == {}


# --- accounts that are connected already ---------------------------------------------------------


def test_another_account_than_before_is_refused_and_hurts_nobody(world, browser):
    """QuickBooks ends the older grant of a company at a new consent: its connection lives on."""
    books = world["quickbooks"]
    for index, name in enumerate(("ours", "theirs")):
        books.order(login_as=index)
        assert browser.open(world.link("quickbooks", name=name)).status_code == 200
    link = world.link_again("ours")
    answer = browser.open(link)  # signed in as the second
    assert_page(answer, 403, "opens another account than &#x27;ours&#x27; had")
    assert world.stored() == {"ours": 1, "theirs": 2}
    for index, name in enumerate(("ours", "theirs")):
        tested = service.test_connection(world.site.installation, name, actor="test")
        assert (tested.account.id, tested.account.name) == books.accounts[index]
    books.order(login_as=0)
    assert_page(browser.open(link), 200, "is connected as ours")
    assert world.stored() == {"ours": 2, "theirs": 2}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_account_has_one_connection_whatever_it_is_called(world, browser, provider):
    assert browser.open(world.link(provider, name="first")).status_code == 200
    assert_page(browser.open(world.link(provider, name="second")), 200, "is connected as first")
    world[provider].order(login_as=1)
    assert_page(browser.open(world.link(provider, name="third")), 200, "is connected as third")
    assert world.stored() == {"first": 2, "third": 1}
    assert world.row("first").account_id != world.row("third").account_id


def test_a_name_that_was_taken_meanwhile_is_refused(world, browser):
    late = browser.back_from(world.link("stripe", name="shop"))
    assert browser.open(world.link("square", name="shop")).status_code == 200
    assert_page(browser.get(late), 403, "there is a connection &#x27;shop&#x27; already")
    assert world.row("shop").provider == "square"


def test_a_connection_that_was_removed_meanwhile_does_not_come_back(world, browser):
    assert browser.open(world.link("square", name="shop")).status_code == 200
    link = world.link_again("shop")
    back = browser.back_from(link)
    service.remove_connection(world.site.installation, "shop", actor="test", is_forced=True)
    for url in (back, link):
        assert_refused(world, browser.get(url), 404, "nothing here")


# --- the server itself ---------------------------------------------------------------------------


def test_it_says_that_it_is_there_and_what_is_not(world, browser):
    well = browser.get(f"{world.base}/healthz")
    assert well.json() == {"status": "ok", "service": "tieline"}
    for path in (
        "/",
        "/oauth",
        "/oauth/callback/square/",
        "/oauth/start/",
        "/favicon.ico",
        "/..;/",
    ):
        answer = browser.get(f"{world.base}{path}?code=CANARYnotlogged0000000000")
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {"type": "about:blank", "title": "Not Found", "status": 404}
        assert headers_of(answer) == HEADERS
        assert "location" not in answer.headers
    assert headers_of(well) == HEADERS
    assert "server" not in well.headers
    assert "CANARYnotlogged" not in world.site.logs()


def test_the_cookie_is_for_this_server_alone(world, browser):
    answer = browser.get(world.link("square"))
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(r"tieline-oauth=[A-Za-z0-9_-]{43}", name)
    assert {each.lower() for each in attributes} == {
        "httponly", "max-age=600", "path=/", "samesite=lax",
    }  # fmt: skip
    again = browser.get(world.link("stripe"))
    assert again.headers["set-cookie"].split("; ")[0] == name


def test_over_https_the_cookie_is_bound_to_the_host(world, browser):
    with world.beside(public_url="https://tieline.example.com") as secure:
        link = secure.link("square")
        assert link.startswith("https://tieline.example.com/oauth/start/")
        answer = browser.get(f"{secure.base}{urlsplit(link).path}")
        name, *attributes = answer.headers["set-cookie"].split("; ")
        assert re.fullmatch(r"__Host-tieline-oauth=[A-Za-z0-9_-]{43}", name)
        assert {each.lower() for each in attributes} == {
            "httponly", "max-age=600", "path=/", "samesite=lax", "secure",
        }  # fmt: skip
        told = param(answer.headers["location"], "redirect_uri")
        assert told == "https://tieline.example.com/oauth/callback/square"
        # By http the browser brings none; the name without the prefix counts for nothing.
        cookie = name.partition("=")[2]
        asked = f"{secure.base}/oauth/callback/square?code=x&state="
        state = param(answer.headers["location"], "state")
        plain = httpx.get(
            f"{asked}{state}", headers={"Cookie": f"tieline-oauth={cookie}"}, trust_env=False
        )
        assert_refused(world, plain, 403, "this sign-in is over")


def test_it_leaves_when_it_is_told_to_whatever_is_under_way(world, browser):
    with world.beside() as leaving:
        idle = socket.create_connection(("127.0.0.1", urlsplit(leaving.base).port))
        back = browser.back_from(leaving.link("square", name="shop"))
        world["square"].fail_token(kind="delay", seconds=1.5)
        with socket.create_connection(("127.0.0.1", urlsplit(leaving.base).port)) as slow:
            parts = urlsplit(back)
            cookie = browser.client.cookies["tieline-oauth"]
            slow.sendall(
                f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n"
                f"Cookie: tieline-oauth={cookie}\r\n\r\n".encode()
            )
            wait_until(lambda: not world.redis_keys("tieline:oauth:state:*"))
            began = time.monotonic()
            leaving.server.send_signal(signal.SIGTERM)
            assert slow.recv(100).startswith(b"HTTP/1.1 200")  # what was begun is finished
        assert leaving.server.wait(20) == 143
        assert time.monotonic() - began < 10  # then containers are killed
        idle.close()
        assert "Traceback" not in leaving.site.logs()
    assert world.stored() == {"shop": 1}


def test_wrong_redirect_addresses_are_refused_at_the_start(world):
    for given, words in (
        ({"square_redirect_uri": "http://127.0.0.1:99999/x"}, "is no address"),
        ({"square_redirect_uri": "http://127.0.0.1:1/oauth/callback/stripe"}, "is another's"),
        (
            {
                "square_redirect_uri": "https://a.example.com/back",
                "stripe_redirect_uri": "https://b.example.com/back",
            },
            "is another's",
        ),
    ):
        changed = {f"TIELINE_{name.upper()}": text for name, text in given.items()}
        done = world.site.run("serve", "--port", "0", **changed)
        assert done.returncode == 7
        assert "_REDIRECT_URI" in done.stderr
        assert words in done.stderr


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_shows_anywhere(world, browsers, browser):
    """Of all tests of this module that ran before, and of sign-ins that stay in the store."""
    for provider in PROVIDERS:
        link = world.link(provider, name=provider)
        back = browser.back_from(link)
        world[provider].fail_token(kind="status", status=400, body={"error": "invalid_scope"})
        assert browser.get(back).status_code == 502
        world[provider].fail()
        assert browser.open(link).status_code == 200
    assert_no_secret_shows(world, browsers)
