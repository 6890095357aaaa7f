"""Open a connection: its row, its credential, its transport, its SDK client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tieline.contract import Account, Connection, Credential, NeedsReauthError, ProviderError
from tieline.contract.declarations import Auth
from tieline.errors import NotFoundError
from tieline.registry import Plugin, Registry
from tieline.settings import Settings
from tieline.store import connections as store
from tieline.store.connections import ConnectionRow
from tieline.store.database import Database
from tieline.telemetry import remember
from tieline.transport import HttpTransport, Limits
from tieline.vault import Context, Vault

__all__ = ["OpenConnection", "Opener"]


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenConnection:
    """A connection with a client that works. Close its transport afterwards.

    Attributes:
        connection: Without its credential.
        plugin: The provider's plugin.
        client: What the plugin made.
        transport: What the client goes over.
        generation: Which credential it was opened with; each new one counts on.
    """

    connection: Connection
    plugin: Plugin
    client: Any
    transport: HttpTransport
    generation: int | None = None

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


class Opener:
    """Opens connections for workers and for ``tieline connect``.

    Args:
        database: Where connections are.
        registry: The plugins.
        vault: Opens credentials.
        settings: For the limits of a call.
    """

    def __init__(
        self, database: Database, registry: Registry, vault: Vault, settings: Settings
    ) -> None:
        self._database = database
        self._registry = registry
        self._vault = vault
        self._settings = settings

    def open(self, connection_id: str) -> OpenConnection:
        """Open a stored connection.

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
        return replace(self.open_with(row, fields), generation=generation)

    def open_with(self, row: ConnectionRow, fields: Mapping[str, str]) -> OpenConnection:
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
        transport = self._transport(plugin, connection)
        client = plugin.new_client(
            connection=connection, credential=Credential(fields), transport=transport
        )
        return OpenConnection(
            connection=connection, plugin=plugin, client=client, transport=transport
        )

    def _transport(self, plugin: Plugin, connection: Connection) -> HttpTransport:
        own = {*plugin.provider.environments.values(), *plugin.provider.hosts}
        is_foreign = connection.base_url not in own
        return HttpTransport(
            connection_id=connection.id,
            origins=[connection.base_url, *([] if is_foreign else own)],
            limits=Limits(
                deadline_s=self._settings.http_deadline_s,
                body_bytes=self._settings.http_body_bytes,
            ),
            # A base address that somebody typed may be inside this network;
            # the provider's own name may never lead there.
            allows_private=is_foreign,
        )
