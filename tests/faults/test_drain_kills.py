"""Workers killed while they handle events, and a Redis that forgot them: each is handled once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from servers import sandbox
from site_of import make_site, wait_until
from tieline.contract import PageParams
from tieline.services.connections import get_connection
from tieline.store import deliveries
from tieline.store.ids import new_id
from tieline.store.tables import records, webhook_drains, webhook_events

ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}
EVENTS = 60


@pytest.fixture
def shop(database_url, redis_url, tmp_path):
    """An installation with a connection, and a provider that has customers."""
    site = make_site(tmp_path / "site", database_url, redis_url, lease_s="1", sweep_s="0.2")
    with sandbox(customers=EVENTS) as url:
        site.connect(url)
        yield site
    site.close()


def customers_of(site) -> list[str]:
    """Return what the provider has: thin events name them, and they are read."""
    opened = site.installation.engine.opener.open(connection_id(site))
    try:
        return [customer["id"] for customer in listed(opened)]
    finally:
        opened.transport.close()


def listed(opened) -> list[dict]:
    entity = opened.plugin.entity("customers")
    return entity.page(opened.client, PageParams(), None).records


def connection_id(site) -> str:
    return get_connection(site.installation, "shop").id


def deliver(site, keys: list[str]) -> None:
    now = site.installation.clock.now()
    with site.installation.database.write() as connection:
        for key in keys:
            event = deliveries.NewEvent(
                id=new_id("evt"),
                endpoint_id="whe_test",
                event_key=f"evt of {key}",
                connection_id=connection_id(site),
                type="customer.updated",
                entity="customers",
                record_key=key,
                occurred_at=now - timedelta(seconds=30),
                received_at=now,
                delivery_id=new_id("del"),
                body=b"{}",
                headers="{}",
                record=None,
            )
            deliveries.insert_events(connection, [event])


def states(site) -> dict[str, int]:
    with site.installation.database.read() as connection:
        found = connection.execute(select(webhook_events.c.state)).scalars().all()
    return {state: found.count(state) for state in set(found)}


def revisions(site) -> list[int]:
    with site.installation.database.read() as connection:
        return list(connection.execute(select(records.c.revision)).scalars())


def test_a_worker_that_is_killed_before_or_after_its_commit_loses_and_doubles_nothing(shop):
    keys = customers_of(shop)
    for point in ("inbox.drain.before_commit", "inbox.drain.after_commit"):
        deliver(shop, keys[:30] if point.endswith("before_commit") else keys[30:])
        # The whole worker dies, so nobody tells that the lease is free: it lapses.
        dying = shop.start("worker", TIELINE_FAILPOINTS=f"{point}=killall", **ALLOWED)
        assert dying.wait(30) == -9
        expected = {"pending": 30} if point.endswith("before_commit") else {"done": 60}
        assert states(shop) == expected
        shop.ok("worker", "--burst")
        assert set(states(shop)) == {"done"}
    assert revisions(shop) == [1] * len(keys)


def test_a_work_horse_that_dies_is_mourned_and_its_events_are_handled(shop):
    keys = customers_of(shop)
    deliver(shop, keys)
    shop.start("worker", TIELINE_FAILPOINTS="inbox.drain.before_commit=kill", **ALLOWED)
    wait_until(lambda: fences(shop) >= [2])
    shop.start("worker")
    wait_until(lambda: states(shop) == {"done": len(keys)})
    assert revisions(shop) == [1] * len(keys)


def fences(site) -> list[int]:
    with site.installation.database.read() as connection:
        return list(connection.execute(select(webhook_drains.c.fence)).scalars())


def test_events_whose_bell_redis_forgot_are_found_by_the_sweep(shop):
    keys = customers_of(shop)
    shop.installation.engine.ring_drain(connection_id(shop))
    deliver(shop, keys)
    shop.installation.redis.flushall()
    shop.start("worker")
    wait_until(lambda: states(shop) == {"done": len(keys)})


def test_rings_that_nobody_heard_yet_are_one_job(shop):
    for _ in range(50):
        shop.installation.engine.ring_drain(connection_id(shop))
    assert shop.installation.doorbell.count_waiting() == 1
    deliver(shop, customers_of(shop))
    shop.ok("worker", "--burst")
    assert states(shop) == {"done": EVENTS}
    shop.installation.engine.ring_drain(connection_id(shop))
    assert shop.installation.doorbell.count_waiting() == 1


def test_events_are_handled_while_the_only_worker_is_busy_with_a_run(shop):
    keys = customers_of(shop)
    run_id = shop.ask(mode="full")
    shop.start("worker", TIELINE_FAILPOINTS="sync.fetch.before=sleep:15", **ALLOWED)
    wait_until(lambda: shop.state_of(run_id).state == "running")
    deliver(shop, keys[:20])
    wait_until(lambda: states(shop) == {"done": 20}, seconds=12)
    assert shop.state_of(run_id).state == "running"
    assert shop.state_of(run_id).counts.requests == 0
