"""QuickBooks Online for Tieline: what is true of it, and how to do one step.

Facts are from Intuit's developer pages, and from python-quickbooks 0.9.12
where they concern the SDK.
"""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import (
    CONTRACT_VERSION,
    Connection,
    Credential,
    Entity,
    OAuth2,
    Observation,
    Provider,
    ProviderError,
    Rate,
    RateLimitedError,
    RateLimitPolicy,
    Reply,
    Revocation,
    Transport,
    Webhooks,
    hookimpl,
)
from tieline_quickbooks.client import MINOR_VERSION, QuickBooksApi, identify
from tieline_quickbooks.entities import CUSTOMERS, INVOICES, SCOPE
from tieline_quickbooks.errors import classify, refusal
from tieline_quickbooks.webhooks import WEBHOOKS

__all__: list[str] = []

_TOKENS = "https://oauth.platform.intuit.com"
_REVOCATION = "https://developer.api.intuit.com"


@hookimpl
def tieline_provider() -> Provider:
    """Name QuickBooks; an application has a pair of keys per environment."""
    return Provider(
        name="quickbooks",
        title="QuickBooks Online",
        contract=CONTRACT_VERSION,
        environments={
            "production": "https://quickbooks.api.intuit.com",
            "sandbox": "https://sandbox-quickbooks.api.intuit.com",
        },
        hosts=[_TOKENS, _REVOCATION],
        api_version=str(MINOR_VERSION),
        docs="https://developer.intuit.com/app/developer/qbo/docs/develop",
    )


@hookimpl
def tieline_auth() -> OAuth2:
    """Take OAuth 2, the only way in.

    The value of a refresh token changes about once a day, and the one before
    is said to be taken for a day more; others met an immediate refusal, so
    nothing is counted on. Refresh tokens lapse 101 days after their last use;
    hence the 30 days. Intuit takes no PKCE. To revoke what is dead already is
    answered with an empty 400.

    Source:
        Intuit, "Set up OAuth 2.0", "Authorization FAQ", and the developer
        blog of 2025-11-12 on the five years that a consent lasts.
    """
    return OAuth2(
        identify=identify,
        authorize_url="https://appcenter.intuit.com/connect/oauth2",
        token_url=f"{_TOKENS}/oauth2/v1/tokens/bearer",
        scopes=[SCOPE],
        client_auth="basic",
        token_headers={"x-include-refresh-token-hard-expires-in": "true"},
        keep_redirect={"realmId": "realm_id"},
        access_lifetime=timedelta(hours=1),
        refresh_deadlines=["x_refresh_token_expires_in", "x_refresh_token_hard_expires_in"],
        refresh_every=timedelta(days=30),
        refused=["invalid_grant"],
        revocation=Revocation(
            url=f"{_REVOCATION}/v2/oauth2/tokens/revoke",
            fields={"token": "refresh_token"},
            client_auth="basic",
            encoding="json",
            is_gone=lambda status, words: status == 400 and not words,
        ),
        where="https://developer.intuit.com/app/developer/dashboard",
    )


@hookimpl
def tieline_client(
    connection: Connection, credential: Credential, transport: Transport
) -> QuickBooksApi:
    """Put the SDK on our transport."""
    return QuickBooksApi(connection.base_url, credential, transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [CUSTOMERS, INVOICES]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare the Intuit-Signature scheme."""
    return WEBHOOKS


@hookimpl
def tieline_rate_limits(connection: Connection) -> RateLimitPolicy:
    """Stay below 10 requests a second, 500 a minute and 10 at once for each company.

    Batches are metered apart, 40 a minute.

    Source:
        Intuit, "API call limits and throttles"; ten at once: developer blog
        of 2016-08-08.
    """
    calls = [Rate(limit="8/second"), Rate(limit="450/minute")]
    batches = Rate(limit="36/minute", match=f"/v3/company/{connection.account.id}/batch")
    return RateLimitPolicy(rates=[*calls, batches], concurrency=8)


@hookimpl
def tieline_observe(reply: Reply) -> Observation | None:
    """Find refusals in all their shapes; each asks to stay away for a minute.

    Source:
        Intuit, "API call limits and throttles"; older servers answer 403.
    """
    meant = refusal(reply) if reply.status >= 400 else None
    if not isinstance(meant, RateLimitedError):
        return None
    return Observation(retry_after_s=meant.retry_after, is_refusal=True)


@hookimpl
def tieline_classify(error: Exception) -> ProviderError | None:
    """Say what each error of the SDK means."""
    return classify(error)
