"""Stripe for Tieline: what is true of Stripe, and how to do one step.

Facts are from Stripe's API reference, version 2026-10-28.endive, unless a
line says otherwise.
"""

from __future__ import annotations

from typing import Any

from tieline.contract import (
    CONTRACT_VERSION,
    ApiKey,
    Connection,
    Credential,
    Entity,
    Provider,
    ProviderError,
    Rate,
    RateLimitPolicy,
    Transport,
    Webhooks,
    hookimpl,
)
from tieline_stripe.client import API_VERSION, StripeApi, identify
from tieline_stripe.customers import CUSTOMERS
from tieline_stripe.errors import classify
from tieline_stripe.events import WEBHOOKS

__all__: list[str] = []


@hookimpl
def tieline_provider() -> Provider:
    """Name Stripe; live and test data share one address, the key decides."""
    api = "https://api.stripe.com"
    return Provider(
        name="stripe",
        title="Stripe",
        contract=CONTRACT_VERSION,
        environments={"live": api, "test": api},
        hosts=["https://connect.stripe.com"],
        api_version=API_VERSION,
        docs="https://docs.stripe.com/api",
    )


@hookimpl
def tieline_auth() -> ApiKey:
    """Take a restricted or secret key ("API keys" in Stripe's reference)."""
    return ApiKey(
        identify=identify,
        refuse=_refuse,
        environment=_environment,
        where="https://dashboard.stripe.com/apikeys",
    )


@hookimpl
def tieline_client(
    connection: Connection, credential: Credential, transport: Transport
) -> StripeApi:
    """Put the SDK on our transport."""
    return StripeApi(connection.base_url, credential["api_key"], transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [CUSTOMERS]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare the Stripe-Signature scheme."""
    return WEBHOOKS


@hookimpl
def tieline_rate_limits(connection: Connection) -> RateLimitPolicy:
    """Stay below 100 (test: 25) requests a second in all and 25 an endpoint."""
    account = "80/second" if connection.environment == "live" else "20/second"
    return RateLimitPolicy(
        rates=[Rate(limit=account), Rate(limit="20/second", scope="endpoint")], concurrency=8
    )


@hookimpl
def tieline_classify(error: Exception) -> ProviderError | None:
    """Say what each error of the SDK means."""
    return classify(error)


def _refuse(key: Any) -> str | None:
    if key.startswith("pk_"):
        return "it is a publishable key, which reads nothing: use a restricted key (rk_…)"
    return None


def _environment(key: str) -> str | None:
    return "live" if key.startswith(("sk_live_", "rk_live_")) else "test"
