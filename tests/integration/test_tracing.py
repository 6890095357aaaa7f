"""Spans by the real SDK, into memory: what is within what, and what is not said."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import canary
from api_kit import callers_of
from grants_kit import connect_grant, installed
from inbox_kit import Told, deliver, drain_now
from ingest_kit import SECRETS, make_harbour
from kit import make_bench
from market import APPLICATION, open_market
from push_kit import KEY, create, make_stall, update
from tieline.contract import RequestRejectedError, SettingsError
from tieline.engine import help_run
from tieline.engine.upkeep import look_after_grants
from tieline.queue import Doorbell
from tieline.services import tokens
from tieline.telemetry import flush_traces, span, start_tracing, stop_tracing, traceparent
from tieline.web import create_app
from tieline.web.webhooks import WebhookPages

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traces:
    """What one process told its exporter."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        self.made = 0

    def new_exporter(self) -> InMemorySpanExporter:
        self.made += 1
        return self._memory

    def all(self):
        flush_traces(10)
        return self._memory.get_finished_spans()

    def of(self, name: str):
        return [each for each in self.all() if each.name == name]

    def one(self, name: str):
        [found] = self.of(name)
        return found

    def parents(self) -> set[tuple[str, str]]:
        """Return the pairs of names of which the first was opened within the second."""
        by_id = {each.context.span_id: each for each in self.all()}
        inner = [e for e in by_id.values() if e.parent and e.parent.span_id in by_id]
        return {(each.name, by_id[each.parent.span_id].name) for each in inner}

    def assert_clean(self, **secrets: str) -> None:
        """Look for secrets in all that would be sent."""
        sent = encode_spans(self.all()).SerializeToString()
        shown = "".join(each.to_json() for each in self.all()).encode()
        assert b"tieline" in sent
        assert canary.scan(sent + shown, secrets) == []


@pytest.fixture
def traces():
    made = Traces()
    start_tracing(is_on=True, new_exporter=made.new_exporter)
    yield made
    stop_tracing()


@pytest.fixture
def market():
    with open_market() as opened:
        yield opened


@pytest.fixture
def stall(sqlite_url, tmp_path, market):
    made = make_stall(sqlite_url, tmp_path, market)
    yield made
    made.made.close()


@pytest.fixture
def ledger(sqlite_url, tmp_path):
    made = make_bench(sqlite_url, tmp_path, provider="ledger")
    made.ledger.clock = made.clock.now
    yield made
    made.installation.close()


def test_a_run_shows_its_pages_and_calls_and_no_secret(stall, traces):
    stall.goods.put("a", name="CANARY-of-a-record")
    run = stall.sync("full")
    assert {
        ("page.fetch", "run"),
        ("call", "page.fetch"),
        ("page.write", "run"),
    } <= traces.parents()
    assert dict(traces.one("run").attributes) == {
        "tieline.run": run.id,
        "tieline.connection": run.connection_id,
        "tieline.provider": "market",
        "tieline.entity": "keyed",
        "tieline.mode": "full",
        "tieline.attempt": 1,
    }
    for call in traces.of("call"):
        assert dict(call.attributes) == {
            "http.request.method": "GET",
            "server.address": "127.0.0.1",
            "http.response.status_code": 200,
        }
    traces.assert_clean(key=KEY, record="CANARY-of-a-record")


def test_pages_that_other_threads_fetch_and_write_belong_to_their_run(sqlite_url, tmp_path, traces):
    bench = make_bench(sqlite_url, tmp_path, provider="ledger", hands="4")
    for number in range(60):
        bench.ledger.put(f"r{number:02d}", created=1_704_067_200 + number * 86_400)
    bench.ledger.page_size = 5
    threads = set()

    def before_page(_page):
        threads.add(threading.current_thread().name)
        time.sleep(0.02)

    bench.ledger.before_page = before_page
    assert bench.sync("rows").state == "succeeded"
    assert threading.current_thread().name not in threads
    pages = [*traces.of("page.fetch"), *traces.of("page.write")]
    assert len(pages) >= 24
    assert {each.parent.span_id for each in pages} == {traces.one("run").context.span_id}
    bench.installation.close()


def test_a_push_shows_what_is_sent_and_what_is_written(stall, traces):
    stall.push(create("ada"), create("bob"))
    assert {
        ("operations.send", "run"),
        ("call", "operations.send"),
        ("operations.write", "run"),
    } <= traces.parents()
    assert traces.one("run").attributes["tieline.mode"] == "push"
    stall.goods.put("a", name="ada")
    stall.sync("full")
    stall.push(update("a", name="CANARY-of-a-change"))
    traces.assert_clean(key=KEY, change="CANARY-of-a-change")


