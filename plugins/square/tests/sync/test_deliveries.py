"""Square's events from the sandbox over real HTTP to the tables, and the way to get them."""

from __future__ import annotations

import threading
import time
from collections import Counter

import httpx
import pytest
from sqlalchemy import select

from tieline.contract import PermissionDeniedError, ProviderUnavailableError, Secret
from tieline.engine import drain_events
from tieline.services import webhook_registration, webhooks
from tieline.services.connect import connect_api_key
from tieline.services.connections import get_connection
from tieline.store.tables import webhook_events
from tieline.web import Listener, create_app
from tieline_square.webhooks import WEBHOOKS
from tieline_square_sandbox import API_KEY

ENTITIES = ("customers", "orders", "catalog", "payments")
SMALL = {"customers": 12, "orders": 18, "items": 4, "accounts": 2}


class Subscribed:
    """A seller whose installation serves, and an application's endpoint there."""

    def __init__(self, shop, address):
        self.shop = shop
        made = webhooks.add_endpoint(shop.installation, "square", base=address, actor="test")
        self.endpoint_id = made.listed.endpoint.id
        self.address = made.listed.endpoint.address

    def register(self, by="till"):
        return webhook_registration.register_endpoint(
            self.shop.installation, self.endpoint_id, by=by, actor="test"
        ).endpoint

    def unregister(self):
        webhook_registration.unregister_endpoint(
            self.shop.installation, self.endpoint_id, by="till", actor="test"
        )

    def subscriptions(self):
        asked = httpx.get(
            f"{self.shop.base}/v2/webhooks/subscriptions",
            params={"include_disabled": "true"},
            headers={"authorization": f"Bearer {API_KEY}"},
            trust_env=False,
        )
        return asked.json().get("subscriptions", [])

    def switch(self, *, is_active):
        webhooks.set_state(
            self.shop.installation, self.endpoint_id, is_active=is_active, actor="test"
        )

    def test(self):
        """Have Square test the address; return how it answered."""
        [found] = self.subscriptions()
        path = f"/v2/webhooks/subscriptions/{found['id']}/test"
        headers = {"authorization": f"Bearer {API_KEY}"}
        told = httpx.post(self.shop.base + path, json={}, headers=headers, trust_env=False)
        return told.json()["status_code"]

    def delivered(self):
        """Wait until everything was delivered; return the attempts."""
        return self.wait_until(lambda told: told["waiting"] == 0)

    def wait_until(self, is_so):
        """Wait until the deliveries are so and none is under way; return the attempts."""
        until = time.monotonic() + 60
        while True:
            told = httpx.get(f"{self.shop.base}/_sandbox/deliveries", trust_env=False).json()
            if told["in_flight"] == 0 and is_so(told):
                return told["deliveries"]
            assert time.monotonic() < until, told
            time.sleep(0.02)

    def work(self):
        """Handle what came in, and do the runs that it asked for."""
        drain_events(self.shop.engine, self.shop.id, threading.Event())
        while self.shop.rung:
            self.shop.help(self.shop.rung.pop())

    def events(self):
        with self.shop.installation.database.read() as transaction:
            return transaction.execute(select(webhook_events)).mappings().all()


@pytest.fixture
def subscribed(seller):
    shop = seller(is_timed=True, **SMALL)
    with Listener(create_app(shop.installation), host="127.0.0.1", port=0) as listener:
        yield Subscribed(shop, listener.address)


