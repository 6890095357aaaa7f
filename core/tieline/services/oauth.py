"""Connect an account by OAuth 2: to the consent page, and back."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

from tieline.auth import Grant, application_of, connection_of, redirect_uri_of
from tieline.auth.application import start_address
from tieline.auth.states import Intent, Pending, States, new_secret
from tieline.contract import (
    Account,
    NeedsReauthError,
    OAuth2,
    OutcomeUnknownError,
    RequestRejectedError,
    RetryLaterError,
    Secret,
)
from tieline.errors import InvalidInputError, RefusedError
from tieline.registry import Plugin
from tieline.registry.settings import check_settings
from tieline.services.connect import (
    check_base_url,
    check_environment,
    check_name,
    find_same_account,
    identify,
    make_first_key,
    prepare,
    store_connection,
    with_account,
)
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store.connections import ConnectionRow
from tieline.store.ids import new_id
from tieline.telemetry import remember, tellable

__all__ = [
    "Connected",
    "Link",
    "begin",
    "connect_granted",
    "drop_link",
    "find_connected",
    "finish",
    "intend",
    "intend_again",
    "make_link",
    "open_link",
    "take",
    "takes_oauth",
]

_CODE = re.compile(r"[\x21-\x7e]{1,4096}")
_LONGEST_PARAMETER = 4096
_PATIENCE_S = (0.3, 1.0)
_LONGEST_NEXT = 2048
_LOCAL_PATH = re.compile(r"/(?:[A-Za-z0-9_.~-]+/)*[A-Za-z0-9_.~-]*(?:\?[A-Za-z0-9_.~=&-]*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """What became of a consent.

    Attributes:
        row: The connection.
        is_new: It was not there before.
        resumed: Ids of runs that waited for it and go on.
        next_url: Where to send the browser; empty for our own page.
    """

    row: ConnectionRow
    is_new: bool
    resumed: list[str]
    next_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An address that may be opened, in any browser, to connect an account.

    Attributes:
        address: All of it; holds the link's secret.
        digest: By which it is known here.
    """

    address: str
    digest: str


def takes_oauth(plugin: Plugin) -> bool:
    """Say whether accounts can be connected by OAuth 2."""
    return any(isinstance(auth, OAuth2) for auth in plugin.auth)


def intend(
    installation: Installation,
    provider: str,
    *,
    name: str,
    environment: str = "",
    base_url: str = "",
    settings: Mapping[str, Any] | None = None,
    actor: str,
) -> Intent:
    """Say what account is to be connected, before anybody is asked.

    Args:
        installation: Where.
        provider: Name of the provider.
        name: What to call the connection.
        environment: One of the provider's; empty for the application's.
        base_url: Where the provider's API is; empty for its own address.
        settings: What the plugin lets a connection set, by name.
        actor: Who does it, for the sync log.

    Raises:
        NotFoundError: No such provider.
        InvalidInputError: Name, settings or address make no sense, or it takes no OAuth 2.
        RefusedError: The name is taken.
        SettingsError: No application is set, or the address is not allowed.
    """
    plugin = installation.registry.get(provider)
    oauth = _oauth(plugin)
    check_name(name)
    application = application_of(installation.settings, plugin, oauth)
    chosen = check_environment(plugin, environment or application.environment)
    with installation.database.read() as transaction:
        found = store.find_connection(transaction, name)
    if found is not None:
        raise RefusedError(
            f"there is a connection {name!r} already, to {found.provider}",
            hint=f"choose another name, or: tieline connections reauth {name}",
            code="name-taken",
        )
    return Intent(
        provider=provider,
        name=name,
        environment=chosen,
        base_url=check_base_url(installation, plugin, chosen, base_url),
        connection_id="",
        actor=actor,
        scopes=application.scopes or tuple(oauth.scopes),
        settings=check_settings(plugin, settings or {}),
    )


