"""Look at connections, test them, let them rest, take them away."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime

from tieline.auth import auth_of, note_refused
from tieline.contract import (
    Account,
    NeedsReauthError,
    OAuth2,
    ProviderError,
    RateLimitPolicy,
)
from tieline.engine.ask import ring_for
from tieline.errors import NotFoundError, PluginError, RefusedError, nearest
from tieline.services.connect import find_same_account
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import grants, log, runs, schedules
from tieline.store.connections import ConnectionRow, EntityState
from tieline.store.database import Connection as Transaction
from tieline.store.grants import GrantRow
from tieline.telemetry import tellable
from tieline.throttle import policy_of

__all__ = [
    "Tested",
    "connection_states",
    "get_connection",
    "get_grant",
    "list_connections",
    "pause_connection",
    "remove_connection",
    "resume_connection",
    "test_connection",
]

_TEST_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """What a test of a connection told.

    Attributes:
        row: The connection.
        account: Whose it is, by the provider's answer just now.
        scopes: The rights that it has; empty if nobody says.
        limits: Of calls to the provider.
        access_expires_at: When the access token ends; None: never.
        refresh_expires_at: When a person has to connect again at the latest.
        seconds: How long it took.
    """

    row: ConnectionRow
    account: Account
    scopes: tuple[str, ...]
    limits: RateLimitPolicy
    access_expires_at: datetime | None
    refresh_expires_at: datetime | None
    seconds: float


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


def get_grant(installation: Installation, row: ConnectionRow) -> GrantRow | None:
    """Return what OAuth 2 gave a connection; None where it was connected another way."""
    with installation.database.read() as transaction:
        return grants.read_grant(transaction, row.id)


def test_connection(installation: Installation, name_or_id: str, *, actor: str) -> Tested:
    """Ask the provider whose account a connection is, within three seconds.

    A refused credential is renewed once, where it can be; is it refused again,
    the connection is marked.

    Raises:
        NotFoundError: There is none of that name or id.
        NeedsReauthError: A person has to connect it again.
        ProviderError: The provider did not answer in time, or refused.
    """
    row = get_connection(installation, name_or_id)
    plugin = installation.registry.get(row.provider)
    auth = auth_of(plugin, row.auth_kind)
    opener = installation.engine.opener
    began = time.monotonic()
    account: Account | None = None
    for is_last in (False, True):
        opened = opener.open(row.id, deadline_s=_TEST_S)
        try:
            account = opened.identify(auth)
            break
        except NeedsReauthError as error:
            if not is_last and opener.renew_refused(row.id, opened.generation):
                continue
            _mark(installation, row, opened.generation, error, actor)
            raise
        finally:
            opened.transport.close()
    assert account is not None
    row = get_connection(installation, row.id)
    grant = get_grant(installation, row)
    scopes = account.scopes or (grant.scopes if grant else None) or ()
    connection = opened.connection
    return Tested(
        row=row,
        account=replace(account, name=tellable(account.name)),
        scopes=tuple(tellable(scope) for scope in scopes),
        limits=policy_of(
            plugin.name, plugin.rate_limits(connection), installation.settings.rate_limits
        ),
        access_expires_at=grant.access_expires_at if grant else None,
        refresh_expires_at=grant.refresh_expires_at if grant else None,
        seconds=time.monotonic() - began,
    )


def pause_connection(installation: Installation, name_or_id: str, *, actor: str) -> ConnectionRow:
    """Let a connection rest: nothing is read until it is resumed; its runs wait.

    Raises:
        NotFoundError: There is none of that name or id.
        RefusedError: It rests already.
    """
    row = get_connection(installation, name_or_id)
    now = installation.clock.now()

    def work(transaction: Transaction) -> None:
        if not store.set_paused(transaction, row.id, now):
            raise RefusedError(f"the connection {row.name} is paused already", code="paused")
        waiting = runs.pause_all(transaction, row.id)
        _note(transaction, now, actor, "connection.paused", row, f"{len(waiting)} runs wait")

    installation.database.transact(work)
    return get_connection(installation, row.id)


def resume_connection(installation: Installation, name_or_id: str, *, actor: str) -> ConnectionRow:
    """Let a paused connection go on; its runs continue from their checkpoints.

    Raises:
        NotFoundError: There is none of that name or id.
        RefusedError: It is not paused.
    """
    row = get_connection(installation, name_or_id)
    now = installation.clock.now()

    def work(transaction: Transaction) -> list[str]:
        if not store.set_paused(transaction, row.id, None):
            raise RefusedError(f"the connection {row.name} is not paused", code="not-paused")
        found = runs.resume_all(transaction, row.id, now)
        _note(transaction, now, actor, "connection.resumed", row, f"{len(found)} runs go on")
        return found

    for run_id in installation.database.transact(work):
        ring_for(installation.engine, run_id)
    return get_connection(installation, row.id)


def remove_connection(
    installation: Installation,
    name_or_id: str,
    *,
    actor: str,
    keeps_records: bool = False,
    is_forced: bool = False,
) -> tuple[ConnectionRow, bool]:
    """Disconnect an account: revoke at the provider, then destroy the credential.

    Args:
        installation: Where.
        name_or_id: The connection.
        actor: Who does it, for the sync log.
        keeps_records: Records stay to be read, and the connection with them,
            as ``disconnected``; otherwise all of it goes. The log stays.
        is_forced: Go on if the provider cannot be told.

    Returns:
        The connection as it was, and whether access was revoked at the
        provider. Where the provider has no way to, it was not.

    Raises:
        NotFoundError: There is none of that name or id.
        ProviderError: The provider could not be told; nothing was done.
    """
    row = get_connection(installation, name_or_id)
    is_revoked = _revoke(installation, row, is_forced=is_forced)
    now = installation.clock.now()
    detail = f"{row.provider} {row.name}; {'revoked' if is_revoked else 'not revoked'}"

    def work(transaction: Transaction) -> None:
        store.drop_credential(transaction, row.id)
        grants.drop_grant(transaction, row.id)
        if keeps_records:
            runs.cancel_all(transaction, row.id, now)
            schedules.delete_all(transaction, row.id)
            store.mark_disconnected(transaction, row.id, now)
            _note(transaction, now, actor, "connection.disconnected", row, detail)
        else:
            store.delete_connection(transaction, row.id)
            _note(transaction, now, actor, "connection.removed", row, detail)

    installation.database.transact(work)
    return row, is_revoked


def _revoke(installation: Installation, row: ConnectionRow, *, is_forced: bool) -> bool:
    """Give access back, if the provider has a way; tokens that are over need none."""
    if row.auth_kind != "oauth2" or row.state == "disconnected":
        return False
    try:
        auth = auth_of(installation.registry.get(row.provider), row.auth_kind)
        if not isinstance(auth, OAuth2) or auth.revocation is None:
            return False
        if find_same_account(installation, row) is not None:
            return False  # providers end all access to the account, and another still has it
        fields = installation.engine.opener.refresher.peek(row.id)
        return installation.engine.opener.endpoint(row, auth).revoke(fields)
    except (ProviderError, PluginError, NotFoundError) as error:
        if is_forced:
            return False
        raise type(error)(
            f"{error.message}; nothing was removed",
            hint="try again later, or leave the access there: --force",
        ) from error


def _mark(
    installation: Installation,
    row: ConnectionRow,
    generation: int | None,
    error: NeedsReauthError,
    actor: str,
) -> None:
    with installation.database.write() as transaction:
        note_refused(
            transaction,
            row.id,
            generation=generation,
            error=error,
            actor=actor,
            now=installation.clock.now(),
        )


def _note(
    transaction: Transaction, now: datetime, actor: str, event: str, row: ConnectionRow, detail: str
) -> None:
    log.add_entry(
        transaction, at=now, actor=actor, event=event, connection_id=row.id, detail=detail
    )
