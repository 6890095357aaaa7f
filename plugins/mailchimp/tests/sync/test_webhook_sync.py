"""From a change at Mailchimp to the table: real deliveries to a real server, then the drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tieline.contract import ProviderUnavailableError, RequestRejectedError, Secret
from tieline.engine import drain_events
from tieline.errors import RefusedError
from tieline.inbox import SPREAD_S
from tieline.services import webhook_registration, webhooks
from tieline.services.changes import Change
from tieline.web import Listener, create_app

Make = Callable[..., Any]
TOLD = ("update", "archive", "rename", "delete", "unsubscribe")
"""Changes of which Mailchimp tells, whomever they concern."""


@dataclass
class Site:
    """An installation whose server Mailchimp can reach."""

    bench: Any
    endpoint_id: str

    def register(self) -> Any:
        found = webhook_registration.register_endpoint(
            self.bench.installation, self.endpoint_id, actor="test"
        )
        self.bench.move(SPREAD_S)
        return found

    def unregister(self) -> None:
        webhook_registration.unregister_endpoint(
            self.bench.installation, self.endpoint_id, actor="test"
        )

    def hooks(self) -> list[Any]:
        """Return what Mailchimp has."""
        auth = ("any", "0123456789abcdef0123456789abcdef-us6")
        found: list[Any] = []
        for audience in self.bench.audiences():
            path = f"/3.0/lists/{audience}/webhooks"
            found += self.bench.http.get(path, auth=auth).raise_for_status().json()["webhooks"]
        return found

    def deliveries(self) -> list[Any]:
        found: list[Any] = self.bench.facts("deliveries")["deliveries"]
        return found

    def arrive(self) -> None:
        """Wait until all that was sent is taken, and handle it."""
        ends = time.monotonic() + 60
        while (found := self.bench.facts("webhooks"))["waiting"] or found["sending"]:
            assert time.monotonic() < ends, self.deliveries()
            time.sleep(0.02)
        assert {each["state"] for each in self.deliveries()} <= {"taken"}
        self.bench.move(2)
        drain_events(self.bench.engine, self.bench.connection_id, threading.Event())
        self.bench.move(60)

    def events(self) -> int:
        with self.bench.engine.database.read() as transaction:
            return transaction.exec_driver_sql("SELECT count(*) FROM webhook_events").scalar()

    def states(self) -> set[str]:
        with self.bench.engine.database.read() as transaction:
            rows = transaction.exec_driver_sql("SELECT DISTINCT state FROM webhook_events")
            return {row[0] for row in rows}


@pytest.fixture
def site(bench: Make) -> Iterator[Callable[..., Site]]:
    """Make sites: ``site(contacts=20)``; the options are the sandbox's."""
    with ExitStack() as stack:

        def make(**options: Any) -> Site:
            made = bench(**options)
            app = create_app(made.installation)
            listener = stack.enter_context(Listener(app, host="127.0.0.1", port=0))
            added = webhooks.add_endpoint(
                made.installation, "news", base=listener.address, actor="test"
            )
            return Site(made, added.listed.endpoint.id)

        yield make


@pytest.mark.parametrize("unsigned", [False, True])
def test_the_tables_follow_what_is_delivered_twice_and_in_any_order(
    site: Any, in_step: Any, *, unsigned: bool
) -> None:
    one = site(audiences=2, contacts=40, unsigned_webhooks=unsigned)
    assert one.bench.sync(mode="full").state == "succeeded"
    found = one.register()
    assert found.endpoint.scheme_level == ("path-secret" if unsigned else "signature")
    names = {f"{hook['list_id']}:{hook['id']}" for hook in one.hooks()}
    assert set(found.endpoint.remote_id.split()) == names
    for seed in range(1 if unsigned else 2):
        one.bench.order("webhooks", {"rules": {"hold": True, "copies": 2, "seed": seed}})
        one.bench.mutate(**dict.fromkeys(TOLD, 3), seed=seed)
        for audience in one.bench.audiences():
            one.bench.plant(audience, f"new{seed}@example.com")
        one.bench.order("webhooks", {"release": "shuffled"})
        one.arrive()
        in_step(one.bench)
    assert one.states() == {"done"}
    moved = sum(each["type"] == "upemail" for each in one.deliveries()) // 2
    bodies = {each["body"] for each in one.deliveries()}
    assert one.events() == len(bodies) + moved  # two events each
    count = len(one.deliveries())
    one.unregister()
    assert one.hooks() == []
    one.bench.mutate(update=5)
    assert len(one.deliveries()) == count
    webhooks.remove_endpoint(one.bench.installation, one.endpoint_id, actor="test")


