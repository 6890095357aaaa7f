"""Writers that overtake one another, each case once: every one of them lost or revived something.

The random interleavings next door found them; here they stay for good.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kit import make_bench
from property.provider_model import Kind
from tieline.contract import Change, Page
from tieline.errors import Overtaken
from tieline.records import PageWriter, rank_of
from tieline.store import records as store

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BY_TIME = Kind(name="time").entity("things")
ALONE = Kind(name="no-get", has_get=False).entity("things")
VERSIONED = Kind(name="versions", versions="strict").entity("things")
VERSIONED_ALONE = Kind(name="v", versions="strict", has_get=False).entity("things")


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def event(second: float, name: str, **more) -> Change:
    return Change(key="a", at=at(second), record={"id": "a", "name": name, **more})


def gone(second: float) -> Change:
    return Change(key="a", at=at(second), is_deleted=True)


class Hand:
    """One writer with one page, a step at a time."""

    def __init__(self, bench, entity, *changes, listed=None, read_at=0.0):
        self.database, self.connection_id, self.entity = bench.database, bench.connection_id, entity
        self.writer = PageWriter(bench.database, bench.connection_id, entity)
        if listed is None:
            self.draft = self.writer.draft_changes(changes)
        else:
            page = Page(records=[listed], next=None)
            self.draft = self.writer.draft_page(page, rank=rank_of(at(read_at)))

    def compare(self):
        self.plan = self.writer.compare(self.draft, now=rank_of(at(1000)))
        return self

    def answer(self, record, second):
        self.writer.settle(self.draft, "a", record, rank=rank_of(at(second)))
        return self.compare()

    def write(self):
        with self.database.write() as connection:
            self.writer.write(connection, self.plan, run_id=None, now=NOON)

    def stored(self):
        with self.database.read() as connection:
            one = store.read_record(connection, self.connection_id, self.entity.name, "a")
        return None if one.deleted_at else one.payload

    def rank(self):
        with self.database.read() as connection:
            return store.read_record(connection, self.connection_id, self.entity.name, "a").rank


def bring(bench, entity, *changes, **listed) -> Hand:
    hand = Hand(bench, entity, *changes, **listed).compare()
    assert hand.plan.asks == []
    hand.write()
    return hand


def test_an_answer_that_was_overtaken_is_asked_for_again(bench):
    bring(bench, BY_TIME, event(5, "one"))
    slow = Hand(bench, BY_TIME, event(5, "two")).compare()
    assert slow.plan.asks == ["a"]
    bring(bench, BY_TIME, event(60, "three"))
    slow.answer({"id": "a", "name": "two"}, 6)
    assert (slow.plan.asks, slow.plan.new) == (["a"], [])
    slow.answer({"id": "a", "name": "three"}, 61).write()
    assert "three" in slow.stored()


def test_a_note_of_a_later_event_is_not_overtaken_by_an_older_copy(bench):
    bring(bench, BY_TIME, event(5, "one"))
    slow = Hand(bench, BY_TIME, event(50, "two")).compare()
    bring(bench, BY_TIME, event(80, "one"))
    with pytest.raises(Overtaken):
        slow.write()
    slow.compare().write()
    assert "one" in slow.stored()


def test_a_note_moves_the_rank_of_what_it_was_compared_with_alone(bench):
    bring(bench, BY_TIME, event(5, "one"))
    slow = Hand(bench, BY_TIME, event(80, "one")).compare()
    bring(bench, BY_TIME, event(50, "two"))
    with pytest.raises(Overtaken):
        slow.write()
    slow.compare().write()
    assert "one" in slow.stored()


def test_what_was_read_again_and_is_unchanged_moves_the_rank(bench):
    bring(bench, BY_TIME, event(5, "one"))
    asking = Hand(bench, BY_TIME, Change(key="a", at=at(80))).compare()
    asking.answer({"id": "a", "name": "one"}, 81).write()
    assert asking.rank() == rank_of(at(81))
    late = bring(bench, BY_TIME, event(50, "two"))
    assert "one" in late.stored()


def test_a_version_that_was_unknown_does_not_revive_what_was_deleted(bench):
    bring(bench, VERSIONED, event(1, "one", version=1))
    Hand(bench, VERSIONED, gone(9)).compare().answer(None, 10).write()
    late = Hand(bench, VERSIONED, event(8, "two", version=2)).compare()
    assert late.plan.asks == ["a"]
    assert late.answer(None, 11).stored() is None


def test_without_get_no_event_revives_what_was_deleted(bench):
    bring(bench, VERSIONED_ALONE, event(1, "one", version=1))
    bring(bench, VERSIONED_ALONE, gone(9))
    assert bring(bench, VERSIONED_ALONE, event(8, "two", version=2)).stored() is None


def test_a_deletion_that_comes_twice_does_not_keep_a_versioned_record_out(bench):
    bring(bench, VERSIONED_ALONE, event(1, "one", version=1))
    bring(bench, VERSIONED_ALONE, gone(9))
    bring(bench, VERSIONED_ALONE, gone(9))
    back = bring(bench, VERSIONED_ALONE, listed={"id": "a", "name": "back", "version": 2})
    assert "back" in back.stored()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["change first", "deletion first"])
@pytest.mark.parametrize("pages", [1, 2])
def test_of_one_second_a_deletion_is_last_where_nothing_can_be_read_again(bench, order, pages):
    bring(bench, ALONE, event(1, "one"))
    both = (event(9, "two"), gone(9))
    changes = [both[number] for number in order]
    for each in [changes] if pages == 1 else [[change] for change in changes]:
        last = bring(bench, ALONE, *each)
    assert last.stored() is None


def test_a_deletion_is_not_weighed_against_versions_that_are_times(bench):
    stamp = rank_of(at(9.5))
    bring(bench, VERSIONED_ALONE, event(1, "one", version=1))
    last = bring(bench, VERSIONED_ALONE, event(9, "two", version=stamp), gone(9))
    assert last.stored() is None


def test_a_list_page_of_the_deletion_s_second_revives_nothing(bench):
    bring(bench, ALONE, event(1, "one"))
    bring(bench, ALONE, gone(9))
    late = bring(bench, ALONE, listed={"id": "a", "name": "one"}, read_at=9.4)
    assert late.stored() is None
