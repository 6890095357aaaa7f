"""Faults that are planted in a healthy installation, for the doctor to find."""

from __future__ import annotations

import os
import shutil
import socket
import socketserver
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from sqlalchemy import insert, update

from cli_kit import run_cli
from tieline.alerts import raise_alert
from tieline.clock import SystemClock
from tieline.contract import Secret
from tieline.queue import WorkerSign
from tieline.services import queues, webhooks
from tieline.services.installation import Installation
from tieline.services.limits import accounts_of
from tieline.store import (
    connections,
    dead_letters,
    partitions,
    runs,
    schedules,
    tables,
)
from tieline.store.quarantined import BadRecord, add_quarantined
from tieline.throttle.keys import breaker_of, hosts_of

TOY = Path(__file__).with_name("toy_plugin.py")
NOW = datetime.now(UTC)


@dataclass
class Ward:
    """An installation, and what may be done to it."""

    patch: pytest.MonkeyPatch
    folder: Path
    redis_url: str
    plugins: Path

    def env(self, name: str, value: str) -> None:
        self.patch.setenv(f"TIELINE_{name}", value)

    @contextmanager
    def opened(self):
        opened = Installation()
        try:
            yield opened
        finally:
            opened.close()

    def write(self, work) -> None:
        with self.opened() as opened, opened.database.write() as transaction:
            work(transaction)

    def endpoint(self, opened: Installation, *, secret: str | None = "whsec_abcdefgh") -> str:
        made = webhooks.add_endpoint(
            opened,
            "shop",
            base="https://hooks.example.com",
            secret=None if secret is None else Secret(secret),
            actor="test",
        )
        return made.listed.endpoint.id

    def doctor(self, *options: str):
        return run_cli("doctor", "--json", *options)


def shop_of(opened: Installation):
    with opened.database.read() as transaction:
        return connections.find_connection(transaction, "shop")


# --- what may be wrong ------------------------------------------------------------------------


def misspelt(ward: Ward) -> None:
    ward.env("LOG_LEVLE", "debug")


def out_of_range(ward: Ward) -> None:
    ward.env("LEASE_S", "0")


def dotenv(text: str, mode: int = 0o600):
    def plant(ward: Ward) -> None:
        path = ward.folder / ".env"
        path.write_text(text)
        path.chmod(mode)

    return plant


def stale_dotenv(ward: Ward) -> None:
    dotenv("TIELINE_LOG_LEVEL=debug\n")(ward)
    ward.env("LOG_LEVEL", "warning")


def unreadable_dotenv(ward: Ward) -> None:
    (ward.folder / ".env").write_bytes(b"TIELINE_LOG_LEVEL=info\n# \xe4\n")


def armed(ward: Ward) -> None:
    ward.env("FAILPOINTS", "sync.page.before_commit=kill@3")
    ward.env("ALLOW_FAILPOINTS", "true")


def redirect(ward: Ward) -> None:
    ward.env("PUBLIC_URL", "https://tieline.example.com")
    ward.env("STRIPE_CLIENT_ID", "ca_1")
    ward.env("STRIPE_REDIRECT_URI", "https://old.example.com/oauth/callback/stripe")


def insecure_redirect(ward: Ward) -> None:
    ward.env("STRIPE_CLIENT_ID", "ca_1")
    ward.env("STRIPE_REDIRECT_URI", "http://tieline.example.com/oauth/callback/stripe")


def plain_public_url(ward: Ward) -> None:
    ward.env("ENV", "production")
    ward.env("ALLOW_LOCAL_KEY", "true")
    ward.env("ALLOWED_BASE_URLS", "http://127.0.0.1:9")
    ward.env("PUBLIC_URL", "http://tieline.example.com")


def secretless_alerts(ward: Ward) -> None:
    ward.env("ALERT_WEBHOOK_URL", "https://ops.example.com/hook")


def no_database(ward: Ward) -> None:
    ward.patch.delenv("TIELINE_DATABASE_URL")
    (ward.folder / "tieline.db").unlink()


def at_revision(number: str):
    def plant(ward: Ward) -> None:
        with sqlite3.connect(os.environ["TIELINE_DATABASE_URL"].removeprefix("sqlite:///")) as own:
            own.execute("UPDATE alembic_version SET version_num = ?", (number,))
        own.close()

    return plant


def unwritable(ward: Ward) -> None:
    path = os.environ["TIELINE_DATABASE_URL"].removeprefix("sqlite:///")
    ward.env("DATABASE_URL", f"sqlite:///file:{path}?mode=ro&uri=true")


def no_postgres(ward: Ward) -> None:
    ward.env("DATABASE_URL", "postgresql://me:hunter2hunter2@127.0.0.1:1/tieline")


