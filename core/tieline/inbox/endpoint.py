"""Endpoints as the ingest needs them: declared, opened, and known for a second at most."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tieline.clock import Clock
from tieline.contract import Scheme, Secret, Webhooks
from tieline.errors import (
    DependencyError,
    NotFoundError,
    PluginError,
    SealBrokenError,
    VaultError,
)
from tieline.inbox.verify import Keys
from tieline.registry import Registry
from tieline.settings import Settings
from tieline.store import endpoints as store
from tieline.store.database import Database
from tieline.store.endpoints import EndpointRow, SecretRow
from tieline.telemetry import remember
from tieline.vault import Context, Vault

__all__ = ["SPREAD_S", "Endpoint", "Endpoints", "context_of", "fingerprint_of", "settings_secrets"]

SPREAD_S = 1.0
"""Seconds after which every process knows of a change; who makes a secret waits for it."""

_MOST_KNOWN = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """An endpoint that a delivery may be for.

    Attributes:
        row: As it is stored; None: the provider has none of that id.
        webhooks: What its plugin declares; None: the plugin is gone or broken.
        keys: What deliveries are checked with now.
        keys_until: When the first of them ends; None: not at all.
        ending: What those of them are called that are to end.
        read_at: When it was read, by the clock's monotonic seconds.
    """

    row: EndpointRow | None
    webhooks: Webhooks | None
    keys: Keys
    keys_until: datetime | None
    read_at: float
    ending: frozenset[str] = frozenset()

    @property
    def scheme(self) -> Scheme | None:
        """How its deliveries prove where they come from."""
        return self.webhooks.scheme if self.webhooks else None

    @property
    def is_application(self) -> bool:
        """Whether its events name their account."""
        return self.row is not None and self.row.connection_id is None

    @property
    def is_open(self) -> bool:
        """Whether it takes deliveries: it is there, active, and its connection is not given up."""
        row = self.row
        return bool(row and row.state == "active" and row.connection_state != "disconnected")


class Endpoints:
    """Reads endpoints, and keeps them for :data:`SPREAD_S`.

    What was accepted by an endpoint that changed within that second is found
    out when it is committed: its generation is another by then.

    Args:
        database: Where they are.
        registry: The plugins.
        vault: Opens their secrets.
        settings: May hold secrets of applications.
        clock: Now.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        vault: Vault,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._database = database
        self._registry = registry
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._known: dict[tuple[str, str], Endpoint] = {}
        self._opened: dict[str, Secret] = {}
        self._installed = frozenset(registry.names())
        self._reading = threading.Lock()
        self._failure: tuple[float, DependencyError | VaultError] | None = None
        self._renewing: set[tuple[str, str]] = set()
        self._renewer = ThreadPoolExecutor(1, thread_name_prefix="inbox-endpoints")

    def known(self, provider: str, endpoint_id: str) -> Endpoint | None:
        """Return an endpoint that was read within the last second, without asking anybody.

        One that is asked for is read again in the background before the second is
        over, so that a busy endpoint's deliveries never wait for that.
        """
        if not _ID.fullmatch(endpoint_id):
            return self._nobody(provider)
        place = provider, endpoint_id
        found = self._known.get(place)
        if found is None or not self._is_fresh(found):
            return None
        if found.row is not None and self._clock.monotonic() - found.read_at > SPREAD_S / 2:
            self._renew(place, found)
        return found

    def read(self, provider: str, endpoint_id: str, *, since: float | None = None) -> Endpoint:
        """Return an endpoint, from the database if need be.

        Args:
            provider: As a stranger wrote it.
            endpoint_id: As a stranger wrote it.
            since: Only what was read after that instant will do, by the
                clock's monotonic seconds; None: the last second's.

        Raises:
            DependencyError: The database does not answer.
            KeyUnavailableError: The key of its secrets is not to be had now.
        """
        place, came_at = (provider, endpoint_id), self._clock.monotonic()
        with self._reading:  # many wait for one, and it serves them all
            found = self._known.get(place)
            if found and self._is_fresh(found) and (since is None or found.read_at > since):
                return found
            if self._failure is not None and self._failure[0] > came_at:
                raise self._failure[1]  # it was tried while this one waited
            try:
                fresh = self._read(provider, endpoint_id)
            except (DependencyError, VaultError) as error:
                self._failure = self._clock.monotonic(), error
                raise
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()  # strangers made most of these names up
            self._known[place] = fresh
            return fresh

    def close(self) -> None:
        """Read no more."""
        self._renewer.shutdown(cancel_futures=True)

    def _renew(self, place: tuple[str, str], known: Endpoint) -> None:
        if place in self._renewing:
            return
        self._renewing.add(place)

        def read() -> None:
            try:
                with suppress(DependencyError, VaultError):  # then it is read when it is over
                    self.read(*place, since=known.read_at)
            finally:
                self._renewing.discard(place)

        try:
            self._renewer.submit(read)
        except RuntimeError:  # closed meanwhile
            self._renewing.discard(place)

    def _is_fresh(self, endpoint: Endpoint) -> bool:
        if self._clock.monotonic() - endpoint.read_at >= SPREAD_S:
            return False
        return endpoint.keys_until is None or self._clock.now() < endpoint.keys_until

    def _read(self, provider: str, endpoint_id: str) -> Endpoint:
        at, now = self._clock.monotonic(), self._clock.now()
        with self._database.read() as transaction:
            row = store.find_endpoint(transaction, endpoint_id)
            if row is None or row.provider != provider:
                return self._nobody(provider)
            rows = store.read_secrets(transaction, endpoint_id)
        live = [each for each in rows if each.retires_at is None]
        live += [each for each in rows if each.retires_at is not None and each.retires_at > now]
        return Endpoint(
            row=row,
            webhooks=self._declared(provider),
            keys=self._keys(row, live),
            keys_until=min((each.retires_at for each in live if each.retires_at), default=None),
            read_at=at,
            ending=frozenset(each.id for each in live if each.retires_at),
        )

    def _nobody(self, provider: str) -> Endpoint:
        """Return what stands for an endpoint that does not exist: see judge()."""
        return Endpoint(
            row=None,
            webhooks=self._declared(provider),
            keys=_NOBODYS,
            keys_until=None,
            read_at=self._clock.monotonic(),
        )

    def _declared(self, provider: str) -> Webhooks | None:
        """Return what a plugin declares; None if it is gone or broken."""
        if provider not in self._installed:
            return None
        try:
            return self._registry.get(provider).webhooks
        except (NotFoundError, PluginError):
            return None

    def _keys(self, row: EndpointRow, live: Sequence[SecretRow]) -> Keys:
        opened = [(each.id, self._open(each)) for each in live if each.sealed]
        given = settings_secrets(self._settings, row)
        sealed = [(name, secret) for name, secret in opened if secret]
        sealed += [(fingerprint_of(secret), secret) for secret in given]
        paths = [(each.id, each.digest) for each in live if each.digest]
        return Keys(
            level="path-secret" if row.scheme_level == "path-secret" else "signature",
            secrets=[secret for _, secret in sealed],
            path_digests=[digest for _, digest in paths],
            secret_ids=[name for name, _ in sealed],
            path_ids=[name for name, _ in paths],
        )

    def _open(self, row: SecretRow) -> Secret | None:
        """Open a secret once; one that is broken is none, and closes the endpoint with it."""
        assert row.sealed is not None
        if (found := self._opened.get(row.sealed)) is None:
            try:
                found = self._vault.open(row.sealed, context_of(row))
            except SealBrokenError:
                return None
            remember(found.reveal())
            if len(self._opened) >= _MOST_KNOWN:
                self._opened.clear()
            self._opened[row.sealed] = found
        return found


_ID = re.compile(r"whe_[a-z2-7]{16}")
_NOBODYS = Keys(secrets=[Secret(secrets.token_hex(32))], path_digests=[secrets.token_hex(32)])


def context_of(row: SecretRow) -> Context:
    """Say what a secret is sealed for: its endpoint, and no other."""
    return Context(connection_id=row.endpoint_id, field=row.id)


def fingerprint_of(secret: Secret) -> str:
    """Name a secret that the environment has, which has no id: too short to find it by."""
    digest = hashlib.sha256(b"tieline webhook secret\0" + secret.reveal().encode()).hexdigest()
    return f"env_{digest[:10]}"


def settings_secrets(settings: Settings, row: EndpointRow) -> list[Secret]:
    """Return the secrets that the environment has for an application's endpoint."""
    application = settings.applications.get(row.provider)
    if application is None or row.connection_id is not None:
        return []
    if application.environment and application.environment != row.environment:
        return []
    return list(application.webhook_secrets)
