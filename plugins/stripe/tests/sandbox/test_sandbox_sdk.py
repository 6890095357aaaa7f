"""Stripe's own SDK cannot tell the sandbox from api.stripe.com."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import stripe
from stripe import oauth_error

_REPLY = tuple[bytes, int, Any]
CLIENT = "ca_TielineSandboxApplication0000001"
PLATFORM = "sk_test_51TielineSandboxPlatform"


class PlainHttp(stripe.HTTPClient):
    """Sends the SDK's requests; its own clients leave connections open."""

    name = "plain"

    def __init__(self, client: httpx.Client) -> None:
        super().__init__()
        self._client = client

    def request(self, method: str, url: str, headers: Any, post_data: Any = None) -> _REPLY:
        reply = self._client.request(method, url, headers=headers, content=post_data)
        return reply.content, reply.status_code, reply.headers

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., stripe.StripeClient]]:
    # The SDK writes a file into the home directory otherwise.
    monkeypatch.setattr(stripe, "enable_telemetry", False)
    with httpx.Client() as client:

        def make(base: str, key: str = "sk_test_51Sdk", account: str = "") -> stripe.StripeClient:
            return stripe.StripeClient(
                key,
                base_addresses={"api": base, "connect": base},
                client_id=CLIENT,
                http_client=PlainHttp(client),
                stripe_account=account or None,
            )

        yield make


def test_list_all_by_hand(server: Any, connect: Any) -> None:
    base = server(customers=730)
    client = connect(base)
    names: list[str] = []
    params: dict[str, Any] = {"limit": 100}
    while True:
        page = client.v1.customers.list(params)
        names += [customer.id for customer in page.data]
        if not page.has_more:
            break
        params["starting_after"] = names[-1]
    truth = httpx.get(f"{base}/_sandbox/truth?ids_only=true").text.splitlines()
    assert len(names) == len(truth) == 730


def test_list_all_by_the_iterator_and_by_windows(server: Any, connect: Any) -> None:
    client = connect(server(customers=250))
    found = client.v1.customers.list({"limit": 60, "created": {"gte": 1_700_000_000}})
    assert len(list(found.auto_paging_iter())) == 248


def test_create_retrieve_update_delete(server: Any, connect: Any) -> None:
    customers = connect(server(customers=1)).v1.customers
    params = {"name": "Zoë 🚀", "metadata": {"crm_id": "42"}, "preferred_locales": ["fr", "en"]}
    created = customers.create(params, {"idempotency_key": "k"})
    assert customers.create(params, {"idempotency_key": "k"}).id == created.id
    customers.update(created.id, {"description": "d", "metadata": {"crm_id": ""}})
    found = customers.retrieve(created.id)
    assert (found.name, found.description) == ("Zoë 🚀", "d")
    assert found.metadata.to_dict() == {}
    assert found.preferred_locales == ["fr", "en"]
    assert getattr(found, "deleted", False) is False
    assert customers.delete(created.id).deleted is True
    assert getattr(customers.retrieve(created.id), "deleted", False) is True


def test_events_and_account(server: Any, connect: Any) -> None:
    client = connect(server(customers=0))
    created = client.v1.customers.create({"name": "A"})
    client.v1.customers.update(created.id, {"name": "B"})
    page = client.v1.events.list({"types": ["customer.created", "customer.updated"]})
    assert [event.type for event in page.data] == ["customer.updated", "customer.created"]
    assert page.data[0].data.previous_attributes.to_dict() == {"name": "A"}
    assert client.v1.events.retrieve(page.data[1].id).data.object["id"] == created.id
    assert client.v1.accounts.retrieve_current().id.startswith("acct_")


@pytest.mark.parametrize(
    ("key", "ask", "error", "code"),
    [
        (
            "sk_test_1",
            lambda c: c.retrieve("cus_x"),
            stripe.InvalidRequestError,
            "resource_missing",
        ),
        ("sk_test_1", lambda c: c.list({"limit": 101}), stripe.InvalidRequestError, None),
        (
            "sk_test_1",
            lambda c: c.list({"starting_after": "cus_x"}),
            stripe.InvalidRequestError,
            "resource_missing",
        ),
        ("sk_live_1", lambda c: c.list(), stripe.AuthenticationError, None),
        ("rk_test_expired", lambda c: c.list(), stripe.AuthenticationError, "api_key_expired"),
        ("rk_test_noread", lambda c: c.list(), stripe.PermissionError, None),
    ],
)
def test_error_classes(
    server: Any,
    connect: Any,
    key: str,
    ask: Callable[[Any], object],
    error: type[stripe.StripeError],
    code: str | None,
) -> None:
    with pytest.raises(error) as caught:
        ask(connect(server(customers=1), key).v1.customers)
    assert caught.value.request_id
    if code is not None:
        assert caught.value.error.code == code


