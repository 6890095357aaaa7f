"""``/webhooks/…`` over real HTTP: limits, probes, and answers that tell nothing."""

from __future__ import annotations

import gc
import http.client
import re
import socket
import statistics
import threading
import time
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest

from chances import chances
from ingest_kit import forgeries, make_harbour
from tieline.clock import SystemClock
from tieline.store.endpoints import change_endpoint
from tieline.web import Listener, bodies, create_app, patience, serve


@pytest.fixture
def harbour(sqlite_url, tmp_path):
    made = make_harbour(sqlite_url, tmp_path, clock=SystemClock(), webhook_body_mb="0.1")
    yield made
    made.close()


@pytest.fixture
def served(harbour):
    with Listener(create_app(harbour.installation), host="127.0.0.1", port=0) as listener:
        yield listener.address


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served, trust_env=False) as opened:
        yield opened


FORGERIES = chances(suite=1_200, soak=20_000)  # all hundred thousand: test_ingest
_UNSENT = re.compile(rb"[\x00-\x1f\x7f]")


def post(client, signed, **extra) -> httpx.Response:
    # Whatever the client would not send, a control character say, becomes something it would.
    headers = {
        name: _UNSENT.sub(b"?", text.encode("latin-1")).strip()
        for name, text in signed.headers.items()
    }
    return client.post(signed.path, content=signed.body, headers=headers, **extra)


@pytest.mark.timeout(1_200)
def test_every_scheme_is_accepted_over_http_and_each_status_has_one_body(harbour, client):
    for sender in harbour.senders.values():
        assert post(client, sender.signed()).status_code == 200
    assert harbour.count() == len(harbour.senders)
    answers: dict[int, set] = {}
    statuses = Counter()
    for _, _, forged in forgeries(harbour, FORGERIES):
        path = forged.path.encode("ascii", "replace").decode()
        reply = post(client, forged.changed(path=path))
        statuses[reply.status_code] += 1
        told = {name: text for name, text in reply.headers.items() if name != "date"}
        answers.setdefault(reply.status_code, set()).add((reply.content, tuple(told.items())))
    assert set(statuses) == {401, 404}
    assert {status: len(found) for status, found in answers.items()} == {401: 1, 404: 1}
    assert harbour.count() == len(harbour.senders)


def test_what_a_server_has_at_its_start_is_not_gone_through_again_while_deliveries_come(harbour):
    class Seen(Exception):  # noqa: N818 - it ends the serving
        pass

    spared: list[int] = []

    def ready(_address: str) -> None:
        spared.append(gc.get_freeze_count())
        raise Seen

    try:
        with pytest.raises(Seen):
            serve(create_app(harbour.installation), host="127.0.0.1", port=0, on_ready=ready)
        assert spared[0] > len(gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_bug_of_ours_is_answered_with_500_that_tells_nothing_and_logged_once(
    harbour, client, monkeypatch, caplog
):
    def fail(_arrival):
        raise ValueError("CANARY")

    monkeypatch.setattr(harbour.inbox, "take", fail)
    reply = post(client, harbour.senders["stripe"].signed())
    assert (reply.status_code, reply.headers["content-type"]) == (500, "application/problem+json")
    assert "CANARY" not in reply.text
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert harbour.count() == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/webhooks/stripe/whe_aaaaaaaaaaaaaaaa", 405),
        ("POST", "/webhooks/stripe", 404),
        ("POST", "/webhooks/stripe/", 404),
        ("POST", "/webhooks//whe_aaaaaaaaaaaaaaaa", 404),
        ("POST", "/webhooks/stripe/whe_aaaaaaaaaaaaaaaa/a/b", 404),
        ("POST", "/elsewhere/webhooks/stripe/whe_aaaaaaaaaaaaaaaa", 404),
        ("POST", "/webhooks/stripe/whe_aaaaaaaaaaaaaaaa%0a", 404),
    ],
)
def test_what_is_no_address_of_an_endpoint_is_refused_politely(
    harbour, client, method, path, status
):
    reply = client.request(method, path, content=b"{}")
    assert (reply.status_code, reply.headers["cache-control"]) == (status, "no-store")
    assert harbour.count() == 0


def test_a_wrong_secret_in_the_address_is_answered_as_an_address_that_is_not_there(harbour, client):
    sender = harbour.senders["mailchimp-unsigned"]
    right = sender.signed()
    wrong = [
        right.changed(path=right.path[:-1] + ("a" if right.path[-1] != "a" else "b")),
        right.changed(path=right.path.rpartition("/")[0]),
        right.changed(path=right.path + "/x"),
        right.changed(path=right.path.replace(sender.endpoint_id, "whe_aaaaaaaaaaaaaaaa")),
        right.changed(path=right.path.replace("mailchimp", "stripe")),
    ]
    replies = [post(client, each) for each in wrong]
    assert [reply.status_code for reply in replies] == [404] * 5
    assert len({reply.content for reply in replies if b"Not Found" in reply.content}) == 1
    assert harbour.count() == 0


