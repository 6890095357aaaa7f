"""Connect accounts, list them, take them away."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from tieline.contract import Account, ApiKey, NeedsReauthError, Secret, SettingsError
from tieline.errors import InvalidInputError, NotFoundError, RefusedError, nearest
from tieline.registry import Plugin
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import log
from tieline.store.connections import ConnectionRow, EntityState
from tieline.store.database import Connection as Transaction
from tieline.store.ids import new_id
from tieline.telemetry import remember, tellable
from tieline.vault import Context

__all__ = [
    "connect_api_key",
    "connection_states",
    "get_connection",
    "list_connections",
    "remove_connection",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LONGEST_KEY = 4096


def connect_api_key(
    installation: Installation,
    provider: str,
    *,
    name: str,
    key: Secret,
    base_url: str = "",
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
        actor: Who does it, for the sync log.
        is_checked: Whether the provider is asked if the key is good.
        is_replacing: Whether a connection of that name gets the new key.

    Returns:
        The stored connection.

    Raises:
        NotFoundError: No such provider.
        InvalidInputError: Name, key or address make no sense.
        RefusedError: The name is taken.
        SettingsError: The address is not allowed here, or there is no key to
            seal the credential under.
        ProviderError: The provider refused the key or did not answer.
    """
    plugin = installation.registry.get(provider)
    auth = _api_key_auth(plugin)
    _check_name(name)
    text = _check_key(plugin, auth, key)
    remember(text)
    environment = (auth.environment(text) if auth.environment else None) or next(
        iter(plugin.provider.environments)
    )
    now = installation.clock.now()
    row = ConnectionRow(
        id=new_id("con"),
        name=name,
        provider=provider,
        environment=environment,
        base_url=_check_base_url(installation, plugin, environment, base_url),
        auth_kind=auth.kind,
        account_id=None,
        account_name="",
        settings={},
        state="ok",
        created_at=now,
        updated_at=now,
    )
    row = _existing(installation, row, is_replacing=is_replacing, has_address=bool(base_url))
    fields = {auth.field: text}
    _make_first_key(installation)
    # Asked for before the network is: a key that cannot be sealed must not be tried.
    sealed, key_id = _seal(installation, row.id, fields)
    if is_checked:
        account = _identify(installation, auth, row, fields)
        if row.account_id and account.id and account.id != row.account_id:
            raise _other_account(row, f"that was {row.account_name or row.account_id}")
        row = replace(
            row,
            account_id=account.id and tellable(account.id),
            account_name=tellable(account.name),
        )
    _store(installation, row, sealed, key_id, actor=actor)
    return row


def list_connections(installation: Installation) -> list[ConnectionRow]:
    """Return all connections by name."""
    with installation.database.read() as transaction:
        return store.list_connections(transaction)


def get_connection(installation: Installation, name_or_id: str) -> ConnectionRow:
    """Return a connection.

    Raises:
        NotFoundError: There is none of that name or id.
    """
    with installation.database.read() as transaction:
        row = store.find_connection(transaction, name_or_id)
        names = [] if row else store.connection_names(transaction)
    if row is None:
        raise NotFoundError(
            f"there is no connection {name_or_id!r}",
            hint=nearest(name_or_id, names) or "tieline connect PROVIDER --name NAME",
            code="connection-unknown",
        )
    return row


def connection_states(installation: Installation, row: ConnectionRow) -> list[EntityState]:
    """Say how far each entity of a connection is."""
    with installation.database.read() as transaction:
        return store.read_entity_states(transaction, row.id)


def remove_connection(installation: Installation, name_or_id: str, *, actor: str) -> ConnectionRow:
    """Remove a connection with its credential, runs and records; the log stays.

    Raises:
        NotFoundError: There is none of that name or id.
    """
    row = get_connection(installation, name_or_id)
    with installation.database.write() as transaction:
        store.delete_connection(transaction, row.id)
        log.add_entry(
            transaction,
            at=installation.clock.now(),
            actor=actor,
            event="connection.removed",
            connection_id=row.id,
            detail=f"{row.provider} {row.name}",
        )
    return row


def _api_key_auth(plugin: Plugin) -> ApiKey:
    for auth in plugin.auth:
        if isinstance(auth, ApiKey):
            return auth
    kinds = ", ".join(auth.kind for auth in plugin.auth)
    raise InvalidInputError(f"{plugin.provider.title} takes no API key; it takes {kinds}")


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:80]!r} is no name for a connection: letters, digits and ._- only, 64 at most",
            code="name-invalid",
        )


def _check_key(plugin: Plugin, auth: ApiKey, key: Secret) -> str:
    text = key.reveal().strip()
    title = plugin.provider.title
    hint = f"copy it from {auth.where}" if auth.where else ""
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


def _check_base_url(
    installation: Installation, plugin: Plugin, environment: str, base_url: str
) -> str:
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
    is_own = url in plugin.provider.environments.values()
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
    )


def _other_account(found: ConnectionRow, why: str) -> RefusedError:
    return RefusedError(
        f"this key opens another account than {found.name!r} had: {why}",
        hint="connect it under a name of its own: the records of two accounts do not mix",
        code="other-account",
    )


def _make_first_key(installation: Installation) -> None:
    """Make a local key in development if nothing was ever sealed here."""
    if installation.settings.is_production or installation.settings.key:
        return
    with installation.database.read() as transaction:
        has_sealed = store.has_credentials(transaction)
    if not has_sealed:
        installation.make_key()


def _seal(
    installation: Installation, connection_id: str, fields: Mapping[str, str]
) -> tuple[dict[str, str], str]:
    sealed: dict[str, str] = {}
    key_id = ""
    for field, text in fields.items():
        context = Context(connection_id=connection_id, field=field)
        sealed[field], key_id = installation.vault.seal(Secret(text), context)
    return sealed, key_id


def _identify(
    installation: Installation, auth: ApiKey, row: ConnectionRow, fields: Mapping[str, str]
) -> Account:
    opened = installation.engine.opener.open_with(row, fields)
    try:
        return opened.identify(auth)
    except NeedsReauthError as error:
        raise NeedsReauthError(
            f"{opened.plugin.provider.title} refuses this key: {error.message}", hint=error.hint
        ) from None
    finally:
        opened.transport.close()


def _store(
    installation: Installation,
    row: ConnectionRow,
    sealed: Mapping[str, str],
    key_id: str,
    *,
    actor: str,
) -> None:
    def work(transaction: Transaction) -> None:
        known = store.find_connection(transaction, row.id)
        if known:
            store.update_connection(transaction, row)
        elif not store.add_connection(transaction, row):
            raise RefusedError(f"there is a connection {row.name!r} already", code="name-taken")
        store.replace_credential(transaction, row.id, sealed, key_id=key_id, now=row.updated_at)
        log.add_entry(
            transaction,
            at=row.updated_at,
            actor=actor,
            event="connection.reconnected" if known else "connection.added",
            connection_id=row.id,
            detail=f"{row.provider} {row.name} ({row.environment}) at {row.base_url}",
        )

    installation.database.transact(work)
