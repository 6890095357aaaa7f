"""Accounts of all four providers, connected in every way, by real processes."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import suppress
from html import escape
from urllib.parse import urlsplit

import httpx
import pytest

import canary
from oauth_kit import (
    ENVIRONMENTS,
    PROVIDERS,
    Browser,
    Terminal,
    World,
    free_port,
    printed_by_commands,
    sandboxes,
    start_command,
    with_params,
    world_of,
)
from tieline.services import connections as service

pytestmark = pytest.mark.xdist_group("oauth connect")

PLAIN, MARKUP, SCRIPT = 0, 1, 2
SCOPES = {
    "stripe": ["read_only"],
    "square": [
        "MERCHANT_PROFILE_READ",
        "CUSTOMERS_READ",
        "ORDERS_READ",
        "ITEMS_READ",
        "PAYMENTS_READ",
    ],
    "mailchimp": [],
    "quickbooks": [],
}
FIRST = r"(http://\S+/oauth/start/\S+)"
BY_HAND = r"paste the address that you end up at:\s+(http\S+)\n"


@pytest.fixture(scope="module")
def known():
    with sandboxes() as found:
        yield found


@pytest.fixture(scope="module")
def lite(known, redis_server, tmp_path_factory):
    """A world on SQLite."""
    folder = tmp_path_factory.mktemp("lite")
    url = redis_server.ensure().replace("db=0", "db=5")
    with world_of(known, folder / "site", f"sqlite:///{folder / 'tieline.db'}", url) as made:
        yield made


@pytest.fixture(scope="module")
def post(known, redis_server, postgres_server, tmp_path_factory):
    """A world on PostgreSQL."""
    url = redis_server.ensure().replace("db=0", "db=6")
    folder = tmp_path_factory.mktemp("post")
    with (
        postgres_server.new_database() as database_url,
        world_of(known, folder / "site", database_url, url) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def clean(known, lite):
    yield
    lite.clean()


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


def assert_connected(world: World, provider: str, name: str, account: int) -> None:
    """Check what was stored against what the sandbox says of the account."""
    row = world.row(name)
    assert row is not None
    account_id, account_name = world[provider].accounts[account]
    shown = " ".join("".join(c if c.isprintable() else " " for c in account_name).split())
    assert (row.account_id, row.account_name) == (account_id, shown)
    assert row.environment == ENVIRONMENTS[provider]
    assert row.base_url == world[provider].url
    assert (row.auth_kind, row.state) == ("oauth2", "ok")


def loopback(provider: str, kind: str = "127.0.0.1", path: str = "") -> dict[str, str]:
    """Register a redirect address at a free port of this machine."""
    uri = f"http://{kind}:{free_port()}{path or f'/oauth/callback/{provider}'}"
    return {f"TIELINE_{provider.upper()}_REDIRECT_URI": uri}


def connect(world: World, provider: str, name: str, *more: str) -> list[str]:
    return ["connect", provider, "--name", name, "--base-url", world[provider].url, *more]


# --- (a) the web ---------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_link_connects_the_account_in_any_browser(lite, browser, provider):
    lite[provider].order(login_as=MARKUP)
    if provider == "square":  # a second each; what it prints is the same for all
        link = lite.site.json(*connect(lite, provider, "web", "--link", "--oauth"))["link"]
    else:
        link = lite.link(provider, name="web")
    assert link.startswith(f"{lite.base}/oauth/start/")
    assert lite.row("web") is None
    page = browser.open(link)
    account_id, account_name = lite[provider].accounts[MARKUP]
    assert page.status_code == 200
    assert f"{escape(account_name)} is connected as web." in page.text
    assert account_name not in page.text
    assert_connected(lite, provider, "web", MARKUP)
    tested = lite.site.json("connections", "test", "web")
    assert tested["account"] == {"id": account_id, "name": account_name}
    assert tested["scopes"] == SCOPES[provider]
    assert tested["connection"]["environment"] == ENVIRONMENTS[provider]
    assert tested["limits"]
    assert tested["seconds"] < 3
    over = browser.get(link)
    assert over.status_code == 403
    assert "over or was used" in over.text


# --- (b) the listener of the command line --------------------------------------------------------

REGISTERED = {
    "stripe": ("localhost", "/integrations/stripe/back"),
    "square": ("localhost", ""),
    "mailchimp": ("127.0.0.1", ""),  # takes no other name of this machine
    "quickbooks": ("[::1]", ""),
}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_command_listens_where_the_browser_comes_back_to(post, browser, provider):
    post[provider].order(login_as=MARKUP)
    given = loopback(provider, *REGISTERED[provider])
    (uri,) = given.values()
    command = start_command(
        post.site, *connect(post, provider, "near", "--oauth", "--no-browser"), **given
    )
    link = command.wait_for(FIRST)
    assert urlsplit(link).netloc == urlsplit(uri).netloc
    page = browser.open(link)
    assert command.end() == 0, command.err
    account_name = post[provider].accounts[MARKUP][1]
    assert f"{escape(account_name)} is connected as near." in page.text
    told = f"connected  {provider} · near · {ENVIRONMENTS[provider]} · {account_name}"
    assert told in command.err
    assert command.out == ""
    assert any(url.startswith(f"{uri}?") for url in browser.seen)
    assert_connected(post, provider, "near", MARKUP)
    tested = service.test_connection(post.site.installation, "near", actor="test")
    assert list(tested.scopes) == SCOPES[provider]
    assert tested.seconds < 3
    assert post.redis_keys("tieline:oauth:link:*") == []
    post.clean()


def test_where_a_server_finishes_the_command_waits_and_tells_what_became_of_it(lite, browser):
    """The redirect address is of `tieline serve`, and the account has a connection already."""
    assert browser.open(lite.link("square", name="known")).status_code == 200
    command = start_command(lite.site, *connect(lite, "square", "again", "--oauth", "--no-browser"))
    link = command.wait_for(FIRST)
    assert link.startswith(f"{lite.base}/")
    browser.open(link)
    assert command.end() == 0, command.err
    assert "square · known · " in command.err
    assert lite.stored() == {"known": 2}


def test_two_commands_share_a_port_and_each_ends_with_its_own_account(lite, browser):
    given = loopback("square")
    first = start_command(
        lite.site, *connect(lite, "square", "one", "--oauth", "--no-browser"), **given
    )
    first_link = first.wait_for(FIRST)
    second = start_command(
        lite.site, *connect(lite, "square", "two", "--oauth", "--no-browser"), **given
    )
    second_link = second.wait_for(FIRST)
    lite["square"].order(login_as=1)
    assert browser.open(second_link).status_code == 200
    assert second.end() == 0, second.err
    assert first.process.poll() is None
    lite["square"].order(login_as=0)
    assert browser.open(first_link).status_code == 200
    assert first.end() == 0, first.err
    assert_connected(lite, "square", "one", 0)
    assert_connected(lite, "square", "two", 1)


def test_a_denied_consent_ends_the_command(lite, browser):
    lite["quickbooks"].order(consent="deny")
    command = start_command(
        lite.site,
        *connect(lite, "quickbooks", "near", "--oauth", "--no-browser"),
        **loopback("quickbooks"),
    )
    page = browser.open(command.wait_for(FIRST))
    assert page.status_code == 403
    assert "access_denied" in page.text
    assert command.end() == 6
    assert "error[consent-denied]: QuickBooks Online gave no consent: access_denied" in command.err
    assert lite.stored() == {}


def test_an_unknown_application_is_a_matter_of_settings(lite, browser):
    wrong = {"TIELINE_SQUARE_CLIENT_SECRET": "sq0csp-CANARY-not-the-one"}
    command = start_command(
        lite.site,
        *connect(lite, "square", "near", "--oauth", "--no-browser"),
        **(loopback("square") | wrong),
    )
    page = browser.open(command.wait_for(FIRST))
    assert page.status_code == 500
    assert "service.not_authorized" not in page.text
    assert "its log says why" in page.text
    assert command.end() == 7
    assert "error[application-refused]: Square answered 401" in command.err
    assert "TIELINE_SQUARE_CLIENT_SECRET" in command.err
    assert "CANARY" not in command.err.replace(wrong["TIELINE_SQUARE_CLIENT_SECRET"], "CANARY", 0)
    assert lite.stored() == {}


def test_ctrl_c_ends_the_link_too(lite):
    command = start_command(
        lite.site,
        *connect(lite, "square", "near", "--oauth", "--no-browser"),
        **loopback("square"),
    )
    command.wait_for(FIRST)
    assert len(lite.redis_keys("tieline:oauth:link:*")) == 1
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130
    assert lite.redis_keys("tieline:oauth:link:*") == []
    assert "Traceback" not in command.err


def test_a_command_does_not_wait_for_what_redis_has_lost(lite, browser):
    command = start_command(
        lite.site,
        *connect(lite, "square", "near", "--oauth", "--no-browser"),
        **loopback("square"),
    )
    link = command.wait_for(FIRST)
    lite.site.installation.redis.flushdb()
    with suppress(httpx.TransportError):  # by now nobody may listen any more
        assert browser.get(link).status_code == 403
    assert command.end() == 6
    assert "error[oauth-state]: this sign-in is over" in command.err
    assert lite.stored() == {}


def test_a_connection_is_renewed_in_the_same_way(lite, browser):
    assert browser.open(lite.link("quickbooks", name="books")).status_code == 200
    command = start_command(
        lite.site, "connections", "reauth", "books", "--no-browser", **loopback("quickbooks")
    )
    browser.open(command.wait_for(FIRST))
    assert command.end() == 0, command.err
    assert "connected  quickbooks · books · " in command.err
    assert lite.stored() == {"books": 2}
    assert_connected(lite, "quickbooks", "books", PLAIN)


def test_a_port_of_another_program_is_named_where_nobody_can_paste(lite):
    given = loopback("square")
    with socket.create_server(("127.0.0.1", urlsplit(*given.values()).port)):
        command = start_command(
            lite.site, *connect(lite, "square", "near", "--oauth", "--no-browser"), **given
        )
        assert command.end() == 2
    assert "error[port-taken]" in command.err
    assert lite.stored() == {}


# --- (c) the pasted address ----------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_address_that_the_browser_ended_at_can_be_pasted(lite, browser, provider):
    lite[provider].order(login_as=SCRIPT)
    arguments = connect(lite, provider, "pasted", "--oauth", "--no-browser")
    quiet = {"TIELINE_LOG_LEVEL": "warning"}
    with Terminal(lite.site, *arguments, **(loopback(provider) | quiet)) as terminal:
        back = browser.back_from(terminal.wait_for(BY_HAND))
        for wrong in ("http://[", "nonsense"):
            terminal.type(f"{wrong}\n")
        terminal.wait_for(r"(?s)(paste all of it.*paste all of it)")
        terminal.type(f"{with_params(back, state='0' * 43)}\n")
        terminal.wait_for(r"(this sign-in is over)")
        terminal.type(f"  {back}\n")
        assert terminal.end() == 0, terminal.text
    assert_connected(lite, provider, "pasted", SCRIPT)
    row = lite.row("pasted")
    assert f"{provider} · pasted · {ENVIRONMENTS[provider]} · {row.account_name}" in terminal.text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", terminal.text)
    tested = service.test_connection(lite.site.installation, "pasted", actor="test")
    assert tested.seconds < 3
    assert lite.redis_keys("tieline:oauth:link:*") == []


def test_a_terminal_where_nothing_is_pasted_ends_in_peace(lite, browser):
    arguments = connect(lite, "square", "near", "--oauth", "--no-browser")
    with Terminal(lite.site, *arguments, **loopback("square")) as terminal:
        browser.open(terminal.wait_for(FIRST))
        assert terminal.end() == 0, terminal.text
    assert "Fatal" not in terminal.text
    assert_connected(lite, "square", "near", PLAIN)


def test_beside_another_program_on_the_port_pasting_still_works(lite, browser):
    given = loopback("square")
    arguments = connect(lite, "square", "pasted", "--oauth", "--no-browser")
    with (
        socket.create_server(("127.0.0.1", urlsplit(*given.values()).port)),
        Terminal(lite.site, *arguments, **given) as terminal,
    ):
        back = browser.back_from(terminal.wait_for(BY_HAND))
        assert "/oauth/start/" not in terminal.text
        terminal.type(f"{back}\n")
        assert terminal.end() == 0, terminal.text
    assert_connected(lite, "square", "pasted", PLAIN)


# --- keys, where a provider takes them too -------------------------------------------------------


@pytest.mark.parametrize("provider", ["square", "mailchimp"])
def test_a_key_still_connects_where_an_application_is_set(lite, provider):
    keys = {
        "square": "EAAATielineSandboxPersonalAccessToken000000000000000000000000001",
        "mailchimp": "0123456789abcdef0123456789abcdef-us6",
    }
    told = lite.site.json(*connect(lite, provider, "key", "--key-stdin"), stdin=keys[provider])
    assert told["connection"]["auth"] == "api_key"
    tested = service.test_connection(lite.site.installation, "key", actor="test")
    assert tested.account.id
    assert tested.seconds < 3


def test_the_way_is_asked_for_or_found_out(lite, browser):
    """With an application, an account is signed in; a key beside that makes no sense."""
    both = lite.site.run(*connect(lite, "square", "x", "--oauth", "--key-stdin"), stdin="EAAA")
    assert both.returncode == 2
    assert "signing in takes no key" in both.stderr
    arguments = connect(lite, "square", "x", "--no-browser", "--json")
    command = start_command(lite.site, *arguments, **loopback("square"))
    browser.open(command.wait_for(FIRST))
    assert command.end() == 0
    told = json.loads(command.out)["connection"]
    account_id, account_name = lite["square"].accounts[PLAIN]
    assert told["account"] == {"id": account_id, "name": account_name}


# --- secrets -------------------------------------------------------------------------------------


def test_no_secret_shows_in_logs_or_in_what_commands_print(lite, post, browsers, browser):
    """Of all tests of this module that ran before; the addresses to open are left out."""
    command = start_command(
        lite.site, *connect(lite, "quickbooks", "x", "--no-browser"), **loopback("quickbooks")
    )
    browser.open(command.wait_for(FIRST))
    assert command.end() == 0
    secrets = lite.all_secrets(*browsers)
    printed = printed_by_commands(lite.site) + printed_by_commands(post.site)
    assert b"connected  quickbooks" in printed
    assert b'"event": "call"' in printed  # they logged all that they could
    logs = (lite.site.logs() + post.site.logs()).encode()
    assert canary.scan(printed, secrets) == []
    assert canary.scan(logs, secrets) == []
