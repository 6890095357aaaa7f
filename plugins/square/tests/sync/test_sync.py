"""Every entity through the real core: tables and ``verify`` equal what the sandbox has."""

from __future__ import annotations

import threading
import time

import pytest

from tieline.store import partitions

ENTITIES = ("customers", "orders", "catalog", "payments")


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_full_read_has_all_that_the_seller_has(seller, entity):
    shop = seller(customers=320, orders=320, items=90)
    run = shop.sync(entity)
    assert (run.mode, run.state) == ("full", "succeeded")
    assert len(shop.stored(entity)) > 100  # more than a page
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_incremental_read_sees_what_is_new_and_what_changed(seller, entity):
    shop = seller()
    shop.sync(entity)
    before = set(shop.stored(entity))
    shop.pass_time(3600)
    shop.data(entity, create=5, update=20, seed=4)
    shop.pass_time(5)
    run = shop.sync(entity)
    assert (run.mode, run.state, run.reason) == ("incremental", "succeeded", "")
    assert run.counts.created == len(set(shop.truth(entity)) - before) > 0
    assert run.counts.updated > 0
    assert shop.is_in_step(entity)
    shop.pass_time(3600)
    shop.sync(entity)
    shop.pass_time(3600)
    assert shop.sync(entity).counts.seen == 0  # an idle seller costs one request, or a few


PAGES = {
    "customers": "/v2/customers/search",
    "orders": "/v2/orders/search",
    "catalog": "/v2/catalog/list",
    "payments": "/v2/payments",
}
CHANGES = PAGES | {"catalog": "/v2/catalog/search"}
LARGE = {
    "customers": {"customers": 320},
    "orders": {"orders": 1200},
    "catalog": {"items": 120},
    "payments": {"orders": 320},
}
"""Several pages of each, full ones and those of changes."""


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_second_full_read_writes_nothing(seller, entity):
    shop = seller()
    shop.sync(entity)
    shop.pass_time(60)
    counts = shop.sync(entity, "full").counts
    assert (counts.created, counts.updated, counts.deleted) == (0, 0, 0)
    assert counts.unchanged == counts.seen == len(shop.truth(entity))


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_empty_seller_is_no_fault(seller, entity):
    shop = seller(customers=0, orders=0, items=0)
    for _ in range(2):
        run = shop.sync(entity)
        assert (run.state, run.counts.seen) == ("succeeded", 0)
        shop.pass_time(60)
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_what_changes_while_everything_is_read_is_had_by_the_next_read(seller, entity):
    shop = seller(**LARGE[entity])
    shop.order("clock", {"frozen": False})
    order = {"entity": entity, "create": 3, "update": 40, "seed": 2}
    shop.fail({"kind": "mutate", "path": PAGES[entity], "nth": 2, "order": order})
    assert shop.sync(entity).state == "succeeded"
    shop.fail()
    shop.pass_time(30)
    assert shop.sync(entity).mode == "incremental"
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_what_changes_while_changes_are_read_is_had_by_the_next_read(seller, entity):
    shop = seller(**LARGE[entity])
    shop.sync(entity)
    shop.pass_time(3600)
    shop.data(entity, alter={key: {} for key in shop.truth(entity)})
    shop.pass_time(60)
    shop.order("clock", {"frozen": False})
    order = {"entity": entity, "create": 3, "update": 200, "seed": 3}
    shop.fail({"kind": "mutate", "path": CHANGES[entity], "nth": 2, "order": order})
    run = shop.sync(entity)
    assert (run.mode, run.state) == ("incremental", "succeeded")
    shop.fail()
    shop.pass_time(30)
    shop.sync(entity)
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_pages_of_changes_that_share_one_instant_are_read_whole(seller, entity):
    shop = seller(**LARGE[entity])
    shop.sync(entity)
    shop.pass_time(3600)
    shop.data(entity, alter={key: {} for key in shop.truth(entity)})  # the clock stands still
    shop.pass_time(5)
    run = shop.sync(entity)
    assert run.mode == "incremental"
    assert run.counts.updated == len(shop.truth(entity)) > 200
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_short_and_empty_pages_are_not_the_end(seller, entity):
    shop = seller(**LARGE[entity], odd_pages=2)
    shop.sync(entity)
    assert shop.is_in_step(entity)
    shop.pass_time(3600)
    shop.data(entity, alter={key: {} for key in shop.truth(entity)})
    shop.pass_time(60)
    assert shop.sync(entity).mode == "incremental"
    assert shop.is_in_step(entity)


