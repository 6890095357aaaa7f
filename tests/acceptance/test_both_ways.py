"""Two accounts kept in step both ways: they settle, and then nobody writes.

The loop is what somebody would write on the services: it follows the change
feed of each account and asks the outbox of the other. What it wrote itself
comes back to it by the feed, as every change does; it writes only what is
different on the other side, so that an echo ends where it began.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from market import Market, open_market
from market_goods import Goods
from push_kit import KEY, Stall, create, delete, make_stall, update
from tieline.contract import Secret
from tieline.services import outbox, records
from tieline.services.changes import Change
from tieline.services.connect import connect_api_key
from tieline.services.feed import Consumer, open_consumer

FIELDS = ("name", "email")


@dataclass
class Side:
    """One account: its market, our connection to it, and where we are in its feed."""

    stall: Stall
    name: str

    def __post_init__(self) -> None:
        self.feed: Consumer = open_consumer(
            self.stall.made, self.name, self.stall.entity, "both-ways"
        )

    @property
    def goods(self) -> Goods:
        return self.stall.goods

    def stored(self) -> dict[str, dict[str, Any]]:
        """Return what we know to be there: key to record."""
        found = records.list_records(self.stall.made, self.name, self.stall.entity, limit=1000)
        return {each.record_id: json.loads(each.payload) for each in found if not each.deleted_at}

    def contents(self) -> list[tuple[Any, ...]]:
        """Return what is there, as the market has it."""
        return sorted(picked(each) for each in self.goods.records.values())


def picked(record: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in FIELDS)


@dataclass
class BothWays:
    """The loop. ``twins`` says which record of one side is which of the other."""

    sides: tuple[Side, Side]
    twins: tuple[dict[str, str], dict[str, str]] = field(default_factory=lambda: ({}, {}))

    def round(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Read what is new on both sides, and write it to the other one."""
        told = []
        for side in self.sides:
            side.stall.sync()
            changes = side.feed.read()
            told.append({each.record_id for each in changes.records})
            side.feed.move_on(changes)
        meanwhile()
        for here, there in ((0, 1), (1, 0)):
            self._carry(here, there, told)
        self.sides[0].stall.made.clock.move(60)

    def _carry(self, here: int, there: int, told: list[set[str]]) -> None:
        mine, theirs = self.sides[here].stored(), self.sides[there].stored()
        asked: list[tuple[str, Change]] = []
        for key in sorted(told[here]):
            record, twin = mine.get(key), self._twin(here, there, key, mine, theirs)
            other = theirs.get(twin or "")
            if record is None:
                asked += [(key, delete(twin))] if twin and other else []
            elif other is None:
                asked += [(key, create(**dict(zip(FIELDS, picked(record), strict=True))))]
            elif picked(record) != picked(other):
                is_newer_there = twin in told[there] and other["changed"] > record["changed"]
                changed = dict(zip(FIELDS, picked(record), strict=True))
                asked += [] if is_newer_there else [(key, update(twin, **changed))]
        self._ask(here, there, asked)

    def _twin(self, here: int, there: int, key: str, mine: Any, theirs: Any) -> str | None:
        """Find the other side's record, by its name the first time."""
        if key not in self.twins[here] and key in mine:
            name = mine[key]["name"]
            free = [k for k, each in theirs.items() if each["name"] == name]
            free = [k for k in free if k not in self.twins[there]]
            if free:
                self._link(here, there, key, free[0])
        return self.twins[here].get(key)

    def _ask(self, here: int, there: int, asked: list[tuple[str, Change]]) -> None:
        if not asked:
            return
        side = self.sides[there]
        ids = outbox.ask_changes(
            side.stall.made,
            side.name,
            side.stall.entity,
            [change for _, change in asked],
            policy="newest_wins",
            actor="both-ways",
        ).ids
        side.stall.settle()
        done = outbox.get_operations(side.stall.made, ids)
        for (key, change), row in zip(asked, done, strict=True):
            assert row.state in {"done", "dropped"}, row
            if change.kind == "create" and row.record_id:
                self._link(here, there, key, row.record_id)

    def _link(self, here: int, there: int, key: str, twin: str) -> None:
        self.twins[here][key] = twin
        self.twins[there][twin] = key


@pytest.fixture
def markets() -> Iterator[tuple[Market, Market]]:
    with open_market() as first, open_market() as second:
        yield logged(first), logged(second)


def logged(market: Market) -> Market:
    """Let a market keep a log of its requests: method and path of each."""
    market.requests = []
    answer = market.answer

    def noted(method: str, path: str, *given: Any) -> Any:
        market.requests.append((method, path))
        return answer(method, path, *given)

    market.answer = noted
    return market


@pytest.fixture(params=["keyed", "plain", "bulk"])
def link(
    request: Any, database_url: str, tmp_path: Any, markets: tuple[Market, Market]
) -> Iterator[BothWays]:
    kind = request.param
    first = make_stall(database_url, tmp_path, markets[0], kind)
    markets[1].members["key-of-the-other"] = "m1"
    for goods in markets[1].goods.values():
        goods.clock = first.made.clock.now
    row = connect_api_key(
        first.made,
        "market",
        name="other",
        key=Secret("key-of-the-other"),
        base_url=markets[1].url,
        actor="test",
    )
    assert markets[0].members[KEY] != markets[1].members["key-of-the-other"]
    second = Stall(first.made, markets[1], row, kind)
    yield BothWays((Side(first, "stall"), Side(second, "other")))
    first.made.close()


