"""Renew tokens: before they end, once per generation over all processes.

A provider may rotate: each refresh gives a new refresh token and ends the old
one. Two that refresh at once, or one that dies before it stored what it got,
then lose the connection. So a row is claimed, with a lease that is longer
than the call can be; the new pair is committed from the generation that was
read before anybody uses it; and the old refresh token is kept until the next
one has worked.

What cannot be promised: with strict rotation and no grace, a process that
dies between the answer and the commit loses that token. That is noticed at
the next refresh, and the owner is asked to connect again.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieline.auth.tokens import Grant, TokenEndpoint
from tieline.auth.trouble import note_recovered, note_refused, reauth_hint
from tieline.clock import Clock
from tieline.contract import (
    NeedsReauthError,
    OAuth2,
    OutcomeUnknownError,
    ProviderError,
    RetryLaterError,
    Secret,
)
from tieline.errors import NotFoundError, StopRequested
from tieline.failpoints import failpoint
from tieline.store import connections as store
from tieline.store import grants
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction
from tieline.store.database import Database
from tieline.store.grants import GrantRow
from tieline.telemetry import get_logger, span
from tieline.vault import Context, Sealer, Vault

__all__ = ["Held", "Refresher", "is_due"]

_log = get_logger(__name__)

_CALLS = 3
_PATIENCE_S = 10.0
_POLL_S = 0.05
_MOST_LOOKS = 20
_LONGEST_MARGIN = timedelta(minutes=15)
_MARGIN_SHARE = 0.2
_PREVIOUS = "previous_refresh_token"
_PREVIOUS_LIFE = timedelta(hours=24)
_FIRST_BACKOFF_S = 5.0
_LONGEST_BACKOFF_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A credential as it is now.

    Attributes:
        row: Its connection.
        fields: Field name to text, without those that only the core needs.
        generation: Counts the connection's credentials; None: it has none.
        ends_at: When it is to be looked at again; None: not before it is refused.
    """

    row: ConnectionRow
    fields: Mapping[str, str]
    generation: int | None
    ends_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    row: ConnectionRow
    sealed: Mapping[str, str]
    generation: int | None
    grant: GrantRow | None


def is_due(grant: GrantRow, now: datetime) -> bool:
    """Say whether tokens are to be renewed by now: a fifth of their life before they end."""
    return (due_at := _due_at(grant)) is not None and due_at <= now


def _due_at(grant: GrantRow) -> datetime | None:
    if grant.access_expires_at is None:
        return None
    life = max(grant.access_expires_at - grant.refreshed_at, timedelta(0))
    # Spread, so that accounts connected together are not renewed together.
    spread = 0.9 + 0.1 * _share(grant.connection_id)
    return grant.access_expires_at - min(life * _MARGIN_SHARE, _LONGEST_MARGIN) * spread


def _share(text: str) -> float:
    """Return a number from 0 to 1 that is always the same for a text."""
    return sum(text.encode()) % 101 / 100