def intend_again(installation: Installation, name_or_id: str, *, actor: str) -> Intent:
    """Say that an account is to be connected anew.

    Raises:
        NotFoundError: There is no such connection.
        InvalidInputError: It was not connected by OAuth 2.
        SettingsError: No application is set.
    """
    row = get_connection(installation, name_or_id)
    plugin = installation.registry.get(row.provider)
    if row.auth_kind != "oauth2":
        raise InvalidInputError(
            f"{row.name} was connected by {row.auth_kind}, not by OAuth 2",
            hint=f"give it a new key: tieline connections rotate-key {row.name}",
            code="auth-kind",
        )
    oauth = _oauth(plugin)
    application = application_of(installation.settings, plugin, oauth)
    is_own = plugin.provider.owns(row.base_url)
    return Intent(
        provider=row.provider,
        name=row.name,
        environment=row.environment,
        base_url=plugin.provider.environments[row.environment] if is_own else row.base_url,
        connection_id=row.id,
        actor=actor,
        scopes=application.scopes or tuple(oauth.scopes),
    )


def begin(
    installation: Installation,
    intent: Intent,
    *,
    bound_to: str,
    redirect_uri: str = "",
    link: str = "",
    next_url: str = "",
) -> str:
    """Remember a state; return the address of the provider's consent page.

    Args:
        installation: Where.
        intent: What is to be connected.
        bound_to: Secret of the browser (its cookie) or process that begins.
        redirect_uri: Where the provider sends people back to; empty for the
            registered one.
        link: Digest of the link that was opened; empty if none was.
        next_url: Where to send the browser afterwards: a path of ours or one
            of ``TIELINE_RETURN_URLS``; empty for our own page.

    Raises:
        InvalidInputError: ``next_url`` is neither.
        SettingsError: No application is set, or there is no key to seal under.
        KeyUnavailableError: What is remembered cannot be sealed now.
        DependencyError: Redis does not answer.
    """
    plugin = installation.registry.get(intent.provider)
    oauth = _oauth(plugin)
    application = application_of(installation.settings, plugin, oauth)
    told = redirect_uri or redirect_uri_of(installation.settings, intent.provider)
    is_public = oauth.pkce == "public" and not application.client_secret
    verifier = new_secret() if oauth.pkce == "always" or is_public else ""
    pending = Pending(
        intent=intent,
        redirect_uri=told,
        verifier=Secret(verifier) if verifier else None,
        link=link,
        next_url=_checked_next(installation, next_url),
    )
    make_first_key(installation)
    state = _states(installation).put(pending, bound_to=bound_to)
    for secret in (state, verifier, bound_to):
        remember(secret)
    asked = {
        "response_type": "code",
        "client_id": application.client_id,
        "redirect_uri": told,
        "state": state,
        **oauth.extra,
    }
    if intent.scopes:
        asked["scope"] = oauth.scope_separator.join(intent.scopes)
    if verifier:
        digest = sha256(verifier.encode()).digest()
        asked["code_challenge"] = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        asked["code_challenge_method"] = "S256"
    connection = connection_of(_row(intent, installation), plugin)
    address = connection.address(oauth.authorize_url)
    return f"{address}{'&' if '?' in address else '?'}{urlencode(asked, quote_via=quote)}"


def make_link(installation: Installation, intent: Intent) -> Link:
    """Make an address that an account's owner may open, in any browser, to connect it.

    Raises:
        SettingsError: The redirect address of the provider's application is
            none, or there is no key to seal under.
        KeyUnavailableError: What is remembered cannot be sealed now.
        DependencyError: Redis does not answer.
    """
    make_first_key(installation)
    link, digest = _states(installation).put_link(intent)
    remember(link)
    return Link(address=start_address(installation.settings, intent.provider, link), digest=digest)


def open_link(installation: Installation, link: str) -> tuple[Intent, str]:
    """Return what a link is for, and its digest; it stays good until the account is connected.

    Raises:
        RefusedError: The link is over.
        KeyUnavailableError: It cannot be opened now.
        DependencyError: Redis does not answer.
    """
    intent, digest = _states(installation).find_link(link)
    remember(link)
    return intent, digest


def drop_link(installation: Installation, link: Link) -> None:
    """End a link that nobody waits for any more.

    Raises:
        DependencyError: Redis does not answer.
    """
    _states(installation).end_link(link.digest)


