"""What a siege is held on: servers that may fall, an installation, its providers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import servers
from chaos.cutting_proxy import CuttingProxy
from chaos.shop import Shop
from chaos.workforce import end_all_of
from servers import Postgres, Run
from site_of import Site, make_site
from tieline.coordination import EmbeddedServer, open_redis
from tieline.errors import DependencyError
from tieline.queue import Presence

__all__ = ["Grounds", "make_grounds"]

T = TypeVar("T")
CUSTOMERS = 900
LEASE_S = "2"
_PATIENCE_S = 30.0


@dataclass(eq=False)
class Grounds:
    """Everything real.

    Attributes:
        site: The installation.
        shops: Its providers.
        valkey: Its Redis.
        postgres_folder: Of the PostgreSQL that we started; None: somebody else's, or SQLite.
        proxy: Cuts commits of PostgreSQL; None on SQLite.
        proxied_url: The database by way of it; empty on SQLite.
    """

    site: Site
    shops: list[Shop]
    valkey: EmbeddedServer
    postgres_folder: Path | None = None
    proxy: CuttingProxy | None = None
    proxied_url: str = ""

    @property
    def is_postgresql(self) -> bool:
        return self.site.installation.database.dialect == "postgresql"

    @property
    def owns_postgres(self) -> bool:
        return self.postgres_folder is not None

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Read; raises DependencyError while the database is away."""
        with self.site.installation.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def facts_of(self, shop: Shop) -> tuple[Any, ...]:
        """Return figures that any commit to one connection changes."""
        (connection_id,) = self.query(f"SELECT id FROM connections WHERE name = '{shop.name}'")[0]
        (records,) = self.query(
            "SELECT COUNT(*), SUM(revision), MAX(position), MAX(rank) FROM records"
            f" WHERE connection_id = '{connection_id}'"
        )
        (pages,) = self.query(
            "SELECT COUNT(*), SUM(p.pages), SUM(p.seen) FROM partitions p"
            f" JOIN runs r ON r.id = p.run_id WHERE r.connection_id = '{connection_id}'"
        )
        states = self.query(
            f"SELECT id, state FROM runs WHERE connection_id = '{connection_id}' ORDER BY id"
        )
        return tuple(map(str, (*records, *pages, *states)))

    def living_workers(self) -> list[str]:
        client = open_redis(self.valkey.url)
        try:
            return [sign.name for sign in Presence(client).alive()]
        finally:
            client.close()

    def flush(self) -> None:
        """Redis forgets everything."""
        client = open_redis(self.valkey.url)
        client.flushall()
        client.close()

    def restart_redis(self, away_s: float) -> None:
        """Redis dies, is away for a while, and comes back."""
        pid = int((self.valkey.log_path.parent / "valkey.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        time.sleep(away_s)
        self.valkey.ensure()

    def restart_postgres(self) -> None:
        """PostgreSQL dies with everything under way, and recovers."""
        folder = self.postgres_folder
        assert folder is not None
        user = servers._unprivileged_user()
        binaries = servers._postgres_binaries(folder.parent if user else None)
        how = ("restart", "-m", "immediate", "-w", "-t", "30")
        servers._call(user, binaries / "pg_ctl", *how, "-D", folder / "data", "-l", folder / "log")
        patiently(lambda: self.query("SELECT 1"))


def patiently(ask: Callable[[], T]) -> T:
    """Ask a server that may be away for a moment."""
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return ask()
        except DependencyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


@contextmanager
def make_grounds(home: Path, db: str, seed: int, *, given_url: str = "") -> Iterator[Grounds]:
    """Start everything; at the end, also by Ctrl-C, end everything.

    Args:
        home: A folder of its own.
        db: ``sqlite`` or ``postgresql``.
        seed: Of what happens at the providers, and of the cuts.
        given_url: A PostgreSQL that somebody else runs; empty: one is started.
    """
    with ExitStack() as stack:
        run = Run.open()
        stack.callback(run.close)
        run.watch()
        valkey = EmbeddedServer(run.folder / "main")
        valkey.ensure()
        url, folder = f"sqlite:///{home}/chaos.db", None
        if db == "postgresql":
            postgres = _find_postgres(run, given_url)
            folder = None if given_url else run.folder / "postgres"
            url = stack.enter_context(postgres.new_database())
            _be_durable(postgres, url)
        logs = {"log_format": "json", "log_level": "warning"}
        site = make_site(home, url, valkey.url, lease_s=LEASE_S, sweep_s="0.5", **logs)
        stack.callback(_close, site)
        proxy, proxied = None, ""
        if db == "postgresql":
            proxy = CuttingProxy(url, home, Random(f"cuts, seed {seed}"))
            proxied = proxy.start()
            stack.callback(proxy.stop)
        shops = [_open_shop(stack, site, number, seed) for number in (1, 2)]
        yield Grounds(site, shops, valkey, folder, proxy, proxied)


def _find_postgres(run: Run, given_url: str) -> Postgres:
    return servers.given_postgres(given_url) if given_url else servers.start_postgres(run)


def _be_durable(postgres: Postgres, url: str) -> None:
    """Keep what is committed over a crash; the server for tests would not."""
    name = url.partition("?")[0].rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")


def _open_shop(stack: ExitStack, site: Site, number: int, seed: int) -> Shop:
    url = stack.enter_context(
        servers.sandbox(customers=CUSTOMERS, latency_ms=30, seed=number, log_size=1_000_000)
    )
    shop = Shop(site, f"shop{number}", url, Random(f"shop {number}, seed {seed}"))
    shop.open()
    return shop


def _close(site: Site) -> None:
    for process in site.processes:
        if process.poll() is None:
            process.kill()
    end_all_of(site.environ["TIELINE_HOME"])
    site.close()
