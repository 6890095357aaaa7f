"""The tests' own servers: fresh for each test, gone afterwards, even after a kill."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from servers import Run, find_leftovers, wait_until

HOLDER = """
import sys
from pathlib import Path
from servers import Run, start_postgres
from tieline.coordination import EmbeddedServer
run = Run.open()
print(run.folder, flush=True)
run.watch()
EmbeddedServer(run.folder / "worker").ensure()
start_postgres(run)
print("ready", flush=True)
sys.stdin.read()
print(run.close())
"""


@pytest.fixture
def engine(database_url):
    made = create_engine(database_url)
    yield made
    made.dispose()


@pytest.mark.parametrize("turn", ["first", "second"])
def test_a_database_is_empty_at_first(engine, turn):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE only_once (word TEXT)"))
        connection.execute(text("INSERT INTO only_once VALUES (:turn)"), {"turn": turn})
        assert connection.scalars(text("SELECT word FROM only_once")).all() == [turn]


def test_a_database_is_dropped_even_if_somebody_is_in_it(postgres_server):
    with postgres_server.new_database() as url:
        engine = create_engine(url)
        connection = engine.connect()
        name = connection.scalar(text("SELECT current_database()"))
    maintenance = create_engine(postgres_server.url())
    with maintenance.connect() as asking:
        found = asking.scalar(
            text("SELECT count(*) FROM pg_database WHERE datname = :name"), {"name": name}
        )
    assert found == 0
    connection.invalidate()
    connection.close()
    engine.dispose()
    maintenance.dispose()


def test_text_sorts_and_folds_as_utf8(postgres_url):
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT lower('É')")) == "é"
        assert connection.scalar(text("SHOW server_encoding")) == "UTF8"
    engine.dispose()


def test_no_setting_and_no_folder_of_the_user_is_seen():
    assert not [name for name in os.environ if name.startswith("TIELINE_")]
    assert list(Path.home().glob(".*")) == []
    run = Path(os.environ["XDG_RUNTIME_DIR"])
    assert run.is_relative_to(Path.home())
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_redis_is_empty_at_first(redis_url):
    from tieline.coordination import open_redis

    client = open_redis(redis_url)
    assert client.dbsize() == 0
    client.set("left", "behind")
    client.close()


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait(10)
    process.stdin.close()
    process.stdout.close()


def processes_in(folder):
    pids = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]

    def is_in(pid):
        try:
            return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    return [pid for pid in pids if is_in(pid)]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("is_killed", [False, True], ids=["ended", "killed"])
def test_no_server_outlives_its_run(holder, is_killed):
    folder = Path(holder.stdout.readline().strip())
    assert holder.stdout.readline() == "ready\n"
    assert len(processes_in(folder)) >= 3
    if is_killed:
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        assert wait_until(lambda: not folder.exists() and not processes_in(folder), 20)
    else:
        said, _ = holder.communicate("", timeout=30)
        assert said == "[]\n"
        assert not folder.exists()
        assert processes_in(folder) == []


def test_a_process_that_is_left_is_found_and_a_finished_one_is_not(tmp_path):
    left = subprocess.Popen(["sleep", "60"])
    try:
        assert left.pid in find_leftovers(tmp_path)
        assert left.pid not in find_leftovers(tmp_path, frozenset({left.pid}))
    finally:
        left.kill()
        left.wait(10)
    assert left.pid not in find_leftovers(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("sign", ["variable", "folder"])
def test_an_orphan_is_found_by_what_it_carries(tmp_path, sign):
    other = tmp_path / "other"
    other.mkdir()
    made = subprocess.run(
        ["sh", "-c", "sleep 60 >/dev/null & echo $!"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=other if sign == "folder" else "/",
        env={"PATH": os.environ["PATH"]} | ({"HOME": f"{other}/x"} if sign == "variable" else {}),
        start_new_session=True,
    )
    pid = int(made.stdout)
    try:
        assert wait_until(lambda: "sleep" in find_leftovers(other).get(pid, ""))
    finally:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: pid not in find_leftovers(other))


def test_a_run_without_servers_leaves_nothing():
    run = Run.open()
    assert run.folder.exists()
    assert run.close() == []
    assert not run.folder.exists()
