"""Connect an account with a secret that a person has; what every way of connecting shares."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tieline.auth import Grant, note_recovered
from tieline.contract import (
    Account,
    ApiKey,
    Auth,
    Basic,
    NeedsReauthError,
    RequestRejectedError,
    Secret,
    SettingsError,
)
from tieline.engine.ask import ring_for
from tieline.errors import InvalidInputError, RefusedError, nearest
from tieline.registry import Plugin
from tieline.registry.settings import check_settings
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import grants, log
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.ids import new_id
from tieline.telemetry import remember, tellable
from tieline.vault import Context, Sealer

__all__ = [
    "Prepared",
    "check_base_url",
    "check_environment",
    "check_name",
    "connect_api_key",
    "connect_basic",
    "find_same_account",
    "identify",
    "make_first_key",
    "prepare",
    "store_connection",
    "with_account",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_KEY = 4096
_A = TypeVar("_A", ApiKey, Basic)


def connect_api_key(
    installation: Installation,
    provider: str,
    *,
    name: str,
    key: Secret,
    base_url: str = "",
    environment: str = "",
    settings: Mapping[str, Any] | None = None,
    actor: str,
    is_checked: bool = True,
    is_replacing: bool = False,
) -> ConnectionRow:
    """Connect an account by its API key; nothing is stored unless all is well.

    Args:
        installation: Where.
        provider: Name of the provider.
        name: What to call the connection.
        key: The key.
        base_url: Where the provider's API is; empty for its own address.
        environment: One of the provider's; empty for the one that the key
            tells, else the provider's first.
        settings: What the plugin lets a connection set, by name.
        actor: Who does it, for the sync log.
        is_checked: Whether the provider is asked if the key is good.
        is_replacing: Whether a connection of that name gets the new key.

    Returns:
        The stored connection.

    Raises:
        NotFoundError: No such provider.
        InvalidInputError: Name, key, settings or address make no sense.
        RefusedError: The name is taken, or the key opens another account.
        SettingsError: The address is not allowed here, or there is no key to
            seal the credential under.
        VaultError: The credential cannot be sealed now; the key was not tried.
        ProviderError: The provider refused the key or did not answer.
    """
    plugin = installation.registry.get(provider)
    auth = _way(plugin, ApiKey, "API key")
    text = _check_key(plugin, auth, key)
    told = auth.environment(text) if auth.environment else None
    if told and environment and told != environment:
        raise InvalidInputError(
            f"that key is of the {told} environment, not of {environment}", code="key-invalid"
        )
    where = base_url or (auth.base_url(text) if auth.base_url else None) or ""
    return _connect(
        installation,
        plugin,
        auth,
        {auth.field: text},
        name=name,
        environment=check_environment(plugin, told or environment),
        base_url=where,
        has_address=bool(base_url),
        settings=settings or {},
        actor=actor,
        is_checked=is_checked,
        is_replacing=is_replacing,
    )


def connect_basic(
    installation: Installation,
    provider: str,
    *,
    name: str,
    username: str,
    password: Secret,
    base_url: str = "",
    environment: str = "",
    settings: Mapping[str, Any] | None = None,
    actor: str,
    is_checked: bool = True,
    is_replacing: bool = False,
) -> ConnectionRow:
    """Connect an account by user name and password; see :func:`connect_api_key`."""
    plugin = installation.registry.get(provider)
    auth = _way(plugin, Basic, "user name and password")
    text = password.reveal()
    is_plain = username.isprintable() and ":" not in username and len(username) <= _LONGEST_KEY
    if not username or not is_plain or not text or len(text) > _LONGEST_KEY:
        raise InvalidInputError(
            "a user name without colon and a password are needed", code="key-invalid"
        )
    return _connect(
        installation,
        plugin,
        auth,
        {"username": username, "password": text},
        name=name,
        environment=check_environment(plugin, environment),
        base_url=base_url,
        has_address=bool(base_url),
        settings=settings or {},
        actor=actor,
        is_checked=is_checked,
        is_replacing=is_replacing,
    )


def _connect(
    installation: Installation,
    plugin: Plugin,
    auth: ApiKey | Basic,
    fields: Mapping[str, str],
    *,
    name: str,
    environment: str,
    base_url: str,
    has_address: bool,
    settings: Mapping[str, Any],
    actor: str,
    is_checked: bool,
    is_replacing: bool,
) -> ConnectionRow:
    check_name(name)
    if is_replacing and settings:
        raise InvalidInputError(
            "a new key changes no settings",
            hint=f"tieline connections set {name} NAME=VALUE",
            code="connection-setting-invalid",
        )
    for field, text in fields.items():
        if field != "username":
            remember(text)
    now = installation.clock.now()
    fresh = ConnectionRow(
        id=new_id("con"),
        name=name,
        provider=plugin.name,
        environment=environment,
        base_url=check_base_url(installation, plugin, environment, base_url),
        auth_kind=auth.kind,
        account_id=None,
        account_name="",
        settings={},
        state="ok",
        created_at=now,
        updated_at=now,
    )
    row = _existing(installation, fresh, is_replacing=is_replacing, has_address=has_address)
    if row.id == fresh.id:  # one that is there keeps its own
        row = replace(row, settings=check_settings(plugin, settings))
    # Asked for before the network is: a key that cannot be sealed must not be tried.
    prepared = prepare(installation, row.id, fields)
    if is_checked:
        row = with_account(plugin, row, identify(installation, auth, row, fields))
    store_connection(installation, row, fields, prepared, actor=actor)
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Data keys for a credential's fields, had before its secrets are."""

    connection_id: str
    sealer: Sealer

    def seal(self, fields: Mapping[str, str]) -> dict[str, str]:
        """Seal every field."""
        return {
            field: self.sealer.seal(
                Secret(text), Context(connection_id=self.connection_id, field=field)
            )
            for field, text in fields.items()
        }


