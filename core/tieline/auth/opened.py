"""Open a connection: its row, its credential, its transport, its SDK client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tieline.contract import (
    Account,
    Auth,
    Connection,
    Credential,
    NeedsReauthError,
    ProviderError,
    RateLimitPolicy,
)
from tieline.errors import NotFoundError
from tieline.registry import Plugin, Registry
from tieline.settings import Settings
from tieline.store import connections as store
from tieline.store.connections import ConnectionRow
from tieline.store.database import Database
from tieline.telemetry import remember
from tieline.throttle import policy_of
from tieline.transport import Gate, HttpTransport, Limits
from tieline.vault import Context, Vault

__all__ = ["NewGate", "OpenConnection", "Opener"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenConnection:
    """A connection with a client that works. Close its transport afterwards.

    Attributes:
        connection: Without its credential.
        plugin: The provider's plugin.
        client: What the plugin made.
        transport: What the client goes over.
        generation: Which credential it was opened with; each new one counts on.
        most_at_once: Requests that may be in flight; None: as many as you like.
    """

    connection: Connection
    plugin: Plugin
    client: Any
    transport: HttpTransport
    generation: int | None = None
    most_at_once: int | None = None

    @property
    def is_full(self) -> bool:
        """Whether the last calls had to wait for the provider's limits."""
        return self.transport.is_full

    def identify(self, auth: Auth) -> Account:
        """Ask the provider whose account this is.

        Args:
            auth: The way in which the account is being connected.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        try:
            return auth.identify(self.client)
        except ProviderError:
            raise
        except Exception as error:
            if (known := self.plugin.classify(error)) is not None:
                raise known from error
            raise


NewGate = Callable[[Connection, RateLimitPolicy, threading.Event | None], Gate]
"""Makes what every call of a connection must pass; the event cuts its waits short."""


class Opener:
    """Opens connections for workers and for ``tieline connect``.

    Args:
        database: Where connections are.
        registry: The plugins.
        vault: Opens credentials.
        settings: For the limits of a call.
        new_gate: Makes the throttle of a connection; None for none.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        vault: Vault,
        settings: Settings,
        *,
        new_gate: NewGate | None = None,
    ) -> None:
        self._new_gate = new_gate
        self._database = database
        self._registry = registry
        self._vault = vault
        self._settings = settings

    def open(self, connection_id: str, *, stop: threading.Event | None = None) -> OpenConnection:
        """Open a stored connection.

        Args:
            connection_id: The connection.
            stop: Cuts waits for the provider's limits short.

        Raises:
            NotFoundError: There is no such connection, or its provider is gone.
            PluginError: The provider's plugin is broken.
            VaultError: The credential cannot be opened.
            NeedsReauthError: It was refused before and nobody connected again.
            SettingsError: A setting of the connection is missing or wrong.
        """
        with self._database.read() as connection:
            row = store.find_connection(connection, connection_id)
            sealed, generation = store.read_sealed(connection, connection_id)
        if row is None:
            raise NotFoundError(f"there is no connection {connection_id!r}")
        if row.state == "needs_reauth":
            raise NeedsReauthError(
                f"the connection {row.name!r} has to be connected again",
                hint=f"tieline connect {row.provider} --name {row.name} --replace",
            )
        fields = {
            field: self._vault.open(text, Context(connection_id=row.id, field=field)).reveal()
            for field, text in sealed.items()
        }
        return replace(self.open_with(row, fields, stop=stop), generation=generation)

    def open_with(
        self,
        row: ConnectionRow,
        fields: Mapping[str, str],
        *,
        stop: threading.Event | None = None,
    ) -> OpenConnection:
        """Open a connection with a credential that is at hand."""
        plugin = self._registry.get(row.provider)
        for text in fields.values():
            remember(text)
        connection = Connection(
            id=row.id,
            name=row.name,
            provider=row.provider,
            environment=row.environment,
            base_url=row.base_url,
            account=Account(id=row.account_id, name=row.account_name),
            settings=row.settings,
        )
        policy = policy_of(plugin.name, plugin.rate_limits(connection), self._settings.rate_limits)
        gates = [self._new_gate(connection, policy, stop)] if self._new_gate else []
        transport = self._transport(plugin, connection, gates)
        client = plugin.new_client(
            connection=connection, credential=Credential(fields), transport=transport
        )
        return OpenConnection(
            connection=connection,
            plugin=plugin,
            client=client,
            transport=transport,
            most_at_once=policy.concurrency,
        )

    def _transport(
        self, plugin: Plugin, connection: Connection, gates: Sequence[Gate]
    ) -> HttpTransport:
        own = {*plugin.provider.environments.values(), *plugin.provider.hosts}
        is_foreign = connection.base_url not in own
        return HttpTransport(
            connection_id=connection.id,
            gates=gates,
            origins=[connection.base_url, *([] if is_foreign else own)],
            limits=Limits(
                deadline_s=self._settings.http_deadline_s,
                body_bytes=self._settings.http_body_bytes,
            ),
            # A base address that somebody typed may be inside this network;
            # the provider's own name may never lead there.
            allows_private=is_foreign,
        )