def find_connected(installation: Installation, link: Link) -> ConnectionRow | None:
    """Return the connection that a link led to, in whatever process; None: none yet.

    Raises:
        RefusedError: The link is gone; nobody can come back by it.
        DependencyError: The database or Redis does not answer.
    """
    connection_id = _states(installation).find_connected(link.digest)
    if connection_id is None:
        return None
    with installation.database.read() as transaction:
        return store.find_connection(transaction, connection_id)


def take(
    installation: Installation, provider: str, given: Mapping[str, str], *, bound_to: str
) -> Pending:
    """Take the state that came back from a consent page; it is used up, whatever comes of it.

    Args:
        installation: Where.
        provider: At whose callback it came.
        given: The parameters of the address.
        bound_to: Secret of the browser or process that it came from; empty if
            it had none.

    Raises:
        NotFoundError: No such provider.
        RefusedError: The state is unknown, used, of another provider or
            another browser.
        KeyUnavailableError: It cannot be opened now.
        DependencyError: Redis does not answer.
    """
    _oauth(installation.registry.get(provider))
    states = _states(installation)
    return states.take(given.get("state", ""), provider=provider, bound_to=bound_to)


def finish(installation: Installation, pending: Pending, given: Mapping[str, str]) -> Connected:
    """Exchange what came with a good state; nothing is stored unless all is well.

    Args:
        installation: Where.
        pending: The state.
        given: The parameters of the address.

    Raises:
        RefusedError: The answer is another server's; consent was denied; or it
            is another account than before.
        InvalidInputError: There is no code.
        ProviderError: The code was refused, or the provider did not answer.
        SettingsError: The provider does not know the application.
        VaultError: The credential cannot be sealed now; the code was not used.
        DependencyError: The database or Redis does not answer.
    """
    plugin = installation.registry.get(pending.intent.provider)
    oauth = _oauth(plugin)
    title = plugin.provider.title
    if oauth.issuer and given.get("iss") != oauth.issuer:
        raise RefusedError(
            f"the answer does not come from {title}", code="oauth-issuer", hint="start again"
        )
    if "error" in given:
        said = ": ".join(filter(None, (given["error"], given.get("error_description", ""))))
        raise RefusedError(
            f"{title} gave no consent: {tellable(said)}",
            hint="start again, and allow it",
            code="consent-denied",
        )
    code = given.get("code", "")
    if not _CODE.fullmatch(code):
        raise InvalidInputError(f"{title} sent no code along", code="oauth-code")
    remember(code)
    connected = _exchange(installation, plugin, oauth, pending, Secret(code), given)
    if pending.link:
        _states(installation).end_link(pending.link, connection_id=connected.row.id)
    return connected


def _exchange(
    installation: Installation,
    plugin: Plugin,
    oauth: OAuth2,
    pending: Pending,
    code: Secret,
    given: Mapping[str, str],
) -> Connected:
    row = _row(pending.intent, installation)
    possible = ("access_token", "refresh_token", *oauth.kept)
    # Before the code is used up: what could not be sealed must not be asked for.
    prepared = prepare(installation, row.id, possible)
    endpoint = installation.engine.opener.endpoint(row, oauth)
    small = {name: text for name, text in given.items() if len(text) <= _LONGEST_PARAMETER}
    try:
        grant = endpoint.exchange(
            code,
            redirect_uri=pending.redirect_uri,
            verifier=pending.verifier,
            given=small,
            now=installation.clock.now(),
        )
    except NeedsReauthError as error:
        raise RequestRejectedError(
            f"{error.message}: the code is used, too old, or another's",
            hint="start again",
            code="oauth-code",
        ) from None
    except OutcomeUnknownError as error:
        raise RetryLaterError(error.message, hint="start again") from None
    actor = pending.intent.actor
    account = _identified(installation, oauth, row, grant.fields)
    try:
        row = with_account(plugin, row, account)
    except RefusedError:
        # It is not what was asked for; but whose it is, must not lose access by that.
        stranger = with_account(plugin, replace(row, account_id=None), account)
        _store_for_another(installation, stranger, grant, actor=actor)
        raise
    if stored := _store_for_another(installation, row, grant, actor=actor):
        row, resumed = stored
        return Connected(row=row, is_new=False, resumed=resumed, next_url=pending.next_url)
    with installation.database.read() as transaction:
        is_new = store.find_connection(transaction, row.id) is None
    resumed = store_connection(installation, row, grant.fields, prepared, actor=actor, grant=grant)
    return Connected(row=row, is_new=is_new, resumed=resumed, next_url=pending.next_url)