def test_what_changes_at_square_is_in_the_tables_by_its_deliveries_alone(subscribed):
    shop = subscribed.shop
    for entity in ENTITIES:
        assert shop.sync(entity).state == "succeeded"
    subscribed.register()
    # Every event twice, and in no order.
    shop.order("deliveries", {"copies": 2, "disorder_s": 0.5, "seed": 5})
    one, two, three, *_ = sorted(shop.stored("customers"))
    shop.data("customers", create=2, alter={one: {"note": "n"}})
    shop.data("customers", remove=[one], merge=[two, three])
    shop.data("orders", create=2, update=2)  # of the till too, which tells of payments alone
    [paid, *_] = sorted(shop.stored("payments"))
    refunded = {"refunded_money": {"amount": 5, "currency": "USD"}, "refund_ids": ["R1"]}
    shop.data("payments", alter={paid: refunded})
    shop.data("catalog", create=1, update=1, delete=1)
    told = subscribed.delivered()
    assert {each["status"] for each in told} == {200}
    counts = Counter(each["event_id"] for each in told)
    assert set(counts.values()) == {2}
    shop.rung.clear()
    subscribed.work()
    for entity in ENTITIES:
        assert shop.stored(entity) == shop.truth(entity), entity
        assert shop.is_in_step(entity)
    events = subscribed.events()
    assert {event["state"] for event in events} <= {"done", "skipped", "superseded"}
    assert {event["event_key"].partition(":")[0] for event in events} == set(counts)
    assert {event["type"] for event in events} >= {
        *("customer.created", "customer.updated", "customer.deleted", "customer.merged"),
        *("order.created", "order.updated", "payment.created", "payment.updated"),
        *("refund.created", "catalog.version.updated"),
    }

    subscribed.unregister()
    assert subscribed.subscriptions() == []
    shop.data("customers", create=1)
    assert len(subscribed.delivered()) == len(told)


def test_what_was_refused_while_the_endpoint_was_disabled_comes_again(subscribed):
    shop = subscribed.shop
    shop.sync("customers")
    subscribed.register()
    subscribed.switch(is_active=False)
    assert subscribed.test() == 404
    shop.data("customers", create=3)
    refused = subscribed.wait_until(lambda told: told["total"] == 4)
    assert {(each["attempt"], each["status"]) for each in refused} == {(0, 404)}
    subscribed.switch(is_active=True)
    until = time.monotonic() + 30
    while subscribed.test() != 200:  # every process hears of it within a second
        assert time.monotonic() < until
        time.sleep(0.05)
    shop.order("clock", {"advance_s": 61})
    again = [each for each in subscribed.delivered() if each["attempt"]]
    assert [(each["attempt"], each["status"]) for each in again] == [(1, 200)] * 3
    subscribed.work()
    assert shop.stored("customers") == shop.truth("customers")


def test_an_address_has_one_subscription_even_if_an_answer_was_lost(subscribed):
    lost = {"kind": "drop", "path": "/v2/webhooks/subscriptions", "method": "POST"}
    subscribed.shop.fail(lost | {"executed": True})
    with pytest.raises(ProviderUnavailableError):
        subscribed.register()
    [left] = subscribed.subscriptions()
    row = subscribed.register()
    [there] = subscribed.subscriptions()
    assert (there["id"], there["id"] != left["id"]) == (row.remote_id, True)
    assert there["notification_url"] == subscribed.address
    assert sorted(there["event_types"]) == sorted(WEBHOOKS.types)
    assert there["api_version"] == "2026-09-16"
    subscribed.shop.fail()
    subscribed.unregister()
    assert subscribed.subscriptions() == []


def test_one_that_is_gone_at_square_is_taken_back_all_the_same(subscribed):
    row = subscribed.register()
    httpx.delete(
        f"{subscribed.shop.base}/v2/webhooks/subscriptions/{row.remote_id}",
        headers={"authorization": f"Bearer {API_KEY}"},
    ).raise_for_status()
    subscribed.unregister()
    assert (
        webhooks.get_endpoint(
            subscribed.shop.installation, subscribed.endpoint_id
        ).endpoint.remote_id
        is None
    )


def test_a_seller_s_token_is_told_whose_is_needed_and_stays_good(subscribed):
    shop = subscribed.shop
    scopes = ["MERCHANT_PROFILE_READ", "CUSTOMERS_READ"]
    grant = shop.order("oauth", {"grant": {"account": 1, "scopes": scopes}})
    connect_api_key(
        shop.installation,
        "square",
        name="seller",
        key=Secret(grant["access_token"]),
        base_url=shop.base,
        actor="test",
    )
    with pytest.raises(PermissionDeniedError) as caught:
        subscribed.register(by="seller")
    assert "--by" in caught.value.hint
    assert get_connection(shop.installation, "seller").state == "ok"
    assert subscribed.subscriptions() == []
