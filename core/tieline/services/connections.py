"""Look at connections, test them, let them rest, take them away."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from tieline.contract import (
    Account,
    Auth,
    Connection,
    NeedsReauthError,
    OAuth2,
    OutcomeUnknownError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitPolicy,
    RetryLaterError,
    SettingsError,
    TielineError,
)
from tieline.errors import (
    NotFoundError,
    PluginError,
    RefusedError,
    VaultError,
    nearest,
)
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import drains, grants, log, parking, schedules
from tieline.store.connections import ConnectionRow, EntityState
from tieline.store.database import Connection as Transaction
from tieline.store.grants import GrantRow
from tieline.telemetry import tellable

# What talks to a provider takes longer to import than to list connections does.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from tieline.auth import OpenConnection

__all__ = [
    "Access",
    "Removed",
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


Access = Literal["revoked", "shared", "untold"]
"""What became of the access at the provider: it is over, another connection to the same
account still lives by it, or the provider has no way to end it, or could not be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removed:
    """A connection that was taken away.

    Attributes:
        row: As it is now, or as it was if nothing of it is left.
        access: What became of the access at the provider.
    """

    row: ConnectionRow
    access: Access


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

    Tokens that are due are renewed first, which may take as long as a renewal
    does: a call to a token endpoint is not cut short. A refused credential is
    renewed once, where it can be; is it refused again, the connection is marked.

    Raises:
        NotFoundError: There is none of that name or id.
        NeedsReauthError: A person has to connect it again.
        ProviderError: The provider did not answer in time, or refused.
    """
    from tieline.auth import auth_of, reauth_hint
    from tieline.throttle import policy_of

    row = get_connection(installation, name_or_id)
    plugin = installation.registry.get(row.provider)
    began = time.monotonic()
    try:
        connection, account = _ask_whose(installation, row, auth_of(plugin, row.auth_kind), actor)
    except NeedsReauthError as error:
        hint = error.hint or reauth_hint(row.name)
        raise NeedsReauthError(error.message, hint=hint, code=error.slug) from error
    row = get_connection(installation, row.id)
    grant = get_grant(installation, row)
    scopes = account.scopes or (grant.scopes if grant else None) or ()
    return Tested(
        row=row,
        account=replace(account, name=tellable(account.name)),
        scopes=tuple(tellable(scope) for scope in scopes),
        limits=policy_of(
            plugin.name,
            plugin.rate_limits(connection),
            installation.settings.rate_limits,
            row.name,
        ),
        access_expires_at=grant.access_expires_at if grant else None,
        refresh_expires_at=grant.refresh_expires_at if grant else None,
        seconds=time.monotonic() - began,
    )


def _ask_whose(
    installation: Installation, row: ConnectionRow, auth: Auth, actor: str
) -> tuple[Connection, Account]:
    opener = installation.engine.opener
    may_renew = True
    while True:
        stop = threading.Event()
        opened = opener.open(row.id, stop=stop, deadline_s=_TEST_S)
        try:
            return opened.connection, _identified(opened, auth)
        except NeedsReauthError as error:
            if not (may_renew and opener.renew_refused(row.id, opened.generation)):
                _mark(installation, row, opened.generation, error, actor)
                raise
            may_renew = False
        finally:
            stop.set()
            opened.transport.close()


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
            raise RefusedError(
                f"the connection {row.name} is paused already",
                hint=f"tieline connections resume {row.name}",
                code="connection-paused",
            )
        hint = f"tieline connections resume {row.name}"
        waiting = parking.pause_all(transaction, row.id, hint=hint)
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
            raise RefusedError(
                f"the connection {row.name} is not paused", code="connection-not-paused"
            )
        found = parking.resume_all(transaction, row.id, now)
        _note(transaction, now, actor, "connection.resumed", row, f"{len(found)} runs go on")
        return found

    from tieline.engine.ask import ring_for

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
) -> Removed:
    """Disconnect an account: revoke at the provider, then destroy the credential.

    Args:
        installation: Where.
        name_or_id: The connection.
        actor: Who does it, for the sync log.
        keeps_records: Records stay to be read, and the connection with them,
            as ``disconnected``; otherwise all of it goes. The log stays.
        is_forced: Go on if the provider cannot be told.

    Raises:
        NotFoundError: There is none of that name or id.
        RefusedError: It is disconnected already, and its records are to stay.
        ProviderError: The provider could not be told; nothing was done.
        SettingsError, VaultError, PluginError: The same, for a reason of ours.
    """
    row = get_connection(installation, name_or_id)
    if keeps_records and row.state == "disconnected":
        raise RefusedError(
            f"the connection {row.name} is disconnected already",
            hint=f"remove its records too: tieline connections remove {row.name}",
            code="connection-disconnected",
        )
    access = _revoke(installation, row, is_forced=is_forced)
    now = installation.clock.now()
    detail = f"{row.provider} {row.name}; access {access}"

    def disconnect(transaction: Transaction) -> None:
        store.drop_credential(transaction, row.id)
        grants.drop_grant(transaction, row.id)
        parking.cancel_all(transaction, row.id, now)
        drains.cancel_all(transaction, row.id, now)
        schedules.delete_all(transaction, row.id)
        store.mark_disconnected(transaction, row.id, now)
        if keeps_records:
            _note(transaction, now, actor, "connection.disconnected", row, detail)

    def purge(transaction: Transaction) -> None:
        store.delete_connection(transaction, row.id)
        _note(transaction, now, actor, "connection.removed", row, detail)

    # In two steps: once no run of it is active, no worker's page is in the way of the second.
    installation.database.transact(disconnect)
    if not keeps_records:
        installation.database.transact(purge)
    left = get_connection(installation, row.id) if keeps_records else row
    return Removed(row=left, access=access)


def _revoke(installation: Installation, row: ConnectionRow, *, is_forced: bool) -> Access:
    """Give access back, if the provider has a way; access that is over counts as given back."""
    from tieline.auth import auth_of

    if row.auth_kind != "oauth2" or row.state == "disconnected":
        return "untold"
    try:
        auth = auth_of(installation.registry.get(row.provider), row.auth_kind)
        if not isinstance(auth, OAuth2) or auth.revocation is None:
            return "untold"
        if _is_shared(installation, row):
            return "shared"  # providers end all access to the account, whoever has it
        fields = installation.engine.opener.refresher.peek(row.id)
        is_revoked = installation.engine.opener.endpoint(row, auth).revoke(fields)
    except (ProviderError, PluginError, NotFoundError, SettingsError, VaultError) as error:
        if is_forced:
            return "untold"
        raise _untold(error) from error
    return "revoked" if is_revoked else "untold"


def _is_shared(installation: Installation, row: ConnectionRow) -> bool:
    """Say whether another connection lives by the access that the account's owner gave."""
    same = ("provider", "environment", "base_url", "auth_kind", "account_id")
    return row.account_id is not None and any(
        known.id != row.id
        and known.state == "ok"
        and all(getattr(known, name) == getattr(row, name) for name in same)
        for known in list_connections(installation)
    )


