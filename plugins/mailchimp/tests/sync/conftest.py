"""One installation with one Mailchimp account: real plugin, real core, real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from kit import START
from tieline.auth import Opener
from tieline.clock import ManualClock
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run, sweep
from tieline.registry import Registry
from tieline.services import outbox, syncs
from tieline.services.changes import Change
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.settings import load_settings
from tieline.store import connections as connection_store
from tieline.store import findings, quarantined, records, runs, schema
from tieline.store.database import open_database
from tieline.store.operations import OperationRow

KEY = "0123456789abcdef0123456789abcdef-us6"


@dataclass
class Bench:
    """An installation and its sandbox, whose clocks go together."""

    installation: Installation
    engine: Engine
    clock: ManualClock
    connection_id: str
    http: httpx.Client

    def move(self, seconds: float = 60) -> None:
        self.clock.move(seconds)
        self.order("clock", {"advance_s": seconds})

    def order(self, name: str, given: Any) -> Any:
        return self.http.post(f"/_sandbox/{name}", json=given).raise_for_status().json()

    def facts(self, name: str, **query: Any) -> Any:
        return self.http.get(f"/_sandbox/{name}", params=query).raise_for_status().json()

    def mutate(self, **numbers: Any) -> Any:
        return self.order("mutate", numbers)

    def audiences(self) -> list[str]:
        return [one["id"] for one in self.facts("truth", entity="lists")]

    def asked(self, after: int = 0) -> list[tuple[str, dict[str, str]]]:
        """Return path and parameters of every request to the API since a number."""
        log = self.facts("log", after=after)["requests"]
        return [
            (each["path"], {k: v[0] for k, v in parse_qs(each["query"]).items()})
            for each in log
            if each["path"].startswith("/3.0/")
        ]

    def answered(self) -> int:
        """Return how many requests were answered so far."""
        total: int = self.facts("log", after=10**9)["total"]
        return total

    def ask(self, entity: str, mode: str = "incremental", **options: Any) -> str:
        with self.engine.database.read() as transaction:
            row = connection_store.find_connection(transaction, self.connection_id)
        declared = self.engine.registry.get("mailchimp").entity(entity)
        asked = ask_run(self.engine, row, declared, mode=mode, asked_by="test", **options)
        return asked.run.id

    def help(self, run_id: str, stop: threading.Event | None = None) -> Any:
        help_run(self.engine, run_id, stop or threading.Event())
        with self.engine.database.read() as transaction:
            return runs.get_run(transaction, run_id)

    def sync(self, entity: str = "contacts", mode: str = "incremental", **options: Any) -> Any:
        """Run to the end, and let a minute pass."""
        run = self.help(self.ask(entity, mode, **options))
        self.move()
        return run

    def stored(self, entity: str = "contacts", *, with_deleted: bool = False) -> list[Any]:
        with self.engine.database.read() as transaction:
            return records.read_records(
                transaction, self.connection_id, entity, limit=100_000, with_deleted=with_deleted
            )

    def payloads(self, entity: str = "contacts") -> dict[str, Any]:
        return {row.record_id: json.loads(row.payload) for row in self.stored(entity)}

    def found(self, run: Any) -> dict[str, str]:
        """Return what a verification found: key to kind."""
        with self.engine.database.read() as transaction:
            listed = findings.list_findings(transaction, run.id, limit=10_000)
        return {each["record_id"]: each["kind"] for each in listed}

    def quarantine(self) -> list[Any]:
        with self.engine.database.read() as transaction:
            return quarantined.list_quarantined(transaction, self.connection_id)

    # --- writes -----------------------------------------------------------------------------------

    def want(self, *changes: Change, policy: Any = "hold") -> list[str]:
        """Put changes into the outbox."""
        asked = outbox.ask_changes(
            self.installation, "news", "contacts", changes, policy=policy, actor="test"
        )
        return list(asked.ids)

    def push(self, *changes: Change, policy: Any = "hold") -> list[OperationRow]:
        """Put changes into the outbox, and send what can be sent."""
        ids = self.want(*changes, policy=policy)
        self.work()
        return outbox.get_operations(self.installation, ids)

    def work(self) -> None:
        """Do what a worker does once."""
        sweep(self.engine)
        for run in syncs.list_runs(self.installation, limit=5):
            if run.direction == "outbound" and not run.is_over:
                help_run(self.engine, run.id, threading.Event())

    def settle(self, *, most: int = 50) -> None:
        """Let workers and time go on until nothing is left that can be sent."""
        for _ in range(most):
            self.work()
            left = outbox.list_outbox(self.installation, states=("queued", "sending", "unknown"))
            if all(entry.blocker for entry in left):
                return
            self.move(self.engine.settings.lease_s + 1)
        raise AssertionError("the outbox does not get empty")

    def operation(self, operation_id: str) -> OperationRow:
        return outbox.show_operation(self.installation, operation_id).row

    def lose(self, method: str, path: str = "/3.0/lists/*", **more: Any) -> None:
        """Let the answer to the next such request get lost: what it asked for is done."""
        fault = {"kind": "drop", "executed": True, "method": method, "path": path}
        self.order("faults", [fault | more])

    def plant(self, audience: str, address: str, **fields: Any) -> Any:
        """Put a contact there."""
        given = {"status": "subscribed", "email_address": address} | fields
        return self.order("contacts", {"audience": audience, "add": given})

    def there(self, audience: str, address: str) -> Any:
        """Return the contact of an address as it is there; None: there is none."""
        found = self.facts("truth", entity="contacts")
        return next(
            (
                one
                for one in found
                if one["list_id"] == audience and one["email_address"].lower() == address.lower()
            ),
            None,
        )

    def written(self, after: int = 0) -> list[tuple[str, str, int]]:
        """Return method, path and status of every request that was to change something."""
        log = self.facts("log", after=after)["requests"]
        return [
            (each["method"], each["path"].removeprefix("/3.0"), each["status"])
            for each in log
            if each["method"] != "GET"
        ]

    def beside(self, account: int) -> Bench:
        """Connect another of the sandbox's accounts to the same installation."""
        shown = self.http.get("/_sandbox/").json()["accounts"][account]
        row = connect_api_key(
            self.installation,
            "mailchimp",
            name=f"news-{account}",
            key=Secret(shown["api_key"]),
            base_url=str(self.http.base_url).rstrip("/"),
            actor="test",
        )
        return replace(self, connection_id=row.id)

    def other_engine(self) -> Engine:
        """Make the engine of another process on the same database."""
        settings = self.engine.settings
        database = open_database(self.installation.database_url)
        opener = Opener(
            database,
            self.engine.registry,
            self.installation.vault,
            settings,
            clock=self.clock,
        )
        return Engine(
            database=database,
            registry=self.engine.registry,
            opener=opener,
            clock=self.clock,
            settings=settings,
            ring=lambda _run_id, _number: None,
        )