class Refresher:
    """Hands out credentials whose tokens are good, and renews those that are not.

    Args:
        database: Where grants are.
        vault: Opens and seals them.
        clock: Now, and waits.
        endpoint_of: Finds the token endpoint of a connection, with what its
            plugin declares; raises SettingsError without an application.
        call_s: Longest time that one call to it may take, in seconds. The
            lease is longer than all calls of one attempt together.
    """

    def __init__(
        self,
        database: Database,
        vault: Vault,
        clock: Clock,
        endpoint_of: Callable[[ConnectionRow], tuple[OAuth2, TokenEndpoint]],
        *,
        call_s: float,
    ) -> None:
        self._database = database
        self._vault = vault
        self._clock = clock
        self._endpoint_of = endpoint_of
        self._call_s = call_s
        self._lease = timedelta(seconds=(_CALLS + 1) * call_s)

    def hold(
        self,
        connection_id: str,
        *,
        refused: int | None = None,
        stop: threading.Event | None = None,
    ) -> Held:
        """Return a connection's credential, renewed first if that is due.

        Args:
            connection_id: The connection.
            refused: Generation of a credential that the provider refused: that
                one is renewed even if it should be good.
            stop: Cuts waits for another process short.

        Raises:
            NotFoundError: There is no such connection.
            NeedsReauthError: The grant is gone; the connection is marked.
            RetryLaterError: The provider gives no new tokens now, and those at
                hand are over.
            SettingsError: The application is not set, or refused.
            VaultError: The credential cannot be opened, or a new one not be
                sealed; then no token was asked for.
            StopRequested: ``stop`` was set while another process was waited for.
        """
        patience = self._clock.monotonic() + self._lease.total_seconds() + _PATIENCE_S
        while True:
            found = self._find(connection_id)
            self._require_usable(found.row)
            grant, now = found.grant, self._clock.now()
            is_refused = refused is not None and found.generation == refused
            if grant is None or not (is_refused or is_due(grant, now)):
                return self._opened(found)
            is_good = not is_refused and _is_good(grant, now)
            if "refresh_token" not in found.sealed:
                return self._without_refresh(found, is_good=is_good, is_refused=is_refused)
            owner = _new_owner()
            if self._claim(found, owner, now):
                self._renew(found, grant, owner, is_good=is_good)
                return self._opened(self._find(connection_id))  # once: nobody asks in a loop
            if is_good:
                return self._opened(found)
            if _rests(grant, now):
                raise _not_now(found.row, grant, now)
            if self._clock.monotonic() > patience:
                raise RetryLaterError(
                    f"the tokens of {found.row.name} are being renewed by somebody who does not end"
                )
            if self._clock.sleep(_POLL_S, stop):
                raise StopRequested

    def renew(self, connection_id: str, *, older_than: datetime) -> Held:
        """Renew tokens that came before a time, due or not.

        Raises:
            As :meth:`hold`.
        """
        found = self._find(connection_id)
        self._require_usable(found.row)
        grant, now, owner = found.grant, self._clock.now(), _new_owner()
        is_old = grant is not None and grant.refreshed_at < older_than
        can_renew = is_old and "refresh_token" in found.sealed
        if grant is not None and can_renew and self._claim(found, owner, now):
            self._renew(found, grant, owner, is_good=_is_good(grant, now))
        return self._opened(self._find(connection_id))

    def peek(self, connection_id: str) -> Mapping[str, str]:
        """Return a credential's fields as they are: to revoke them, nothing need be renewed.

        Raises:
            NotFoundError: There is no such connection.
            VaultError: The credential cannot be opened.
        """
        return self._opened(self._find(connection_id)).fields

    # --- reading -------------------------------------------------------------------------------

    def _find(self, connection_id: str) -> _Found:
        """Read a connection with its credential and grant, all of one generation."""
        for _ in range(_MOST_LOOKS):
            with self._database.read() as transaction:
                row = store.find_connection(transaction, connection_id)
                sealed, generation = store.read_sealed(transaction, connection_id)
                grant = grants.read_grant(transaction, connection_id)
            if row is None:
                raise NotFoundError(f"there is no connection {connection_id!r}")
            # PostgreSQL gives each statement a view of its own: new tokens may come in between.
            if grant is None or grant.generation == generation:
                return _Found(row=row, sealed=sealed, generation=generation, grant=grant)
        raise RetryLaterError(f"the credential of {connection_id} changes faster than it is read")

    def _require_usable(self, row: ConnectionRow) -> None:
        if row.state == "needs_reauth":
            raise NeedsReauthError(
                row.trouble or f"the connection {row.name!r} has to be connected again",
                hint=reauth_hint(row.name),
            )
        if row.state == "disconnected":
            raise NeedsReauthError(
                f"the connection {row.name!r} was disconnected", hint=reauth_hint(row.name)
            )

    def _opened(self, found: _Found) -> Held:
        fields = {
            field: self._open(found.row.id, field, text)
            for field, text in found.sealed.items()
            if field != _PREVIOUS
        }
        return Held(
            row=found.row,
            fields=fields,
            generation=found.generation,
            ends_at=_due_at(found.grant) if found.grant else None,
        )

    def _open(self, connection_id: str, field: str, sealed: str) -> str:
        return self._vault.open(sealed, Context(connection_id=connection_id, field=field)).reveal()

    def _without_refresh(self, found: _Found, *, is_good: bool, is_refused: bool) -> Held:
        if is_good or is_refused:
            return self._opened(found)  # whoever was refused tells so
        error = NeedsReauthError(
            "the access token is over, and the provider gave none to renew it with",
            hint=reauth_hint(found.row.name),
        )
        self._mark(found, error)
        raise error

    # --- renewing ------------------------------------------------------------------------------

    def _claim(self, found: _Found, owner: str, now: datetime) -> bool:
        def work(transaction: Transaction) -> bool:
            assert found.generation is not None
            return grants.claim_grant(
                transaction,
                found.row.id,
                generation=found.generation,
                owner=owner,
                now=now,
                lease=self._lease,
            )

        return self._database.transact(work)

    def _renew(self, found: _Found, grant: GrantRow, owner: str, *, is_good: bool) -> None:
        """Ask for new tokens and store them; the caller looks again.

        Raises:
            ProviderError, SettingsError, VaultError: As :meth:`hold`, unless
                the tokens at hand are still good.
        """
        retry_at: datetime | None = None
        failures = 0
        try:
            with span("tokens.renew", connection=found.row.id, provider=found.row.provider):
                self._ask_and_store(found, grant)
        except NeedsReauthError as error:
            if self._mark(found, error) != "replaced":
                raise
        except (RetryLaterError, OutcomeUnknownError) as error:
            failures = grant.failures + 1
            asked = getattr(error, "retry_after", None) or 0.0
            pause = min(_FIRST_BACKOFF_S * 2 ** min(grant.failures, 8), _LONGEST_BACKOFF_S)
            pause = max(asked, pause)
            retry_at = self._clock.now() + timedelta(seconds=min(pause, 900.0))
            _log.warning("no new tokens", connection=found.row.name, reason=error.message)
            if not is_good:
                raise RetryLaterError(error.message, retry_after=pause, hint=error.hint) from error
        finally:
            self._release(found.row.id, owner, retry_at, failures)

    def _release(
        self, connection_id: str, owner: str, retry_at: datetime | None, failures: int
    ) -> None:
        def work(transaction: Transaction) -> bool:
            return grants.release_grant(
                transaction, connection_id, owner=owner, retry_at=retry_at, failures=failures
            )

        self._database.transact(work)

    def _ask_and_store(self, found: _Found, grant: GrantRow) -> None:
        begun = self._clock.monotonic()
        oauth, endpoint = self._endpoint_of(found.row)
        token = self._open(found.row.id, "refresh_token", found.sealed["refresh_token"])
        contexts = [
            Context(connection_id=found.row.id, field=field)
            for field in ("access_token", "refresh_token", _PREVIOUS, *oauth.kept)
        ]
        # Before the call: an answer that could not be sealed would be a lost grant.
        sealer = self._vault.prepare(*contexts)
        failpoint("auth.refresh.before_call")
        try:
            given = self._ask(endpoint, Secret(token), begun)
        except NeedsReauthError as error:
            given = self._ask_with_previous(found, grant, endpoint, begun, error)
        failpoint("auth.refresh.after_reply")
        self._store(found, grant, oauth, token, given, sealer)
        failpoint("auth.refresh.after_commit")

    def _ask(self, endpoint: TokenEndpoint, token: Secret, begun: float) -> Grant:
        """Ask; once more with the same token if the answer was lost, never a third time."""
        try:
            return self._call(endpoint, token, begun)
        except OutcomeUnknownError:
            return self._call(endpoint, token, begun)

    def _call(self, endpoint: TokenEndpoint, token: Secret, begun: float) -> Grant:
        """Call within the lease: a process that was frozen meanwhile calls no more."""
        left = self._lease.total_seconds() - (self._clock.monotonic() - begun)
        if left < self._call_s:
            raise RetryLaterError("the time to renew tokens in was over before they were asked for")
        return endpoint.refresh(token, now=self._clock.now())

    def _ask_with_previous(
        self,
        found: _Found,
        grant: GrantRow,
        endpoint: TokenEndpoint,
        begun: float,
        error: NeedsReauthError,
    ) -> Grant:
        """Try the refresh token of before, for a while; its successor may never have counted."""
        sealed = found.sealed.get(_PREVIOUS)
        is_over = grant.previous_until is None or grant.previous_until < self._clock.now()
        if sealed is None or is_over:
            raise error
        if self._find(found.row.id).generation != found.generation:
            raise error  # somebody has newer ones; those decide
        try:
            return self._call(endpoint, Secret(self._open(found.row.id, _PREVIOUS, sealed)), begun)
        except ProviderError:
            raise error from None

    def _store(
        self,
        found: _Found,
        grant: GrantRow,
        oauth: OAuth2,
        token: str,
        given: Grant,
        sealer: Sealer,
    ) -> None:
        """Commit the new tokens, from the generation that was read.

        Durably: the old ones may be void by now, so what a power cut took nobody gets again.
        """
        fields = dict(given.fields)
        is_rotated = fields.get("refresh_token", token) != token
        if is_rotated:
            fields[_PREVIOUS] = token
        sealed = {
            field: sealer.seal(Secret(text), Context(connection_id=found.row.id, field=field))
            for field, text in fields.items()
        }
        now = self._clock.now()
        previous_until = now + _PREVIOUS_LIFE if is_rotated else grant.previous_until

        def work(transaction: Transaction) -> bool:
            is_ours = grants.advance_grant(
                transaction,
                found.row.id,
                generation=grant.generation,
                scopes=given.scopes,
                access_expires_at=given.access_expires_at,
                refresh_expires_at=given.refresh_expires_at
                if oauth.refresh_deadlines
                else grant.refresh_expires_at,
                previous_until=previous_until,
                now=now,
            )
            if is_ours:
                store.change_credential(
                    transaction,
                    found.row.id,
                    sealed,
                    key_id=sealer.key_id,
                    generation=grant.generation + 1,
                    now=now,
                )
                note_recovered(transaction, found.row.id, actor=_this_process(), now=now)
            return is_ours

        with self._database.desk(is_durable=True) as desk:
            is_stored = desk.transact(work)
        if is_stored:
            _log.info("tokens renewed", connection=found.row.name, generation=grant.generation + 1)

    def _mark(self, found: _Found, error: NeedsReauthError) -> str:
        def work(transaction: Transaction) -> str:
            return note_refused(
                transaction,
                found.row.id,
                generation=found.generation,
                error=error,
                actor=_this_process(),
                now=self._clock.now(),
            )

        return self._database.transact(work)


def _is_good(grant: GrantRow, now: datetime) -> bool:
    return grant.access_expires_at is None or grant.access_expires_at > now


def _rests(grant: GrantRow, now: datetime) -> bool:
    return grant.retry_at is not None and now < grant.retry_at <= now + timedelta(hours=1)


def _not_now(row: ConnectionRow, grant: GrantRow, now: datetime) -> RetryLaterError:
    assert grant.retry_at is not None
    return RetryLaterError(
        f"the provider gave no new tokens for {row.name}; they are asked for again later",
        retry_after=(grant.retry_at - now).total_seconds(),
    )


def _new_owner() -> str:
    """Name this attempt; no other has the same name, not even of this process."""
    return f"{_this_process()}:{secrets.token_hex(4)}"


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
