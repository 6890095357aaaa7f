"""The embedded Valkey: one per home, whoever asks, whatever happens to it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tieline.contract import SettingsError
from tieline.coordination import EmbeddedServer, describe, open_redis, ping, report
from tieline.coordination import embedded as embedded_module
from tieline.errors import DependencyError

ENSURE = """
import sys
from pathlib import Path
from tieline.coordination import EmbeddedServer, open_redis
server = EmbeddedServer(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
client = open_redis(server.ensure())
print(client.info("server")["process_id"])
client.close()
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def server(home):
    made = EmbeddedServer(home)
    yield made
    made.stop()


@pytest.fixture
def client(server):
    made = open_redis(server.ensure())
    yield made
    made.close()


def process_of(client):
    return client.info("server")["process_id"]


def is_gone(pid):
    """Dead, or a zombie that is not ours to bury."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def wait_until(is_so, seconds=10.0):
    """Poll until it is so; say whether it came to that."""
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.005)
    return True


def kill_and_wait(pid, server):
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not server.is_running())


def test_a_started_server_answers_and_keeps_what_it_is_given(server, client):
    ping(client)
    facts = report(client)
    assert facts["server"] in {"valkey", "redis"}
    assert facts["version"]
    assert facts["maxmemory_policy"] == "noeviction"
    assert facts["aof_enabled"] is True
    assert facts["used_memory"] > 0
    client.set("a", "b")
    server.stop()
    server.ensure()
    assert client.get("a") == b"b"


def test_a_second_call_finds_the_same_server(server, client, home):
    before = process_of(client)
    assert EmbeddedServer(home).ensure() == server.url
    assert process_of(client) == before


def test_another_way_to_write_the_home_leads_to_the_same_server(server, client, home, tmp_path):
    (tmp_path / "link").symlink_to(home)
    other = EmbeddedServer(tmp_path / "link" / ".." / "home")
    assert other.url == server.url
    assert other.is_running()


def test_eight_processes_at_once_start_exactly_one_server(server, home):
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(8)
    ]
    for starter in starters:
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        starter.stdin.write("go\n")
        starter.stdin.flush()
    said = [starter.communicate(timeout=60)[0] for starter in starters]
    assert [starter.returncode for starter in starters] == [0] * 8
    assert len(set(said)) == 1
    assert server.log_path.read_text().count("Ready to accept connections") == 1


def test_the_server_outlives_its_starter_and_is_nobodys_child(server, home):
    starter = subprocess.run(
        [sys.executable, "-c", ENSURE, str(home)],
        input="go\n",
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert starter.returncode == 0, starter.stderr
    assert server.is_running()


def test_the_starter_keeps_no_child_not_even_a_dead_one(server, client):
    pid = process_of(client)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    server.stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_the_server_gets_neither_our_files_nor_our_variables(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TIELINE_KEY", "CANARY")
    with (tmp_path / "open file").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003 - its only form
        client = open_redis(server.ensure())
        proc = Path(f"/proc/{process_of(client)}")
        client.close()
    opened = [str(one.readlink()) for one in (proc / "fd").iterdir()]
    assert not [name for name in opened if "open file" in name or "start.lock" in name]
    assert b"CANARY" not in (proc / "environ").read_bytes()


def test_a_killed_server_is_started_anew_with_its_data(server, client):
    client.set("a", "b")
    # Written to the log once a second: the copy that we ask for is complete.
    client.config_set("appendfsync", "always")
    client.set("c", "d")
    before = process_of(client)
    kill_and_wait(before, server)
    server.ensure()
    assert process_of(client) != before
    assert client.mget("a", "c") == [b"b", b"d"]


@pytest.mark.parametrize("name", ["valkey.conf", "valkey.conf.part", "valkey.part", "valkey.pid"])
def test_a_half_written_file_stops_no_start(server, client, home, name):
    server.stop()
    (home / "valkey" / name).write_bytes(b'port 0\nunixsocket "/half')
    server.ensure()
    ping(client)


def test_a_stale_socket_is_no_server(server, client, home):
    kill_and_wait(process_of(client), server)
    assert (home / "valkey" / "valkey.sock").exists()
    assert server.stop() is False
    server.ensure()
    ping(client)


def test_a_silent_server_is_not_doubled(server, client, monkeypatch):
    monkeypatch.setattr(embedded_module, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(embedded_module, "_ANSWER_S", 0.1)
    pid = process_of(client)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DependencyError, match="alive but does not answer") as caught:
            server.ensure()
        assert caught.value.hint == f"kill {pid}"
        with pytest.raises(DependencyError, match="alive but does not answer"):
            server.stop()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert wait_until(server.is_running)
    assert process_of(client) == pid


def test_stop_waits_for_the_end_and_says_whether_there_was_one(server, client):
    pid = process_of(client)
    assert server.stop() is True
    assert is_gone(pid)
    assert server.is_running() is False
    assert server.stop() is False


def test_stop_makes_nothing_where_there_is_nothing(server, home):
    assert server.stop() is False
    assert not home.exists()


def test_what_is_made_is_for_this_user_alone(server, home):
    server.ensure()
    for path in [home, *home.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("name", ["sp ace", "é", 'a"b\\c', "50% ?#", "line\nbreak", "tab\t$HOME `"])
def test_a_home_may_have_any_name(tmp_path, name):
    server = EmbeddedServer(tmp_path / name)
    try:
        client = open_redis(server.ensure())
        ping(client)
        client.close()
    finally:
        server.stop()


@pytest.fixture
def run_folders(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("r")
    monkeypatch.setattr(embedded_module, "_RUN_FOLDERS", folder)
    return folder


@pytest.fixture
def deep_server(tmp_path, run_folders):
    server = EmbeddedServer(tmp_path / ("x" * 100))
    yield server
    (run_folders / f"tieline-{os.geteuid()}").chmod(0o700)
    server.stop()


def test_a_long_home_gets_a_socket_in_a_private_run_folder(deep_server, run_folders):
    client = open_redis(deep_server.ensure())
    ping(client)
    client.close()
    (own,) = run_folders.iterdir()
    assert own.name == f"tieline-{os.geteuid()}"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert str(own) in deep_server.url


def test_a_run_folder_open_to_others_is_refused_even_if_a_server_answers(deep_server, run_folders):
    deep_server.ensure()
    (own,) = run_folders.iterdir()
    own.chmod(0o755)
    with pytest.raises(DependencyError, match="belongs to this user alone"):
        deep_server.ensure()


def test_a_run_folder_that_is_a_link_is_refused(tmp_path, run_folders):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (run_folders / f"tieline-{os.geteuid()}").symlink_to(elsewhere)
    with pytest.raises(DependencyError, match="belongs to this user alone"):
        EmbeddedServer(tmp_path / ("x" * 100)).ensure()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_server_that_dies_at_once_is_reported_at_once_with_its_log(home, tmp_path):
    binary = script(tmp_path / "broken", "echo it is broken >&2; exit 1")
    with pytest.raises(DependencyError, match="does not start: it is broken") as caught:
        EmbeddedServer(home, binary=str(binary)).ensure()
    assert caught.value.slug == "redis-down"
    assert str(home / "valkey" / "valkey.log") in caught.value.hint


def test_a_binary_that_is_not_there_is_named(home, tmp_path):
    with pytest.raises(DependencyError, match="nowhere is not there") as caught:
        EmbeddedServer(home, binary=str(tmp_path / "nowhere")).ensure()
    assert caught.value.slug == "redis-missing"
    assert "TIELINE_VALKEY_BINARY" in caught.value.hint


def test_binaries_are_looked_for_in_order(home, tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    bundled = EmbeddedServer(home).find_binary()
    assert bundled.name == "valkey-server"
    monkeypatch.setattr(embedded_module, "_bundled", lambda: None)
    with pytest.raises(DependencyError, match="musl") as caught:
        EmbeddedServer(home).find_binary()
    assert "TIELINE_REDIS_URL" in caught.value.hint
    for name in ("redis-server", "valkey-server"):
        assert EmbeddedServer(home, binary=script(folder / name, "")).find_binary().name == name
        assert EmbeddedServer(home).find_binary() == folder / name
    assert EmbeddedServer(home, binary="redis-server").find_binary() == folder / "redis-server"


def test_a_home_that_is_a_file_is_said_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DependencyError, match="cannot be started"):
        EmbeddedServer(tmp_path / "file").ensure()


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:CANARY@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=CANARY",
        "unix://user:CANARY@/nowhere/sock?db=0",
    ],
)
def test_a_redis_that_is_away_is_said_so_without_its_password(url):
    client = open_redis(url, timeout_s=0.5)
    with pytest.raises(DependencyError) as caught:
        ping(client)
    client.close()
    assert caught.value.slug == "redis-down"
    assert caught.value.hint
    assert "CANARY" not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__}"


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("redis://user:CANARY@h.example:6380/1?password=CANARY", "redis://h.example:6380/1"),
        ("rediss://:CANARY@[::1]:6379/0", "rediss://[::1]:6379/0"),
        ("unix:///run/a%20b.sock?password=CANARY", "unix:/run/a b.sock"),
        ("redis://:CANARY@host:port/0", "…"),
        ("CANARY", "…"),
    ],
    ids=["tcp", "ipv6", "unix", "bad port", "no address"],
)
def test_an_address_is_written_without_its_password(url, written):
    assert describe(url) == written


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://h", "redis://h:port/0"])
def test_an_address_that_makes_no_sense_is_a_settings_error(url):
    with pytest.raises(SettingsError, match="TIELINE_REDIS_URL"):
        open_redis(url)