@pytest.fixture
def bench(server: Any, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make benches: ``bench(contacts=500)``; the options are the sandbox's."""
    with ExitStack() as stack:

        def make(*, deadline_s: float = 30, **options: Any) -> Bench:
            url = server(**options)
            home = tmp_path / "home"
            environ = {
                "TIELINE_HOME": str(home),
                "TIELINE_DATABASE_URL": f"sqlite:///{tmp_path / 'tieline.db'}",
                "TIELINE_REDIS_URL": "redis://127.0.0.1:1",  # nothing listens: no bell is rung
                "TIELINE_HTTP_DEADLINE_S": str(deadline_s),
            }
            clock = ManualClock(START)
            installation = Installation(
                load_settings(environ, home), clock=clock, registry=Registry()
            )
            stack.callback(installation.close)
            installation.make_key()
            schema.upgrade(installation.raw_database)
            opener = Opener(
                installation.database,
                installation.registry,
                installation.vault,
                installation.settings,
                clock=clock,
            )
            engine = Engine(
                database=installation.database,
                registry=installation.registry,
                opener=opener,
                clock=clock,
                settings=installation.settings,
                ring=lambda _run_id, _number: None,
            )
            installation.__dict__["engine"] = engine
            http = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=60))
            http.post("/_sandbox/clock", json={"now": START.timestamp() + 60, "frozen": True})
            row = connect_api_key(
                installation, "mailchimp", name="news", key=Secret(KEY), base_url=url, actor="test"
            )
            made = Bench(installation, engine, clock, row.id, http)
            clock.move(60)
            return made

        yield make


def contacts_there(bench: Bench) -> dict[str, Any]:
    """Return what the sandbox has, by the key that it should have here."""
    return {
        f"{one['list_id']}:{one.get('contact_id', one['id'])}": one
        for one in bench.facts("truth", entity="contacts")
    }


@pytest.fixture
def in_step() -> Callable[[Bench], None]:
    """Assert that all contacts, and every field of each, are the sandbox's."""

    def check(bench: Bench) -> None:
        ours, theirs = bench.payloads(), contacts_there(bench)
        assert sorted(ours) == sorted(theirs)
        for key, record in ours.items():
            assert told(record) == told(theirs[key])

    return check


def told(record: dict[str, Any]) -> dict[str, Any]:
    """Leave out what changes without meaning: it is stored as of the last real change."""
    left_out = {"stats", "member_rating", "last_note", "list_rating"}
    return {name: value for name, value in record.items() if name not in left_out}