def connect_granted(
    installation: Installation,
    intent: Intent,
    answer: Mapping[str, Any],
    given: Mapping[str, str],
) -> ConnectionRow:
    """Connect an account with what a token endpoint answered already.

    For sandboxes, which give grants without a browser; unlike a sign-in, this
    may connect an account twice.

    Args:
        installation: Where.
        intent: What is to be connected.
        answer: Of the token endpoint.
        given: The parameters that a redirect would have brought.

    Raises:
        ProviderError: The tokens are refused.
    """
    plugin = installation.registry.get(intent.provider)
    oauth = _oauth(plugin)
    row = _row(intent, installation)
    endpoint = installation.engine.opener.endpoint(row, oauth)
    grant = endpoint.read(answer, now=installation.clock.now(), given=given)
    row = with_account(plugin, row, identify(installation, oauth, row, grant.fields))
    prepared = prepare(installation, row.id, tuple(grant.fields))
    store_connection(installation, row, grant.fields, prepared, actor=intent.actor, grant=grant)
    return get_connection(installation, row.id)


def _store_for_another(
    installation: Installation, row: ConnectionRow, grant: Grant, *, actor: str
) -> tuple[ConnectionRow, list[str]] | None:
    """Give a grant to the other connection of its account; None, storing nothing, without one.

    Some providers end the older grant of an account as soon as there is a
    newer one. So the newer one has to serve whatever has that account.
    """
    other = find_same_account(installation, row)
    if other is None:
        return None
    other = replace(other, state="ok", trouble=None, trouble_at=None)
    prepared = prepare(installation, other.id, grant.fields)
    resumed = store_connection(
        installation, other, grant.fields, prepared, actor=actor, grant=grant
    )
    return other, resumed


def _identified(
    installation: Installation, oauth: OAuth2, row: ConnectionRow, fields: Mapping[str, str]
) -> Account:
    """Ask whose account it is; patiently, for the code cannot be used again."""
    for pause_s in _PATIENCE_S:
        try:
            return identify(installation, oauth, row, fields)
        except RetryLaterError:
            installation.clock.sleep(pause_s)
    return identify(installation, oauth, row, fields)


def _row(intent: Intent, installation: Installation) -> ConnectionRow:
    """Return the connection that an intent is about, stored or not."""
    now = installation.clock.now()
    fresh = ConnectionRow(
        id=intent.connection_id or new_id("con"),
        name=intent.name,
        provider=intent.provider,
        environment=intent.environment,
        base_url=intent.base_url,
        auth_kind="oauth2",
        account_id=None,
        account_name="",
        settings=intent.settings,
        state="ok",
        created_at=now,
        updated_at=now,
    )
    if not intent.connection_id:
        return fresh
    known = get_connection(installation, intent.connection_id)
    return replace(
        fresh,
        account_id=known.account_id,
        account_name=known.account_name,
        settings=known.settings,
        created_at=known.created_at,
        paused_at=known.paused_at,
    )


def _states(installation: Installation) -> States:
    return States(installation.redis, installation.vault)


def _oauth(plugin: Plugin) -> OAuth2:
    for auth in plugin.auth:
        if isinstance(auth, OAuth2):
            return auth
    raise InvalidInputError(
        f"{plugin.provider.title} takes no OAuth 2",
        hint=f"tieline connect {plugin.name} --name NAME",
        code="auth-kind",
    )


def _checked_next(installation: Installation, next_url: str) -> str:
    """Let nobody send people elsewhere by way of us.

    Raises:
        InvalidInputError: It is neither a plain path of ours nor a listed address.
    """
    if not next_url or next_url.removesuffix("/") in installation.settings.return_urls:
        return next_url
    if len(next_url) <= _LONGEST_NEXT and _LOCAL_PATH.fullmatch(next_url):
        return next_url
    raise InvalidInputError(
        f"next: {next_url[:100]!r} is neither a path of this server nor one of TIELINE_RETURN_URLS",
        code="next-refused",
    )
