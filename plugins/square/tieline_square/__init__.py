"""Square for Tieline: what is true of Square, and how an account is connected.

Facts are from Square's API reference, version 2026-09-16, and its OAuth
documentation, unless a line says otherwise.
"""

from __future__ import annotations

import re
from datetime import timedelta

from tieline.contract import (
    CONTRACT_VERSION,
    ApiKey,
    Auth,
    Connection,
    Credential,
    Entity,
    OAuth2,
    Provider,
    ProviderError,
    Rate,
    RateLimitPolicy,
    Revocation,
    Transport,
    Webhooks,
    hookimpl,
)
from tieline_square.client import API_VERSION, SquareApi, identify
from tieline_square.entities import CATALOG, CUSTOMERS, ORDERS, PAYMENTS
from tieline_square.errors import classify
from tieline_square.webhooks import WEBHOOKS

__all__: list[str] = []

_CONSOLE = "https://developer.squareup.com/apps"
_RIGHTS = "MERCHANT_PROFILE_READ CUSTOMERS_READ ORDERS_READ ITEMS_READ PAYMENTS_READ"


@hookimpl
def tieline_provider() -> Provider:
    """Name Square; its sandbox environment has sellers and applications of its own."""
    return Provider(
        name="square",
        title="Square",
        contract=CONTRACT_VERSION,
        environments={
            "production": "https://connect.squareup.com",
            "sandbox": "https://connect.squareupsandbox.com",
        },
        api_version=API_VERSION,
        docs="https://developer.squareup.com/reference/square",
    )


@hookimpl
def tieline_auth() -> tuple[Auth, ...]:
    """Ask sellers by OAuth; take the developer's own token for the own account."""
    return _OAUTH, _PERSONAL_TOKEN


@hookimpl
def tieline_client(
    connection: Connection, credential: Credential, transport: Transport
) -> SquareApi:
    """Put the SDK on our transport; the token is read anew for each request."""
    return SquareApi(connection.base_url, credential, transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [CUSTOMERS, ORDERS, CATALOG, PAYMENTS]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare the signature over address and body."""
    return WEBHOOKS


@hookimpl
def tieline_rate_limits() -> RateLimitPolicy:
    """Stay modest: Square publishes no numbers, it answers 429 and says no more.

    Searches for orders have answers of megabytes, so they get less.
    """
    searches = Rate(limit="3/second", scope="endpoint", match="/v2/orders/search")
    return RateLimitPolicy(rates=[Rate(limit="10/second"), searches], concurrency=6)


@hookimpl
def tieline_classify(error: Exception) -> ProviderError | None:
    """Say what each error of the SDK means."""
    return classify(error)


def _refuse(token: str) -> str | None:
    """Refuse the other texts of the console's page, which are copied by mistake."""
    if re.match(r"(sandbox-)?sq0id", token):
        return "it is an application id: use the access token of the same page (EAAA…)"
    if re.match(r"(sandbox-)?sq0cs", token):
        return "it is an application secret: use the access token (EAAA…), or connect by OAuth"
    if token.startswith("EQAA"):
        return "it is a refresh token, which reads nothing: use an access token (EAAA…)"
    return None


_OAUTH = OAuth2(
    identify=identify,
    authorize_url="/oauth2/authorize",
    token_url="/oauth2/token",  # noqa: S106 - an address
    scopes=tuple(_RIGHTS.split()),
    # The seller signs in, so that nobody grants the account that happens to be open.
    extra={"session": "false"},
    # With its secret an application gets a refresh token that stays and can be
    # used again; by PKCE each works once, and a lost answer costs the grant.
    pkce="public",
    client_auth="body",
    encoding="json",
    keep={"merchant_id": "merchant_id"},
    access_lifetime=timedelta(days=30),
    refresh_deadlines=("refresh_token_expires_at",),
    # "OAuth best practices": renew every 7 days or less, used or not.
    refresh_every=timedelta(days=7),
    # Answers that people have shown: {"errors": [{"code": "UNAUTHORIZED"}]} is a
    # code or token that is gone. The older {"type": "service.not_authorized"},
    # also 401, is a wrong application id or secret: every grant still stands.
    refused=("UNAUTHORIZED", "ACCESS_TOKEN_REVOKED", "ACCESS_TOKEN_EXPIRED", "invalid_grant"),
    client_refused=("service.not_authorized", "invalid_client"),
    # By merchant rather than by token: it works after the token's end too. Either
    # way all of the seller's tokens for this application end.
    revocation=Revocation(
        url="/oauth2/revoke",
        fields={"client_id": "client_id", "merchant_id": "merchant_id"},
        client_auth="client",
        encoding="json",
    ),
    where=_CONSOLE,
)

# One name for both ways, so that the client need not know which it was.
_PERSONAL_TOKEN = ApiKey(identify=identify, field="access_token", refuse=_refuse, where=_CONSOLE)
