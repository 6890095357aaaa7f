"""An installation in a test: real database, real vault, a provider in memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path

from ledger_plugin import Ledger, new_ledger
from shelf_plugin import Shelf, new_shelf
from tieline.auth import Opener
from tieline.clock import ManualClock
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run, sweep
from tieline.registry import Registry
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections as connection_store
from tieline.store import records, runs, schema
from tieline.store.database import open_database

START = datetime(2026, 11, 1, tzinfo=UTC)


def entry_point(name: str, module: str) -> EntryPoint:
    return EntryPoint(name=name, value=module, group="tieline.providers")


@dataclass
class Bench:
    """One installation with one connection to one shelf."""

    installation: Installation
    engine: Engine
    clock: ManualClock
    shelf: Shelf
    ledger: Ledger
    connection_id: str
    rung: list[str] = field(default_factory=list)
    provider: str = "shelf"
    drains_rung: list[str] = field(default_factory=list)

    @property
    def database(self):
        return self.engine.database

    def ask(self, entity: str = "items", mode: str = "full", **options):
        with self.database.read() as transaction:
            row = connection_store.find_connection(transaction, self.connection_id)
        declared = self.engine.registry.get(self.provider).entity(entity)
        return ask_run(self.engine, row, declared, mode=mode, asked_by="test", **options)

    def help(self, run_id: str, stop: threading.Event | None = None):
        help_run(self.engine, run_id, stop or threading.Event())
        return self.run(run_id)

    def sync(self, entity: str = "items", mode: str = "full", **options):
        return self.help(self.ask(entity, mode, **options).run.id)

    def run(self, run_id: str):
        with self.database.read() as transaction:
            return runs.get_run(transaction, run_id)

    def stored(self, entity: str = "items", *, with_deleted: bool = False):
        with self.database.read() as transaction:
            return records.read_records(
                transaction,
                self.connection_id,
                entity,
                limit=100_000,
                with_deleted=with_deleted,
            )

    def stored_keys(self, entity: str = "items") -> list[str]:
        return sorted(record.record_id for record in self.stored(entity))

    def sweep(self) -> int:
        return sweep(self.engine)


def make_bench(database_url: str, home: Path, *, provider: str = "shelf", **settings: str) -> Bench:
    """Make an installation on an empty database, with one connection."""
    environ = {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_REDIS_URL": "redis://127.0.0.1:1",  # nothing listens: bells are not rung here
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    clock = ManualClock(START)
    registry = Registry(given=[entry_point(provider, f"{provider}_plugin")])
    installation = Installation(load_settings(environ, home), clock=clock, registry=registry)
    installation.make_key()
    schema.upgrade(installation.raw_database)
    rung: list[str] = []
    drains_rung: list[str] = []
    engine = Engine(
        database=installation.database,
        registry=registry,
        opener=Opener(
            installation.database,
            registry,
            installation.vault,
            installation.settings,
            clock=clock,
        ),
        clock=clock,
        settings=installation.settings,
        ring=lambda run_id, number: rung.append(run_id),
        ring_drain=drains_rung.append,
    )
    installation.__dict__["engine"] = engine
    shelf_url, shelf = new_shelf()
    ledger_url, ledger = new_ledger(clock=clock.now)
    row = connect_api_key(
        installation,
        provider,
        name="shop",
        key=Secret("k-1"),
        base_url=shelf_url if provider == "shelf" else ledger_url,
        actor="test",
    )
    return Bench(installation, engine, clock, shelf, ledger, row.id, rung, provider, drains_rung)


def second_engine(bench: Bench) -> Engine:
    """Make the engine of another process on the same database."""
    settings = bench.engine.settings
    database = open_database(bench.installation.database_url)
    opener = Opener(
        database, bench.engine.registry, bench.installation.vault, settings, clock=bench.clock
    )
    return Engine(
        database=database,
        registry=bench.engine.registry,
        opener=opener,
        clock=bench.clock,
        settings=settings,
        ring=lambda run_id, number: None,
    )


def names(count: int) -> list[str]:
    return [f"k{number:04d}" for number in range(count)]
