"""An installation with one real plugin, connected to a sandbox that is served over HTTP."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from kit import START, entry_point
from tieline.auth import Opener
from tieline.clock import ManualClock
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run
from tieline.registry import Registry
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections, findings, records, runs, schema
from tieline.store.rows import RunRow


@dataclass
class Bench:
    """One connection; our clock and the sandbox's go together, and only when told to.

    A server that is no sandbox of ours takes no orders.
    """

    installation: Installation
    engine: Engine
    clock: ManualClock
    provider: str
    url: str
    connection_id: str
    is_sandbox: bool = True

    def order(self, name: str, given: Any) -> Any:
        """Give the sandbox an order."""
        reply = httpx.post(f"{self.url}/_sandbox/{name}", json=given, trust_env=False)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def look(self, name: str, **query: str) -> httpx.Response:
        reply = httpx.get(f"{self.url}/_sandbox/{name}", params=query, trust_env=False)
        assert reply.status_code == 200, reply.text
        return reply

    def truth(self, entity: str) -> dict[str, Any]:
        """Return what the provider has: id to object."""
        lines = self.look("truth", entity=entity).content.split(b"\n")  # not at U+2028
        return {line["id"]: line["object"] for line in map(json.loads, filter(None, lines))}

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests that the sandbox answered."""
        requests: list[dict[str, Any]] = self.look("log").json()["requests"]
        return requests

    def pass_time(self, seconds: float) -> None:
        self.clock.move(seconds)
        if self.is_sandbox:
            self.order("clock", {"now": (START + self._passed).timestamp(), "frozen": True})

    @property
    def _passed(self) -> timedelta:
        return self.clock.now() - START

    def ask(self, entity: str, mode: str = "incremental", **options: Any) -> RunRow:
        with self.engine.database.read() as transaction:
            row = connections.find_connection(transaction, self.connection_id)
        assert row is not None
        declared = self.engine.registry.get(self.provider).entity(entity)
        return ask_run(self.engine, row, declared, mode=mode, asked_by="test", **options).run

    def help(self, run_id: str, engine: Engine | None = None) -> RunRow:
        help_run(engine or self.engine, run_id, threading.Event())
        with self.engine.database.read() as transaction:
            run = runs.get_run(transaction, run_id)
        assert run is not None
        return run

    def sync(self, entity: str, mode: str = "incremental", **options: Any) -> RunRow:
        return self.help(self.ask(entity, mode, **options).id)

    def stored(self, entity: str) -> dict[str, Any]:
        """Return the live records: id to payload as the provider sent it."""
        from tieline.services.records import restored

        with self.engine.database.read() as transaction:
            found = records.read_records(
                transaction, self.connection_id, entity, limit=100_000, with_deleted=False
            )
        return {row.record_id: json.loads(restored(row).payload) for row in found}

    def found_by(self, run: RunRow) -> dict[str, str]:
        """Return what a verification found: id to kind."""
        with self.engine.database.read() as transaction:
            listed = findings.list_findings(transaction, run.id, limit=10_000)
        return {each["record_id"]: each["kind"] for each in listed}


def make_bench(
    provider: str,
    module: str,
    url: str,
    home: Path,
    key: str,
    *,
    is_sandbox: bool = True,
    **settings: str,
) -> Bench:
    """Make an installation on an empty SQLite database, connected by a key."""
    environ = {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": f"sqlite:///{home / 'tieline.db'}",
        "TIELINE_REDIS_URL": "redis://127.0.0.1:1",  # nothing listens: bells are not rung here
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    clock = ManualClock(START)
    registry = Registry(given=[entry_point(provider, module)])
    installation = Installation(load_settings(environ, home), clock=clock, registry=registry)
    installation.make_key()
    schema.upgrade(installation.raw_database)
    opener = Opener(
        installation.database, registry, installation.vault, installation.settings, clock=clock
    )
    engine = Engine(
        database=installation.database,
        registry=registry,
        opener=opener,
        clock=clock,
        settings=installation.settings,
        ring=lambda run_id, number: None,
    )
    installation.__dict__["engine"] = engine
    row = connect_api_key(
        installation, provider, name="shop", key=Secret(key), base_url=url, actor="test"
    )
    bench = Bench(installation, engine, clock, provider, url, row.id, is_sandbox)
    bench.pass_time(60)
    return bench
