"""What providers and the way to them do wrong, and where each is a test.

| row | fault | test |
|---|---|---|
| V1 | 429 with seconds | test_throttle: a refusal holds everybody back |
| V2 | 429 with a date, none, nonsense | test_throttle_learning: retry_after…, a refusal that… |
| V3 | 500, 502, 503, 504, an HTML page | here, and test_breaker |
| V4 | connect, TLS and read time-outs | here, and test_transport: no answer and a reset |
| V5 | one byte at a time | test_transport: a slow drip is cut by the total deadline |
| V6 | cut off JSON, wrong length | here, and test_transport: a body that is cut off |
| V7 | a gzip bomb | test_transport: a gzip bomb is stopped at the cap |
| V8 | one page of 100,000 records | here: parsed whole, stored in parts |
| V17 | 401 in the middle of a run | here; renewed tokens: tests/faults/test_refresh_races |
| V18 | 403 on one entity | here, and test_engine: a denied permission fails the run… |
| V23 | down for ten minutes | test_breaker: a provider that is down for ten minutes… |
| V24 | a permit's holder is killed | tests/faults/test_throttle_workers: a hundred killed… |
| V25 | a batch that failed in part | test_push: of a batch the good are kept, the bad named |
| V26 | a redirect elsewhere | test_transport: a redirect is not followed… |
| V27 | an address inside the network | test_transport: addresses that nobody meant… |
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kit import make_bench
from throttle_kit import new_transport
from tieline.clock import ManualClock, SystemClock
from tieline.contract import (
    NeedsReauthError,
    PermissionDeniedError,
    ProviderUnavailableError,
    RetryLaterError,
    parse_json,
)
from tieline.engine import work
from tieline.engine.fetch import retrying
from tieline.transport import HttpTransport, Limits

NEVER = threading.Event()


@pytest.fixture
def bench(database_url, tmp_path):
    made = make_bench(database_url, tmp_path / "home")
    yield made
    made.database.close()


@pytest.fixture
def silent():
    """A server that accepts, and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    yield listener.getsockname()[1]
    listener.close()


@pytest.mark.parametrize("scheme", ["http", "https"], ids=["read", "TLS"])
def test_a_server_that_never_answers_is_left_at_the_deadline(scheme, silent):
    way = HttpTransport(
        connection_id="con_x",
        origins=[f"{scheme}://127.0.0.1:{silent}"],
        limits=Limits(deadline_s=0.5),
        allows_private=True,
    )
    began = time.monotonic()
    with pytest.raises(ProviderUnavailableError):
        way.send("GET", f"{scheme}://127.0.0.1:{silent}/", headers={})
    assert time.monotonic() - began < 1.5
    way.close()


def test_a_host_that_does_not_accept_is_left_at_once():
    way = new_transport("http://127.0.0.1:1")
    with pytest.raises(ProviderUnavailableError):
        way.send("GET", "http://127.0.0.1:1/", headers={})
    way.close()


@pytest.mark.parametrize(
    "body", [b'{"data": [{"id": "a"}, {"i', b"", b"<html>502 Bad Gateway</html>"]
)
def test_a_body_that_is_no_json_is_asked_for_again_and_never_stored_in_part(body):
    bodies = [body, b'{"data": []}']
    clock = ManualClock(SystemClock().now())
    assert retrying(lambda: parse_json(bodies.pop(0)), clock, NEVER) == {"data": []}


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_sick_server_is_asked_five_times_with_growing_pauses_that_differ(status):
    slept: list[float] = []
    clock = ManualClock(SystemClock().now(), on_sleep=slept.append)
    asked = 0

    def ask() -> None:
        nonlocal asked
        asked += 1
        raise ProviderUnavailableError(f"answered {status}")

    for _ in range(20):
        with pytest.raises(ProviderUnavailableError):
            retrying(ask, clock, NEVER)
    assert asked == 20 * 5
    for attempt in range(4):
        pauses = slept[attempt::4]
        assert max(pauses) <= 0.5 * 2 ** (attempt + 1)
        assert max(pauses) - min(pauses) > 0.3 * 0.5 * 2 ** (attempt + 1)


def test_what_a_breaker_refuses_is_not_repeated_and_neither_is_it_without_a_budget():
    asked: list[str] = []

    def ask(code: str) -> None:
        asked.append(code)
        raise RetryLaterError("no", code=code)

    clock = ManualClock(SystemClock().now())
    with pytest.raises(RetryLaterError):
        retrying(lambda: ask("breaker-open"), clock, NEVER)
    with pytest.raises(RetryLaterError):
        retrying(lambda: ask("retry-later"), clock, NEVER, lambda: False)
    budget = iter([True, True, False])
    with pytest.raises(RetryLaterError):
        retrying(lambda: ask("budget"), clock, NEVER, lambda: next(budget))
    assert asked == ["breaker-open", "retry-later", "budget", "budget", "budget"]


def test_a_page_of_a_hundred_thousand_records_is_stored_in_parts(database_url, tmp_path):
    """In a process of its own: the memory of this one has been larger before."""
    tests = Path(__file__).parents[1]
    words = [sys.executable, str(tests / "huge_page.py"), database_url, str(tmp_path)]
    environ = os.environ | {"PYTHONPATH": str(tests)}
    told = subprocess.run(words, capture_output=True, text=True, env=environ)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["state"], found["created"]) == ("succeeded", 100_000)
    assert found["body_mb"] > 16
    assert found["grown_mb"] < 200, found


def test_a_huge_page_that_is_cut_short_is_read_again_and_nothing_is_twice(bench, monkeypatch):
    monkeypatch.setattr(work, "_MOST_AT_ONCE", 10)
    bench.shelf.page_size = 100
    bench.shelf.put(*(f"i{number:03}" for number in range(130)))
    store, calls = work.PartitionWork._write, []

    def die_at_the_fifth_part(*given, **more):
        calls.append(given)
        if len(calls) == 5:
            raise ProviderUnavailableError("died")
        return store(*given, **more)

    monkeypatch.setattr(work.PartitionWork, "_write", die_at_the_fifth_part)
    run = bench.sync()
    assert (run.state, len(bench.stored_keys())) == ("retrying", 40)
    bench.clock.move(3600)
    run = bench.help(run.id)
    assert run.state == "succeeded"
    assert len(bench.stored_keys()) == 130
    assert bench.shelf.requests == 3  # the first page twice


def test_a_key_that_is_refused_in_the_middle_of_a_run_is_tried_once(bench):
    bench.shelf.put(*(f"i{number:02}" for number in range(12)))
    bench.shelf.faults[2] = NeedsReauthError("401")
    run = bench.sync()
    assert run.state == "needs_reauth"
    assert bench.shelf.requests == 2
    assert len(bench.stored_keys()) == 3


def test_a_missing_right_stops_its_entity_and_the_next_run_goes_on(bench):
    bench.shelf.put("i1")
    bench.shelf.faults[1] = PermissionDeniedError("403: items:read is missing")
    run = bench.sync()
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert bench.sync().state == "succeeded"
