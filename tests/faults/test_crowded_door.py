"""A crowd comes in at a server's door while that server is restarted, again and again.

Nobody who was let in is left without an answer: neither by a server that closes its
own socket, nor by one that gives a lent one back, where nobody is even refused.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from chances import chances
from oauth_kit import free_port
from senders_kit import serving
from site_of import Site, children_of, wait_until
from tieline.errors import InvalidInputError
from tieline.web.sockets import take_over, turn_newcomers_away

RESTARTS = chances(suite=4, soak=60)
CROWD = 8
LEAST = 50
ASK = b"GET /healthz HTTP/1.1\r\nHost: tieline\r\nConnection: close\r\n\r\n"
PATIENCE_S = 60
sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FILTERS = sys.platform == "linux"  # no other system does it at a socket


def come_in(host: str, port: int) -> str:
    """Connect, ask and read to the end; say what became of it."""
    try:
        line = socket.create_connection((host, port), timeout=PATIENCE_S)
    except ConnectionRefusedError:
        return "refused"
    with line:
        try:
            line.sendall(ASK)
            said = b"".join(iter(lambda: line.recv(65_536), b""))
        except OSError as error:
            return f"let in, then {error!r}"
    return said[9:12].decode() or "let in, then hung up on"


def words_of(pid: int) -> list[str]:
    """Return how a process was started; nothing if it has just ended."""
    told = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.split()


@contextmanager
def crowd_at(host: str, port: int) -> Iterator[Counter[str]]:
    """Have a crowd come in all the time; give what became of it, counted until the end."""
    met: Counter[str] = Counter()
    over, lock = threading.Event(), threading.Lock()

    def go_on() -> None:
        while not over.is_set():
            became = come_in(host, port)
            with lock:
                met[became] += 1
            if became == "refused":
                time.sleep(0.01)

    crowd = [threading.Thread(target=go_on) for _ in range(CROWD)]
    for each in crowd:
        each.start()
    try:
        yield met
    finally:
        over.set()
        for each in crowd:
            each.join(PATIENCE_S)


def restart_again_and_again(
    first: subprocess.Popen, successor: Callable[[], subprocess.Popen], met: Counter[str]
) -> subprocess.Popen:
    """Restart a server as soon as it has answered some; return the last one."""
    server = first
    for _ in range(RESTARTS):
        so_far = met["200"]
        wait_until(lambda so_far=so_far: met["200"] >= so_far + LEAST, seconds=PATIENCE_S)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 143
        server = successor()
    return server


def serving_at(site: Site, lent: socket.socket, command: str = "serve") -> subprocess.Popen:
    """Start a server at a socket that this process keeps."""
    ours = [sys.executable, "-m", "tieline", command, "--fd", str(lent.fileno())]
    with (site.cwd / f"process{len(site.processes)}.log").open("wb") as log:
        process = subprocess.Popen(
            ours,
            env=site.environ,
            cwd=site.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[lent.fileno()],
            start_new_session=True,
        )
    site.processes.append(process)
    return process


@sqlite
@pytest.mark.timeout(120 + 20 * RESTARTS)
def test_a_server_that_closes_its_own_door_refuses_and_never_drops(site):
    port = free_port()
    first, url = serving(site, port)
    host = urlsplit(url).hostname
    with crowd_at(host, port) as met:
        restart_again_and_again(first, lambda: serving(site, port)[0], met)
    cut_off = set(met) - {"200", "refused"}
    assert not cut_off if FILTERS else all(each.startswith("let in") for each in cut_off), met


@sqlite
@pytest.mark.timeout(120 + 20 * RESTARTS)
def test_at_a_lent_socket_all_wait_for_the_next_server_and_nobody_is_refused(site):
    with socket.create_server(("127.0.0.1", 0), backlog=512) as lent:
        host, port = lent.getsockname()
        with crowd_at(host, port) as met:
            restart_again_and_again(serving_at(site, lent), lambda: serving_at(site, lent), met)
            wait_until(lambda: met["200"] > RESTARTS * LEAST, seconds=PATIENCE_S)
    assert set(met) == {"200"}, met


@sqlite
def test_what_up_is_lent_its_server_has_and_so_has_the_one_that_comes_after_a_dead_one(site):
    with socket.create_server(("127.0.0.1", 0)) as lent:
        host, port = lent.getsockname()
        process = serving_at(site, lent, "up")
        assert come_in(host, port) == "200"  # it waits for the server to start
        [server] = [pid for pid in children_of(process.pid) if "serve" in words_of(pid)]
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: "serve" not in words_of(server))
        assert come_in(host, port) == "200"
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@sqlite
@pytest.mark.parametrize("command", ["serve", "up"])
@pytest.mark.parametrize("words", [("--fd", "77", "--port", "1"), ("--port", "1", "--fd", "77")])
def test_an_address_beside_a_lent_socket_is_refused(site, command, words):
    done = site.run(command, *words)
    assert done.returncode == 2
    assert "error[usage]: --fd has an address already: leave --port away, or --fd" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_newcomers_are_turned_away_and_who_waits_keeps_the_place(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host, port)) as waits:
            assert turn_newcomers_away(listening) is FILTERS
            if not FILTERS:
                return
            with pytest.raises(TimeoutError):
                socket.create_connection((host, port), timeout=0.3)
            taken, _ = listening.accept()
            with taken:
                waits.sendall(b"still here")
                assert taken.recv(100) == b"still here"
        listening.settimeout(0)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_descriptor_that_is_no_listening_socket_is_refused_by_name_and_stays_open():
    with pytest.raises(InvalidInputError, match=r"^--fd 1000000 is none: Bad file descriptor"):
        take_over(1_000_000)
    for kind, reason in (
        (socket.SOCK_DGRAM, "is not one of TCP"),
        (socket.SOCK_STREAM, "does not"),
    ):
        with socket.socket(socket.AF_INET, kind) as wrong:
            with pytest.raises(InvalidInputError, match=f"^--fd {wrong.fileno()} {reason}"):
                take_over(wrong.fileno())
            wrong.bind(("127.0.0.1", 0))  # it is still ours
