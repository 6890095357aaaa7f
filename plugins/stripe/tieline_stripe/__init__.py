"""Stripe for Tieline: what is true of Stripe, and how to do one step.

Facts are from Stripe's API reference, version 2026-10-28.endive, unless a
line says otherwise.
"""

from __future__ import annotations

from tieline.contract import (
    CONTRACT_VERSION,
    ApiKey,
    Connection,
    Credential,
    Entity,
    OAuth2,
    Observation,
    Provider,
    ProviderError,
    Rate,
    RateLimitPolicy,
    Reply,
    Revocation,
    Transport,
    Webhooks,
    hookimpl,
)
from tieline_stripe.client import API_VERSION, StripeApi, identify
from tieline_stripe.entities import CHARGES, CUSTOMERS, PRODUCTS, SUBSCRIPTIONS
from tieline_stripe.errors import classify
from tieline_stripe.events import WEBHOOKS
from tieline_stripe.limits import observe

__all__: list[str] = []

_CONNECT = "https://connect.stripe.com"
_READS_NOTHING = "it is a publishable key, which reads nothing: use a restricted key (rk_…)"


@hookimpl
def tieline_provider() -> Provider:
    """Name Stripe; live and test data share one address, the key decides."""
    api = "https://api.stripe.com"
    return Provider(
        name="stripe",
        title="Stripe",
        contract=CONTRACT_VERSION,
        environments={"live": api, "test": api},
        hosts=[_CONNECT],
        api_version=API_VERSION,
        docs="https://docs.stripe.com/api",
    )


@hookimpl
def tieline_auth() -> tuple[ApiKey, OAuth2]:
    """Take a restricted or secret key, or Connect's OAuth.

    Stripe recommends to call with the platform's own key and ``Stripe-Account``
    instead of the account's token ("Connect: Making API calls"). So the grant
    is the account's id alone, and nothing ends that would have to be renewed.
    """
    key = ApiKey(
        identify=identify,
        refuse=lambda key: _READS_NOTHING if key.startswith("pk_") else None,
        environment=lambda key: "live" if key.startswith(("sk_live_", "rk_live_")) else "test",
        where="https://dashboard.stripe.com/apikeys",
    )
    connect = OAuth2(
        identify=identify,
        authorize_url=f"{_CONNECT}/oauth/authorize",
        token_url=f"{_CONNECT}/oauth/token",
        scopes=("read_only",),
        client_auth="bearer",
        repeats_redirect=False,
        keep={"stripe_user_id": "account_id"},
        discard=("access_token", "refresh_token"),
        revocation=Revocation(
            url=f"{_CONNECT}/oauth/deauthorize",
            fields={"client_id": "client_id", "stripe_user_id": "account_id"},
            client_auth="bearer",
            is_gone=lambda _status, words: "is not connected to" in words,
        ),
        where="https://dashboard.stripe.com/settings/connect",
    )
    return key, connect


@hookimpl
def tieline_client(
    connection: Connection, credential: Credential, transport: Transport
) -> StripeApi:
    """Put the SDK on our transport."""
    if connection.auth == "oauth2":
        account = credential["account_id"].reveal()
        return StripeApi(connection.base_url, credential["client_secret"], transport, account)
    return StripeApi(connection.base_url, credential["api_key"], transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [CUSTOMERS, PRODUCTS, SUBSCRIPTIONS, CHARGES]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare the Stripe-Signature scheme."""
    return WEBHOOKS


@hookimpl
def tieline_rate_limits(connection: Connection) -> RateLimitPolicy:
    """Stay below 100 (test: 25) requests a second in all and 25 an endpoint.

    Whether Connect's calls count for the account or the platform is not said: for both.
    """
    in_all = "80/second" if connection.environment == "live" else "20/second"
    rates = [Rate(limit=in_all), Rate(limit="20/second", scope="endpoint")]
    if connection.auth == "oauth2":
        rates.append(Rate(limit=in_all, scope="application"))
    return RateLimitPolicy(rates=rates, concurrency=8)


@hookimpl
def tieline_observe(reply: Reply) -> Observation | None:
    """Read which limit a refusal is about."""
    return observe(reply)


@hookimpl
def tieline_classify(error: Exception) -> ProviderError | None:
    """Say what each error of the SDK means."""
    return classify(error)