def test_events_show_how_many_records_they_were_about(ledger, traces):
    told = [
        Told(type="row.created", key=key, at=-9, record={"id": key, "name": "one", "created": 1})
        for key in ("CANARY-a", "CANARY-b")
    ]
    deliver(ledger, *told)
    drain_now(ledger)
    assert ("events.write", "events") in traces.parents()
    assert dict(traces.one("events.write").attributes) == {
        "tieline.entity": "rows",
        "tieline.records": 2,
    }
    assert traces.one("events").attributes["tieline.provider"] == "ledger"
    traces.assert_clean(a="CANARY-a", b="CANARY-b")


def test_tokens_that_are_renewed_show_the_call_and_not_the_tokens(
    sqlite_url, tmp_path, market, traces
):
    made = installed(sqlite_url, tmp_path, modules={"market": "market_plugin"}, **APPLICATION)
    row = connect_grant(made, "market", market.url, name="shop")
    before = made.engine.opener.refresher.peek(row.id)
    made.clock.move(8 * 86400)
    assert look_after_grants(made.engine) == 1
    assert ("call", "tokens.renew") in traces.parents()
    assert dict(traces.one("tokens.renew").attributes) == {
        "tieline.connection": row.id,
        "tieline.provider": "market",
    }
    after = made.engine.opener.refresher.peek(row.id)
    assert before["access_token"] != after["access_token"]
    old = {f"old {name}": text for name, text in before.items()}
    traces.assert_clean(**old, **after)
    made.close()


def test_what_failed_is_marked_by_its_code_and_without_its_words(ledger, traces):
    words = "no: https://api.example.com/x?token=CANARY12345 of CANARY-customer"
    ledger.ledger.refuses["list"] = RequestRejectedError(words)
    assert ledger.sync("rows").state == "failed"
    for name in ("page.fetch", "run"):
        failed = traces.one(name)
        assert failed.status.status_code.name == "ERROR"
        assert failed.status.description is None
        assert failed.attributes["error.type"] == "request-rejected"
        assert failed.events == ()
    traces.assert_clean(token="CANARY12345", customer="CANARY-customer")


def test_a_run_that_makes_room_has_not_failed(ledger, traces):
    stop = threading.Event()
    stop.set()
    ledger.help(ledger.ask("rows").run.id, stop)
    left = traces.one("run")
    assert left.status.status_code.name == "UNSET"
    assert left.attributes["tieline.ended_by"] == "StopRequested"


# --- from one process to the next ----------------------------------------------------------------


def test_a_request_goes_on_with_the_callers_trace_and_hands_it_to_the_job(
    sqlite_url, redis_url, tmp_path, traces
):
    bench = make_bench(sqlite_url, tmp_path, redis_url=redis_url)
    bell = bench.installation.doorbell
    bench.engine = bench.installation.__dict__["engine"] = replace(bench.engine, ring=bell.ring)
    caller = callers_of(bench.installation).new("admin")
    path, body = f"/connections/{bench.connection_id}/runs", {"entity": "items"}
    run = caller.ok("POST", path, 201, json=body, headers={"traceparent": CALLER})["run"]
    request = next(each for each in traces.of("request") if each.parent)
    assert f"{request.context.trace_id:032x}" == CALLER.split("-")[1]
    assert request.attributes["http.response.status_code"] == 201
    caller.refused("POST", path, 404, json={"entity": "none-of-that-name"})
    assert traces.of("request")[-1].attributes["http.response.status_code"] == 404
    [job] = bell._queue.jobs
    assert job.args == [run["id"]]
    assert job.meta["traceparent"].split("-")[2] == f"{request.context.span_id:016x}"
    help_run(bench.engine, run["id"], threading.Event(), asked_in=job.meta["traceparent"])
    assert ("run", "request") in traces.parents()
    bench.installation.close()


@pytest.fixture
def harbour(sqlite_url, redis_url, tmp_path):
    made = make_harbour(sqlite_url, tmp_path, redis_url=redis_url)
    yield made
    made.close()


def post(harbour, signed, **headers: str) -> int:
    app = WebhookPages(harbour.installation).before(create_app(harbour.installation))

    async def ask() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as client:
            url, sent = f"http://tieline.test{signed.path}", {**signed.headers, **headers}
            return (await client.post(url, content=signed.body, headers=sent)).status_code

    return asyncio.run(ask())


def test_a_delivery_hands_its_trace_to_the_job_and_goes_on_with_nobodys(harbour, traces):
    sender = harbour.senders["stripe"]
    assert post(harbour, sender.signed("evt_CANARY-key"), traceparent=CALLER) == 200
    harbour.inbox.after.close()
    delivery = traces.one("delivery")
    assert delivery.parent is None
    assert dict(delivery.attributes) == {
        "tieline.endpoint": sender.endpoint_id,
        "tieline.provider": "stripe",
        "tieline.events": 1,
        "tieline.outcome": "stored",
        "http.response.status_code": 200,
    }
    assert ("ring", "delivery") in traces.parents()
    [job] = harbour.installation.doorbell._queue.jobs
    assert job.meta["traceparent"].split("-")[2] == f"{traces.one('ring').context.span_id:016x}"
    traces.assert_clean(secret=SECRETS["stripe"], key="evt_CANARY-key")