def prepare(
    installation: Installation, connection_id: str, fields: Sequence[str] | Mapping[str, str]
) -> Prepared:
    """Get the data keys for a credential's fields.

    Raises:
        SettingsError: There is no key to seal under.
        KeyUnavailableError: It is not to be had now.
    """
    make_first_key(installation)
    contexts = [Context(connection_id=connection_id, field=field) for field in fields]
    return Prepared(connection_id=connection_id, sealer=installation.vault.prepare(*contexts))


def identify(
    installation: Installation, auth: Auth, row: ConnectionRow, fields: Mapping[str, str]
) -> Account:
    """Ask the provider whose account a credential opens.

    Raises:
        ProviderError: It refused, or did not answer.
    """
    opened = installation.engine.opener.open_with(row, fields)
    try:
        return opened.identify(auth)
    except NeedsReauthError as error:
        raise NeedsReauthError(
            f"{opened.plugin.provider.title} refuses this credential: {error.message}",
            hint=error.hint or _hint_of(auth),
        ) from None
    finally:
        opened.transport.close()


def with_account(plugin: Plugin, row: ConnectionRow, account: Account) -> ConnectionRow:
    """Note whose account a connection is, and where it is.

    Raises:
        RefusedError: It was another's before.
        RequestRejectedError: The provider named an address that is not its own.
    """
    if row.account_id and account.id and account.id != row.account_id:
        raise _other_account(row, f"that was {row.account_name or row.account_id}")
    base_url = row.base_url
    if account.base_url and account.base_url != base_url:
        if not (plugin.provider.owns(account.base_url) and plugin.provider.owns(base_url)):
            raise RequestRejectedError(
                f"{plugin.provider.title} says that the account is at"
                f" {tellable(account.base_url)}, which is none of its addresses",
                code="address-refused",
            )
        base_url = account.base_url
    return replace(
        row,
        account_id=account.id and tellable(account.id),
        account_name=tellable(account.name),
        base_url=base_url,
    )


def store_connection(
    installation: Installation,
    row: ConnectionRow,
    fields: Mapping[str, str],
    prepared: Prepared,
    *,
    actor: str,
    grant: Grant | None = None,
) -> list[str]:
    """Store a connection and its credential in one transaction.

    Returns:
        Ids of runs that waited for the credential and go on now.

    Raises:
        RefusedError: The name was taken meanwhile.
    """
    sealed = prepared.seal(fields)
    now = installation.clock.now()

    def work(transaction: Transaction) -> list[str]:
        known = store.find_connection(transaction, row.id)
        run_ids: list[str] = []
        if known:
            run_ids = note_recovered(transaction, row.id, actor=actor, now=now)
            store.update_connection(transaction, replace(row, updated_at=now))
        elif not store.add_connection(transaction, row):
            raise RefusedError(f"there is a connection {row.name!r} already", code="name-taken")
        generation = store.replace_credential(
            transaction, row.id, sealed, key_id=prepared.sealer.key_id, now=now
        )
        grants.drop_grant(transaction, row.id)
        if grant is not None:
            grants.put_grant(
                transaction,
                row.id,
                generation=generation,
                scopes=grant.scopes,
                access_expires_at=grant.access_expires_at,
                refresh_expires_at=grant.refresh_expires_at,
                now=now,
            )
        log.add_entry(
            transaction,
            at=now,
            actor=actor,
            event="connection.reconnected" if known else "connection.added",
            connection_id=row.id,
            detail=f"{row.provider} {row.name} ({row.environment}) at {row.base_url}",
        )
        return run_ids

    run_ids = installation.database.transact(work)
    for run_id in run_ids:
        ring_for(installation.engine, run_id)
    return run_ids


