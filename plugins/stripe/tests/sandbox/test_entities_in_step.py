"""Each entity over HTTP and the real core: read, kept in step, and proved to be."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from provider_kit import Bench, make_bench
from tieline.engine import help_run

DAY_S = 86_400
ENTITIES = ["customers", "products", "subscriptions", "charges"]
Make = Callable[..., Bench]


@pytest.fixture
def bench(server: Any, tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def make(key: str = "rk_test_51Tieline", **options: Any) -> Bench:
        sizes = {"customers": 320, "products": 180, "subscriptions": 230, "charges": 260}
        url = server(**(sizes | options))
        made.append(make_bench("stripe", "tieline_stripe", url, tmp_path, key))
        return made[-1]

    yield make
    for each in made:
        each.installation.close()


def mutate(bench: Bench, entity: str, **given: int) -> dict[str, list[str]]:
    if entity == "charges":
        given.pop("delete", None)
    done: dict[str, list[str]] = bench.order("mutate", {"entity": entity, **given})
    return done


def is_in_step(bench: Bench, entity: str) -> bool:
    assert bench.stored(entity) == bench.truth(entity)
    bench.pass_time(60)
    run = bench.sync(entity, "verify")
    assert (run.state, bench.found_by(run)) == ("succeeded", {})
    return True


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_full_run_reads_all_of_it(bench: Make, entity: str) -> None:
    made = bench()
    run = made.sync(entity)
    assert (run.mode, run.state) == ("full", "succeeded")
    assert run.counts.created == len(made.truth(entity)) > 150
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_incremental_run_sees_what_was_made_changed_and_deleted(
    bench: Make, entity: str
) -> None:
    made = bench()
    made.sync(entity)
    made.pass_time(3600)
    for turn in range(3):
        mutate(made, entity, create=8, update=30, delete=6, seed=turn)
        made.pass_time(7)
    made.pass_time(60)
    run = made.sync(entity)
    assert (run.mode, run.state, run.reason) == ("incremental", "succeeded", "")
    assert run.counts.created >= 20
    assert (run.counts.deleted > 0) == (entity in {"customers", "products"})
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_run_without_changes_costs_one_request_and_writes_nothing(
    bench: Make, entity: str
) -> None:
    made = bench(customers=20, skew=0.0)
    made.sync(entity)
    made.pass_time(3600)
    before = len(made.asked())
    run = made.sync(entity)
    assert (run.counts.created, run.counts.updated, run.counts.deleted) == (0, 0, 0)
    assert len(made.asked()) == before + 1


@pytest.mark.parametrize("entity", ENTITIES)
def test_changes_of_one_second_are_settled_by_reading_again(bench: Make, entity: str) -> None:
    made = bench()
    made.sync(entity)
    made.pass_time(3600)
    [name] = mutate(made, entity, create=1)["created"]
    for number in ("one", "two", "three"):
        given = {"entity": entity, "id": name, "fields": {"metadata": {"n": number}}}
        made.order("objects", given)
    made.pass_time(60)
    assert made.sync(entity).mode == "incremental"
    assert made.stored(entity)[name]["metadata"] == {"n": "three"}
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_what_changes_while_it_is_paged_is_right_after_the_next_run(
    bench: Make, entity: str
) -> None:
    made = bench()
    delete = 0 if entity == "charges" else 5
    change = {"entity": entity, "create": 3, "update": 20, "delete": delete, "seed": 4}
    fault = {"kind": "mutate", "path": f"/v1/{entity}", "times": 3, "mutation": change}
    made.order("faults", [fault])
    assert made.sync(entity).state == "succeeded"
    made.order("faults", [])
    made.pass_time(60)
    assert made.sync(entity).mode == "incremental"
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ["customers", "products"])
def test_a_cursor_whose_object_was_deleted_begins_the_window_again(
    bench: Make, entity: str
) -> None:
    made = bench()
    gone = {"error": {"type": "invalid_request_error", "message": "No such object: 'x'"}}
    gone["error"] |= {"code": "resource_missing", "param": "starting_after"}
    fault = {"kind": "status", "status": 400, "body": gone, "path": f"/v1/{entity}"}
    made.order("faults", [fault | {"query": "starting_after"}])
    assert made.sync(entity).state == "succeeded"
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_killed_run_goes_on_from_its_page(
    bench: Make, entity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench()
    run = made.ask(entity)
    calls = []

    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        calls.append(name)
        if calls.count("sync.fetch.before") == 2:
            raise Killed

    monkeypatch.setattr("tieline.engine.fetch.failpoint", kill)
    with pytest.raises(Killed):
        help_run(made.engine, run.id, threading.Event())
    monkeypatch.undo()
    made.pass_time(3600)  # the lease is over
    assert made.help(run.id).state == "succeeded"
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_log_that_no_longer_reaches_back_means_a_full_run(bench: Make, entity: str) -> None:
    made = bench()
    made.sync(entity)
    mutate(made, entity, create=2, update=5, delete=3)
    made.pass_time(31 * DAY_S)
    run = made.sync(entity)
    assert run.mode == "full"
    assert "reaches back 29 days" in run.reason
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_events_of_another_api_version_are_read_again(bench: Make, entity: str) -> None:
    made = bench(api_version="2024-06-20")
    made.sync(entity)
    made.pass_time(3600)
    changed = set(mutate(made, entity, create=2, update=6, seed=5)["updated"])
    made.pass_time(60)
    before = len(made.asked())
    assert made.sync(entity).mode == "incremental"
    single = {each["path"] for each in made.asked()[before:] if each["path"].count("/") == 3}
    assert len(single) >= len(changed)
    assert is_in_step(made, entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_event_that_shows_late_is_caught_by_the_overlap(bench: Make, entity: str) -> None:
    made = bench(event_delay_s=300.0)
    made.sync(entity)
    made.pass_time(3600)
    mutate(made, entity, create=3, update=5, delete=2)
    made.pass_time(60)
    assert made.sync(entity).counts.created == 0  # the log does not show them yet
    made.pass_time(400)
    made.sync(entity)
    assert is_in_step(made, entity)


def test_cancelled_subscriptions_are_read_and_stay(bench: Make) -> None:
    made = bench()
    made.sync("subscriptions")
    states = {each["status"] for each in made.stored("subscriptions").values()}
    assert {"canceled", "incomplete_expired", "paused"} <= states
    made.pass_time(3600)
    gone = mutate(made, "subscriptions", delete=5)["deleted"]
    made.pass_time(60)
    run = made.sync("subscriptions")
    assert run.counts.deleted == 0
    stored = made.stored("subscriptions")
    assert {stored[name]["status"] for name in gone} == {"canceled"}
    assert made.sync("subscriptions", "full").counts.deleted == 0
    assert is_in_step(made, "subscriptions")


def test_a_subscription_has_all_of_its_items_however_it_came(bench: Make) -> None:
    made = bench()
    made.sync("subscriptions")
    names = list(made.truth("subscriptions"))
    assert len(made.stored("subscriptions")[names[5]]["items"]["data"]) == 25
    made.pass_time(3600)
    given = {"entity": "subscriptions", "id": names[5], "fields": {"items": 230}}
    made.order("objects", given)
    made.order("objects", {"entity": "subscriptions", "id": names[20], "fields": {"items": 11}})
    made.pass_time(60)
    assert made.sync("subscriptions").mode == "incremental"
    stored = made.stored("subscriptions")
    assert [len(stored[names[at]]["items"]["data"]) for at in (5, 20)] == [230, 11]
    assert not any(each["items"]["has_more"] for each in stored.values())
    made.pass_time(60)
    run = made.sync("subscriptions", "full")
    assert (run.counts.updated, run.counts.created) == (0, 0)
    assert is_in_step(made, "subscriptions")


@pytest.mark.parametrize("entity", ["customers", "subscriptions"])
def test_what_belongs_to_a_test_clock_is_brought_by_no_event(bench: Make, entity: str) -> None:
    made = bench()
    made.sync(entity)
    made.pass_time(3600)
    given = {"entity": entity, "fields": {"test_clock": "clock_1TieHidden"}}
    name = made.order("objects", given)["id"]
    made.pass_time(60)
    assert made.sync(entity).mode == "incremental"
    assert name not in made.stored(entity)
    assert is_in_step(made, entity)


def test_a_product_whose_id_its_merchant_chose_can_be_read_again(bench: Make) -> None:
    made = bench(api_version="2024-06-20")
    made.sync("products")
    made.pass_time(3600)
    [name, *_] = [name for name in made.truth("products") if name.startswith("SKU ")]
    made.order("objects", {"entity": "products", "id": name, "fields": {"name": "Renamed"}})
    made.pass_time(60)
    assert made.sync("products").mode == "incremental"
    assert made.stored("products")[name]["name"] == "Renamed"
    assert is_in_step(made, "products")


def test_a_product_s_version_orders_its_copies_without_asking(bench: Make) -> None:
    made = bench()
    made.sync("products")
    made.pass_time(3600)
    name = next(iter(made.truth("products")))
    for turn in range(3):
        made.order("objects", {"entity": "products", "id": name, "fields": {"name": f"{turn}"}})
        made.pass_time(1)
    before = len(made.asked())
    made.sync("products", "full")  # the list has it first, the events come later
    made.sync("products")
    assert {each["path"] for each in made.asked()[before:]} == {"/v1/products", "/v1/events"}
    assert made.stored("products")[name]["name"] == "2"
    assert is_in_step(made, "products")


def test_disputes_and_refunds_that_failed_change_their_charge(bench: Make) -> None:
    made = bench()
    made.sync("charges")
    made.pass_time(3600)
    mutate(made, "charges", update=200, seed=1)
    made.pass_time(60)
    run = made.sync("charges")
    assert run.mode == "incremental"
    assert any(each["disputed"] for each in made.stored("charges").values())
    assert is_in_step(made, "charges")


def test_a_change_that_no_event_tells_is_found_by_verify_and_mended(bench: Make) -> None:
    made = bench()
    made.sync("charges")
    made.pass_time(3600)
    name = next(iter(made.truth("charges")))
    silent = {"entity": "charges", "id": name, "fields": {"metadata": {"a": "b"}}, "event": None}
    made.order("objects", silent)
    made.pass_time(60)
    assert made.sync("charges").counts.updated == 0
    assert made.found_by(made.sync("charges", "verify")) == {name: "stale"}
    made.sync("charges", "repair")
    assert is_in_step(made, "charges")


def test_a_missing_right_stops_one_entity_and_says_which(bench: Make) -> None:
    made = bench(key="rk_test_51Tieline_nocharges")
    run = made.sync("charges")
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert "Charges and Refunds: Read" in run.error_message
    assert made.stored("charges") == {}
    assert made.sync("products").state == "succeeded"


def test_windows_of_all_entities_are_read_side_by_side(bench: Make) -> None:
    made = bench()
    for entity in ENTITIES:
        times = sorted(each["created"] for each in made.truth(entity).values())
        middle = datetime.fromtimestamp(times[len(times) // 2], UTC)
        older = made.sync(entity, "window", window=(None, middle))
        newer = made.sync(entity, "window", window=(middle, None))
        assert older.counts.created + newer.counts.created == len(times)
        assert made.stored(entity) == made.truth(entity)