def test_a_probe_of_a_stranger_is_answered_without_side_effect(harbour, client):
    mailchimp = harbour.senders["mailchimp-unsigned"].path
    elsewhere = "/webhooks/mailchimp/whe_aaaaaaaaaaaaaaaa/whatever"
    for path in (mailchimp, elsewhere):
        for method in ("GET", "HEAD", "POST"):
            assert client.request(method, path).status_code == 200
    stripe = harbour.senders["stripe"].path
    for method in ("GET", "HEAD"):
        reply = client.request(method, stripe)
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
        assert client.request(method, "/webhooks/nobody/whe_aaaaaaaaaaaaaaaa").status_code == 404
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client.request(method, stripe).status_code == 405
    assert harbour.count() == 0


def test_a_compressed_body_is_refused_before_it_is_read(harbour, client):
    signed = harbour.senders["stripe"].signed()
    for coding in ("gzip", "deflate", "br", "gzip, identity"):
        assert post(client, signed.changed(content_encoding=coding)).status_code == 415
    assert post(client, signed.changed(content_encoding="identity")).status_code == 200


def test_a_body_beyond_the_limit_is_refused_however_it_comes(harbour, client):
    sender = harbour.senders["stripe"]
    small = sender.signed()
    body = b" " * 2_200_000
    headers = sender.sign(body)
    reply = client.post(small.path, content=body, headers=headers)
    assert reply.status_code == 413
    reply = client.post(small.path, content=iter([body[:100_000]] * 30), headers=headers)
    assert reply.status_code == 413
    letters = harbour.senders["mailchimp-unsigned"].path
    assert client.post(letters, content=b"x" * 100_001).status_code == 413
    assert client.post(letters, content=b"x" * 100_000).status_code == 400
    assert harbour.count() == 0


def raw(served: str, head: str, body: bytes = b"") -> socket.socket:
    parts = urlsplit(served)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10)
    connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
    return connection


def status_of(connection: socket.socket) -> int:
    with connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status


def test_a_gigabyte_that_is_only_announced_is_refused_at_once(harbour, served):
    path = harbour.senders["stripe"].path
    began = time.monotonic()
    for size in ("1000000000", "9" * 30):
        head = f"POST {path} HTTP/1.1\nHost: x\nContent-Length: {size}"
        assert status_of(raw(served, head)) in {413, 400}
    assert time.monotonic() - began < 5


def test_a_slow_upload_is_ended(harbour, served, monkeypatch):
    monkeypatch.setattr(bodies, "_SLOWEST_BODY_S", 0.3)
    head = f"POST {harbour.senders['stripe'].path} HTTP/1.1\nHost: x\nContent-Length: 1000"
    connection = raw(served, head, b"a")
    began = time.monotonic()
    assert status_of(connection) == 408
    assert time.monotonic() - began < 5


