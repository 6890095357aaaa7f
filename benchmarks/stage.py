"""What the benchmarks share: a sandbox's client, an empty database, figures of one process."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import servers
from tieline.contract import Secret
from tieline.engine import help_run
from tieline.services import syncs
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise
from tieline.settings import load_settings
from tieline.store.database import Database
from tieline.store.rows import RunRow

__all__ = [
    "DATABASES",
    "KEY",
    "Figure",
    "Ours",
    "databases",
    "measure",
    "servers",
    "settle",
    "stage",
]

KEY = "sk_test_benchmark000000"
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True)
class Figure:
    """What one way took for all records."""

    records: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds / self.records * 1e6


def measure(work: Callable[[], int]) -> Figure:
    """Time some work that returns how many records it did; CPU is this process's own."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    records = work()
    return Figure(records, time.perf_counter() - wall, time.process_time() - cpu)


@dataclass
class Ours:
    """An installation whose runs are helped in this very process."""

    installation: Installation
    environ: dict[str, str]

    def ask(self, mode: str, **more: Any) -> str:
        asked = syncs.start_sync(
            self.installation, "shop", "customers", mode=mode, actor="benchmark", **more
        )
        return asked.run.id

    def run(self, mode: str = "full", **more: Any) -> RunRow:
        run_id = self.ask(mode, **more)
        help_run(self.installation.engine, run_id, threading.Event())
        run = syncs.get_run(self.installation, run_id)
        assert run.state == "succeeded", run
        return run


@contextmanager
def stage(folder: Path, address: str, url: str, **settings: str) -> Iterator[Ours]:
    """Make an installation that is connected to a sandbox; its limits are none unless given."""
    environ = {
        "TIELINE_HOME": str(folder),
        "TIELINE_DATABASE_URL": address,
        "TIELINE_STRIPE_RATE_LIMITS": "none",
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    made = Installation(load_settings(environ, folder))
    initialise(made)
    connect_api_key(made, "stripe", name="shop", key=Secret(KEY), base_url=url, actor="benchmark")
    try:
        yield Ours(made, environ)
    finally:
        made.close()
        made.embedded.stop()


@contextmanager
def databases(
    kind: str, *, is_durable: bool = False
) -> Iterator[Callable[[ExitStack], tuple[Path, str]]]:
    """Give out empty databases of one kind, each with a folder of its own.

    PostgreSQL is the server that TIELINE_TEST_PG_URL names, or one of our own.
    Ours does not wait for the disk unless it is to be durable.
    """
    with ExitStack() as stack:
        server = None
        if kind == "postgresql":
            server = stack.enter_context(_postgres(is_durable=is_durable))

        def make(turn: ExitStack) -> tuple[Path, str]:
            folder = Path(turn.enter_context(tempfile.TemporaryDirectory()))
            if server is None:
                return folder, f"sqlite:///{folder}/tieline.db"
            return folder, turn.enter_context(server.new_database())

        yield make


def settle(database: Database, table: str) -> None:
    """Let the database tidy up after a table's filling, not while it is timed."""
    kept = database.engine.raw_connection()
    driver = kept.driver_connection
    assert driver is not None
    if database.dialect == "sqlite":
        statements = ["ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)"]
    else:
        driver.autocommit = True
        statements = [f"VACUUM ANALYZE {table}", "CHECKPOINT"]
    for statement in statements:
        driver.execute(statement)
    kept.invalidate()


@contextmanager
def _postgres(*, is_durable: bool) -> Iterator[servers.Postgres]:
    if given := os.environ.get("TIELINE_TEST_PG_URL"):
        yield servers.given_postgres(given)
        return
    run = servers.Run.open()
    try:
        server = servers.start_postgres(run)
        if is_durable:
            server.be_durable()
        yield server
    finally:
        run.close()