def test_who_was_deleted_for_good_is_a_tombstone_at_once_under_its_own_key(site: Any) -> None:
    one = site(audiences=1, contacts=5)
    one.bench.sync(mode="full")
    one.register()
    gone, *_ = one.bench.stored()
    audience, contact = gone.record_id.split(":")
    one.bench.order("contacts", {"audience": audience, "find": contact, "remove": True})
    one.arrive()
    [row] = [each for each in one.bench.stored(with_deleted=True) if each.deleted_at]
    assert row.record_id == gone.record_id
    assert len(one.bench.stored(with_deleted=True)) == 5


def test_one_of_old_who_moves_leaves_no_second_record(site: Any, in_step: Any) -> None:
    one = site(audiences=1, contacts=5, contact_ids=False)
    one.bench.sync(mode="full")
    one.register()
    one.bench.mutate(rename=2)
    one.arrive()
    in_step(one.bench)
    assert len(one.bench.stored(with_deleted=True)) == 7


def test_our_own_writes_come_back_and_change_nothing(site: Any) -> None:
    one = site(audiences=1, contacts=3)
    one.bench.sync(mode="full")
    one.register()
    key = one.bench.stored()[0].record_id
    [done] = one.bench.push(
        Change(kind="update", key=key, payload={"merge_fields": {"FNAME": "Ida"}})
    )
    assert done.state == "done"
    before = {row.record_id: row.revision for row in one.bench.stored()}
    one.arrive()
    assert {row.record_id: row.revision for row in one.bench.stored()} == before
    assert [each["type"] for each in one.deliveries()] == ["profile"]


@pytest.mark.parametrize("executed", [False, True])
def test_an_account_is_told_of_everywhere_or_nowhere(site: Any, *, executed: bool) -> None:
    one = site(audiences=3, contacts=0)
    fault = {"kind": "drop", "method": "POST", "path": "/3.0/lists/*", "query": "", "nth": 2}
    one.bench.order("faults", [fault | {"executed": executed}])
    with pytest.raises(ProviderUnavailableError):
        one.register()
    assert one.hooks() == []
    assert webhooks.get_endpoint(one.bench.installation, one.endpoint_id).endpoint.remote_id is None
    one.register()
    assert len(one.hooks()) == 3


def test_one_that_signed_before_and_does_not_now_goes_by_its_address(site: Any) -> None:
    one = site(audiences=1, contacts=3, unsigned_webhooks=True)
    old = Secret("mcwhsec_of_one_that_is_gone")
    webhooks.rotate_secret(one.bench.installation, one.endpoint_id, secret=old, actor="test")
    one.bench.sync(mode="full")
    assert one.register().endpoint.scheme_level == "path-secret"
    one.bench.mutate(update=1)
    one.arrive()
    assert one.states() == {"done"}


def test_an_account_without_an_audience_is_told_so(site: Any) -> None:
    one = site(audiences=0, contacts=0)
    with pytest.raises(RequestRejectedError, match="no audience"):
        one.register()


def test_what_is_gone_at_mailchimp_already_can_be_unregistered(site: Any) -> None:
    one = site(audiences=2, contacts=0)
    one.register()
    one.bench.order("lists", {"audience": one.bench.audiences()[0], "remove": True})
    one.unregister()
    assert one.hooks() == []
    with pytest.raises(RefusedError):
        one.unregister()
