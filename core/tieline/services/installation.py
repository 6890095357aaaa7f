"""One installation: its settings, and the parts that are made from them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tieline.clock import Clock, SystemClock
from tieline.contract import Connection, RateLimitPolicy, Secret, SettingsError
from tieline.failpoints import set_failpoints
from tieline.registry import Registry
from tieline.settings import Settings, load_settings
from tieline.store.database import Database, open_database, sqlite_url
from tieline.store.schema import require_current
from tieline.telemetry import remember

# Redis, RQ, httpx and the cryptography library take half a second to import,
# and most commands need none of them: each part imports what it is made of.
# ruff: noqa: PLC0415
if TYPE_CHECKING:
    from tieline.coordination import EmbeddedServer, Redis
    from tieline.engine import Engine
    from tieline.inbox import Inbox
    from tieline.queue import Doorbell, Presence
    from tieline.throttle import CallerLimit, Throttle
    from tieline.vault import LocalKeyRing, Vault

__all__ = ["Installation"]

_LEAST_SECRET = 16
_WRONG_PER_MINUTE = 5


def _secret_parts(text: str) -> list[str]:
    """Return what must not be shown of a setting: an address's password, a key's every part."""
    if "://" in text:
        return [password] if (password := urlsplit(text).password) else []
    return text.split(",")


def _refuse_open_wire(settings: Settings) -> None:
    """Let no data key pass a network in clear, except in development."""
    parts = urlsplit(settings.kms_endpoint_url)
    is_near = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if settings.is_production and parts.scheme == "http" and not is_near:
        raise SettingsError("TIELINE_KMS_ENDPOINT_URL: in production KMS is asked by https alone")


class Installation:
    """The parts of one installation, each made when it is first needed.

    Args:
        settings: The settings; read from the environment if None.
        clock: Now and sleep.
        registry: The plugins; the installed ones if None.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        registry: Registry | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self.clock = clock or SystemClock()
        self._registry = registry
        set_failpoints(self.settings.failpoints)
        for secret in (self.settings.database_url, self.settings.redis_url, self.settings.key):
            for part in _secret_parts(secret.reveal()):
                remember(part)
        for application in self.settings.applications.values():
            remember(application.client_secret.reveal())
            for each in application.webhook_secrets:
                remember(each.reveal())
        remember(self.settings.alert_webhook_secret.reveal())
        remember(self.settings.metrics_token.reveal())
        path = self.settings.alert_webhook_url.reveal().partition("?")[0]
        for segment in path.split("/")[3:]:
            if len(segment) >= _LEAST_SECRET:  # some services have one there
                remember(segment)

    @property
    def database_url(self) -> Secret:
        """Where the database is."""
        if self.settings.database_url:
            return self.settings.database_url
        return Secret(sqlite_url(self.settings.home / "tieline.db"))

    @property
    def key_path(self) -> Path:
        """Where the local key is."""
        return self.settings.home / "keys" / "local.key"

    @cached_property
    def registry(self) -> Registry:
        """The plugins; none is imported yet."""
        return self._registry or Registry(
            self.settings.providers_disabled,
            self.settings.provider_pins,
            load_s=self.settings.plugin_load_s,
        )

    @cached_property
    def raw_database(self) -> Database:
        """The database, whatever its schema: for ``init``, ``db`` and ``doctor``."""
        if not self.settings.database_url and not (self.settings.home / "tieline.db").is_file():
            raise SettingsError(
                f"there is no installation in {self.settings.home}",
                hint="tieline init",
                code="not-initialised",
            )
        return open_database(self.database_url, patience_s=self.settings.lease_s)

    @cached_property
    def database(self) -> Database:
        """The database, its schema found to be the code's."""
        require_current(self.raw_database)
        return self.raw_database

    @cached_property
    def vault(self) -> Vault:
        """Seals and opens credentials: under KMS if it is set, else under a local key.

        Either opens what the other sealed, so that `tieline keys rotate` moves
        an installation from one to the other.
        """
        from tieline.vault import KmsKeys, Vault

        settings = self.settings
        _refuse_open_wire(settings)
        kms = KmsKeys(
            settings.kms_key_id,
            region=settings.kms_region,
            endpoint_url=settings.kms_endpoint_url,
            clock=self.clock,
        )
        if settings.kms_key_id:
            ring = self._local_ring()
            return Vault(kms, others=[ring] if ring else [])
        if settings.is_production and not settings.allow_local_key:
            raise SettingsError(
                "production does not seal credentials under a local key",
                hint="set TIELINE_KMS_KEY_ID to a key in AWS KMS, or TIELINE_ALLOW_LOCAL_KEY=true"
                " if that is what you want",
                code="local-key-refused",
            )
        if (ring := self._local_ring()) is None:
            raise SettingsError(
                f"there is no encryption key: TIELINE_KEY is empty and {self.key_path} is missing",
                hint="tieline init, or give TIELINE_KEY the key that the credentials were sealed"
                " under",
                code="key-missing",
            )
        return Vault(ring, others=[kms])

    def _local_ring(self) -> LocalKeyRing | None:
        from tieline.vault import LocalKeyRing, read_keys

        if self.settings.key:
            return LocalKeyRing(read_keys(self.settings.key, self.key_path))
        try:
            return LocalKeyRing.of_file(self.key_path)
        except FileNotFoundError:
            return None

    @cached_property
    def embedded(self) -> EmbeddedServer:
        """The embedded Valkey of this home."""
        from tieline.coordination import EmbeddedServer

        return EmbeddedServer(self.settings.home, binary=self.settings.valkey_binary)

    @cached_property
    def redis(self) -> Redis:
        """A client that has had an answer; starts the embedded server if need be."""
        from tieline.coordination import open_redis, ping

        url = self.settings.redis_url.reveal() or self.embedded.ensure()
        client = open_redis(url)
        ping(client)
        return client

    @cached_property
    def doorbell(self) -> Doorbell:
        """Wakes workers."""
        from tieline.queue import Doorbell

        return Doorbell(self.redis)

    @cached_property
    def presence(self) -> Presence:
        """Knows the living workers."""
        from tieline.queue import Presence

        return Presence(self.redis)

    @cached_property
    def schedulers(self) -> Presence:
        """Knows the living schedulers."""
        from tieline.queue import Presence

        return Presence(self.redis, role="scheduler")

    @cached_property
    def engine(self) -> Engine:
        """Plans and does the syncing."""
        from tieline.auth import Opener
        from tieline.engine import Engine

        return Engine(
            database=self.database,
            registry=self.registry,
            opener=Opener(
                self.database,
                self.registry,
                self.vault,
                self.settings,
                clock=self.clock,
                new_gate=self._new_throttle,
            ),
            clock=self.clock,
            settings=self.settings,
            ring=self._ring,
            ring_drain=self._ring_drain,
            count_waiting=self._count_waiting,
        )

    @cached_property
    def caller_limit(self) -> CallerLimit:
        """How often whoever calls the HTTP API may do so."""
        from tieline.throttle import CallerLimit

        return CallerLimit(self.redis, self.settings.api_calls_per_minute)

    @cached_property
    def sign_in_limit(self) -> CallerLimit:
        """How often whoever shows wrong tokens to the console may do so."""
        from tieline.throttle import CallerLimit

        return CallerLimit(self.redis, _WRONG_PER_MINUTE)

    def _new_throttle(
        self, connection: Connection, policy: RateLimitPolicy, **given: Any
    ) -> Throttle:
        from tieline.throttle import Throttle

        return Throttle(
            self.redis,
            connection,
            policy,
            clock=self.clock,
            retries=self.settings.run_retries,
            **given,
        )

    def _ring(self, run_id: str, number: int) -> None:
        """Ring; the client is made at the first ring, not with the engine."""
        self.doorbell.ring(run_id, number)

    def _count_waiting(self) -> int:
        return self.doorbell.count_waiting()

    @cached_property
    def inbox(self) -> Inbox:
        """Takes deliveries in, until it is closed with this installation."""
        from tieline.inbox import Afterwards, Committer, Counts, Endpoints, Inbox

        endpoints = Endpoints(self.database, self.registry, self.vault, self.settings, self.clock)
        counts = Counts(lambda: self.redis)
        after = Afterwards(self.database, counts, self._ring_drain, self.clock)
        after.start()
        return Inbox(endpoints, Committer(self.database, after), after, self.clock)

    def _ring_drain(self, connection_id: str) -> None:
        self.doorbell.ring_drain(connection_id)

    def make_key(self) -> bool:
        """Make a local key where there is none; False if there was one, or KMS has it."""
        from tieline.vault import create_key_file

        if self.settings.key or self.settings.kms_key_id:
            return False
        return create_key_file(self.key_path)

    def close(self) -> None:
        """Give back sockets and files. The embedded server goes on."""
        if "inbox" in self.__dict__:
            self.inbox.endpoints.close()
            self.inbox.committer.close()
            self.inbox.after.close()
        if "raw_database" in self.__dict__:
            self.raw_database.close()
        if "redis" in self.__dict__:
            self.redis.close()
