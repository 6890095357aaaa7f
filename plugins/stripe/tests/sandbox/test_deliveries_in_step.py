"""From a change at Stripe to our tables by deliveries alone: twice, in disorder, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inbox_kit import drain_now, states_of
from provider_kit import Bench, make_bench
from tieline.contract import PermissionDeniedError, Secret
from tieline.errors import RefusedError
from tieline.services import webhook_registration as registration
from tieline.services import webhooks
from tieline.web import Listener, create_app
from tieline_stripe.client import API_VERSION
from tieline_stripe.events import EVENTS

ENTITIES = list(EVENTS)


class Shop:
    """A connected account, and a server that takes its deliveries."""

    def __init__(self, bench: Bench, address: str) -> None:
        self.bench = bench
        self.address = address
        bench.database = bench.engine.database  # type: ignore[attr-defined]
        bench.order("webhooks", {"sign_by": "sandbox"})  # the server goes by the same clock

    def add(self, target: str = "shop") -> str:
        made = webhooks.add_endpoint(
            self.bench.installation, target, base=self.address, actor="test"
        )
        return made.listed.endpoint.id

    def register(self, endpoint_id: str, by: str | None = None) -> Any:
        return registration.register_endpoint(
            self.bench.installation, endpoint_id, by=by, actor="test"
        )

    def at_stripe(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.bench.look("webhooks").json()["endpoints"]
        return found

    def change(self, seed: int) -> None:
        for entity in ENTITIES:
            delete = 0 if entity == "charges" else 3
            given = {"entity": entity, "create": 3, "update": 8, "delete": delete, "seed": seed}
            self.bench.order("mutate", given)

    def flush(self) -> list[dict[str, Any]]:
        """Have all that waits delivered; return every delivery so far."""
        self.bench.order("webhooks", {"hold": False, "flush": True})
        found: list[dict[str, Any]] = self.bench.look("webhooks").json()["deliveries"]
        return found

    def drain(self) -> None:
        for _ in range(10):
            drain_now(self.bench)  # type: ignore[arg-type]
            if "pending" not in states_of(self.bench):  # type: ignore[arg-type]
                return
            self.bench.pass_time(120)
        raise AssertionError("some events are not handled")

    def is_in_step(self) -> bool:
        for entity in ENTITIES:
            assert self.bench.stored(entity) == self.bench.truth(entity), entity
        return True


@pytest.fixture
def shop(server: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    url = server(customers=40, products=15, subscriptions=25, charges=30)
    key = getattr(request, "param", "rk_test_51Tieline")
    bench = make_bench("stripe", "tieline_stripe", url, tmp_path, key)
    app = create_app(bench.installation)
    with Listener(app, host="127.0.0.1", port=0) as listener:
        yield Shop(bench, listener.address)
    bench.installation.close()


def test_what_is_delivered_twice_and_in_disorder_ends_in_what_stripe_has(shop: Shop) -> None:
    for entity in ENTITIES:
        assert shop.bench.sync(entity).state == "succeeded"
    endpoint_id = shop.add()
    row = shop.register(endpoint_id).endpoint
    [known] = shop.at_stripe()
    assert (known["id"], known["url"]) == (row.remote_id, row.address)
    assert known["api_version"] == API_VERSION
    assert known["enabled_events"] == [name for types in EVENTS.values() for name in types]

    shop.bench.pass_time(3600)
    shop.bench.order("webhooks", {"hold": True, "shuffle": True, "duplicate": 0.3, "seed": 5})
    for seed in range(2):
        shop.change(seed)
        shop.bench.pass_time(7)
    delivered = shop.flush()
    assert {each["status"] for each in delivered} == {200}
    assert sum(each["is_copy"] for each in delivered) > 10
    asked = len(shop.bench.asked())
    shop.drain()
    assert shop.is_in_step()
    states = states_of(shop.bench)  # type: ignore[arg-type]
    assert len(states) == len({each["event"] for each in delivered}) < len(delivered)
    assert set(states) <= {"done", "ignored"}  # of a test clock
    assert states.count("done") > 0.9 * len(states)
    again = {each["path"] for each in shop.bench.asked()[asked:]}
    assert again - {"/v1/subscription_items"}, "refunds, disputes and ties are read again"
    assert not again & {f"/v1/{name}" for name in (*ENTITIES, "events")}, "nothing was listed"

    shop.bench.order("webhooks", {"drop": 1.0, "duplicate": 0})  # what never comes is in the log
    shop.bench.pass_time(60)
    shop.change(seed=9)
    shop.flush()
    shop.bench.pass_time(60)
    for entity in ENTITIES:
        assert shop.bench.sync(entity).mode == "incremental"
    assert shop.is_in_step()

    shop.bench.order("webhooks", {"drop": 0.0})
    registration.unregister_endpoint(shop.bench.installation, endpoint_id, actor="test")
    assert shop.at_stripe() == []
    before = len(shop.flush())
    shop.change(seed=10)
    assert len(shop.flush()) == before
    webhooks.remove_endpoint(shop.bench.installation, endpoint_id, actor="test")


def test_a_secret_that_was_rolled_at_stripe_is_taken_once_it_is_known(shop: Shop) -> None:
    endpoint_id = shop.add()
    remote_id = shop.register(endpoint_id).endpoint.remote_id
    new = shop.bench.order("webhooks", {"roll": remote_id, "overlap_s": 3600})["secret"]
    shop.bench.order("mutate", {"create": 1})
    assert [each["status"] for each in shop.flush()] == [200]  # the one before signs, too
    shop.bench.pass_time(3601)
    shop.bench.order("mutate", {"create": 1})
    assert [each["status"] for each in shop.flush()] == [200, 401]
    webhooks.rotate_secret(shop.bench.installation, endpoint_id, secret=Secret(new), actor="test")
    shop.bench.pass_time(400)
    assert [each["status"] for each in shop.flush()] == [200, 401, 200]


def test_what_is_gone_at_stripe_is_unregistered_all_the_same(shop: Shop) -> None:
    endpoint_id = shop.add()
    remote_id = shop.register(endpoint_id).endpoint.remote_id
    client = shop.bench.installation.engine.opener.open(
        shop.bench.connection_id, stop=threading.Event()
    )
    client.client.send("delete", f"/v1/webhook_endpoints/{remote_id}", {})
    client.transport.close()
    registration.unregister_endpoint(shop.bench.installation, endpoint_id, actor="test")
    assert webhooks.get_endpoint(shop.bench.installation, endpoint_id).endpoint.remote_id is None


def test_a_platform_s_endpoint_is_made_by_hand(shop: Shop) -> None:
    endpoint_id = shop.add("stripe")
    with pytest.raises(RefusedError, match=r"lets only people do it.*dashboard"):
        shop.register(endpoint_id, by="shop")
    assert shop.at_stripe() == []


@pytest.mark.parametrize("shop", ["rk_test_51Tieline_nowebhooks"], indirect=True)
def test_a_key_that_may_not_is_said_to_lack_the_right(shop: Shop) -> None:
    endpoint_id = shop.add()
    with pytest.raises(PermissionDeniedError, match="rak_webhook_write"):
        shop.register(endpoint_id)
    assert webhooks.get_endpoint(shop.bench.installation, endpoint_id).is_closed
