"""An outbox in a test: real database, real vault, and a market over real HTTP."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Any

from grants_kit import engine_of, installed
from market import Market
from market_goods import Goods
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run, sweep
from tieline.services import outbox, records, syncs
from tieline.services.changes import Change
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.store.connections import ConnectionRow
from tieline.store.operations import OperationRow

KEY = "key-of-the-stall"


@dataclass
class Stall:
    """One installation, its connection to a market, and that market."""

    made: Installation
    market: Market
    row: ConnectionRow
    entity: str = "keyed"

    @property
    def goods(self) -> Goods:
        return self.market.goods[self.entity]

    def ask(self, *changes: Change, policy: str = "hold") -> list[str]:
        asked = outbox.ask_changes(
            self.made, "stall", self.entity, changes, policy=policy, actor="test"
        )
        return list(asked.ids)

    def push(self, *changes: Change, policy: str = "hold") -> list[OperationRow]:
        """Ask for changes, and send what can be sent."""
        ids = self.ask(*changes, policy=policy)
        self.work()
        return outbox.get_operations(self.made, ids)

    def work(self, engine: Engine | None = None) -> None:
        """Do what a worker does once: every outbound run that is active gets a hand."""
        engine = engine or self.made.engine
        sweep(engine)
        for run in syncs.list_runs(self.made, limit=5):
            if run.direction == "outbound" and not run.is_over:
                help_run(engine, run.id, threading.Event())

    def settle(self, *, most: int = 200) -> None:
        """Let workers and time go on until nothing is left that can be sent."""
        for _ in range(most):
            self.work()
            if not outbox.list_outbox(self.made, states=("queued", "sending", "unknown")):
                return
            self.made.clock.move(self.made.settings.lease_s + 1)
        raise AssertionError("the outbox does not get empty")

    def state(self, operation_id: str) -> OperationRow:
        return outbox.show_operation(self.made, operation_id).row

    def sync(self, mode: str = "incremental") -> Any:
        declared = self.made.registry.get("market").entity(self.entity)
        asked = ask_run(self.made.engine, self.row, declared, mode=mode, asked_by="test")
        help_run(self.made.engine, asked.run.id, threading.Event())
        return syncs.get_run(self.made, asked.run.id)

    def stored(self) -> dict[str, dict]:
        """Return the live records: key to payload."""
        found = map(json.loads, records.export_records(self.made, "stall", self.entity))
        return {line["id"]: line["payload"] for line in found if line["deleted_at"] is None}

    def positions(self) -> dict[str, int]:
        found = map(json.loads, records.export_records(self.made, "stall", self.entity))
        return {line["id"]: line["position"] for line in found}

    def another(self) -> Engine:
        """The engine of another process."""
        return engine_of(self.made, is_another=True)


def make_stall(database_url: str, home: Any, market: Market, entity: str = "keyed") -> Stall:
    made = installed(database_url, home, modules={"market": "market_plugin"})
    market.members[KEY] = "m0"
    for goods in market.goods.values():
        goods.clock = made.clock.now
    row = connect_api_key(
        made, "market", name="stall", key=Secret(KEY), base_url=market.url, actor="test"
    )
    return Stall(made, market, row, entity)


def create(name: str, **fields: Any) -> Change:
    return Change(kind="create", payload={"name": name, **fields})


def update(key: str, **fields: Any) -> Change:
    return Change(kind="update", key=key, payload=fields)


def delete(key: str) -> Change:
    return Change(kind="delete", key=key)
