"""Events that name a record by something else than its key: found all the same, or gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox_kit import Told, deliver, drain_now, events_of, states_of, table_of
from kit import make_bench
from tieline.contract import ProviderUnavailableError


def get_by_key_or_name(ledger, key: str) -> dict | None:
    """Read a row as providers do that take an address in the place of an id."""
    named = (row["id"] for row in ledger.rows.values() if f"g:{row['name']}" == key)
    return ledger.get(next(named, key))


@pytest.fixture
def bench(database_url, tmp_path, monkeypatch):
    made = make_bench(database_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    entities = dict(made.engine.registry.get("ledger").entities)
    named = replace(entities["rows"], get=get_by_key_or_name, event_key=("group", "name"))
    plugin = replace(made.engine.registry.get("ledger"), entities=entities | {"rows": named})
    monkeypatch.setattr(made.engine.registry, "get", lambda _name: plugin)
    yield made
    made.installation.close()


def put(bench, key: str, name: str, **extra) -> None:
    bench.ledger.rows[key] = {"id": key, "name": name, "group": "g", "created": 1, **extra}


def tell(bench, *names: str) -> list[str]:
    return deliver(bench, *(Told(type="row.touched", key=f"g:{name}", at=-1) for name in names))


def known(bench, **names: str) -> None:
    """Have rows there and here, and some time pass."""
    for key, name in names.items():
        put(bench, key, name)
    tell(bench, *names.values())
    drain_now(bench)
    bench.clock.move(60)
    bench.ledger.calls.clear()


def live(bench) -> list[str]:
    return sorted(key for key, (_, is_deleted) in table_of(bench).items() if not is_deleted)


def test_a_record_that_is_gone_under_another_name_is_a_tombstone_at_once(bench):
    known(bench, a="ada", b="bob")
    del bench.ledger.rows["a"]
    ids = tell(bench, "ada")
    drain_now(bench)
    assert table_of(bench).keys() == {"a", "b"}
    assert live(bench) == ["b"]
    assert states_of(bench, ids) == ["done"]
    # The name was asked for, and then the record itself.
    assert [key for _, key in bench.ledger.calls] == ["g:ada", "a"]


def test_one_that_only_has_another_name_by_now_stays(bench):
    known(bench, a="ada")
    put(bench, "a", "augusta")
    tell(bench, "ada")
    drain_now(bench)
    assert live(bench) == ["a"]
    assert '"augusta"' in bench.stored("rows")[0].payload


def test_old_and_new_name_in_one_batch_make_one_record(bench):
    known(bench, a="ada")
    put(bench, "a", "augusta")
    tell(bench, "augusta", "ada")
    drain_now(bench)
    assert live(bench) == ["a"]
    # By the new name, by the old one, and by its key: what a name led to is asked for itself.
    assert [key for _, key in bench.ledger.calls] == ["g:ada", "a", "a"]
    assert '"augusta"' in bench.stored("rows")[0].payload


def test_a_name_that_nobody_has_leaves_nothing_behind(bench):
    known(bench, a="ada")
    ids = tell(bench, "nobody")
    drain_now(bench)
    assert table_of(bench).keys() == {"a"}
    assert states_of(bench, ids) == ["done"]


def test_a_record_s_own_key_is_taken_for_nothing_else(bench):
    known(bench, a="ada")
    put(bench, "b", "a", group="x")
    del bench.ledger.rows["a"]
    deliver(bench, Told(type="row.touched", key="a", at=-1))
    drain_now(bench)
    assert live(bench) == []


def test_of_all_who_have_a_name_each_is_looked_at(bench):
    known(bench, a="ada", b="bob", c="cid")
    put(bench, "b", "ada", note="was told of too late")
    deliver(bench, Told(type="row.touched", key="b", at=-1))
    drain_now(bench)
    bench.clock.move(60)
    bench.ledger.rows.clear()
    tell(bench, "ada", "cid")
    drain_now(bench)
    assert live(bench) == []


def test_while_a_run_may_still_store_who_was_meant_the_event_waits(bench):
    put(bench, "a", "ada")
    run = bench.ask("rows", mode="full")
    page, stored = bench.ledger.page, []

    def read_page(window, after):
        """Let the record go after its page was read, and before that is stored."""
        found = page(window, after)
        bench.ledger.rows.clear()
        tell(bench, "ada")
        drain_now(bench)
        stored.append(states_of(bench))
        return found

    bench.ledger.page = read_page
    assert bench.help(run.run.id).state == "succeeded"
    assert stored[0] == ["pending"]
    assert live(bench) == ["a"]
    bench.clock.move(3600)
    drain_now(bench)
    assert states_of(bench) == ["done"]
    assert live(bench) == []


def test_one_that_cannot_be_read_by_its_own_key_is_tried_again(bench):
    known(bench, a="ada")
    del bench.ledger.rows["a"]
    bench.ledger.refuses["get a"] = ProviderUnavailableError("away")
    tell(bench, "ada")
    drain_now(bench)
    assert (states_of(bench)[-1], live(bench)) == ("pending", ["a"])
    assert events_of(bench)[-1]["error_message"] == "away"
    bench.ledger.refuses.clear()
    bench.clock.move(3600)
    drain_now(bench)
    assert (states_of(bench)[-1], live(bench)) == ("done", [])