def _untold(error: TielineError) -> TielineError:
    """Say that nothing was done; revoking may be repeated, whatever became of it."""
    is_for_now = isinstance(error, (RetryLaterError, OutcomeUnknownError))
    kind = RetryLaterError if is_for_now else type(error)
    return kind(
        f"{error.message}; nothing was removed",
        hint="try again later, or leave the access there: --force",
        code=error.slug,
    )


def _identified(opened: OpenConnection, auth: Auth) -> Account:
    """Ask whose account it is, and wait no longer than a test may take.

    It may take more than one call, and turns to wait for; one that comes too
    late finds nobody who wants it.

    Raises:
        ProviderError: Of the class that says what happens next.
    """
    answers: queue.Queue[Account | BaseException] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(opened.identify(auth))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            answers.put(error)

    threading.Thread(target=ask, name="test", daemon=True).start()
    title = opened.plugin.provider.title
    try:
        answer = answers.get(timeout=_TEST_S)
    except queue.Empty:
        answer = ProviderUnavailableError(
            f"{title} did not answer within {_TEST_S:.0f} s",
            hint="try again, or look whether the provider has trouble",
        )
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _mark(
    installation: Installation,
    row: ConnectionRow,
    generation: int | None,
    error: NeedsReauthError,
    actor: str,
) -> None:
    from tieline.auth import note_refused

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
