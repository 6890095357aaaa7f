"""The plugin, loaded as the core loads it, over the real transport, against its sandbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tieline.contract import (
    Connection,
    Credential,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tieline.registry import Registry
from tieline.transport import HttpTransport, Limits

KEY = "0123456789abcdef0123456789abcdef-us6"


@pytest.fixture
def plugin() -> Any:
    return Registry().get("mailchimp")


@pytest.fixture
def order() -> Iterator[Callable[..., Any]]:
    with httpx.Client(trust_env=False) as client:
        yield lambda base, name, given: client.post(f"{base}/_sandbox/{name}", json=given).json()


@pytest.fixture
def opened(plugin: Any) -> Iterator[Callable[..., Any]]:
    """Open accounts: ``opened(base, api_key=KEY)`` returns what identifies itself."""
    with ExitStack() as stack:

        def make(base: str, **fields: str) -> Callable[[], Any]:
            kind = "api_key" if "api_key" in fields else "oauth2"
            transport = HttpTransport(
                connection_id="con_1",
                origins=[base],
                limits=Limits(deadline_s=3.0),
                allows_private=True,
            )
            stack.callback(transport.close)
            connection = Connection(
                id="con_1",
                name="news",
                provider="mailchimp",
                environment="production",
                base_url=base,
                auth=kind,
                is_redirected=True,
            )
            client = plugin.new_client(
                connection=connection, credential=Credential(fields), transport=transport
            )
            [auth] = [auth for auth in plugin.auth if auth.kind == kind]
            return lambda: auth.identify(client)

        yield make


def test_key_and_token_open_the_same_account_and_the_token_tells_its_host(
    server: Any, opened: Any, order: Any
) -> None:
    base = server()
    token = order(base, "oauth", {"grant": {"account": 0}})["access_token"]
    by_key, by_token = opened(base, api_key=KEY)(), opened(base, access_token=token)()
    assert by_key.id == by_token.id
    assert len(by_key.id) == 25
    assert by_key.name == by_token.name == "Tieline Coffee Roasters"
    assert (by_key.base_url, by_token.base_url) == ("", base)


@pytest.mark.parametrize("index", [1, 2])
def test_awkward_names_come_through_whole(server: Any, opened: Any, order: Any, index: int) -> None:
    base = server()
    name = httpx.get(f"{base}/_sandbox/", trust_env=False).json()["accounts"][index]["name"]
    token = order(base, "oauth", {"grant": {"account": index}})["access_token"]
    assert opened(base, access_token=token)().name == name


def test_a_token_that_was_taken_back_wants_a_person(server: Any, opened: Any, order: Any) -> None:
    base = server()
    token = order(base, "oauth", {"grant": {"account": 0}})["access_token"]
    identify = opened(base, access_token=token)
    identify()
    order(base, "oauth", {"revoke": "grant_1"})
    with pytest.raises(NeedsReauthError, match="invalid_token"):
        identify()


def test_a_dead_key_wants_a_person(server: Any, opened: Any) -> None:
    with pytest.raises(NeedsReauthError, match="API Key Invalid: Your API key may be invalid"):
        opened(server(), api_key=KEY.replace("us6", "us7"))()


FAULTS: dict[str, tuple[dict[str, Any], type[ProviderError]]] = {
    "bare 429": ({"kind": "status", "status": 429, "body": ""}, RateLimitedError),
    "bare 403": ({"kind": "status", "status": 403, "body": ""}, RateLimitedError),
    "bare 500": ({"kind": "status", "status": 500, "body": ""}, ProviderUnavailableError),
    "403": ({"kind": "status", "status": 403}, PermissionDeniedError),
    "503 html": ({"kind": "status", "status": 503, "body": "<h1>x</h1>"}, ProviderUnavailableError),
    "html": ({"kind": "html200"}, ProviderUnavailableError),
    "empty": ({"kind": "empty"}, ProviderUnavailableError),
    "dropped": ({"kind": "drop"}, ProviderUnavailableError),
    "too late": ({"kind": "delay", "seconds": 4}, ProviderUnavailableError),
}


PLACES = [
    *((case, "/3.0/*") for case in FAULTS),
    ("bare 403", "/oauth2/metadata"),
    ("dropped", "/oauth2/metadata"),
]


@pytest.mark.parametrize(("case", "path"), PLACES)
def test_every_fault_says_what_happens_next_and_is_asked_once(
    server: Any, opened: Any, order: Any, case: str, path: str
) -> None:
    fault, expected = FAULTS[case]
    base = server()
    token = order(base, "oauth", {"grant": {"account": 0}})["access_token"]
    identify = opened(base, access_token=token)
    order(base, "faults", [{**fault, "path": path}])
    with pytest.raises(ProviderError) as caught:
        identify()
    assert type(caught.value) is expected
    [script] = httpx.get(f"{base}/_sandbox/faults", trust_env=False).json()
    assert script["matched"] == 1
    assert identify().id


def test_a_netrc_file_changes_nothing(
    server: Any, opened: Any, order: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's own network lets a netrc entry replace the token."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login wrong password wrong\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    base = server()
    token = order(base, "oauth", {"grant": {"account": 0}})["access_token"]
    assert opened(base, access_token=token)().id


def test_the_eleventh_call_at_once_is_told_as_throttling(
    server: Any, opened: Any, order: Any
) -> None:
    base = server()
    order(base, "faults", [{"kind": "delay", "path": "/3.0/*", "seconds": 0.3, "times": 10}])
    identify = opened(base, api_key=KEY)
    with ThreadPoolExecutor(11) as pool:
        found = [pool.submit(identify) for _ in range(11)]
        failures = [error for one in found if (error := one.exception(10))]
    assert [type(error) for error in failures] == [RateLimitedError]
    [first, *_] = httpx.get(f"{base}/_sandbox/", trust_env=False).json()["accounts"]
    assert first["in_flight"] == {"now": 0, "most": 10, "refused": 1}


def test_identifying_takes_two_calls_at_most(server: Any, opened: Any, order: Any) -> None:
    base = server(latency_ms=50)
    token = order(base, "oauth", {"grant": {"account": 0}})["access_token"]
    began = time.monotonic()
    opened(base, access_token=token)()
    assert time.monotonic() - began < 3
    log = httpx.get(f"{base}/_sandbox/log", trust_env=False).json()["requests"]
    assert [entry["path"] for entry in log] == ["/oauth2/metadata", "/3.0/"]
