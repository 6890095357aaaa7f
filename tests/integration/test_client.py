"""``tieline.client`` against a server that runs."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from typing import get_args, get_type_hints, is_typeddict

import httpx
import pytest

from api_kit import callers_of, document, plant
from grants_kit import installed
from market import APPLICATION, open_market
from tieline import client as api
from tieline.client import Client
from tieline.contract import Secret
from tieline.engine import help_run
from tieline.services import syncs, tokens
from tieline.services.connect import connect_api_key
from tieline.web import Listener, create_app

SCHEMAS = {
    "Alert": "AlertFacts",
    "Consumer": "ConsumerFacts",
    "Operation": "OutboxOperation",
    "Schedule": "ScheduleFacts",
    "Change": "OneChange",
}


@pytest.fixture(scope="module")
def served(redis_server, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    with open_market() as market:
        made = installed(
            f"sqlite:///{home / 'tieline.db'}",
            home,
            modules={"market": "market_plugin"},
            redis_url=redis_server.ensure(),
            **APPLICATION,
        )
        market.members["key"] = "m0"
        connect_api_key(
            made, "market", name="stall", key=Secret("key"), base_url=market.url, actor="test"
        )
        for goods in market.goods.values():
            goods.clock = made.clock.now
        token = tokens.create_token(made, "boss", scope="admin", actor="test").token.reveal()
        with (
            Listener(create_app(made), host="127.0.0.1", port=0) as listener,
            Client(listener.address, token) as client,
        ):
            yield SimpleNamespace(
                made=made, market=market, client=client, url=listener.address, token=token
            )
        made.close()


@pytest.fixture
def client(served):
    return served.client


def work(served) -> None:
    for run in syncs.list_runs(served.made, limit=50):
        if not run.is_over:
            help_run(served.made.engine, run.id, threading.Event())


def test_a_program_connects_syncs_reads_and_writes(served, client):
    served.market.members["second"] = "m1"
    made = client.connect_api_key("market", "second", "second", base_url=served.market.url)
    assert (made["name"], made["account"]["id"]) == ("second", "m1")
    assert [row["name"] for row in client.connections()] == ["second", "stall"]
    assert client.test("second")["account"]["id"] == "m1"

    for number in range(5):
        served.market.goods["keyed"].put(f"g{number}", name=f"n{number}")
    run = client.start_run("second", "keyed", mode="full")
    assert client.start_run("second", "keyed", mode="full")["id"] == run["id"]
    with pytest.raises(TimeoutError):
        client.wait_for_run(run["id"], timeout_s=0)
    work(served)
    assert client.wait_for_run(run["id"])["counts"]["created"] == 5
    assert [row["id"] for row in client.records("second", "keyed", live=True)] == [
        f"g{number}" for number in range(5)
    ]
    record = client.record("second", "keyed", "g3")
    assert record is not None
    assert record["payload"]["name"] == "n3"
    assert client.record("second", "keyed", "a/b ?#%") is None

    parts = list(client.consume("second", "keyed", "warehouse", limit=2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert list(client.consume("second", "keyed", "warehouse")) == []
    [consumer] = client.consumers("second", "keyed")
    assert (consumer["position"], consumer["behind"]) == (5, 0)

    [asked] = client.change("second", "keyed", [{"kind": "create", "payload": {"name": "ada"}}])
    work(served)
    assert client.operation(asked["id"])["state"] == "done"
    assert [row["id"] for row in client.outbox(states=["done"])] == [asked["id"]]
    client.remove("second")
    with pytest.raises(api.NotFoundError) as caught:
        client.connection("second")
    assert (caught.value.status, caught.value.code) == (404, "connection-unknown")


def test_what_is_looked_after_is_looked_after_by_it(served, client):
    client.set_schedule("stall", "keyed", "every 15m")
    schedule, tag = client.schedule("stall", "keyed")
    assert schedule["rule"] == "every 15m"
    served.made.clock.move(1)
    client.set_schedule("stall", "keyed", "every 30m", tag=tag)
    with pytest.raises(api.ChangedError):
        client.set_schedule("stall", "keyed", "every 1h", tag=tag)
    assert [row["rule"] for row in client.schedules()] == ["every 30m"]
    client.remove_schedule("stall", "keyed")

    assert client.pause("stall")["paused_at"]
    with pytest.raises(api.ConflictError) as caught:
        client.pause("stall")
    assert caught.value.code == "connection-paused"
    client.resume("stall")
    assert client.set_limits("stall", "8/second", lasting="1h")[0]["override"] == "8/second"
    assert client.limits("stall")[0]["connections"] == ["stall"]
    made = client.create_token("reader", "read", connections=["stall"], expires_in="1d")
    with Client(served.url, made["token"]) as reader:
        assert [row["name"] for row in reader.connections()] == ["stall"]
        with pytest.raises(api.AccessRefusedError) as refused:
            reader.pause("stall")
        assert (refused.value.status, refused.value.code) == (403, "scope")
        client.revoke_token("reader")
        with pytest.raises(api.AccessRefusedError):
            list(reader.connections())
    events = [row["event"] for row in client.audit_log(actor="api:boss")]
    assert events[0] == "token.revoked"
    with pytest.raises(api.InvalidRequestError) as invalid:
        client.create_token("x y", "read")
    assert invalid.value.errors[0]["pointer"] == "/name"
    assert client.providers()[0]["name"] == "market"
    assert list(client.alerts()) == list(client.events(states=["dead"])) == []
    assert list(client.dead_letters()) == []


def test_lists_are_read_to_their_end(served, client, monkeypatch):
    monkeypatch.setattr("tieline.client.client._PAGE", 2)
    for number in range(5):
        tokens.create_token(served.made, f"page-{number}", scope="read", actor="test")
    names = [row["name"] for row in client.tokens() if row["name"].startswith("page-")]
    assert names == [f"page-{number}" for number in range(5)]


class Flaky(httpx.BaseTransport):
    """Loses answers on their way back, or gives others."""

    def __init__(self, *faults: object) -> None:
        self.inner = httpx.HTTPTransport()
        self.faults = list(faults)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "not sent":
            raise httpx.ConnectError("refused")
        if isinstance(fault, httpx.Response):
            return fault
        reply = self.inner.handle_request(request)
        if fault == "lost":
            reply.read()
            reply.close()
            raise httpx.ReadTimeout("lost")
        return reply

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def flaky(served):
    """Make clients whose wire is as bad as they are told."""
    with ExitStack() as stack:

        def make(*faults: object) -> tuple[Client, Flaky, list[float]]:
            wire, slept = Flaky(*faults), []
            made = Client(served.url, served.token, transport=wire, sleep=slept.append)
            return stack.enter_context(made), wire, slept

        yield make


def busy(seconds: str) -> httpx.Response:
    return httpx.Response(503, headers={"Retry-After": seconds}, json={"code": "busy"})


def test_a_lost_answer_to_a_post_is_asked_for_again_and_nothing_is_done_twice(flaky):
    client, wire, _ = flaky("lost", busy("7"))
    made = client.create_token("once", "read")
    keys = {request.headers["idempotency-key"] for request in wire.requests}
    assert (len(wire.requests), len(keys)) == (3, 1)
    assert made["token"].startswith("tln_")


def test_it_waits_as_long_as_it_is_told_and_gives_up_in_the_end(flaky):
    client, wire, slept = flaky(*(busy("7") for _ in range(9)))
    with pytest.raises(api.UnavailableError) as caught:
        client.connection("stall")
    assert (len(wire.requests), slept) == (4, [7.0] * 3)
    assert (caught.value.retry_after, caught.value.code) == (7.0, "busy")


def test_a_delete_is_repeated_only_if_it_was_not_sent(served, flaky):
    client, wire, _ = flaky("not sent")
    tokens.create_token(served.made, "ended", scope="read", actor="test")
    client.revoke_token("ended")
    assert len(wire.requests) == 2
    tokens.create_token(served.made, "ended-too", scope="read", actor="test")
    client, wire, _ = flaky("lost")
    with pytest.raises(api.UnreachableError):
        client.revoke_token("ended-too")
    assert len(wire.requests) == 1


def test_what_no_server_of_ours_answers_is_an_error_too(flaky):
    client, _, _ = flaky(httpx.Response(502, text="<html>"), httpx.Response(404))
    with pytest.raises(api.NotFoundError, match="HTTP 404"):
        client.connection("stall")
    with (
        pytest.raises(api.UnreachableError),
        Client("http://127.0.0.1:1", "tln_x", tries=1) as none,
    ):
        none.connection("stall")


def test_the_types_are_those_of_the_document():
    schemas = document()["components"]["schemas"]
    names = [name for name in dir(api) if is_typeddict(getattr(api, name))]
    assert len(names) > 10
    for name in names:
        kind, said = getattr(api, name), schemas[SCHEMAS.get(name, name)]
        assert set(get_type_hints(kind)) == set(said["properties"]), name
        for field, hint in get_type_hints(kind).items():
            told = said["properties"][field]
            may_be_null = "null" in str(told)
            assert (type(None) in get_args(hint)) is may_be_null or hint is object, (name, field)


def test_planted_things_are_seen_and_tried_again(served, client):
    admin = callers_of(served.made).new("admin", name="planter")
    ids = plant(served.made, admin, "stall")
    [letter] = client.dead_letters(connection="stall")
    assert client.retry_dead_letter(letter["id"])["letter"]["settled_how"] == "retried"
    assert client.replay_events(ids=[ids["event"]]) == 0
    assert [row["id"] for row in client.events()] == [ids["event"]]
    assert client.cancel_run(ids["run"])["state"] == "cancelled"
    assert ids["run"] in [row["id"] for row in client.runs(states=["cancelled"])]
