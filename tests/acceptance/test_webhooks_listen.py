"""``tieline webhooks listen``: what is taken is shown and handed on, what is forged is not."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import zygote
from ingest_kit import BASE, SECRETS, Harbour, Sender, harbour_of
from json_output import require_known
from site_of import Site, make_site
from tieline.clock import SystemClock
from tieline.contract import STANDARD_WEBHOOKS, Secret
from tieline.errors import InvalidInputError
from tieline.inbox import new_signing_secret
from tieline.services import development, webhook_forward
from tieline.services.webhook_forward import Forwarder, Parcel


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path) -> Iterator[Site]:
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    yield made
    made.close()


@pytest.fixture
def harbour(site) -> Harbour:
    return harbour_of(site.installation)


class Receiver:
    """An application of somebody's: it keeps what comes, and answers as it is told."""

    def __init__(self) -> None:
        self.seen: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.status, self.pause_s = 204, 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): text for name, text in self.headers.items()}
                receiver.seen.put((headers, body))
                time.sleep(receiver.pause_s)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next(self) -> tuple[dict[str, str], bytes]:
        return self.seen.get(timeout=30)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


class Listening:
    def __init__(self, process, lines: queue.Queue[str], err) -> None:
        self.process, self.lines, self._err = process, lines, err
        self.said: list[str] = []
        while " at http" not in (line := err.readline()):
            self.said.append(line)
            assert line, self.said
        self.url = line.split(" at ")[1].split(";")[0]

    def line(self) -> str:
        return self.lines.get(timeout=60)

    def facts(self) -> dict:
        line = self.line()
        require_known(("webhooks", "listen", "--json"), 0, line)
        return json.loads(line)

    def post(self, signed) -> int:
        url = f"{self.url}{signed.path}"
        return httpx.post(
            url, content=signed.body, headers=dict(signed.headers), trust_env=False, timeout=30
        ).status_code

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self.said += self._err.read().splitlines()
        return code


@contextmanager
def listening(site: Site, *words_of: str) -> Iterator[Listening]:
    (out, told), (err, complained) = os.pipe(), os.pipe()
    with os.fdopen(out) as lines, os.fdopen(err) as words:
        process = zygote.start(
            ["webhooks", "listen", "--port", "0", *words_of],
            env=site.environ,
            cwd=site.cwd,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=complained,
            is_leader=True,
        )
        os.close(told)
        os.close(complained)
        came: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=lambda: [came.put(line) for line in lines])
        reader.start()
        try:
            yield Listening(process, came, words)
        finally:
            process.kill()
            process.wait(10)
            reader.join(10)


def test_a_delivery_is_stored_shown_and_handed_on_signed_anew_and_a_forged_one_is_not(
    site, harbour, receiver
):
    shop, letters = harbour.senders["stripe"], harbour.senders["mailchimp-unsigned"]
    with listening(site, "--to", receiver.url, "--json") as loop:
        assert loop.post(shop.signed("evt_1")) == 200
        came, went = loop.facts(), loop.facts()
        assert (came["direction"], came["status"], came["is_verified"]) == ("in", 200, True)
        assert came["events"] == [{"id": "evt_1", "type": "customer.updated"}]
        assert (went["direction"], went["status"], went["reason"]) == ("out", 204, None)
        headers, body = receiver.next()
        assert json.loads(body)["id"] == "evt_1"
        secret = site.json("webhooks", "secret", "show", "dev", "--raw")["secrets"][0]["secret"]
        at = int(headers["stripe-signature"].split(",")[0].removeprefix("t="))
        assert abs(at - time.time()) < 60
        own = Sender("stripe", "whe_x", receiver.url, secret, SystemClock())
        assert headers["stripe-signature"] == own.sign(body, at=at)["stripe-signature"]

        forged = [shop.signed("evt_2", secret="whsec_no"), shop.signed().changed(body=b"{}")]
        forged.append(letters.signed().changed(path=letters.path + "x"))
        forged.append(shop.signed("evt_dev", secret=secret))
        assert [loop.post(each) for each in forged] == [401, 401, 404, 401]
        refused = [loop.facts() for _ in forged]
        assert {(each["direction"], each["is_verified"]) for each in refused} == {("in", False)}
        assert [each["reason"] for each in refused] == [
            *["signature-wrong"] * 2,
            "path-wrong",
            "signature-wrong",
        ]
        assert all(each["events"] == [] for each in refused)

        receiver.status = 500  # it is tried once all the same
        assert loop.post(letters.signed()) == 200
        assert [loop.facts()["status"] for _ in range(2)] == [200, 500]
        headers, body = receiver.next()
        assert headers["content-type"] == "application/x-www-form-urlencoded"
        assert receiver.seen.empty()
        ends = loop.end()
    assert (ends, loop.said[-1:]) == (130, ["interrupted"])
    assert [event["event_key"] for event in harbour.events()][:1] == ["evt_1"]
    assert harbour.count() == 2
    assert secret not in "".join(loop.said)


