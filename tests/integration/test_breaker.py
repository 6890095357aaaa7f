"""The breaker: who keeps failing is left alone, and asked again by one call at a time.

Redis has the time, and nobody can move it: a test moves what is written of it instead.
"""

from __future__ import annotations

import threading
import time

import pytest

from kit import make_bench
from throttle_kit import Asked, connection, new_transport, provider
from tieline.clock import SystemClock
from tieline.contract import ProviderUnavailableError, RateLimitPolicy, Reply
from tieline.coordination import open_redis
from tieline.throttle import Ledger, Throttle
from tieline.throttle.keys import breaker_of

HOST = "127.0.0.1"


class Site:
    """One connection, called by several processes: each has a client of its own."""

    def __init__(self, redis_url: str, account: str, url: str = "", processes: int = 3) -> None:
        self.connection = connection(account)
        self.clients = [open_redis(redis_url) for _ in range(processes)]
        self.gates = [
            Throttle(client, self.connection, RateLimitPolicy(), clock=SystemClock())
            for client in self.clients
        ]
        self.transports = [new_transport(url, gate) for gate in self.gates] if url else []
        self.url = url

    def move(self, seconds: float) -> None:
        """Let time pass for the breaker."""
        key = breaker_of(self.connection, HOST)
        for name in ("until", "probe_until"):
            if self.clients[0].hexists(key, name):
                self.clients[0].hincrbyfloat(key, name, -seconds)

    def call(self, number: int = 0) -> str:
        """Make a call; say what came of it: a status, or an error's code."""
        try:
            reply = self.transports[number].send("GET", f"{self.url}/v1/things", headers={})
        except ProviderUnavailableError as error:
            return error.slug
        return str(reply.status)

    def state(self) -> str:
        found = Ledger(self.clients[0]).standing(self.connection, RateLimitPolicy()).breakers
        return found[0].state if found else "none"

    def close(self) -> None:
        for transport in self.transports:
            transport.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def new_site(redis_url, request):
    made = []

    def make(url: str = "", **options) -> Site:
        made.append(Site(redis_url, request.node.name, url, **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


def test_a_provider_that_is_down_for_ten_minutes_gets_a_probe_every_half_minute(new_site):
    with provider(is_down=True) as remote:
        site = new_site(remote.url)
        for _ in range(2):
            assert {site.call(n) for n in range(3)} <= {"503", "breaker-open"}
        opened = remote.stats()["failed"]
        assert opened == 5  # of six: the last was not sent
        for _ in range(60):
            site.move(10)
            for number in range(3):
                site.call(number)
        probes = remote.stats()["failed"] - opened
        assert 15 <= probes <= 20
        remote.set(is_down=False)
        healed_after = 0
        while site.call(1) != "200":
            site.move(10)
            healed_after += 10
        assert healed_after <= 60
        assert [site.call(n) for n in range(3)] == ["200"] * 3
        assert site.state() == "none"


def test_half_open_one_call_passes_and_the_others_are_put_off(new_site):
    site = new_site(processes=4)
    for _ in range(5):
        site.gates[0].saw(ASKED, reply(503))
    site.move(31)
    assert site.state() == "half-open"
    inside, refused, leave = threading.Semaphore(0), [], threading.Event()

    def probe() -> None:
        with site.gates[0].passing(ASKED):
            inside.release()
            leave.wait(5)
            site.gates[0].saw(ASKED, reply(200))

    thread = threading.Thread(target=probe)
    thread.start()
    inside.acquire(timeout=5)
    for gate in site.gates[1:]:
        with pytest.raises(ProviderUnavailableError) as caught, gate.passing(ASKED):
            raise AssertionError
        refused.append(caught.value)
    leave.set()
    thread.join()
    assert {error.slug for error in refused} == {"breaker-open"}
    assert all(0 < error.retry_after <= 5 for error in refused)
    with site.gates[1].passing(ASKED):
        pass


def test_a_probe_that_died_is_followed_by_another(new_site):
    site = new_site()
    for _ in range(5):
        site.gates[0].saw(ASKED, reply(500))
    site.move(31)
    site.gates[0]._take_turn(ASKED)  # and never ends
    with pytest.raises(ProviderUnavailableError), site.gates[1].passing(ASKED):
        raise AssertionError
    site.move(61)
    with site.gates[1].passing(ASKED):
        pass


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 409, 422])
def test_an_answer_that_refuses_is_no_failure_and_ends_a_row_of_them(status, new_site):
    site = new_site()
    for answer in (503, 503, 503, 503, status, 503, 503, 503, 503):
        with site.gates[0].passing(ASKED):
            site.gates[0].saw(ASKED, reply(answer))
    with site.gates[1].passing(ASKED):
        pass