def full_disk(ward: Ward) -> None:
    usage = SimpleNamespace(free=5_000_000)
    ward.patch.setattr(shutil, "disk_usage", lambda _: usage)


def no_redis(ward: Ward) -> None:
    ward.env("REDIS_URL", "redis://127.0.0.1:1")


def configured(*words: str, back: tuple[str, ...]):
    def plant(ward: Ward):
        with ward.opened() as opened:
            opened.redis.config_set(*words)

        def heal() -> None:
            with ward.opened() as opened:
                opened.redis.config_set(*back)

        return heal

    return plant


def forgetful(ward: Ward):
    with ward.opened() as opened:
        redis = opened.redis
        kept = redis.config_get("save")["save"]
        redis.config_set("appendonly", "no")
        redis.config_set("save", "")

    def heal() -> None:
        with ward.opened() as opened:
            opened.redis.config_set("save", kept)
            opened.redis.config_set("appendonly", "yes")

    return heal


def told(*replaced: tuple[bytes, bytes]):
    """Let Redis say something else of itself: its real answers, some words changed in length."""

    def plant(ward: Ward):
        path = unquote(ward.redis_url.removeprefix("unix://").partition("?")[0])
        proxy = _Proxy(("127.0.0.1", 0), _Relay)
        proxy.upstream, proxy.replaced = path, replaced
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        ward.env("REDIS_URL", f"redis://127.0.0.1:{proxy.server_address[1]}")

        def heal() -> None:
            proxy.shutdown()
            proxy.server_close()

        return heal

    return plant


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    upstream = ""
    replaced = ()


class _Relay(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self.server.upstream)
            threading.Thread(target=self._back, args=(server,), daemon=True).start()
            while data := self.request.recv(65536):
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)

    def _back(self, server: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                for old, new in self.server.replaced:
                    assert len(old) == len(new)
                    data = data.replace(old, new)
                self.request.sendall(data)
        except OSError:
            pass


def no_key(ward: Ward) -> None:
    (ward.folder / "keys" / "local.key").unlink()


def open_key(ward: Ward) -> None:
    (ward.folder / "keys" / "local.key").chmod(0o644)


def wrong_key(ward: Ward) -> None:
    ward.env("KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")


def wrong_clock(ward: Ward) -> None:
    ward.patch.setattr(SystemClock, "now", lambda _: datetime.now(UTC) + timedelta(seconds=90))


def plugin(name: str, code: str):
    def plant(ward: Ward) -> None:
        module = f"planted_{name}"
        (ward.plugins / f"{module}.py").write_text(code)
        info = ward.plugins / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tieline.providers]\n{name} = {module}\n")

    return plant


def of_another_contract() -> str:
    return TOY.read_text().replace("contract=CONTRACT_VERSION", "contract=2")


def gone_plugin(ward: Ward) -> None:
    ward.write(
        lambda t: t.execute(update(tables.connections).values(provider="acme", base_url="x"))
    )


def disabled_provider(ward: Ward) -> None:
    ward.env("PROVIDERS_DISABLED", "stripe")


def nobody(role: str):
    def plant(ward: Ward) -> None:
        with ward.opened() as opened:
            if role == "worker":
                opened.presence.withdraw("host:1")
                return
            scheduled(opened, timedelta(hours=1))
            opened.schedulers.withdraw("host:1")

    return plant


def scheduled(opened: Installation, after: timedelta) -> None:
    row = shop_of(opened)
    with opened.database.write() as transaction:
        schedules.add_schedule(
            transaction, schedule_id="sch_1", connection_id=row.id, entity="customers", rule="15m",
            zone="UTC", jitter_s=0, full_every_s=None, next_at=NOW + after, now=NOW,
        )  # fmt: skip


def overdue(ward: Ward) -> None:
    with ward.opened() as opened:
        scheduled(opened, timedelta(hours=-1))


def nowhere(ward: Ward) -> None:
    with ward.opened() as opened:
        scheduled(opened, timedelta(hours=1))
        with opened.database.write() as transaction:
            transaction.execute(
                update(tables.schedules).values(rule="cron 0 3 * * *", zone="Mars/Olympus")
            )


def other_worker(ward: Ward) -> None:
    with ward.opened() as opened:
        sign = WorkerSign(name="host:2", queues=("sync",), busy_with="", version="0.0.9")
        opened.presence.announce(sign, ttl_s=100)


def no_secret(ward: Ward) -> None:
    with ward.opened() as opened:
        ward.endpoint(opened, secret=None)


def old_secret(ward: Ward) -> None:
    with ward.opened() as opened:
        endpoint_id = ward.endpoint(opened)
        webhooks.rotate_secret(opened, endpoint_id, secret=Secret("whsec_newnewnew"), actor="test")
        opened.inbox.after.used_old_secret(endpoint_id, datetime.now(UTC).timestamp())