SLOW_HEADS = {
    "nothing": [],
    "half a line": [b"GET /heal"],
    "one header after the other": [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", *[b"A: b\r\n"] * 100],
    "half of the second": [b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET ", *[b"/"] * 100],
    "a body that nobody reads": [
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        *[b"a"] * 100,
    ],
}


@pytest.mark.parametrize("sent", SLOW_HEADS.values(), ids=SLOW_HEADS)
def test_who_is_slow_with_the_head_of_a_request_is_sent_away(harbour, served, monkeypatch, sent):
    monkeypatch.setattr(patience, "_SLOWEST_HEAD_S", 0.3)
    where = urlsplit(served)
    began = time.monotonic()
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        ended = threading.Event()

        def trickle() -> None:
            with suppress(OSError):
                for part in sent:
                    connection.sendall(part)
                    if ended.wait(0.05):
                        return

        sender = threading.Thread(target=trickle)
        sender.start()
        with suppress(ConnectionResetError):
            while connection.recv(10_000):
                pass
        ended.set()
        sender.join()
    assert time.monotonic() - began < 3


def test_who_has_a_request_under_way_is_given_its_time(harbour, served, monkeypatch):
    monkeypatch.setattr(patience, "_SLOWEST_HEAD_S", 0.2)
    sender = harbour.senders["stripe"]
    signed = sender.signed()
    lines = [f"POST {signed.path} HTTP/1.1", "Host: x", f"Content-Length: {len(signed.body)}"]
    lines += [f"{name}: {text}" for name, text in signed.headers.items()]
    connection = raw(served, "\n".join(lines), signed.body[:10])
    time.sleep(0.5)
    connection.sendall(signed.body[10:])
    assert status_of(connection) == 200


LARGE = 20_000_000


async def large_answer(_scope, _receive, send) -> None:
    headers = [(b"content-length", str(LARGE).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"a" * LARGE})


def taken(address: str, *, first_after_s: float, then_every_s: float) -> int:
    """Ask for the large answer and return how much of it came."""
    connection, got = raw(address, "GET / HTTP/1.1\nHost: x\nConnection: close"), 0
    time.sleep(first_after_s)
    with connection, suppress(ConnectionResetError):
        while part := connection.recv(4_000_000):
            got += len(part)
            time.sleep(then_every_s)
    return got


def test_an_answer_that_nobody_takes_is_dropped_and_one_taken_slowly_is_not(monkeypatch):
    monkeypatch.setattr(patience, "_STUCK_S", 0.4)
    with Listener(large_answer, host="127.0.0.1", port=0) as listener:
        assert taken(listener.address, first_after_s=1.5, then_every_s=0) < LARGE
        assert taken(listener.address, first_after_s=0, then_every_s=0.02) > LARGE


def test_a_body_that_ends_early_makes_no_row(harbour, served, client):
    sender = harbour.senders["stripe"]
    signed = sender.signed()
    lines = [f"POST {signed.path} HTTP/1.1", "Host: x", f"Content-Length: {len(signed.body) + 9}"]
    lines += [f"{name}: {text}" for name, text in signed.headers.items()]
    raw(served, "\n".join(lines), signed.body).close()
    assert post(client, sender.signed("another")).status_code == 200
    assert [event["event_key"] for event in harbour.events()] == ["another"]


def test_two_lengths_in_one_request_smuggle_nothing(harbour, served):
    signed = harbour.senders["stripe"].signed()
    lines = [f"POST {signed.path} HTTP/1.1", "Host: x", "Content-Length: 5"]
    lines += [f"{name}: {text}" for name, text in signed.headers.items()]
    both = "\n".join([*lines, f"Content-Length: {len(signed.body)}"])
    assert status_of(raw(served, both, signed.body)) == 400
    assert harbour.count() == 0


def test_many_bodies_at_once_share_one_room(harbour, client, monkeypatch):
    monkeypatch.setattr(bodies, "_ROOM_BYTES", 0)
    monkeypatch.setattr(bodies.Room, "left", 50)
    with Listener(create_app(harbour.installation), host="127.0.0.1", port=0) as listener:
        url = f"{listener.address}{harbour.senders['stripe'].path}"
        signed = harbour.senders["stripe"].signed()
        for _ in range(3):  # what was refused gave its room back
            reply = httpx.post(url, content=signed.body, headers=signed.headers, trust_env=False)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            small = httpx.post(url, content=b"x" * 50, headers=signed.headers, trust_env=False)
            assert small.status_code == 401


def test_a_header_that_comes_twice_hides_nothing(harbour, client):
    signed = harbour.senders["stripe"].signed()
    pairs = [(name, text) for name, text in signed.headers.items()]
    forged = [*pairs, ("stripe-signature", "t=1,v1=00")]
    reply = client.post(
        signed.path, content=signed.body, headers=[("stripe-signature", "x"), *forged]
    )
    assert reply.status_code == 401


def test_doors_that_stay_closed_take_the_same_time(harbour):
    """A path secret that is wrong, no such endpoint, a disabled one, another tenant's event."""
    letters, shop = harbour.senders["mailchimp-unsigned"], harbour.senders["stripe"]
    disabled = harbour.add("stripe", "shop", secret=shop.secret)
    with harbour.installation.database.write() as transaction:
        change_endpoint(
            transaction, disabled.endpoint_id, now=harbour.clock.now(), state="disabled"
        )
    right = letters.signed()
    doors = {
        "wrong path": right.changed(path=right.path + "x"),
        "no endpoint": right.changed(
            path=right.path.replace(letters.endpoint_id, "whe_aaaaaaaaaaaaaaaa")
        ),
        "disabled": disabled.signed(),
        "other tenant": shop.signed(account="acct_other"),
    }
    took: dict[str, list[float]] = {name: [] for name in doors}
    for _ in range(300):
        for name, signed in doors.items():
            began = time.perf_counter()
            assert harbour.accept(signed) == 404
            took[name].append(time.perf_counter() - began)
    medians = [statistics.median(each) for each in took.values()]
    assert max(medians) - min(medians) < 0.002, took.keys()


def test_deliveries_are_measured_by_endpoint_and_by_what_became_of_them(
    sqlite_url, redis_url, tmp_path
):
    token = "a-token-of-26-characters-x"
    harbour = make_harbour(
        sqlite_url, tmp_path, redis_url=redis_url, clock=SystemClock(), metrics_token=token
    )
    sender = harbour.senders["stripe"]
    try:
        with (
            Listener(create_app(harbour.installation), host="127.0.0.1", port=0) as listener,
            httpx.Client(base_url=listener.address, trust_env=False) as client,
        ):
            for secret in (None, None, "no"):
                post(client, sender.signed(secret=secret))
            post(client, sender.signed().changed(path="/webhooks/stripe/x"))
            harbour.inbox.after.do()
            said = client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).text
        for endpoint, outcome, count in (
            (sender.endpoint_id, "accepted", 2),
            (sender.endpoint_id, "signature-wrong", 1),
            ("", "endpoint-unknown", 1),
        ):
            labels = f'endpoint="{endpoint}",outcome="{outcome}"'
            assert f"tieline_webhook_deliveries_total{{{labels}}} {count}.0" in said
    finally:
        harbour.close()
