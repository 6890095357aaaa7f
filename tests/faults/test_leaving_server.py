"""A server that is told to leave answers whoever it let in, and says that it hangs up."""

from __future__ import annotations

import signal
import socket
import time
from urllib.parse import urlsplit

import pytest

from senders_kit import serving
from tieline.client import wire
from tieline.services.tokens import create_token
from tieline.web.serve import IDLE_S

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: tieline\r\n"
BUSY = {"TIELINE_API_DEADLINE_S": "20"}


@pytest.fixture
def server(site):
    return serving(site)


def called(url: str, *, within_s: float = 30) -> socket.socket:
    host, port = urlsplit(url).netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=within_s)


def read_answer(line: socket.socket) -> bytes:
    """Read until the server hangs up; a reset is an error."""
    found = b""
    while piece := line.recv(65_536):
        found += piece
    return found


def answer_on(line: socket.socket) -> bytes:
    """Ask on a line that stays open; return the answer's head."""
    line.sendall(HEALTH + b"\r\n")
    found = b""
    while not found.endswith(b"}"):
        found += line.recv(65_536)
    return found


def wait_until_nobody_is_let_in(url: str) -> None:
    """Knock until nobody opens; what is dropped would be sent again a second later."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            called(url, within_s=0.2).close()
        except (ConnectionRefusedError, TimeoutError):
            return
        time.sleep(0.005)
    raise AssertionError("it still lets callers in")


@sqlite
def test_who_was_let_in_is_answered_and_told_that_the_connection_ends(server):
    process, url = server
    with called(url) as new, called(url) as kept, called(url) as cut:
        assert b"connection: close" not in answer_on(kept).lower()
        cut.sendall(HEALTH)  # the rest of its head comes later
        process.send_signal(signal.SIGTERM)
        wait_until_nobody_is_let_in(url)
        for line, rest in ((new, HEALTH + b"\r\n"), (kept, HEALTH + b"\r\n"), (cut, b"\r\n")):
            line.sendall(rest)
            said = read_answer(line)
            assert said.startswith(b"HTTP/1.1 200"), said
            assert said.lower().count(b"connection: close") == 1
            assert said.endswith(b"}")
    assert process.wait(10) == 143


@sqlite
def test_who_is_slow_to_ask_is_heard_and_whoever_rests_is_ended_no_sooner_than_ever(server):
    process, url = server
    with called(url) as new, called(url) as cut, called(url) as kept, called(url) as rests:
        for line in (cut, kept, rests):
            answer_on(line)
        cut.sendall(HEALTH)
        process.send_signal(signal.SIGTERM)
        wait_until_nobody_is_let_in(url)
        time.sleep(2)
        for line, rest in ((kept, HEALTH + b"\r\n"), (new, HEALTH + b"\r\n"), (cut, b"\r\n")):
            line.sendall(rest)
            said = read_answer(line)
            assert said.startswith(b"HTTP/1.1 200"), said
            assert b"connection: close" in said.lower()
        assert read_answer(rests) == b""
    assert process.wait(10) == 143


def test_a_client_lets_go_of_an_idle_connection_before_the_server_does():
    assert 0 < wire.IDLE_S <= IDLE_S / 1.5


@sqlite
def test_who_waits_for_the_kernel_is_let_in_before_nobody_is(server):
    """While a server is stopped the kernel takes connections for it; it wakes up to leave."""
    process, url = server
    process.send_signal(signal.SIGSTOP)
    lines = [called(url) for _ in range(100)]
    for line in lines:
        line.sendall(HEALTH + b"\r\n")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    answers = [read_answer(line) for line in lines]
    for line in lines:
        line.close()
    assert [said[:12] for said in answers] == [b"HTTP/1.1 200"] * len(lines)
    assert process.wait(20) == 143


@sqlite
def test_an_answer_that_takes_long_is_waited_for(site):
    """The body's second half comes only when the server has been leaving for long."""
    process, url = serving(site, **BUSY)
    token = create_token(site.installation, "slow", scope="admin", actor="test").token.reveal()
    body = b'{"name": "late", "scope": "read"}'
    head = (
        f"POST /v1/tokens HTTP/1.1\r\nHost: tieline\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with called(url) as line:
        line.sendall(head + body[:10])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        wait_until_nobody_is_let_in(url)
        time.sleep(2)
        assert process.poll() is None
        line.sendall(body[10:])
        said = read_answer(line)
    assert said.startswith(b"HTTP/1.1 201"), said
    assert b"connection: close" in said.lower()
    assert process.wait(10) == 143