def find_same_account(installation: Installation, row: ConnectionRow) -> ConnectionRow | None:
    """Find another connection to the same account, made in the same way."""
    with installation.database.read() as transaction:
        for known in store.list_connections(transaction):
            is_live = known.account_id is not None and known.state != "disconnected"
            same = ("provider", "environment", "base_url", "auth_kind", "account_id")
            is_same = all(getattr(known, name) == getattr(row, name) for name in same)
            if known.id != row.id and is_live and is_same:
                return known
    return None


def check_environment(plugin: Plugin, name: str) -> str:
    """Return an environment of the provider; its first one for an empty name.

    Raises:
        InvalidInputError: It has none of that name.
    """
    known = plugin.provider.environments
    if not name:
        return next(iter(known))
    if name not in known:
        raise InvalidInputError(
            f"{plugin.provider.title} has no environment {name[:40]!r}",
            hint=nearest(name, known),
            code="environment-unknown",
        )
    return name


def _way(plugin: Plugin, kind: type[_A], words: str) -> _A:
    for auth in plugin.auth:
        if isinstance(auth, kind):
            return auth
    kinds = ", ".join(auth.kind for auth in plugin.auth)
    raise InvalidInputError(
        f"{plugin.provider.title} takes no {words}; it takes {kinds}",
        hint=f"tieline connect {plugin.name} --name NAME",
        code="auth-kind",
    )


def check_name(name: str) -> None:
    """Refuse what can be no name of a connection.

    Raises:
        InvalidInputError: It is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:80]!r} is no name for a connection: letters, digits and ._- only, 64 at most",
            code="name-invalid",
        )


def _check_key(plugin: Plugin, auth: ApiKey, key: Secret) -> str:
    text = key.reveal().strip()
    remember(text)  # before the plugin looks at it
    title = plugin.provider.title
    hint = _hint_of(auth)
    if not text:
        raise InvalidInputError(f"the {title} key is empty", hint=hint, code="key-invalid")
    if len(text) > _LONGEST_KEY or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInputError(
            f"that is no {title} key: it has spaces, line breaks or characters no key has",
            hint=hint,
            code="key-invalid",
        )
    if auth.refuse and (reason := auth.refuse(text)):
        raise InvalidInputError(
            f"that key cannot be used with {title}: {reason}", hint=hint, code="key-invalid"
        )
    return text


def _hint_of(auth: Auth) -> str:
    """Say where to copy a secret from; nothing where people sign in, or nobody said it."""
    return f"copy it from {auth.where}" if isinstance(auth, (ApiKey, Basic)) and auth.where else ""


def check_base_url(
    installation: Installation, plugin: Plugin, environment: str, base_url: str
) -> str:
    """Return where a connection's API is; the environment's own address for an empty one.

    Raises:
        InvalidInputError: It is no address.
        SettingsError: In production, it is not the provider's and not allowed.
    """
    own = plugin.provider.environments.get(environment)
    if not base_url:
        return own or next(iter(plugin.provider.environments.values()))
    url = base_url.strip().rstrip("/")
    if not _is_base_url(url):
        raise InvalidInputError(
            f"{base_url[:200]!r} is no base address",
            hint="for example: http://127.0.0.1:12111, without query, user or password",
            code="base-url-invalid",
        )
    settings = installation.settings
    is_own = plugin.provider.owns(url)
    if settings.is_production and not is_own and url not in settings.allowed_base_urls:
        raise SettingsError(
            f"in production {plugin.provider.title} is called at its own address, not at {url}",
            hint=f"allow it: TIELINE_ALLOWED_BASE_URLS={url}",
            code="base-url-refused",
        )
    return url


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    is_clean = url.isascii() and url.isprintable() and not set(url) & set(" @?#")
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and is_plain and is_clean


def _existing(
    installation: Installation, row: ConnectionRow, *, is_replacing: bool, has_address: bool
) -> ConnectionRow:
    with installation.database.read() as transaction:
        found = store.find_connection(transaction, row.name)
    if found is None:
        return row
    if not is_replacing or found.provider != row.provider:
        raise RefusedError(
            f"there is a connection {row.name!r} already, to {found.provider}",
            hint="choose another name, or give it the new key with --replace",
            code="name-taken",
        )
    if found.environment != row.environment:
        raise _other_account(found, f"it is of the {found.environment} environment")
    address = row.base_url if has_address else found.base_url
    return replace(
        row,
        id=found.id,
        created_at=found.created_at,
        base_url=address,
        account_id=found.account_id,
        account_name=found.account_name,
        settings=found.settings,
        paused_at=found.paused_at,
    )


def _other_account(found: ConnectionRow, why: str) -> RefusedError:
    return RefusedError(
        f"this credential opens another account than {found.name!r} had: {why}",
        hint="connect it under a name of its own: the records of two accounts do not mix",
        code="other-account",
    )


def make_first_key(installation: Installation) -> None:
    """Make a local key in development if nothing was ever sealed here."""
    if installation.settings.is_production or installation.settings.key:
        return
    with installation.database.read() as transaction:
        has_sealed = store.has_credentials(transaction)
    if not has_sealed:
        installation.make_key()