OUTAGES = {
    "200 with errors": {
        "kind": "status",
        "status": 200,
        "body": {"errors": [{"category": "API_ERROR", "code": "SERVICE_UNAVAILABLE"}]},
    },
    "200 with HTML": {"kind": "html200"},
    "200 with nothing": {"kind": "empty"},
    "503": {"kind": "status", "status": 503},
    "reset": {"kind": "drop"},
    "throttled": {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=list(OUTAGES))
@pytest.mark.parametrize("entity", ENTITIES)
def test_an_outage_is_never_an_end_and_never_nothing_new(seller, entity, outage):
    shop = seller()
    shop.sync(entity)
    shop.pass_time(3600)
    shop.data(entity, update=20)
    shop.pass_time(60)
    shop.fail(outage | {"path": CHANGES[entity], "times": 2})
    run = shop.sync(entity)
    assert (run.mode, run.state) == ("incremental", "succeeded")
    assert run.counts.updated > 0
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_missing_right_fails_the_run_and_deletes_nothing(seller, entity):
    shop = seller()
    shop.sync(entity)
    before = shop.stored(entity)
    body = {"errors": [{"category": "AUTHENTICATION_ERROR", "code": "INSUFFICIENT_SCOPES"}]}
    fault = {"kind": "status", "status": 403, "body": body, "times": 0}
    shop.fail(fault | {"path": PAGES[entity]}, fault | {"path": CHANGES[entity]})
    for mode in ("incremental", "full"):
        shop.pass_time(60)
        run = shop.sync(entity, mode)
        assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert shop.stored(entity) == before


@pytest.mark.parametrize("code", ["INVALID_CURSOR", "BAD_REQUEST"])
@pytest.mark.parametrize("entity", ENTITIES)
def test_a_cursor_that_has_expired_costs_no_record(seller, entity, code):
    shop = seller(**LARGE[entity])
    body = {"errors": [{"category": "INVALID_REQUEST_ERROR", "code": code}]}
    fault = {"kind": "status", "status": 400, "body": body, "nth": 2}
    shop.fail(fault | {"path": PAGES[entity]})
    assert shop.sync(entity).state == "succeeded"
    assert shop.is_in_step(entity)
    shop.pass_time(3600)
    shop.data(entity, alter={key: {} for key in shop.truth(entity)})
    shop.pass_time(60)
    shop.fail(fault | {"path": CHANGES[entity]})
    run = shop.sync(entity)
    assert (run.mode, run.state) == ("incremental", "succeeded")
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ["customers", "orders", "payments"])
def test_a_run_that_rests_for_an_hour_goes_on_from_the_time_that_it_had_reached(seller, entity):
    shop = seller(customers=620, orders=2200 if entity == "orders" else 620)
    shop.fail({"kind": "status", "status": 503, "path": PAGES[entity], "nth": 4, "times": 20})
    run = shop.sync(entity)
    assert run.state in {"retrying", "waiting"}
    had = len(shop.stored(entity))
    assert had >= 200
    shop.fail()
    shop.pass_time(3600)  # Square's cursor is long dead
    shop.tick()
    run = shop.help(run.id)
    assert run.state == "succeeded"
    assert shop.is_in_step(entity)
    assert run.counts.seen < len(shop.truth(entity)) + had  # it did not begin anew


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_worker_that_has_to_leave_is_followed_by_another(seller, entity):
    shop = seller(**LARGE[entity])
    shop.fail({"kind": "delay", "path": PAGES[entity], "nth": 2, "seconds": 0.6})
    stop, run_id = threading.Event(), shop.ask(entity)

    def have_it_leave() -> None:
        give_up_at = time.monotonic() + 30
        while not shop.stored(entity) and time.monotonic() < give_up_at:
            time.sleep(0.02)
        stop.set()

    waiting = threading.Thread(target=have_it_leave)
    waiting.start()
    assert shop.help(run_id, stop).state == "running"
    waiting.join()
    assert shop.stored(entity)
    run = shop.help(run_id)
    assert (run.state, run.counts.created) == ("succeeded", len(shop.truth(entity)))
    assert shop.is_in_step(entity)


def test_customers_are_read_by_several_hands_in_windows_of_time(seller):
    shop = seller(customers=3000, latency_ms=60)
    run = shop.sync("customers")
    with shop.installation.database.read() as transaction:
        parts = partitions.list_partitions(transaction, run.id)
    assert len(parts) > 1
    assert run.counts.created == len(shop.truth("customers"))
    assert shop.is_in_step("customers")
