"""The change feed: in order, nothing skipped, and consumers that stand where they were put."""

from __future__ import annotations

import json

import pytest

from kit import make_bench, names
from tieline.contract import Page
from tieline.errors import InvalidInputError, NotFoundError, RefusedError
from tieline.services import connections as connect
from tieline.services import feed as service
from tieline.services.records import all_records, export_records
from tieline.store import connections, log


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path)
    yield made
    made.installation.close()


def read(bench, **options):
    return service.read_changes(bench.installation, "shop", "items", **options)


def consumer(bench, name: str = "crm"):
    return service.open_consumer(bench.installation, "shop", "items", name)


def reset(bench, to: int | None, name: str = "crm"):
    return service.reset_consumer(
        bench.installation, "shop", "items", name, to=to, actor="cli:test"
    )


def keys(changes) -> list[str]:
    return [record.record_id for record in changes.records]


def bring(bench, *given: str, **extra) -> None:
    bench.shelf.put(*given, **extra)
    bench.sync(allow_deletes=True)


def test_changes_come_in_order_once_each_in_their_last_state(bench):
    bring(bench, *names(5))
    bring(bench, "k0001", size=2)
    bring(bench, "k0001", size=3)
    del bench.shelf.records["k0003"]
    bench.sync(allow_deletes=True)
    changes = read(bench)
    positions = [record.position for record in changes.records]
    assert positions == sorted(positions)
    assert sorted(keys(changes)) == names(5)
    assert keys(changes)[-2:] == ["k0001", "k0003"]
    assert json.loads(changes.records[-2].payload)["size"] == 3
    assert changes.records[-1].deleted_at is not None
    assert (changes.after, changes.next, changes.end) == (0, positions[-1], positions[-1])


def test_next_is_where_the_following_read_goes_on(bench):
    bring(bench, *names(7))
    found, after = [], 0
    while (changes := read(bench, after=after, limit=3)).records:
        assert len(changes.records) <= 3
        found += keys(changes)
        after = changes.next
    assert sorted(found) == names(7)
    assert (changes.after, changes.next) == (7, 7)


def test_without_tombstones_the_position_still_moves_past_them(bench):
    bring(bench, *names(4))
    bench.shelf.records.clear()
    bench.sync(allow_deletes=True)
    changes = read(bench, with_deleted=False)
    assert keys(changes) == []
    assert changes.next == changes.end == 8


def test_a_feed_that_never_had_a_change_is_empty(bench):
    changes = read(bench)
    assert (changes.records, changes.next, changes.end) == ([], 0, 0)


def test_payloads_come_as_they_were_sent(bench):
    record = {"id": "a", "x": "a\x00b\ud83d"}
    bench.shelf.faults[1] = lambda shelf, after: Page(records=[record], next=None)
    bench.sync()
    [found] = read(bench).records
    assert json.loads(found.payload) == record


def test_a_position_that_the_feed_has_not_reached_is_refused(bench):
    """As after the database was restored from a copy: the consumer would skip what comes."""
    bring(bench, "a")
    reader = consumer(bench)
    reader.move_on(reader.read())
    with bench.database.write() as connection:
        connection.exec_driver_sql("UPDATE entity_states SET position = 0")
    for act in (consumer(bench).read, lambda: read(bench, after=1)):
        with pytest.raises(RefusedError) as caught:
            act()
        assert caught.value.slug == "position-ahead"


def test_unknown_names_are_told(bench):
    for act in (
        lambda: service.read_changes(bench.installation, "shpo", "items"),
        lambda: service.read_changes(bench.installation, "shop", "itmes"),
        lambda: service.drop_consumer(
            bench.installation, "shop", "items", "nobody", actor="cli:test"
        ),
    ):
        with pytest.raises(NotFoundError):
            act()
    for name in ("", "a b", "x" * 65, "\x00", "-x", "é"):
        with pytest.raises(InvalidInputError):
            consumer(bench, name)