def test_it_reads_well_and_send_works_with_it(site, harbour, receiver):
    with listening(site, "stripe", "--to", receiver.url) as loop:
        customer = ("webhooks", "send", "customer.updated", "--provider", "stripe")
        done = [
            site.run(*customer, "--to", loop.url, *extra)
            for extra in (
                ["--set", "data.object.name=Ada"],
                ["--forge"],
                ["--set", "account=acct_other"],
                ["--set", "no-equals-sign"],
            )
        ]
        listed = site.json("webhooks", "send", "--list", "--provider", "stripe")["fixtures"]
        lines = [loop.line() for _ in range(4)]
        assert loop.post(harbour.senders["mailchimp-unsigned"].signed()) == 200
        _, body = receiver.next()
        assert loop.end() == 130
        assert loop.lines.empty()  # that one was not Stripe's
    assert receiver.seen.empty()
    assert json.loads(body)["data"]["object"]["name"] == "Ada"
    assert [each.returncode for each in done] == [0, 0, 1, 2], [each.stderr for each in done]
    assert "signature-wrong" in done[1].stdout
    assert "another account" in done[2].stdout
    facts = {"provider": "stripe", "type": "customer.updated"}
    assert facts | {"name": "customer.updated+thin"} in listed
    taken = next(line for line in lines if "evt_" in line)
    assert "in   stripe customer.updated evt_" in taken
    assert "verified  200" in taken
    handed_on = next(line for line in lines if "out" in line)
    assert f"→ {receiver.url.removeprefix('http://').partition('/')[0]}" in handed_on
    assert "204" in handed_on
    assert [line for line in lines if "(forged)" in line and "refused" in line and "401" in line]
    assert [line for line in lines if "(not read)" in line and "404" in line]


def test_without_an_endpoint_it_says_so_and_refuses_all(site):
    with listening(site) as loop:
        assert "no endpoint yet" in loop._err.readline()
        stranger = Sender("stripe", "whe_x", f"{BASE}/webhooks/stripe/whe_x", "", SystemClock())
        odd = stranger.signed().changed(path="/webhooks/no%1B%5B31mbody/x")
        assert [loop.post(each) for each in (stranger.signed(), odd)] == [404, 404]
        assert all("in   - (not read)" in loop.line() for _ in range(2))
        assert loop.end() == 130


def parcel(harbour: Harbour, scheme: str, **options) -> Parcel:
    signed = harbour.senders[scheme].signed()
    arrival = signed.changed(**options).arrival
    endpoint = harbour.inbox.endpoints.read(arrival.provider, arrival.endpoint_id)
    delivery = harbour.inbox.judge(endpoint, arrival)
    signs = STANDARD_WEBHOOKS if scheme != "stripe" else endpoint.scheme
    return Parcel(delivery=delivery, headers=arrival.headers, scheme=signs)


