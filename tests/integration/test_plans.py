"""No list and no statement that is asked all the time reads a table that grows to its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Index

from api_kit import Caller, callers_of
from kit import Bench, make_bench
from plan_kit import Asked, Recorder, too_much, without
from plan_world import GROWING, QUIET, ROWS, at, busy_connection, grow
from tieline.engine import mourn, sweep
from tieline.engine.silence import drop_handled_events
from tieline.engine.tick import tick
from tieline.store import (
    alerts,
    copies,
    dead_letters,
    deliveries,
    drains,
    events,
    operations,
    partitions,
    quarantined,
    records,
    runs,
    schedules,
    trouble,
)
from tieline.store.events import EventsWanted
from tieline.store.runs import RunsWanted
from tieline.store.tables import ACTIVE_STATES
from tieline.web.api import OPERATIONS
from tieline.web.api.cursors import write_cursor

ACTIVE = ROWS - 1
RUN = f"run_{ACTIVE:05d}"
SOME = busy_connection(ACTIVE)
LEASE = timedelta(minutes=1)
Work = Callable[[Any], object]
ITEMS = "/connections/shop/entities/items"
MIDDLE = ROWS // 2

# Of lists: the first page; a page from the middle; the few old rows of a quiet connection.
LISTS: dict[str, Sequence[str]] = {
    "list_runs": ["/runs", f"/runs?connection={QUIET}", "/runs?cursor={time}:run"],
    "list_records": [f"{ITEMS}/records", f"{ITEMS}/records?cursor={{place}}"],
    "list_changes": [f"{ITEMS}/changes?limit=100", f"{ITEMS}/changes?limit=100&after={MIDDLE}"],
    "list_consumer_changes": [f"{ITEMS}/consumers/reader/changes"],
    "list_consumers": [f"{ITEMS}/consumers"],
    "list_quarantine": [
        f"/connections/{SOME}/quarantine",
        f"/connections/{SOME}/quarantine?cursor={{time}}:bad",
    ],
    "list_outbox": [
        "/outbox",
        f"/outbox?connection={QUIET}",
        "/outbox?state=done&cursor={place}",
        f"/outbox?connection={QUIET}&state=done",
    ],
    "list_events": [
        "/webhook-events",
        f"/webhook-events?connection={SOME}",  # an index for a quiet one would cost each delivery
        "/webhook-events?state=pending",
        "/webhook-events?state=dead",
        "/webhook-events?cursor={place}",
    ],
    "list_dead_letters": [
        "/dead-letters",
        "/dead-letters?all=true",
        f"/dead-letters?connection={QUIET}&all=true",
        "/dead-letters?all=true&cursor={time}:dea",
    ],
    "list_audit": [
        "/audit-log",
        f"/audit-log?connection={QUIET}",
        "/audit-log?run=run_00003",
        "/audit-log?cursor={place}",
    ],
    "list_alerts": [
        "/alerts",
        f"/alerts?all=true&connection={QUIET}",
        "/alerts?all=true",
        "/alerts?all=true&cursor={time}:ale",
    ],
    "list_schedules": [f"/schedules?connection={QUIET}"],
    "list_ticks": ["/ticks"],
    "list_drift": ["/connections/shop/drift"],
}
SMALL = {
    "list_connections", "list_endpoints", "list_endpoint_secrets", "list_limits", "list_providers",
    "list_queues", "list_tokens",
}  # fmt: skip
"""Lists of what people add by hand, and what grows by nothing else."""
COUNTS = {"list_states"}
"""Lists that count all live records of each entity, as they say."""

INDEXES = sorted((each for table in GROWING for each in table.indexes), key=lambda each: each.name)
SPARE = {
    "ix_operations_next", "ix_operations_unfinished", "ix_runs_active", "ix_runs_due",
    "uq_runs_active",
}  # fmt: skip
"""Where one of these is gone, another leads to the same few rows."""


@dataclass
class World:
    bench: Bench
    recorder: Recorder
    reader: Caller

    def lists(self) -> dict[str, Callable[[], object]]:
        """Return what asks for each list."""
        now = self.bench.clock.now()

        def path_of(name: str, path: str) -> str:
            time = write_cursor(name, [at(now, MIDDLE), f"{path.rpartition(':')[2]}_{MIDDLE:05d}"])
            place = write_cursor(name, [MIDDLE])
            return path.partition(":")[0].replace("{time}", time).replace("{place}", place)

        return {
            path: lambda name=name, path=path: self.reader.get(path_of(name, path))
            for name, paths in LISTS.items()
            for path in paths
        }

    def statements(self) -> dict[str, Callable[[], object]]:
        """Return what is asked at every page, delivery, sweep and tick; it is rolled back."""
        shop, now = self.bench.connection_id, self.bench.clock.now()
        tables = (_of_runs, _of_records, _of_events, _of_the_outbox_and_schedules)
        work = {name: do for table in tables for name, do in table(shop, now).items()}
        return {name: lambda do=do: self._rolled_back(do) for name, do in work.items()}

    def rounds(self) -> dict[str, Callable[[], object]]:
        """Return what the loops of workers and schedulers do again and again."""
        engine = self.bench.engine
        return {
            "sweep": lambda: sweep(engine),
            "tick": lambda: tick(engine),
            "mourn": lambda: mourn(engine, "nobody"),
            "forget events": lambda: drop_handled_events(engine),
        }

    def asked(self, name: str, ask: Callable[[], object], wasteful: list[str]) -> list[Asked]:
        """Ask; note the statements that read too much."""
        asked = self.recorder.of(ask)
        assert asked, f"{name} asks nothing"
        wasteful += [f"{name}: {each}" for each in too_much(self.bench.database, asked)]
        return asked

    def is_missed(self, index: Index, users: list[Callable[[], object]]) -> bool:
        """Say whether somebody reads too much while an index is away."""
        database = self.bench.database
        with without(database, index):
            return any(too_much(database, self.recorder.of(ask)) for ask in users)

    def _rolled_back(self, work: Callable[[Any], object]) -> None:
        with self.bench.database.engine.connect() as connection:
            work(connection)


def _of_runs(_: str, now: datetime) -> dict[str, Work]:
    """At every page, and of what goes on."""
    claim = {"owner": "w", "now": now, "lease_until": now + LEASE}
    return {
        "claim a partition": lambda c: partitions.claim_partition(c, RUN, **claim),
        "is all of a run done": lambda c: partitions.all_done(c, RUN),
        "a run's totals": lambda c: runs.totals(c, RUN),
        "a dead worker's partitions": lambda c: partitions.release_all_of(c, "nobody"),
        "when was the list read": lambda c: partitions.last_list_read(c, SOME, "items"),
        "claims that nobody took over": lambda c: trouble.stuck_leases(c, now),
        "the active run": lambda c: runs.active_run(c, SOME, "items"),
        "the active runs": lambda c: runs.list_runs(c, RunsWanted(states=ACTIVE_STATES)),
        "is any running": lambda c: runs.is_any_running(c, SOME, "items"),
        "runs that are due": lambda c: runs.due_runs(c, now, ring_again=LEASE, lease=LEASE),
        "when is the next run": runs.next_due_at,
        "runs that are read": lambda c: runs.runs_in_hand(c, now, rung_before=now),
        "does somebody else read": lambda c: partitions.is_held_beside(c, RUN, owner="w", now=now),
    }


def _of_records(shop: str, _: datetime) -> dict[str, Work]:
    """At every page that is written."""
    return {
        "known records": lambda c: records.read_known(c, shop, "items", ["k00010", "k1"]),
        "their payloads": lambda c: records.read_payloads(c, shop, "items", ["k00010", "k1"]),
        "one record": lambda c: records.read_record(c, shop, "items", "k00010"),
        "is it empty": lambda c: records.is_empty(c, shop, "items"),
        "copies of a record": lambda c: copies.list_copies(c, SOME, "items", "k00010"),
        "is any quarantined": lambda c: quarantined.has_quarantined(c, SOME, "items"),
        "quarantined of a run": lambda c: quarantined.nameless_in(c, RUN),
    }


def _of_events(_: str, now: datetime) -> dict[str, Work]:
    """At every delivery, and whenever events are handled."""
    until = now + LEASE
    return {
        "claim the drain": lambda c: drains.claim(c, SOME, holder="w", now=now, lease_until=until),
        "events that are due": lambda c: drains.pending_events(c, SOME, now, limit=100),
        "is any event due": lambda c: drains.is_any_due(c, SOME, now),
        "whose events are due": lambda c: drains.undrained(c, now),
        "when is the next event": drains.next_due_at,
        "how many events wait": lambda c: events.count_events(c, EventsWanted(states=["pending"])),
        "how many are dead": lambda c: events.count_events(c, EventsWanted(states=["dead"])),
        "how long events wait": events.oldest_pending_at,
        "events that may go": lambda c: events.drop_handled(c, now - LEASE, limit=5),
        "secrets' generations": lambda c: deliveries.live_generations(c, ["whe_0001"]),
    }


def _of_the_outbox_and_schedules(_: str, now: datetime) -> dict[str, Work]:
    """At every claim, and at every tick."""
    claim = {"owner": "w", "now": now, "lease_until": now + LEASE}
    until = now + LEASE
    return {
        "claim operations": lambda c: operations.claim_operations(
            c, SOME, "items", run_id=RUN, limit=100, **claim
        ),
        "lengthen claims": lambda c: operations.renew_claims(c, RUN, owner="w", lease_until=until),
        "operations left behind": lambda c: operations.take_over(
            c, SOME, "items", now=now, due_at={"update": now}
        ),
        "operations to send": lambda c: operations.count_unsent(c, SOME, "items"),
        "operations that wait": lambda c: operations.count_waiting(c, SOME, "items"),
        "when is the next operation": lambda c: operations.next_due_at(c, SOME, "items"),
        "pushes that are due": lambda c: operations.pushes_due(c, now, ended_since=now),
        "claim a schedule": lambda c: schedules.claim_due(c, now),
        "when is the next tick": schedules.next_due_at,
        "the last full run": lambda c: schedules.last_full_at(c, SOME, "items"),
        "an alert to tell": lambda c: alerts.claim_due(c, now, lease=LEASE),
        "is any alert to be told": lambda c: alerts.is_any_due(c, now),
        "letters that wait": dead_letters.list_dead_letters,
    }


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request, redis_url, tmp_path):
    url = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    address = request.getfixturevalue(url)
    bench = make_bench(address, tmp_path, redis_url=redis_url)
    grow(bench)
    reader = callers_of(bench.installation).new("operate")
    reader.ok("PUT", f"{ITEMS}/consumers/reader", json={"position": 0})
    yield World(bench, Recorder(bench.database), reader)
    bench.installation.close()


def test_every_list_of_the_api_is_looked_at():
    lists = {each.name for each in OPERATIONS if each.name.startswith("list_")}
    assert LISTS.keys() | SMALL | COUNTS == lists
    assert not LISTS.keys() & (SMALL | COUNTS)


def test_nothing_that_is_asked_all_the_time_reads_a_table_to_its_end(world):
    wasteful: list[str] = []
    users = defaultdict(list)
    for name, ask in (world.lists() | world.statements()).items():
        asked = world.asked(name, ask, wasteful)
        for index in INDEXES:
            if any(index.name in each.plan for each in asked):
                users[index].append(ask)
    not_missed = [each.name for each in INDEXES if not world.is_missed(each, users[each])]
    for name, ask in world.rounds().items():  # last, for they change what is there
        world.asked(name, ask, wasteful)
    if wasteful:
        pytest.fail("\n\n".join(wasteful), pytrace=False)
    assert set(not_missed) - SPARE == set(), "an index that nobody misses may as well be away"
