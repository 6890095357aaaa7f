"""The plugin, on Tieline's transport, against the sandbox behind a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

import tieline_stripe
from tieline.contract import (
    Account,
    ApiKey,
    Connection,
    Credential,
    NeedsReauthError,
    OAuth2,
    PageParams,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestRejectedError,
)
from tieline.transport import HttpTransport, Limits
from tieline_stripe.entities import CUSTOMERS

PLATFORM = "sk_test_51TielineSandboxPlatform"
KEY, CONNECT = tieline_stripe.tieline_auth()
Open = Callable[..., Any]


def connection(base: str, auth: str, environment: str = "test") -> Connection:
    return Connection(
        id="con_1",
        name="shop",
        provider="stripe",
        environment=environment,
        base_url=base,
        auth=auth,
        is_redirected=True,
    )


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open clients as the core does: ``opened(base, "oauth2", account_id=…)``."""
    with ExitStack() as stack:

        def make(base: str, auth: str, limits: Limits | None = None, **fields: str) -> Any:
            transport = HttpTransport(
                connection_id="con_1", origins=[base], limits=limits, allows_private=True
            )
            stack.callback(transport.close)
            return tieline_stripe.tieline_client(
                connection=connection(base, auth),
                credential=Credential(fields),
                transport=transport,
            )

        yield make


def order(base: str, name: str, given: Any) -> Any:
    return httpx.post(f"{base}/_sandbox/{name}", json=given).raise_for_status().json()


def connected(base: str, index: int = 0) -> str:
    """Let an account be connected; return its id."""
    account: str = order(base, "oauth", {"grant": {"account": index}})["stripe_user_id"]
    return account


def asked(base: str) -> list[str]:
    requests = httpx.get(f"{base}/_sandbox/log").json()["requests"]
    return [request["path"] for request in requests]


def test_the_recommended_way_comes_first_and_each_kind_once() -> None:
    assert isinstance(KEY, ApiKey)
    assert isinstance(CONNECT, OAuth2)


def test_the_declared_addresses_are_stripe_s_own() -> None:
    provider = tieline_stripe.tieline_provider()
    assert CONNECT.revocation
    for url in (CONNECT.authorize_url, CONNECT.token_url, CONNECT.revocation.url):
        assert provider.owns(url)


def test_what_is_declared_is_enough_to_connect_and_to_give_back(server: Any, opened: Open) -> None:
    """Walk the declaration by hand, as the core will: no field is looked up elsewhere."""
    base = server(customers=1)
    here = connection(base, CONNECT.kind)
    app = {
        "client_id": httpx.get(f"{base}/_sandbox/").json()["client_id"],
        "client_secret": PLATFORM,
    }
    params = {"response_type": "code", "client_id": app["client_id"], "state": "s"}
    params |= {"redirect_uri": "http://127.0.0.1:1/cb", "scope": " ".join(CONNECT.scopes)}
    back = httpx.get(here.address(CONNECT.authorize_url), params=params).headers["location"]
    bearer = {"authorization": f"Bearer {PLATFORM}"}
    form = {"grant_type": "authorization_code", "code": httpx.URL(back).params["code"]}
    told = httpx.post(here.address(CONNECT.token_url), data=form, headers=bearer).json()
    kept = {field: told[name] for name, field in CONNECT.keep.items()}
    api = opened(base, CONNECT.kind, **app, **kept)
    assert CONNECT.identify(api).id == kept["account_id"]
    revocation = CONNECT.revocation
    assert revocation
    given = {name: (app | kept)[field] for name, field in revocation.fields.items()}
    httpx.post(here.address(revocation.url), data=given, headers=bearer).raise_for_status()
    with pytest.raises(NeedsReauthError):
        CONNECT.identify(api)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_connected_account_is_named_by_one_call(server: Any, opened: Open, index: int) -> None:
    base = server(customers=1)
    known = httpx.get(f"{base}/_sandbox/").json()["accounts"][index]
    api = opened(base, "oauth2", client_secret=PLATFORM, account_id=connected(base, index))
    assert CONNECT.identify(api) == Account(id=known["id"], name=known["name"])
    assert asked(base) == ["/v1/account"]


def test_a_key_still_opens_its_own_account(server: Any, opened: Open) -> None:
    base = server(customers=1)
    account = KEY.identify(opened(base, "api_key", api_key="rk_test_1"))
    assert (account.id, account.name) == (
        httpx.get(f"{base}/_sandbox/").json()["account"],
        "Tieline Sandbox",
    )


