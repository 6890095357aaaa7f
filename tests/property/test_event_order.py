"""Any order of the same events ends in the same tables, and in the provider's state."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest

from chances import chances
from inbox_kit import Told, deliver, drain_now, states_of, table_of
from kit import make_bench
from tieline.records import canonical

CASES = chances(suite=30, soak=100)
ORDERS = 4
LIVED = chances(suite=3, soak=5)  # events: 6 orders, and 120
# Without get, what is promised is that copies two seconds apart are told from one another.
STEPS = {"rows": (0, 0.3, 0.9, 1.4, 5), "listed": (2.1, 3, 7)}


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    yield made
    made.installation.close()


class Story:
    """What happened to a few objects at the provider, each change with its event."""

    def __init__(self, bench, entity: str, rng: Random) -> None:
        self.bench, self.entity, self.rng = bench, entity, rng
        self.start = bench.clock.now()
        self.now = 0.0
        self.objects: dict[str, dict] = {}
        self.known: set[str] = set()
        self.events: list[Told] = []

    def change(self) -> None:
        self.now += self.rng.choice(STEPS[self.entity])
        key = f"k{self.rng.randint(1, 3)}"
        if key in self.objects and self.rng.random() < 0.25:
            del self.objects[key]
            self._tell("row.deleted", key)
        elif key in self.objects or key not in self.known:  # ids are never used again
            kind = "row.updated" if key in self.objects else "row.created"
            self.known.add(key)
            self.objects[key] = {"id": key, "name": self.rng.choice("abc"), "created": 1}
            if self.entity == "rows" and self.rng.random() < 0.3:
                self._tell("row.touched", key)
            else:
                self._tell(kind, key, dict(self.objects[key]))

    def _tell(self, kind: str, key: str, record: dict | None = None) -> None:
        at = int(self.now)  # providers tell times in whole seconds
        self.events.append(Told(type=kind, key=key, at=at, record=record, entity=self.entity))

    def truth(self) -> dict[str, tuple[str, bool]]:
        live = {key: (canonical(record).digest, False) for key, record in self.objects.items()}
        return dict.fromkeys(self.known, ("", True)) | live


def forget(bench, entity: str) -> None:
    with bench.database.write() as connection:
        for table in ("copies", "records", "webhook_events"):
            connection.exec_driver_sql(f"DELETE FROM {table}")


def bring(bench, story: Story, events: list[Told], rng: Random) -> None:
    """Deliver events in some order, in some parts, with a drain after each part."""
    rest = rng.sample(events, len(events))
    while rest:
        count = rng.randint(1, len(rest))
        deliver(bench, *rest[:count], start=story.start)
        del rest[:count]
        drain_now(bench)
    assert set(states_of(bench)) == {"done"}


@pytest.mark.parametrize("entity", ["rows", "listed"])
def test_any_order_of_the_same_events_ends_in_the_same_tables(bench, entity):
    for seed in range(CASES):
        story = Story(bench, entity, Random(f"{entity} {seed}"))
        for _ in range(story.rng.randint(3, 14)):
            story.change()
        bench.ledger.rows = story.objects
        bench.clock.move(story.now + 1)
        for order in range(ORDERS):
            bring(bench, story, story.events, Random(f"{seed} {order}"))
            assert table_of(bench, entity) == story.truth(), (seed, order, story.events)
            forget(bench, entity)


@pytest.mark.timeout(600)
def test_every_single_order_of_one_object_s_life_ends_in_the_same_table(bench):
    """Whole copies, a thin event, a change within the same second as the one before, the end."""
    story = Story(bench, "rows", Random("every order"))

    def event(kind: str, at: float, name: str = "") -> Told:
        record = {"id": "k1", "name": name, "created": 1} if name else None
        return Told(type=kind, key="k1", at=int(at), record=record, entity="rows")

    life = [
        event("row.created", 0, "a"),
        event("row.updated", 3, "b"),
        event("row.deleted", 7),
        event("row.updated", 3.5, "c"),
        event("row.touched", 5),
    ][:LIVED]
    story.known.add("k1")
    bench.ledger.rows = {}
    bench.clock.move(8)
    for order in permutations(life):
        for told in order:
            deliver(bench, told, start=story.start)
            drain_now(bench)
        assert set(states_of(bench)) == {"done"}
        assert table_of(bench, "rows") == story.truth(), order
        forget(bench, "rows")


def test_events_that_come_late_while_the_provider_goes_on_end_in_its_state(bench):
    for seed in range(CASES):
        story = Story(bench, "rows", Random(f"late {seed}"))
        bench.ledger.rows = story.objects
        unsent: list[Told] = []
        for _ in range(20):
            before = len(story.events)
            story.change()
            unsent += story.events[before:]
            bench.clock.move((story.start - bench.clock.now()).total_seconds() + story.now)
            if unsent and story.rng.random() < 0.5:
                sent = story.rng.sample(unsent, story.rng.randint(1, len(unsent)))
                unsent = [event for event in unsent if event not in sent]
                deliver(bench, *sent, start=story.start)
                if story.rng.random() < 0.7:
                    drain_now(bench)
        deliver(bench, *unsent, start=story.start)
        drain_now(bench)
        assert table_of(bench, "rows") == story.truth(), (seed, story.events)
        forget(bench, "rows")