def test_refusals_for_the_rate_pause_and_never_open(new_site):
    site = new_site()
    for _ in range(20):
        site.gates[0].saw(ASKED, reply(429, retry_after="0"))
    assert site.state() == "none"


def test_no_answer_counts_as_a_failure_and_other_hosts_go_on(new_site):
    site = new_site("http://127.0.0.1:1")
    assert [site.call() for _ in range(6)] == ["provider-unavailable"] * 5 + ["breaker-open"]
    with site.gates[0].passing(Asked(host="files.example.com")):
        pass


def test_a_person_can_close_it_at_once(new_site):
    site = new_site()
    for _ in range(5):
        site.gates[0].saw(ASKED, reply(503))
    assert site.state() == "open"
    ledger = Ledger(site.clients[0])
    assert ledger.reset_breaker(site.connection)
    assert not ledger.reset_breaker(site.connection)
    with site.gates[0].passing(ASKED):
        pass


def test_turns_of_a_breaker_are_told_once(new_site):
    site = new_site()
    ledger = Ledger(site.clients[0])
    ledger.drop_events(ledger.events(1000))
    for _ in range(8):
        site.gates[0].saw(ASKED, reply(503))
    site.move(31)
    with site.gates[0].passing(ASKED):
        site.gates[0].saw(ASKED, reply(200))
    told = [event for event in ledger.events() if event.place == site.connection.id]
    ledger.drop_events(told)
    assert [(event.kind, event.subject) for event in told] == [
        ("breaker-opened", HOST),
        ("breaker-closed", HOST),
    ]
    assert ledger.events() == []


def test_a_run_behind_an_open_breaker_is_put_off_with_the_reason_and_uses_up_no_attempt(
    database_url, tmp_path
):
    bench = make_bench(database_url, tmp_path / "home")
    bench.shelf.put(*(f"i{number:03}" for number in range(30)))
    run_id = bench.ask().run.id
    error = ProviderUnavailableError("no calls", retry_after=30, code="breaker-open")
    try:
        for _ in range(bench.engine.settings.run_attempts * 25):
            bench.shelf.faults[bench.shelf.requests + 1] = error
            run = bench.help(run_id)
            assert (run.state, run.attempt, run.error_code) == ("waiting", 1, "breaker-open")
            bench.clock.move(31)
            bench.sweep()
        run = bench.help(run_id)
        assert (run.state, len(bench.stored_keys())) == ("succeeded", 30)
    finally:
        bench.database.close()


ASKED = Asked(host=HOST)


def reply(status: int, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, headers=named, content=b"", seconds=0.1)


def test_what_has_no_limit_asks_now_and_then_and_hears_of_trouble_within_a_moment(new_site):
    """Nothing is counted there: a breaker is all that Redis could tell, and others' pauses."""
    with provider() as remote:
        remote.set(latency_s=0.01)
        site = new_site(remote.url)
        asked = []
        reserve = site.gates[0]._reserve
        site.gates[0]._reserve = lambda **given: asked.append(given) or reserve(**given)
        began = time.monotonic()
        assert {site.call() for _ in range(20)} == {"200"}
        assert 1 <= len(asked) <= 1 + (time.monotonic() - began) / 0.1
        remote.set(is_down=True)
        while site.call(1) != "breaker-open":
            pass
        time.sleep(0.1)
        assert site.call() == "breaker-open"


def test_a_failure_of_its_own_is_told_and_asked_about_at_once(new_site):
    with provider() as remote:
        site = new_site(remote.url)
        assert site.call() == "200"
        remote.set(is_down=True)
        assert [site.call() for _ in range(6)] == ["503"] * 5 + ["breaker-open"]