def test_pages_of_a_connected_account_are_read(server: Any, opened: Open) -> None:
    base = server(customers=150)
    api = opened(base, "oauth2", client_secret=PLATFORM, account_id=connected(base))
    first = CUSTOMERS.page(api, PageParams(), None)
    second = CUSTOMERS.page(api, PageParams(), first.next)
    assert (len(first.records), len(second.records), second.next) == (100, 50, None)


def test_access_that_was_taken_away_asks_for_a_person(server: Any, opened: Open) -> None:
    base = server(customers=1)
    account = connected(base)
    api = opened(base, "oauth2", client_secret=PLATFORM, account_id=account)
    order(base, "oauth", {"revoke": account})
    for ask in (lambda: CONNECT.identify(api), lambda: CUSTOMERS.page(api, PageParams(), None)):
        with pytest.raises(NeedsReauthError) as caught:
            ask()
        assert caught.value.message == (
            f"Stripe answered 403: The provided key 'sk_test_{'*' * 20}form' does not have access "
            f"to account '{account}' (or that account does not exist). Application access may "
            "have been revoked."
        )
        assert "connect again" in caught.value.hint


KEYS = {
    "unknown": ("sk_test_51Platform", "sk_live_51Platform", RequestRejectedError),
    "expired": ("sk_test_expired_1", "sk_test_expired_1", RequestRejectedError),
    "another platform's": ("sk_test_51Platform", "sk_test_51Other", NeedsReauthError),
    "without the right": ("rk_test_a_noread", "rk_test_a_noread", PermissionDeniedError),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_platform_key_that_is_no_good_says_what_happens_next(
    server: Any, opened: Open, case: str
) -> None:
    registered, used, expected = KEYS[case]
    base = server(customers=1, client_secret=registered)
    api = opened(base, "oauth2", client_secret=used, account_id=connected(base))
    for ask in (lambda: CONNECT.identify(api), lambda: CUSTOMERS.page(api, PageParams(), None)):
        with pytest.raises(ProviderError) as caught:
            ask()
        assert type(caught.value) is expected
        assert used not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 429, "body": {"error": {"message": "x"}}}, RateLimitedError),
        ({"kind": "status", "status": 503}, ProviderUnavailableError),
        ({"kind": "html200"}, ProviderUnavailableError),
        ({"kind": "drop"}, ProviderUnavailableError),
        ({"kind": "slow", "seconds": 1}, ProviderUnavailableError),
    ],
    ids=lambda value: value.get("status", value["kind"]) if isinstance(value, dict) else None,
)
def test_a_platform_s_bad_moment_is_no_connection_s_end(
    server: Any, opened: Open, fault: dict[str, Any], expected: type[ProviderError]
) -> None:
    base = server(customers=1)
    fields = {"client_secret": PLATFORM, "account_id": connected(base)}
    api = opened(base, "oauth2", Limits(deadline_s=0.3), **fields)
    order(base, "faults", [fault | {"path": "/v1/*", "times": 0}])
    started = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        CONNECT.identify(api)
    assert type(caught.value) is expected
    assert time.monotonic() - started < 3


def test_two_accounts_of_one_platform_do_not_mix(server: Any, opened: Open) -> None:
    base = server(customers=1)
    accounts = [connected(base, index) for index in (0, 1, 2)]
    apis = [
        opened(base, "oauth2", client_secret=PLATFORM, account_id=account) for account in accounts
    ]
    apis.append(opened(base, "api_key", api_key="rk_test_1"))
    seen: list[set[str | None]] = [set() for _ in apis]

    def identify(number: int) -> None:
        for _ in range(10):
            seen[number].add(CONNECT.identify(apis[number]).id)

    threads = [threading.Thread(target=identify, args=(number,)) for number in range(len(apis))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    own = httpx.get(f"{base}/_sandbox/").json()["account"]
    assert seen == [{account} for account in (*accounts, own)]


@pytest.mark.parametrize(
    ("auth", "environment", "limits"),
    [
        ("api_key", "live", {("80/second", "account"), ("20/second", "endpoint")}),
        ("api_key", "test", {("20/second", "account"), ("20/second", "endpoint")}),
        (
            "oauth2",
            "live",
            {("80/second", "account"), ("20/second", "endpoint"), ("80/second", "application")},
        ),
    ],
)
def test_a_platform_s_limits_count_for_all_its_accounts(
    auth: str, environment: str, limits: set[tuple[str, str]]
) -> None:
    here = connection("https://api.stripe.com", auth, environment)
    policy = tieline_stripe.tieline_rate_limits(here)
    assert {(rate.limit, rate.scope) for rate in policy.rates} == limits
