"""Open a connection: its row, its credential, its transport, its SDK client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from tieline.auth.application import application_of
from tieline.auth.refresh import Held, Refresher
from tieline.auth.tokens import TokenEndpoint
from tieline.clock import Clock
from tieline.contract import (
    Account,
    Auth,
    Connection,
    Credential,
    OAuth2,
    Observation,
    ProviderError,
    RateLimitPolicy,
    Reply,
)
from tieline.errors import PluginError
from tieline.registry import Plugin, Registry
from tieline.registry.settings import stored_settings
from tieline.settings import Settings
from tieline.store.connections import ConnectionRow
from tieline.store.database import Database
from tieline.telemetry import remember
from tieline.telemetry.redact import is_secret_name
from tieline.throttle import Pace, policy_of
from tieline.transport import Gate, HttpTransport, Limits
from tieline.vault import Vault

__all__ = ["NewGate", "OpenConnection", "Opener", "auth_of", "connection_of"]

_LOOK_AGAIN_S = 60.0


def _nobody(_origin: str) -> bool:
    return False


def auth_of(plugin: Plugin, kind: str) -> Auth:
    """Return the declaration by which a connection was made.

    Raises:
        PluginError: The plugin no longer has it.
    """
    for auth in plugin.auth:
        if auth.kind == kind:
            return auth
    raise PluginError(
        f"{plugin.found.distribution} no longer connects by {kind}", hint="connect it another way"
    )


def connection_of(row: ConnectionRow, plugin: Plugin) -> Connection:
    """Return a connection as plugins are handed it.

    Raises:
        SettingsError: What it sets does not fit the plugin.
    """
    return Connection(
        id=row.id,
        name=row.name,
        provider=row.provider,
        environment=row.environment,
        base_url=row.base_url,
        account=Account(id=row.account_id, name=row.account_name),
        settings=stored_settings(plugin, row.name, row.settings),
        auth=row.auth_kind,
        is_redirected=not plugin.provider.owns(row.base_url),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenConnection:
    """A connection with a client that works. Close its transport afterwards.

    Attributes:
        connection: Without its credential.
        plugin: The provider's plugin.
        client: What the plugin made.
        transport: What the client goes over.
        most_at_once: Requests that may be in flight; None: as many as you like.
        watch: Renews the credential while the client lives; None for one that
            was at hand.
    """

    connection: Connection
    plugin: Plugin
    client: Any
    transport: HttpTransport
    most_at_once: int | None = None
    watch: _Watch | None = None

    @property
    def generation(self) -> int | None:
        """Which credential it uses now; each new one counts on."""
        return self.watch.generation if self.watch else None

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


class NewGate(Protocol):
    """Makes what every call of a connection must pass."""

    def __call__(
        self,
        connection: Connection,
        policy: RateLimitPolicy,
        *,
        stop: threading.Event | None,
        pace: Pace,
        observe: Callable[[Reply], Observation | None] | None,
        call_s: float,
        run_id: str,
    ) -> Gate:
        """Make it; see :class:`tieline.throttle.Throttle`."""
        ...


class _Watch:
    """Looks after the credential of one open connection; threads share it.

    Args:
        refresher: Has the tokens renewed.
        held: The credential as it was opened.
        complete: Adds what is not of the connection itself.
        clock: For when to look again.
    """

    def __init__(
        self,
        refresher: Refresher,
        held: Held,
        complete: Callable[[Held], Mapping[str, str]],
        clock: Clock,
    ) -> None:
        self._refresher = refresher
        self._complete = complete
        self._clock = clock
        self._lock = threading.Lock()
        self._id = held.row.id
        self.generation = held.generation
        self._fields: Mapping[str, str] | None = None
        self._look_at = self._next_look(held)

    def renewed(self) -> Mapping[str, str] | None:
        """Return all fields as they were last renewed, or None while the first are good.

        Whoever is told of no renewal may be past one that another thread has not
        stored yet, so the last one is told to all.

        Raises:
            ProviderError: They are over, and there are no new ones.
        """
        if self._clock.monotonic() < self._look_at:
            return self._fields
        with self._lock:
            if self._clock.monotonic() < self._look_at:
                return self._fields
            held = self._refresher.hold(self._id)
            self.generation = held.generation
            self._fields = self._complete(held)
            self._look_at = self._next_look(held)  # last: from here on nobody waits
            return self._fields

    def _next_look(self, held: Held) -> float:
        """Look when the tokens are due, and before that for those that another process got."""
        if held.ends_at is None:
            return float("inf")
        left = (held.ends_at - self._clock.now()) / timedelta(seconds=1)
        return self._clock.monotonic() + min(max(left, 1.0), _LOOK_AGAIN_S)


class Opener:
    """Opens connections for workers and for ``tieline connect``.

    Args:
        database: Where connections are.
        registry: The plugins.
        vault: Opens credentials.
        settings: For the limits of a call, and the applications.
        clock: For when tokens end.
        new_gate: Makes the throttle of a connection; None for none.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        vault: Vault,
        settings: Settings,
        *,
        clock: Clock,
        new_gate: NewGate | None = None,
    ) -> None:
        self._new_gate = new_gate
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self.refresher = Refresher(
            database, vault, clock, self._endpoint, call_s=settings.token_deadline_s
        )

    def open(
        self,
        connection_id: str,
        *,
        stop: threading.Event | None = None,
        deadline_s: float | None = None,
        pace: Pace = "live",
        run_id: str = "",
    ) -> OpenConnection:
        """Open a stored connection, its tokens renewed if that is due.

        Args:
            connection_id: The connection.
            stop: Cuts waits for the provider's limits short.
            deadline_s: Longest time of a call in seconds; None for the setting.
            pace: What the calls are for: ``live`` for people, who wait, and for
                webhooks; their turn comes before that of runs.
            run_id: The run whose retries are counted together; empty: none.

        Raises:
            NotFoundError: There is no such connection, or its provider is gone.
            PluginError: The provider's plugin is broken.
            VaultError: The credential cannot be opened.
            NeedsReauthError: It was refused before and nobody connected again.
            RetryLaterError: Its tokens are over, and there are no new ones now.
            SettingsError: A setting of the connection is missing or wrong.
        """
        held = self.refresher.hold(connection_id, stop=stop)
        watch = _Watch(self.refresher, held, self._complete, self._clock)
        fields = self._complete(held)
        return self._open(
            held.row,
            fields,
            stop=stop,
            watch=watch,
            deadline_s=deadline_s,
            pace=pace,
            run_id=run_id,
        )

    def renew_refused(self, connection_id: str, generation: int | None) -> bool:
        """Have a credential renewed that the provider refused; say whether there is a new one.

        Raises:
            ProviderError: The grant is gone, or there are no new tokens now.
        """
        if generation is None:
            return False
        return self.refresher.hold(connection_id, refused=generation).generation != generation

    def open_with(self, row: ConnectionRow, fields: Mapping[str, str]) -> OpenConnection:
        """Open a connection, stored or not, with a credential that is at hand."""
        held = Held(row=row, fields=fields, generation=None, ends_at=None)
        return self._open(row, self._complete(held))

    def endpoint(self, row: ConnectionRow, oauth: OAuth2) -> TokenEndpoint:
        """Return the token endpoint of a connection, stored or not.

        Raises:
            SettingsError: No application is set for the provider.
        """
        plugin = self._registry.get(row.provider)
        return TokenEndpoint(
            plugin.provider.title,
            oauth,
            connection_of(row, plugin),
            application_of(self._settings, plugin, oauth),
            call_s=self._settings.token_deadline_s,
        )

    def _endpoint(self, row: ConnectionRow) -> tuple[OAuth2, TokenEndpoint]:
        auth = auth_of(self._registry.get(row.provider), row.auth_kind)
        if not isinstance(auth, OAuth2):
            raise PluginError(f"{row.name} was not connected by OAuth 2")
        return auth, self.endpoint(row, auth)

    def _complete(self, held: Held) -> Mapping[str, str]:
        """Add the application's own secrets, which some providers want in each call."""
        fields = dict(held.fields)
        shown = {"client_id", "username"}
        if held.row.auth_kind == "oauth2":
            plugin = self._registry.get(held.row.provider)
            auth = auth_of(plugin, "oauth2")
            assert isinstance(auth, OAuth2)
            application = application_of(self._settings, plugin, auth)
            fields["client_id"] = application.client_id
            fields["client_secret"] = application.client_secret.reveal()
            # Whose account it is, is no secret.
            shown |= {name for name in auth.kept if not is_secret_name(name)}
        for name, text in fields.items():
            if name not in shown:
                remember(text)
        return fields

    def _open(
        self,
        row: ConnectionRow,
        fields: Mapping[str, str],
        *,
        stop: threading.Event | None = None,
        watch: _Watch | None = None,
        deadline_s: float | None = None,
        pace: Pace = "live",
        run_id: str = "",
    ) -> OpenConnection:
        plugin = self._registry.get(row.provider)
        connection = connection_of(row, plugin)
        policy = policy_of(
            plugin.name, plugin.rate_limits(connection), self._settings.rate_limits, row.name
        )
        gates = []
        if self._new_gate is not None:
            gate = self._new_gate(
                connection,
                policy,
                stop=stop,
                pace=pace,
                observe=plugin.observe if plugin.has_observe else None,
                call_s=deadline_s or self._settings.http_deadline_s,
                run_id=run_id,
            )
            gates.append(gate)
        transport = self._transport(plugin, connection, gates, deadline_s)
        client = plugin.new_client(
            connection=connection,
            credential=Credential(fields, watch.renewed if watch else None),
            transport=transport,
        )
        return OpenConnection(
            connection=connection,
            plugin=plugin,
            client=client,
            transport=transport,
            most_at_once=policy.concurrency,
            watch=watch,
        )

    def _transport(
        self,
        plugin: Plugin,
        connection: Connection,
        gates: Sequence[Gate],
        deadline_s: float | None,
    ) -> HttpTransport:
        return HttpTransport(
            connection_id=connection.id,
            gates=gates,
            origins=[connection.base_url],
            owns=_nobody if connection.is_redirected else plugin.provider.owns,
            limits=Limits(
                deadline_s=deadline_s or self._settings.http_deadline_s,
                body_bytes=self._settings.http_body_bytes,
            ),
            # A base address that somebody typed may be inside this network;
            # the provider's own name may never lead there.
            allows_private=connection.is_redirected,
        )