def silent(ward: Ward) -> None:
    with ward.opened() as opened:
        endpoint_id = ward.endpoint(opened)
        with opened.database.write() as transaction:
            transaction.execute(
                update(tables.webhook_endpoints)
                .where(tables.webhook_endpoints.c.id == endpoint_id)
                .values(expects_every_s=60, last_received_at=NOW - timedelta(hours=5))
            )


def unserved(ward: Ward) -> None:
    with ward.opened() as opened:
        ward.endpoint(opened)
        with opened.database.write() as transaction:
            at = NOW - timedelta(hours=5)
            transaction.execute(update(tables.webhook_endpoints).values(served_at=at))


def revoked(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        found = connections.find_connection(transaction, "shop")
        connections.refuse_credential(
            transaction, found.id, generation=None, words="invalid_grant", now=NOW
        )


def ending_consent(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        found = connections.find_connection(transaction, "shop")
        transaction.execute(
            insert(tables.grants).values(
                connection_id=found.id,
                generation=1,
                refreshed_at=NOW,
                failures=0,
                refresh_expires_at=NOW + timedelta(days=2),
            )
        )


def tripped(ward: Ward) -> None:
    """As the throttle leaves it after five failures in a row: tests/integration/test_breaker.py."""
    with ward.opened() as opened:
        [account] = accounts_of(opened)
        host, until = "api.example.com", datetime.now(UTC).timestamp() + 60
        opened.redis.sadd(hosts_of(account.connection), host)
        opened.redis.hset(
            breaker_of(account.connection, host), mapping={"failures": 5, "until": until}
        )


def dead_letter(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        found = connections.find_connection(transaction, "shop")
        dead_letters.add_dead_letter(
            transaction, kind="run", connection_id=found.id, entity="customers", run_id=None,
            reason_code="worker-lost", reason="it died", facts={}, now=NOW,
        )  # fmt: skip


def quarantined(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        bad = BadRecord(
            record_id=None, fingerprint="f", reason_code="record-key", reason="no id", raw=b"{}",
            rank=0,
        )  # fmt: skip
        found = connections.find_connection(transaction, "shop")
        add_quarantined(transaction, found.id, "customers", [bad], run_id=None, now=NOW)


def held_operation(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        found = connections.find_connection(transaction, "shop")
        transaction.execute(
            insert(tables.operations).values(
                id="op_1",
                connection_id=found.id,
                entity="customers",
                kind="create",
                payload={},
                idempotency_key="k",
                policy="hold",
                state="held",
                attempts=1,
                turn=0,
                due_at=NOW,
                fence=0,
                asked_by="test",
                created_at=NOW,
                updated_at=NOW,
            )
        )


def stuck_lease(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        found = connections.find_connection(transaction, "shop")
        run_id = runs.add_run(
            transaction, connection_id=found.id, entity="customers", mode="full",
            asked_by="test", now=NOW,
        )  # fmt: skip
        runs.start_run(transaction, run_id, NOW)
        partitions.add_partition(transaction, run_id=run_id, number=0, window=(None, None))
        assert partitions.claim_partition(
            transaction, run_id, owner="gone:1", now=NOW, lease_until=NOW - timedelta(hours=1)
        )


def untold_alert(ward: Ward) -> None:
    with ward.opened() as opened, opened.database.write() as transaction:
        raise_alert(transaction, "run-dead", "run_1", "it died", now=NOW)
        transaction.execute(update(tables.alerts).values(trouble="webhook: 500"))


def held_queue(ward: Ward) -> None:
    with ward.opened() as opened:
        queues.pause_queue(opened, "sync", actor="cli:ada")


PLANTED = {
    "a misspelt setting": (misspelt, "warn", "setting-unknown", "TIELINE_LOG_LEVEL?"),
    "a setting out of range": (out_of_range, "fail", "settings-invalid", "TIELINE_LEASE_S"),
    "a stale .env": (stale_dotenv, "warn", "dotenv-stale", "TIELINE_LOG_LEVEL"),
    "a .env that is not text": (unreadable_dotenv, "fail", "dotenv-unreadable", "UTF-8"),
    "a line of .env that is none": (
        dotenv("TIELINE_LOG_LEVEL info\n"), "warn", "dotenv-unreadable", "NAME=value: 1",
    ),
    "a setting twice in .env": (
        dotenv("TIELINE_SWEEP_S=5\nTIELINE_SWEEP_S=6\n"), "warn", "dotenv-twice", "SWEEP_S",
    ),
    "secrets that others can read": (
        dotenv("TIELINE_METRICS_TOKEN=0123456789abcdef\n", 0o644), "warn", "dotenv-open",
        "chmod 600",
    ),
    "armed failpoints": (armed, "fail", "failpoints-armed", "on purpose"),
    "a redirect address that leads elsewhere": (redirect, "warn", "redirect-wrong", "old.example"),
    "a redirect address in clear": (insecure_redirect, "warn", "redirect-wrong", "not https"),
    "a public address in clear": (plain_public_url, "fail", "settings-invalid", "PUBLIC_URL"),
    "alerts without a secret": (secretless_alerts, "fail", "settings-invalid", "WEBHOOK_SECRET"),
    "no installation": (no_database, "fail", "not-initialised", "tieline init"),
    "a database that is behind": (at_revision("0001"), "fail", "schema-behind", "db upgrade"),
    "a database that is ahead": (at_revision("9999"), "fail", "schema-newer", "newer Tieline"),
    "a database that takes no writes": (unwritable, "fail", "database-down", "readonly"),
    "a database that is away": (no_postgres, "fail", "database-down", "does not answer"),
    "a disk that is full": (full_disk, "fail", "disk-full", "5 MB left"),
    "Redis is away": (no_redis, "fail", "redis-down", "Redis does not answer"),
    "an old Redis": (
        told((b"valkey_version:", b"valkey_versiom:"), (b"s_version:7.2", b"s_version:5.0")),
        "fail", "redis-old", "6.2 or newer",
    ),
    "a replica": (told((b"role:master", b"role:slave\r")), "fail", "redis-replica", "primary"),
    "Redis evicts": (
        configured("maxmemory-policy", "allkeys-lru", back=("maxmemory-policy", "noeviction")),
        "fail", "redis-evicts", "noeviction",
    ),
    "Redis is nearly full": (
        configured("maxmemory", "1500000", back=("maxmemory", "0")), "warn", "redis-full", "maxmem",
    ),
    "Redis keeps nothing": (forgetful, "warn", "redis-volatile", "appendonly"),
    "the key is gone": (no_key, "fail", "key-missing", "tieline init"),
    "a key that others can read": (open_key, "fail", "key-open", "chmod 600"),
    "another key": (wrong_key, "fail", "credential-unopened", "tieline keys check"),
    "a clock that is wrong": (wrong_clock, "fail", "clock-skew", "90 s ahead of Redis's"),
    "a plugin that does not import": (
        plugin("broken", "raise RuntimeError('no licence')"), "fail", "plugin-load", "no licence",
    ),
    "a plugin for another contract": (
        plugin("toy", of_another_contract()), "fail", "plugin-contract-version", "contract 2",
    ),
    "two plugins of one name": (
        plugin("stripe", TOY.read_text()), "fail", "plugin-name-taken", "tieline-stripe",
    ),
    "a plugin that is gone": (gone_plugin, "fail", "provider-unknown", "pip install tieline-acme"),
    "a provider that is switched off": (disabled_provider, "warn", "provider-disabled", "stripe"),
    "a queue that somebody paused": (
        held_queue, "warn", "queue-paused", "tieline queue resume sync",
    ),
    "no worker": (nobody("worker"), "warn", "no-worker", "tieline worker"),
    "no scheduler": (nobody("scheduler"), "warn", "no-scheduler", "tieline scheduler"),
    "ticks that nobody takes": (overdue, "fail", "schedule-overdue", "shop customers"),
    "a schedule of a zone that is none": (nowhere, "fail", "schedule-meaningless", "Mars/Olympus"),
    "a worker of another version": (other_worker, "warn", "worker-version", "0.0.9"),
    "an endpoint without a secret": (no_secret, "fail", "webhook-secret-missing", "rotate"),
    "an old secret that is still used": (old_secret, "warn", "webhook-secret-old", "new secret"),
    "a silent endpoint": (silent, "warn", "webhooks-silent", "heard nothing since"),
    "an endpoint that nobody serves": (unserved, "fail", "webhooks-unserved", "tieline serve"),
    "a credential that is refused": (revoked, "fail", "needs-reauth", "connections reauth shop"),
    "a consent that ends": (ending_consent, "warn", "consent-ending", "connections reauth shop"),
    "an open breaker": (tripped, "warn", "breaker-open", "reset-breaker shop"),
    "dead letters": (dead_letter, "warn", "dead-letters", "tieline dead list"),
    "quarantine": (quarantined, "warn", "quarantined", "quarantine list"),
    "held changes": (held_operation, "warn", "operations-wait", "tieline outbox list"),
    "a stuck lease": (stuck_lease, "fail", "lease-stuck", "shop customers"),
    "alerts that reach nobody": (untold_alert, "warn", "alert-untold", "webhook: 500"),
}  # fmt: skip