@contextmanager
def forwarding(url: str) -> Iterator[tuple[Forwarder, queue.Queue]]:
    told: queue.Queue = queue.Queue()
    with Forwarder(url, new_signing_secret(), SystemClock(), told.put) as forwarder:
        yield forwarder, told


def test_a_receiver_that_hangs_holds_the_next_one_up_for_a_bounded_time(
    harbour, receiver, monkeypatch
):
    monkeypatch.setattr(webhook_forward, "_DEADLINE_S", 0.5)
    receiver.pause_s = 3.0
    with forwarding(receiver.url) as (forwarder, told):
        forwarder.put(parcel(harbour, "stripe"))
        first = told.get(timeout=30)
        receiver.pause_s = 0.0
        forwarder.put(parcel(harbour, "stripe"))
        second = told.get(timeout=30)
    assert (first.status, "gave no answer" in first.words) == (None, True)
    assert (second.status, second.words) == (204, "")
    assert receiver.seen.qsize() == 2  # each was tried once


def test_what_is_more_than_may_wait_is_said_and_not_handed_on(harbour, receiver, monkeypatch):
    monkeypatch.setattr(webhook_forward, "_MOST_WAITING", 2)
    receiver.pause_s = 0.5
    with forwarding(receiver.url) as (forwarder, told):
        for _ in range(6):
            forwarder.put(parcel(harbour, "stripe"))
        found = [told.get(timeout=30) for _ in range(6)]
    dropped = [each for each in found if "wait already" in each.words]
    assert 3 <= len(dropped) <= 4
    assert receiver.seen.qsize() == 6 - len(dropped)


def test_what_still_waits_at_the_end_is_said(harbour, receiver):
    receiver.pause_s = 0.5
    with forwarding(receiver.url) as (forwarder, told):
        for _ in range(3):
            forwarder.put(parcel(harbour, "stripe"))
        receiver.next()
    found = [told.get_nowait() for _ in range(3)]
    assert [(each.status, each.words) for each in found] == [
        (204, ""),
        *[(None, "not handed on: it ended")] * 2,
    ]


def test_headers_of_one_hop_and_of_who_somebody_is_stay_behind(harbour, receiver):
    told = {
        "authorization": "Bearer x",
        "cookie": "a=b",
        "x_forwarded_for": "10.0.0.1",
        "transfer_encoding": "chunked",
        "x_custom": "kept",
    }
    with forwarding(receiver.url) as (forwarder, answers):
        forwarder.put(parcel(harbour, "stripe", **told))
        assert answers.get(timeout=30).status == 204
        forwarder.put(parcel(harbour, "mailchimp-unsigned", webhook_id="theirs"))
        assert answers.get(timeout=30).status == 204
    headers, _ = receiver.next()
    assert headers["x-custom"] == "kept"
    assert not headers.keys() & {"authorization", "cookie", "x-forwarded-for", "transfer-encoding"}
    headers, _ = receiver.next()
    assert headers["webhook-id"] == "theirs"
    assert headers["webhook-signature"].startswith("v1,")


def test_an_address_that_would_show_the_data_or_makes_no_sense_is_refused():
    for odd in ("http://example.com/x", "ftp://localhost", "x", "https://u:p@a.example", "http://"):
        with pytest.raises(InvalidInputError, match="handed on to"):
            Forwarder(odd, Secret("x"), SystemClock(), print)


def test_the_development_secret_stays_until_it_is_renewed_and_is_sealed(site):
    installation = site.installation
    first = development.development_secret(installation).reveal()
    assert development.development_secret(installation).reveal() == first
    [path] = installation.settings.home.glob("webhooks-dev*")
    assert path.stat().st_mode & 0o777 == 0o600
    assert first not in path.read_text()
    second = development.renew_development_secret(installation).reveal()
    assert development.development_secret(installation).reveal() == second != first
    path.write_text("no sealed text")
    third = development.development_secret(installation).reveal()
    assert third not in {first, second}
    assert development.development_secret(installation).reveal() == third
    assert SECRETS["stripe"] != third
