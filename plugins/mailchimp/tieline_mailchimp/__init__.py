"""Mailchimp for Tieline: what is true of Mailchimp, and how to do one step.

Facts are from Mailchimp's Marketing API reference, version 3.0, as its pages
stood in August 2026, unless a line says otherwise.
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
    RateLimitedError,
    RateLimitPolicy,
    Reply,
    Transport,
    Webhooks,
    hookimpl,
)
from tieline_mailchimp import errors
from tieline_mailchimp.account import (
    base_url_of_key,
    identify_by_key,
    identify_by_token,
    refuse_key,
)
from tieline_mailchimp.client import API_VERSION, MailchimpApi
from tieline_mailchimp.entities import CONTACTS, LISTS
from tieline_mailchimp.webhooks import WEBHOOKS

__all__: list[str] = []

_SIGN_IN = "https://login.mailchimp.com"


@hookimpl
def tieline_provider() -> Provider:
    """Name Mailchimp; there is one environment, and each account has a host of its own.

    The base address is where accounts sign in, and where one that was
    connected by OAuth is asked for its host.
    """
    return Provider(
        name="mailchimp",
        title="Mailchimp",
        contract=CONTRACT_VERSION,
        environments={"production": _SIGN_IN},
        hosts=["https://*.api.mailchimp.com"],
        api_version=API_VERSION,
        docs="https://mailchimp.com/developer/marketing/api/",
    )


@hookimpl
def tieline_auth() -> tuple[ApiKey, OAuth2]:
    """Take an API key, or OAuth 2 for the accounts of others.

    The key comes first: it has the same rights as a token, which are all those
    of its user, and needs no registered application. Tokens never expire, are
    never refreshed, and only the user can take them back.
    """
    key = ApiKey(
        identify=identify_by_key,
        refuse=refuse_key,
        base_url=base_url_of_key,
        where="https://admin.mailchimp.com/account/api/",
    )
    oauth = OAuth2(
        identify=identify_by_token,
        authorize_url=f"{_SIGN_IN}/oauth2/authorize",
        token_url=f"{_SIGN_IN}/oauth2/token",
        client_auth="body",
        where="https://admin.mailchimp.com/account/oauth2/",
    )
    return key, oauth


@hookimpl
def tieline_client(
    connection: Connection, credential: Credential, transport: Transport
) -> MailchimpApi:
    """Put the SDK on our transport."""
    return MailchimpApi(connection, credential, transport)


@hookimpl
def tieline_entities() -> list[Entity]:
    """List what can be kept in step."""
    return [CONTACTS, LISTS]


@hookimpl
def tieline_webhooks() -> Webhooks:
    """Declare the secret in the address, and the signature of newer ones."""
    return WEBHOOKS


@hookimpl
def tieline_rate_limits() -> RateLimitPolicy:
    """Stay at half of the ten calls that one user may have in flight, over all applications.

    Mailchimp counts no calls per time ("Throttling").
    """
    return RateLimitPolicy(concurrency=5)


@hookimpl
def tieline_observe(reply: Reply) -> Observation | None:
    """Find the refusals that look like missing rights: a 403 without a problem document.

    Source:
        Mailchimp, "Throttling", 2026-08.
    """
    if reply.status != 403:
        return None
    return Observation(is_refusal=isinstance(errors.refusal(reply), RateLimitedError))


tieline_classify = hookimpl(errors.classify)
