"""Square's own SDK against the sandbox, over HTTP: it must not notice."""

from __future__ import annotations

import httpx
import pytest
from square import Square
from square.core.api_error import ApiError
from square.utils.webhooks_helper import verify_signature

from tieline_square_sandbox import API_KEY, CLIENT_ID, CLIENT_SECRET

ONCE = {"max_retries": 0}
BACK = "http://localhost:8080/back"

# The SDK uses parts of pydantic that go in version 3, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")


@pytest.fixture
def base(server):
    return server()


@pytest.fixture
def client(base):
    """Make SDK clients; each on a pool of its own that is closed afterwards."""
    made = []

    def make(token):
        made.append(httpx.Client())
        return Square(token=token, base_url=base, httpx_client=made[-1])

    yield make
    for each in made:
        each.close()


def consent(base):
    asked = {"client_id": CLIENT_ID, "scope": "MERCHANT_PROFILE_READ", "redirect_uri": BACK}
    reply = httpx.get(f"{base}/oauth2/authorize", params=asked)
    return httpx.URL(reply.headers["location"]).params["code"]


def test_the_sdk_obtains_refreshes_and_revokes(base, client):
    application = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    oauth = client(None).o_auth
    first = oauth.obtain_token(
        **application,
        grant_type="authorization_code",
        code=consent(base),
        redirect_uri=BACK,
        request_options=ONCE,
    )
    second = oauth.obtain_token(
        **application,
        grant_type="refresh_token",
        refresh_token=first.refresh_token,
        request_options=ONCE,
    )
    assert second.refresh_token == first.refresh_token
    seller = client(second.access_token)
    assert seller.o_auth.retrieve_token_status(request_options=ONCE).scopes == [
        "MERCHANT_PROFILE_READ"
    ]
    assert seller.merchants.get("me", request_options=ONCE).merchant.id == first.merchant_id
    secret = {"additional_headers": {"Authorization": f"Client {CLIENT_SECRET}"}}
    done = oauth.revoke_token(
        client_id=CLIENT_ID, merchant_id=first.merchant_id, request_options=ONCE | secret
    )
    assert done.success is True
    with pytest.raises(ApiError) as caught:
        seller.merchants.get("me", request_options=ONCE)
    assert [error.code for error in caught.value.errors] == ["ACCESS_TOKEN_REVOKED"]


def test_the_sdk_reads_merchants_and_locations(client):
    seller = client(API_KEY)
    [merchant] = seller.merchants.list(request_options=ONCE)
    locations = seller.locations.list(request_options=ONCE).locations
    assert merchant.business_name == "Harbour Coffee"
    assert [each.status for each in locations] == ["ACTIVE", "INACTIVE"]
    assert {each.merchant_id for each in locations} == {merchant.id}


def test_the_sdk_reads_both_shapes_of_refusals(client):
    oauth = client(None).o_auth
    asked = {"client_id": CLIENT_ID, "grant_type": "refresh_token", "refresh_token": "EQAAx"}
    codes = {}
    for secret in (CLIENT_SECRET, "sandbox-sq0csb-wrong"):
        with pytest.raises(ApiError) as caught:
            oauth.obtain_token(**asked, client_secret=secret, request_options=ONCE)
        codes[caught.value.errors[0].code] = caught.value.status_code
    assert codes == {"UNAUTHORIZED": 401, "service.not_authorized": 401}


def test_the_sdk_makes_changes_tests_and_deletes_subscriptions(client, receiver):
    subscriptions = client(API_KEY).webhooks.subscriptions
    wanted = {
        "name": "Ours",
        "event_types": ["payment.created", "payment.updated"],
        "notification_url": receiver.url,
        "api_version": "2026-09-16",
    }
    made = subscriptions.create(
        subscription=wanted, idempotency_key="one", request_options=ONCE
    ).subscription
    assert (made.enabled, made.event_types) == (True, wanted["event_types"])
    told = subscriptions.test(made.id, event_type="payment.created", request_options=ONCE)
    assert (told.status_code, told.notification_url) == (200, receiver.url)
    [(headers, body)] = receiver.got
    assert verify_signature(
        request_body=body.decode(),
        signature_header=headers["x-square-hmacsha256-signature"],
        signature_key=made.signature_key,
        notification_url=receiver.url,
    )
    renewed = subscriptions.update_signature_key(made.id, request_options=ONCE)
    assert renewed.signature_key not in {None, made.signature_key}
    changed = subscriptions.update(made.id, subscription={"enabled": False}, request_options=ONCE)
    assert changed.subscription.enabled is False
    assert list(subscriptions.list(request_options=ONCE)) == []
    listed = list(subscriptions.list(include_disabled=True, request_options=ONCE))
    assert [each.id for each in listed] == [made.id]
    assert subscriptions.get(made.id, request_options=ONCE).subscription.enabled is False
    subscriptions.delete(made.id, request_options=ONCE)
    with pytest.raises(ApiError) as caught:
        subscriptions.get(made.id, request_options=ONCE)
    assert caught.value.status_code == 404