class TestConsumers:
    def test_a_consumer_goes_on_where_it_was_and_repeats_what_it_did_not_confirm(self, bench):
        bring(bench, *names(5))
        first = consumer(bench)
        first.move_on(first.read(limit=2))
        assert len(keys(first.read(limit=2))) == 2  # and then it is killed
        second = consumer(bench)
        assert second.position == 2
        assert len(keys(second.read())) == 3

    def test_each_name_has_its_own_position(self, bench):
        bring(bench, "a")
        one, other = consumer(bench, "one"), consumer(bench, "other")
        one.move_on(one.read())
        assert keys(one.read()) == []
        assert keys(other.read()) == ["a"]
        listed = service.list_consumers(bench.installation, "shop", "items")
        assert [(each.row.name, each.row.position, each.behind) for each in listed] == [
            ("one", 1, 0),
            ("other", 0, 1),
        ]

    def test_of_two_readers_of_one_name_the_slower_is_told_and_changes_nothing(self, bench):
        bring(bench, *names(4))
        one, two = consumer(bench), consumer(bench)
        same, also = one.read(), two.read()
        one.move_on(same)
        with pytest.raises(RefusedError) as caught:
            two.move_on(also)  # to the very position where it is: still not its doing
        assert caught.value.slug == "consumer-moved"
        assert consumer(bench).position == 4

    def test_a_reader_without_work_notices_the_other_too(self, bench):
        bring(bench, "a")
        one, idle = consumer(bench), consumer(bench)
        one.move_on(one.read())
        with pytest.raises(RefusedError) as caught:
            idle.read()
        assert caught.value.slug == "consumer-moved"

    def test_a_commit_whose_answer_was_lost_is_not_taken_for_another_reader(self, bench):
        bring(bench, "a")
        reader = consumer(bench)
        changes = reader.read()
        database = bench.installation.database
        real, calls = database.transact, []

        def lose_the_first_answer(work, **options):
            calls.append(real(work, **options))
            return real(work, **options)

        database.transact = lose_the_first_answer
        try:
            reader.move_on(changes)
        finally:
            del database.transact
        assert len(calls) == 1
        assert reader.position == 1

    def test_reset_puts_it_anywhere_the_feed_has_been(self, bench):
        bring(bench, *names(6))
        assert reset(bench, None).row.position == 6  # makes it
        assert keys(consumer(bench).read()) == []
        assert reset(bench, 0).behind == 6
        assert len(keys(consumer(bench).read())) == 6
        reset(bench, 4)
        assert len(keys(consumer(bench).read())) == 2
        for beyond in (7, -1, 2**63 - 1):
            with pytest.raises(InvalidInputError):
                reset(bench, beyond)
        assert consumer(bench).position == 4

    def test_whoever_reads_meanwhile_is_told_of_reset_and_drop(self, bench):
        bring(bench, *names(3))
        reader = consumer(bench)
        changes = reader.read()
        reset(bench, 2)
        with pytest.raises(RefusedError):
            reader.move_on(changes)
        reader = consumer(bench)
        changes = reader.read()
        service.drop_consumer(bench.installation, "shop", "items", "crm", actor="cli:test")
        for act in (reader.read, lambda: reader.move_on(changes)):
            with pytest.raises(NotFoundError) as caught:
                act()
            assert caught.value.slug == "consumer-dropped"
        assert service.list_consumers(bench.installation, "shop", "items") == []
        with bench.database.read() as connection:
            events = [entry["event"] for entry in log.list_entries(connection)]
        assert [event for event in events if event.startswith("consumer.")] == [
            "consumer.reset",
            "consumer.dropped",
        ]

    def test_a_connection_that_is_removed_takes_its_consumers_with_it(self, bench):
        bring(bench, "a")
        reader = consumer(bench)
        feed = service.open_feed(bench.installation, "shop", "items")
        connect.remove_connection(bench.installation, "shop", actor="cli:test")
        for act in (reader.read, lambda: feed.read(0)):
            with pytest.raises(NotFoundError):
                act()


def test_an_export_is_of_one_moment(bench):
    bring(bench, *names(1200))
    lines = export_records(bench.installation, "shop", "items")
    first = json.loads(next(lines))
    del bench.shelf.records["k1100"]
    bring(bench, "k0001", "zzz", size=2)
    rest = [json.loads(line) for line in lines]
    found = {line["id"]: line for line in [first, *rest]}
    assert len(rest) == 1199
    assert sorted(found) == names(1200)
    assert "size" not in found["k0001"]["payload"]
    assert found["k1100"]["deleted_at"] is None


def test_an_export_that_is_not_read_to_its_end_leaves_no_transaction(bench):
    bring(bench, *names(3))
    found = all_records(bench.installation, "shop", "items")
    next(found)
    found.close()
    assert bench.installation.database.engine.pool.checkedout() == 0
    with bench.database.read() as connection:
        assert connections.find_connection(connection, "shop") is not None
