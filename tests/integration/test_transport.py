"""The one way to a provider, against servers that misbehave, over real sockets."""

from __future__ import annotations

import gzip
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tieline.contract import ANSWER_TOO_SLOW, ProviderUnavailableError, RequestRejectedError
from tieline.transport import HttpTransport, Limits


@contextmanager
def serving(talk):
    """Accept connections and let ``talk(socket)`` answer each."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    stop = threading.Event()
    accepted: list[int] = []

    def handle(connection):
        with connection:
            try:
                talk(connection)
            except OSError:
                return  # the client hung up, as it should

    def accept():
        with ThreadPoolExecutor(32) as pool:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                connection.settimeout(5)
                accepted.append(1)
                pool.submit(handle, connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
    finally:
        stop.set()
        thread.join()
        listener.close()


def read_request(connection) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return b""
        data += part
    return data


def answering(raw: bytes):
    def talk(connection):
        while read_request(connection):
            connection.sendall(raw)

    return talk


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    named = {"Content-Length": str(len(body))} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    lines = "".join(f"{name}: {text}\r\n" for name, text in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@contextmanager
def transport(url: str, **limits):
    made = HttpTransport(
        connection_id="con_x", origins=[url], limits=Limits(**limits), allows_private=True
    )
    try:
        yield made
    finally:
        made.close()


def refused(url: str, path: str = "/", **limits) -> str:
    with transport(url, **limits) as way, pytest.raises(ProviderUnavailableError) as caught:
        way.send("GET", url + path, headers={"Authorization": "Bearer hunter2"})
    assert "hunter2" not in caught.value.message
    return caught.value.message


def test_an_answer_comes_whole_with_its_headers_in_lower_case():
    with serving(answering(http(b'{"a":1}', X_Request_ID="r1"))) as (url, _), transport(url) as way:
        reply = way.send("GET", f"{url}/v1/things?a=b", headers={})
    assert (reply.status, reply.content) == (200, b'{"a":1}')
    assert reply.headers["x-request-id"] == "r1"


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_slow_drip_is_cut_by_the_total_deadline(part):
    def talk(connection):
        read_request(connection)
        whole = http(b"x" * 1000)
        split = 5 if part == "headers" else whole.index(b"\r\n\r\n") + 4
        connection.sendall(whole[:split])
        for byte in whole[split:]:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    with serving(talk) as (url, _):
        began = time.monotonic()
        refused(url, deadline_s=1)
        assert time.monotonic() - began < 2


def test_an_answer_that_comes_too_late_is_told_from_none_at_all():
    def say_nothing(connection):
        read_request(connection)
        time.sleep(1)

    for talk, slug in ((say_nothing, ANSWER_TOO_SLOW), (hang_up, "provider-unavailable")):
        with serving(talk) as (url, _), transport(url, deadline_s=0.3) as way:
            with pytest.raises(ProviderUnavailableError) as caught:
                way.send("GET", url, headers={})
            assert caught.value.slug == slug


def hang_up(connection):
    read_request(connection)


def test_a_body_over_the_cap_is_refused():
    with serving(answering(http(b"x" * 5000))) as (url, _):
        assert "larger than 1,000 bytes" in refused(url, body_bytes=1000)


def test_a_gzip_bomb_is_stopped_at_the_cap():
    bomb = gzip.compress(b"0" * 200_000_000, compresslevel=9)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(answering(http(bomb, Content_Encoding="gzip"))) as (url, _):
        assert "larger than" in refused(url, body_bytes=32_000_000)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 128


def test_gzip_is_read_and_broken_gzip_is_refused():
    good = gzip.compress(b'{"a":1}')
    with serving(answering(http(good, Content_Encoding="gzip"))) as (url, _), transport(url) as way:
        assert way.send("GET", url, headers={}).content == b'{"a":1}'
    for bad in (good[:-4], b"not gzip", good[:12]):
        with serving(answering(http(bad, Content_Encoding="gzip"))) as (url, _):
            assert "gzip" in refused(url)


def test_a_body_that_is_cut_off_is_refused():
    def talk(connection):
        read_request(connection)
        connection.sendall(http(b"x" * 100)[:-50])

    with serving(talk) as (url, _):
        refused(url)


def test_no_answer_and_a_reset_are_refused():
    with serving(read_request) as (url, _):
        refused(url)
    refused("http://127.0.0.1:1")


def test_a_redirect_is_not_followed_and_names_where_it_led():
    secret = {"Authorization": "Bearer hunter2"}
    with serving(answering(http(b"stolen"))) as (other, reached):
        raw = http(b"", "302 Found", Location=f"{other}/steal")
        with (
            serving(answering(raw)) as (url, _),
            transport(url) as way,
            pytest.raises(RequestRejectedError) as caught,
        ):
            way.send("GET", url, headers=secret)
        assert "127.0.0.1" in caught.value.message
        assert reached == []


def test_another_address_is_refused_before_a_connection_is_made():
    with serving(answering(http(b""))) as (other, reached):
        with transport("http://127.0.0.1:9") as way, pytest.raises(RequestRejectedError):
            way.send("GET", f"{other}/x", headers={"Authorization": "Bearer hunter2"})
        assert reached == []


@pytest.mark.parametrize(
    ("address", "allows_private"),
    [
        ("169.254.169.254", True),
        ("fe80::1", True),
        ("0.0.0.0", True),
        ("127.0.0.1", False),
        ("10.0.0.7", False),
        ("::1", False),
        ("::ffff:169.254.169.254", True),
    ],
)
def test_addresses_that_nobody_meant_are_refused_after_resolving(
    address, allows_private, monkeypatch
):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, 1, 6, "", (address, 80))])
    way = HttpTransport(
        connection_id="con_x",
        origins=["http://api.example.com"],
        allows_private=allows_private,
    )
    with pytest.raises(ProviderUnavailableError) as caught:
        way.send("GET", "http://api.example.com/", headers={})
    assert "refused" in caught.value.message
    way.close()


def test_threads_share_a_transport_and_sockets_are_used_again():
    with serving(answering(http(b"{}"))) as (url, accepted), transport(url) as way:
        with ThreadPoolExecutor(8) as pool:

            def call(number: int) -> tuple[int, int]:
                before = way.calls_here
                status = way.send("GET", f"{url}/{number}", headers={}).status
                return status, way.calls_here - before

            answers = list(pool.map(call, range(200)))
        assert set(answers) == {(200, 1)}
        assert len(accepted) <= 16


def test_the_time_of_sending_is_that_after_the_gates():
    """What a call waits for its turn would else pass for a provider whose clock is ahead."""

    class SlowGate:
        is_full = False

        @contextmanager
        def passing(self, _call):
            time.sleep(0.2)
            yield

        def saw(self, _call, _reply):
            pass

    with serving(answering(http(b"{}"))) as (url, _):
        way = HttpTransport(
            connection_id="con_x", origins=[url], gates=[SlowGate()], allows_private=True
        )
        assert way.sent_here is None
        began = time.monotonic()
        way.send("GET", f"{url}/", headers={})
        assert way.sent_here is not None
        assert way.sent_here - began >= 0.2
        way.close()