def test_a_delivery_that_is_forged_makes_no_span_and_one_that_is_lost_has_failed(
    harbour, traces, monkeypatch
):
    sender = harbour.senders["stripe"]
    assert post(harbour, sender.signed(secret="whsec_CANARYforged0123456789")) == 401
    assert traces.all() == ()
    harbour.inbox.committer.close()  # as if too many waited
    assert post(harbour, sender.signed()) == 503
    lost = traces.one("delivery")
    assert lost.status.status_code.name == "ERROR"
    assert lost.attributes["tieline.outcome"] == "full"


def test_whoever_has_no_good_token_makes_no_span(sqlite_url, redis_url, tmp_path, traces):
    bench = make_bench(sqlite_url, tmp_path, redis_url=redis_url)
    callers = callers_of(bench.installation)
    callers.nobody.refused("GET", "/connections", 401, headers={"traceparent": CALLER})
    revoked = callers.new("read", name="revoked")
    tokens.revoke_token(bench.installation, "revoked", actor="test")
    revoked.refused("GET", "/connections", 401, headers={"traceparent": CALLER})
    assert traces.of("request") == []
    bench.installation.close()


@pytest.mark.parametrize("told", ["", "x", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "9" * 5000])
def test_a_trace_that_cannot_be_read_begins_a_new_one(traces, told):
    with span("run", parent=told):
        assert len(traceparent()) == len(CALLER)
    assert traces.one("run").parent is None


def test_a_job_says_nothing_of_traces_where_none_are_made(sqlite_url, redis_url, tmp_path):
    bench = make_bench(sqlite_url, tmp_path, redis_url=redis_url)
    bell: Doorbell = bench.installation.doorbell
    bell.ring("run_aaaaaaaaaaaaaaaa", 1)
    [job] = bell._queue.jobs
    assert job.meta == {}
    bench.installation.close()


# --- what it may cost ----------------------------------------------------------------------------


def test_a_process_has_no_thread_of_it_before_its_first_span(traces):
    """A worker forks for every job, and a fork must find no lock held by a thread."""
    assert traces.made == 0
    assert not [each for each in threading.enumerate() if each.name.startswith("Otel")]
    with span("run"):
        pass
    assert traces.made == 1


def test_a_collector_that_hangs_holds_nobody_up():
    hangs = threading.Event()

    class Hanging(InMemorySpanExporter):
        def export(self, spans):
            hangs.wait(20)
            return super().export(spans)

    start_tracing(is_on=True, new_exporter=Hanging)
    try:
        with span("run"):
            pass
        began = time.monotonic()
        flush_traces(0.2)
        assert time.monotonic() - began < 5
    finally:
        hangs.set()
        stop_tracing()


def test_without_the_extra_the_setting_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "tieline.telemetry.spans", raising=False)
    monkeypatch.delattr("tieline.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match="TIELINE_TRACING") as caught:
        start_tracing(is_on=True)
    assert "tieline[opentelemetry]" in caught.value.hint


def test_a_child_of_a_worker_sends_its_own_spans_and_none_of_its_parents(tmp_path):
    """In a process of its own: this one has threads, and a fork may not."""
    code = f"""
import os
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from tieline.jobs.children import Child
from tieline.telemetry import flush_traces, span, start_tracing

def new_exporter():
    return ConsoleSpanExporter(out=open(os.path.join({str(tmp_path)!r}, str(os.getpid())), "a"))

def work():
    with span("of the child"):
        pass

start_tracing(is_on=True, new_exporter=new_exporter)
with span("of the parent"):
    pass
child = Child("child", longest_s=30)
child.start(work)
while child.is_under_way():
    pass
flush_traces(10)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    told = [re.findall('"name": "(of the .*?)"', each.read_text()) for each in tmp_path.iterdir()]
    assert sorted(told) == [["of the child"], ["of the parent"]]


@pytest.mark.parametrize(
    ("kind", "status", "has_failed"),
    [("client", 399, False), ("client", 400, True), ("server", 499, False), ("server", 503, True)],
)
def test_an_answer_counts_as_failed_as_the_conventions_say(traces, kind, status, has_failed):
    with span("call", kind=kind) as seen:
        seen.note(status=status)
    told = traces.one("call")
    assert (told.status.status_code.name == "ERROR") is has_failed
    assert told.attributes.get("error.type") == (str(status) if has_failed else None)


def is_sampled(told: str) -> bool:
    return bool(int(told.split("-")[3], 16) & 1)  # another bit says that its id is random


def test_the_samplers_variables_are_obeyed(monkeypatch, traces):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with span("run"):
        assert not is_sampled(traceparent())
    with span("run", parent=CALLER):
        assert is_sampled(traceparent())
    assert [each.parent.span_id for each in traces.of("run")] == [int(CALLER.split("-")[2], 16)]
