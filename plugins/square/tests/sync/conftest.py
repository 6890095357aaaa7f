"""An installation in this process: the real core, SDK and HTTP, and a seller at the sandbox."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from kit import START, entry_point
from tieline.auth import Opener
from tieline.clock import ManualClock, SystemClock
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run, sweep
from tieline.registry import Registry
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.verify import Outcome, read_outcome
from tieline.settings import load_settings
from tieline.store import connections, records, runs, schema
from tieline.store.rows import RunRow
from tieline_square_sandbox import API_KEY

ENTITIES = ("customers", "orders", "catalog", "payments")


class Seller:
    """One connection to a sandbox's first seller, and orders to both sides.

    Both clocks stand still but for :meth:`pass_time`; ``is_timed`` lets them run.
    """

    def __init__(self, home: Any, base: str, *, is_timed: bool = False) -> None:
        self.base = base
        self.rung: list[str] = []
        environ = {
            "TIELINE_HOME": str(home),
            "TIELINE_DATABASE_URL": f"sqlite:///{home / 'tieline.db'}",
            "TIELINE_REDIS_URL": "redis://127.0.0.1:1",  # nothing listens: bells are not rung here
        }
        self.clock: Any = SystemClock() if is_timed else ManualClock(START)
        registry = Registry(given=[entry_point("square", "tieline_square")])
        self.installation = Installation(
            load_settings(environ, home), clock=self.clock, registry=registry
        )
        self.installation.make_key()
        schema.upgrade(self.installation.raw_database)
        settings = self.installation.settings
        self.engine = Engine(
            database=self.installation.database,
            registry=registry,
            opener=Opener(
                self.installation.database,
                registry,
                self.installation.vault,
                settings,
                clock=self.clock,
            ),
            clock=self.clock,
            settings=settings,
            ring=lambda run_id, _number: self.rung.append(run_id),
        )
        self.installation.__dict__["engine"] = self.engine
        if not is_timed:
            self.order("clock", {"now": START.timestamp(), "frozen": True})
        self.id = connect_api_key(
            self.installation,
            "square",
            name="till",
            key=Secret(API_KEY),
            base_url=base,
            actor="test",
        ).id

    def pass_time(self, seconds: float) -> None:
        """Let time go by on both sides."""
        self.clock.move(seconds)
        self.order("clock", {"advance_s": seconds})

    def order(self, name: str, given: Any) -> Any:
        reply = httpx.post(f"{self.base}/_sandbox/{name}", json=given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def data(self, entity: str, **given: Any) -> dict[str, list[str]]:
        """Change what the seller has."""
        done: dict[str, list[str]] = self.order("data", {"entity": entity, **given})
        return done

    def fail(self, *faults: dict[str, Any]) -> None:
        """Script faults; none clears the script."""
        self.order("faults", list(faults))

    def truth(self, entity: str) -> dict[str, Any]:
        """What the seller has: id to object."""
        asked = httpx.get(f"{self.base}/_sandbox/truth", params={"entity": entity})
        lines = [json.loads(line) for line in asked.text.splitlines() if line]
        return {line["id"]: line["object"] for line in lines}

    def stored(self, entity: str) -> dict[str, Any]:
        """What we have: id to payload."""
        with self.installation.database.read() as transaction:
            rows = records.read_records(
                transaction, self.id, entity, limit=100_000, with_deleted=False
            )
        return {row.record_id: json.loads(row.payload) for row in rows}

    def ask(self, entity: str, mode: str = "incremental", **options: Any) -> str:
        with self.installation.database.read() as transaction:
            row = connections.find_connection(transaction, self.id)
        declared = self.engine.registry.get("square").entity(entity)
        asked = ask_run(self.engine, row, declared, mode=mode, asked_by="test", **options)
        return str(asked.run.id)

    def help(self, run_id: str, stop: threading.Event | None = None) -> RunRow:
        help_run(self.engine, run_id, stop or threading.Event())
        with self.installation.database.read() as transaction:
            run = runs.get_run(transaction, run_id)
        assert run is not None
        return run

    def sync(self, entity: str, mode: str = "incremental", **options: Any) -> RunRow:
        """Run a sync to its end."""
        return self.help(self.ask(entity, mode, **options))

    def tick(self) -> None:
        """Let runs that rested be due again."""
        sweep(self.engine)

    def verify(self, entity: str) -> Outcome:
        run = self.sync(entity, "verify")
        assert run.state == "succeeded", run
        return read_outcome(self.installation, run.id)

    def is_in_step(self, entity: str) -> bool:
        """Whether the tables are what the sandbox has, and ``verify`` says so too."""
        assert self.stored(entity) == self.truth(entity)
        outcome = self.verify(entity)
        assert outcome.counts in ({}, {"missing": 0, "stale": 0, "surplus": 0}), outcome
        return not outcome.differs

    def window(self, entity: str, since: Any, until: Any) -> RunRow:
        return self.sync(entity, "window", window=(since, until))

    def asked(self, prefix: str = "/v2/") -> list[dict[str, Any]]:
        """What was requested of the sandbox."""
        log = httpx.get(f"{self.base}/_sandbox/log").json()["requests"]
        return [each for each in log if each["path"].startswith(prefix)]


@pytest.fixture
def seller(server: Callable[..., str], tmp_path: Any) -> Iterator[Callable[..., Seller]]:
    """Make a connected seller: ``seller(customers=300)``; other options are the sandbox's."""
    with ExitStack() as stack:

        def make(*, is_timed: bool = False, **options: Any) -> Seller:
            now = 0.0 if is_timed else (START - timedelta(seconds=60)).timestamp()
            base = server(**{"now": now} | options)
            home = tmp_path / f"home{len(list(tmp_path.iterdir()))}"
            home.mkdir()
            made = Seller(home, base, is_timed=is_timed)
            stack.callback(made.installation.close)
            return made

        yield make