def writes(link: BothWays) -> list[int]:
    """How much either provider was really changed, by its own log."""
    return [len(side.goods.log) for side in link.sides]


def assert_settled(link: BothWays) -> None:
    """Both hold the same, and further rounds read, and send nothing."""
    first, second = link.sides
    assert first.contents() == second.contents()
    before = writes(link)
    for side in link.sides:
        side.stall.market.requests.clear()
    for _ in range(2):
        link.round()
    assert writes(link) == before
    for side in link.sides:
        assert {method for method, _ in side.stall.market.requests} == {"GET"}
    waiting = ("queued", "sending", "unknown", "held", "dead")
    assert outbox.list_outbox(first.stall.made, states=waiting) == []


def change_at_random(link: BothWays, chance: random.Random, round_: int) -> None:
    """Let the owners of both accounts do what they like, at the providers."""
    for number, side in enumerate(link.sides):
        for turn in range(chance.randrange(6)):
            keys = sorted(side.goods.records)
            what = chance.choice(["new", "email", "email", "rename", "remove"])
            if what == "new" or not keys:
                side.goods.put(f"n{number}-{round_}-{turn}", name=f"New {number} {round_} {turn}")
                continue
            key = chance.choice(keys)
            if what == "remove":
                side.goods.remove(key)
            elif what == "rename":
                side.goods.put(key, name=f"Renamed {number} {round_} {turn}")
            else:
                side.goods.put(key, email=f"{number}{round_}{turn}@example.com")


def test_what_each_has_alone_the_other_gets(link: BothWays) -> None:
    first, second = link.sides
    first.goods.put("a", name="Ada", email="ada@example.com")
    second.goods.put("b", name="Bob")
    link.round()
    link.round()
    assert first.contents() == [("Ada", "ada@example.com"), ("Bob", None)]
    assert writes(link) == [2, 2]
    assert_settled(link)


def test_what_both_have_already_is_one_and_not_made_twice(link: BothWays) -> None:
    for side in link.sides:
        side.goods.put("same", name="Ada", email="ada@example.com")
    link.round()
    link.round()
    assert writes(link) == [1, 1]
    assert_settled(link)


def test_a_change_and_a_removal_go_over_from_either_side(link: BothWays) -> None:
    first, second = link.sides
    for key in "abc":
        first.goods.put(key, name=key.upper())
    link.round()
    link.round()
    there = link.twins[0]
    first.goods.put("a", email="new@example.com")
    second.goods.put(there["b"], name="Bee")
    second.goods.remove(there["c"])
    before = writes(link)
    link.round()
    link.round()
    assert first.contents() == [("A", "new@example.com"), ("Bee", None)]
    # Three changes by their owners, and each went over once.
    assert sum(writes(link)) == sum(before) + 3
    assert_settled(link)


def test_of_two_changes_the_newer_one_stays_on_both_sides(link: BothWays) -> None:
    first, second = link.sides
    first.goods.put("a", name="Ada")
    first.goods.put("b", name="Bob")
    link.round()
    there = link.twins[0]
    first.goods.put("a", email="old@example.com")
    second.goods.put(there["b"], email="old@example.com")
    first.stall.made.clock.move(5)
    second.goods.put(there["a"], email="new@example.com")
    first.goods.put("b", email="new@example.com")
    link.round()
    link.round()
    assert first.contents() == [("Ada", "new@example.com"), ("Bob", "new@example.com")]
    assert_settled(link)


def test_what_changes_between_reading_and_writing_is_settled_too(link: BothWays) -> None:
    first, second = link.sides
    first.goods.put("a", name="Ada")
    link.round()
    link.round()
    there = link.twins[0]["a"]
    first.goods.put("a", email="old@example.com")
    first.stall.made.clock.move(5)
    link.round(meanwhile=lambda: second.goods.put(there, email="new@example.com"))
    for _ in range(2):
        link.round()
    assert first.contents() == [("Ada", "new@example.com")]
    assert_settled(link)


def test_lost_answers_make_nothing_twice_and_it_settles(link: BothWays) -> None:
    first, second = link.sides
    for number in range(7):
        first.goods.put(f"k{number}", name=f"Good {number}")
    second.goods.lose = 2
    link.round()
    link.round()
    assert len(second.goods.records) == 7
    assert_settled(link)


@pytest.mark.parametrize("seed", range(2))
def test_two_rounds_after_any_changes_both_hold_the_same(link: BothWays, seed: int) -> None:
    chance = random.Random(seed)
    for round_ in range(4):
        change_at_random(link, chance, round_)
        link.sides[0].stall.made.clock.move(chance.randrange(1, 10))
        change_at_random(link, chance, round_ + 10)
        link.round()
        link.round()
        first, second = link.sides
        assert first.contents() == second.contents()
    assert_settled(link)