def test_error_classes_of_keys_limits_and_faults(server: Any, connect: Any) -> None:
    base = server(customers=1, rate=3)
    customers = connect(base).v1.customers
    customers.create({"name": "A"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError):
        customers.create({"name": "B"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.RateLimitError) as caught:
        [customers.list() for _ in range(10)]
    assert caught.value.headers["stripe-rate-limited-reason"] in {"endpoint-rate", "global-rate"}
    httpx.post(f"{base}/_sandbox/faults", json=[{"kind": "html200"}]).raise_for_status()
    with pytest.raises(stripe.APIError, match="Invalid response body"):
        customers.list()


def come_back(client: Any, **params: Any) -> httpx.QueryParams:
    """Go where the SDK sends a browser, and return what it brings back."""
    asked = {"state": "s1", "redirect_uri": "http://127.0.0.1:1/cb"} | params
    reply = httpx.get(client.oauth.authorize_url(asked), follow_redirects=False)
    return httpx.URL(reply.headers["location"]).params


def test_the_whole_way_of_connect(server: Any, connect: Any) -> None:
    base = server(customers=3)
    platform = connect(base, PLATFORM)
    back = come_back(platform, scope="read_write")
    assert (back["state"], back["scope"]) == ("s1", "read_write")
    told = platform.oauth.token({"grant_type": "authorization_code", "code": back["code"]})
    again = platform.oauth.token(
        {"grant_type": "refresh_token", "refresh_token": told.refresh_token}
    )
    assert again.access_token == told.access_token
    account = told.stripe_user_id
    for client in (connect(base, PLATFORM, account), connect(base, told.access_token)):
        assert client.v1.accounts.retrieve_current().id == account
        assert len(client.v1.customers.list().data) == 3
    assert platform.oauth.deauthorize({"stripe_user_id": account}).stripe_user_id == account
    with pytest.raises(stripe.PermissionError) as caught:
        connect(base, PLATFORM, account).v1.customers.list()
    assert caught.value.error.code == "account_invalid"
    [event] = platform.v1.events.list({"type": "account.application.deauthorized"}).data
    assert (event.account, event.data.object["id"]) == (account, CLIENT)


@pytest.mark.parametrize(
    ("key", "ask", "error", "text"),
    [
        (
            PLATFORM,
            lambda oauth: oauth.token({"grant_type": "authorization_code", "code": "ac_x"}),
            oauth_error.InvalidGrantError,
            "Authorization code does not exist: ac_x",
        ),
        (
            "sk_live_51Platform",
            lambda oauth: oauth.token({"grant_type": "refresh_token", "refresh_token": "rt_x"}),
            oauth_error.InvalidGrantError,
            "Passed in livemode API key",
        ),
        (
            "sk_test_51Other",
            lambda oauth: oauth.token({"grant_type": "authorization_code", "code": "ac_x"}),
            oauth_error.InvalidClientError,
            "No such API key",
        ),
        (
            PLATFORM,
            lambda oauth: oauth.token({"grant_type": "password"}),
            oauth_error.UnsupportedGrantTypeError,
            "password",
        ),
        (
            PLATFORM,
            lambda oauth: oauth.token({}),
            oauth_error.InvalidRequestError,
            "No grant type",
        ),
        (
            PLATFORM,
            lambda oauth: oauth.deauthorize({"stripe_user_id": "acct_x"}),
            oauth_error.InvalidClientError,
            "is not connected to stripe account acct_x",
        ),
    ],
)
def test_error_classes_of_oauth(
    server: Any,
    connect: Any,
    key: str,
    ask: Callable[[Any], object],
    error: type[stripe.StripeError],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        ask(connect(server(customers=0), key).oauth)


def test_webhook_endpoints_and_what_they_are_told(server: Any, connect: Any, receiver: Any) -> None:
    base = server(customers=3)
    client = connect(base)
    asked = {"url": receiver.url, "enabled_events": ["customer.created"], "metadata": {"a": "1"}}
    made = client.v1.webhook_endpoints.create(asked)
    assert (made.status, made.metadata["a"], made.api_version) == ("enabled", "1", None)
    listed = client.v1.webhook_endpoints.list()
    assert [each.id for each in listed.data] == [made.id]
    assert getattr(listed.data[0], "secret", None) is None
    created = client.v1.customers.create({"name": "Jürgen Groß"})
    httpx.post(f"{base}/_sandbox/webhooks", json={"flush": True}, timeout=60)
    [(headers, body)] = receiver.seen
    event = client.construct_event(body, headers["stripe-signature"], made.secret)
    assert (event.type, event.data.object["id"]) == ("customer.created", created.id)
    for wrong in (body + b" ", body.replace(b"J", b"Y", 1)):
        with pytest.raises(stripe.SignatureVerificationError):
            client.construct_event(wrong, headers["stripe-signature"], made.secret)
    changed = client.v1.webhook_endpoints.update(made.id, {"disabled": True})
    assert client.v1.webhook_endpoints.retrieve(made.id).status == changed.status == "disabled"
    assert client.v1.webhook_endpoints.delete(made.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such webhook endpoint"):
        client.v1.webhook_endpoints.retrieve(made.id)
