"""Stripe's own SDK cannot tell the sandbox from api.stripe.com."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import stripe

_REPLY = tuple[bytes, int, Any]


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

        def make(base: str, key: str = "sk_test_51Sdk") -> stripe.StripeClient:
            return stripe.StripeClient(
                key, base_addresses={"api": base}, http_client=PlainHttp(client)
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
