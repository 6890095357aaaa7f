"""Following changes, exporting, and views, by the command line alone."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys

import pytest

import feed_kit
from site_of import make_site, wait_until
from tieline.services import feed as service

FOLLOW = ("records", "follow", "shop", "customers")
CONSUMERS = ("records", "consumers")


@pytest.fixture
def site(sqlite_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, feed_kit.NO_REDIS)
    feed_kit.connect_shop(made.installation)
    made.put = lambda *ids, **more: feed_kit.put_customers(made.installation, *ids, **more)
    yield made
    made.close()


@pytest.fixture
def following(site):
    """Start ``follow`` with its stdout in a pipe; whatever goes on is killed at the end."""
    started = []

    def start(*options: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "tieline", *FOLLOW, *options],
            env=site.environ,
            cwd=site.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # select() must know of every line
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def ids(text: str) -> list[str]:
    return [line["id"] for line in lines(text)]


def next_line(process: subprocess.Popen) -> dict:
    assert select.select([process.stdout], [], [], 30)[0], "no line came"
    return json.loads(process.stdout.readline())


def position(site, name: str = "crm") -> int:
    found = service.list_consumers(site.installation, "shop", "customers")
    return next((each.row.position for each in found if each.row.name == name), -1)


def test_once_writes_what_is_there_in_order_and_leaves(site):
    assert site.ok(*FOLLOW, "--once") == ""
    site.put("a", "b", "c")
    site.put("a", name="later")
    site.put(deleted=["b"])
    found = lines(site.ok(*FOLLOW, "--once"))
    assert [line["id"] for line in found] == ["c", "a", "b"]
    assert set(found[0]) == {
        *("id", "payload", "changed_at", "deleted_at", "position", "revision", "first_seen_at")
    }
    assert found[1]["payload"]["name"] == "later"
    assert found[2]["deleted_at"]
    assert ids(site.ok(*FOLLOW, "--once", "--live")) == ["c", "a"]
    assert ids(site.ok(*FOLLOW, "--once", "--after", str(found[1]["position"]))) == ["b"]
    assert ids(site.ok(*FOLLOW, "--limit", "2")) == ["c", "a"]
    assert ids(site.ok(*FOLLOW, "--for", "0.1")) == ["c", "a", "b"]


def test_a_consumer_goes_on_where_it_left(site):
    site.put("a", "b", "c")
    named = (*FOLLOW, "--once", "--consumer", "crm")
    assert ids(site.ok(*named, "--limit", "2")) == ["a", "b"]
    assert ids(site.ok(*named)) == ["c"]
    assert site.ok(*named) == ""
    site.put("a", name="later")
    assert ids(site.ok(*named)) == ["a"]
    [listed] = site.json(*CONSUMERS, "list", "shop", "customers")["consumers"]
    assert (listed["name"], listed["position"], listed["behind"]) == ("crm", 4, 0)
    put = site.json(*CONSUMERS, "reset", "shop", "customers", "crm", "--to", "begin")
    assert put["consumer"]["behind"] == 4
    assert ids(site.ok(*named)) == ["b", "c", "a"]
    site.ok(*CONSUMERS, "reset", "shop", "customers", "other", "--to", "end")
    assert site.ok(*FOLLOW, "--once", "--consumer", "other") == ""
    site.ok(*CONSUMERS, "drop", "shop", "customers", "other")
    assert len(site.json(*CONSUMERS, "list", "shop", "customers")["consumers"]) == 1


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_it_goes_on_with_what_comes_and_a_signal_ends_it_well(site, following, sign):
    site.put("a")
    process = following("--consumer", "crm")
    assert next_line(process)["id"] == "a"
    site.put("b")
    assert next_line(process)["id"] == "b"
    wait_until(lambda: position(site) == 2)
    process.send_signal(sign)
    assert process.wait(10) == 0
    assert process.communicate() == (b"", b"")


def test_of_two_readers_of_one_name_one_goes_on_and_the_other_says_why_not(site, following):
    site.put("a")
    both = [following("--consumer", "crm") for _ in range(2)]
    for number in range(200):
        site.put(f"x{number}")
        if any(process.poll() is not None for process in both):
            break
        select.select([], [], [], 0.05)
    loser, winner = sorted(both, key=lambda process: process.poll() is None)
    assert loser.wait(10) == 6
    assert winner.poll() is None
    [line] = loser.communicate()[1].decode().splitlines()
    assert line.startswith("error[consumer-moved]")
    assert "next:" in line
    site.put("last")
    while next_line(winner)["id"] != "last":
        pass


def test_a_reader_that_is_reset_or_dropped_under_its_feet_says_so(site, following):
    for act, code, slug in (
        (
            lambda: site.ok(*CONSUMERS, "reset", "shop", "customers", "crm", "--to", "begin"),
            6,
            "moved",
        ),
        (lambda: site.ok(*CONSUMERS, "drop", "shop", "customers", "crm"), 3, "dropped"),
    ):
        site.put("a", name=slug)
        process = following("--consumer", "crm")
        next_line(process)
        wait_until(lambda: position(site) > 0)
        act()
        assert process.wait(20) == code
        assert f"error[consumer-{slug}]" in process.communicate()[1].decode()


def test_when_nobody_reads_it_leaves_quietly_and_the_position_stays(site, following):
    process = following("--consumer", "crm")
    wait_until(lambda: position(site) == 0)
    process.stdout.close()
    process.stdout = None  # nothing comes, and it notices all the same
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    site.put("a", "b")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tieline", *FOLLOW, "--once", "--consumer", "crm"],
        env=site.environ,
        cwd=site.cwd,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")
    assert position(site) == 0
    assert ids(site.ok(*FOLLOW, "--once", "--consumer", "crm")) == ["a", "b"]


MISTAKES = {
    "unknown connection": (("records", "follow", "shpo", "customers", "--once"), 3, "shop"),
    "unknown entity": (("records", "follow", "shop", "custmers", "--once"), 3, "customers"),
    "two beginnings": ((*FOLLOW, "--consumer", "crm", "--after", "3"), 2, "reset"),
    "two ends": ((*FOLLOW, "--once", "--for", "3"), 2, "--for"),
    "no position": ((*FOLLOW, "--after", "-1"), 2, "--after"),
    "beyond the end": ((*FOLLOW, "--once", "--after", "7"), 6, "position 7"),
    "no name": ((*FOLLOW, "--once", "--consumer", "a b"), 2, "name for a consumer"),
    "odd place": ((*CONSUMERS, "reset", "shop", "customers", "x", "--to", "9" * 5000), 2, "--to"),
    "unreached": ((*CONSUMERS, "reset", "shop", "customers", "x", "--to", "5"), 2, "0 to 0"),
    "unknown consumer": ((*CONSUMERS, "drop", "shop", "customers", "x"), 3, "no consumer"),
    "unknown format": (("records", "export", "shop", "customers", "--format", "xml"), 2, "csv"),
    "parquet to stdout": (
        ("records", "export", "shop", "customers", "--format", "parquet"),
        2,
        "--output",
    ),
    "no folder": (
        ("records", "export", "shop", "customers", "--output", "no/such/x"),
        2,
        "cannot be written",
    ),
    "unknown provider": (("views", "create", "strype"), 3, "stripe"),
    "entity of none": (("views", "create", "stripe", "custmers"), 3, "customers"),
    "no view": (("views", "drop", "stripe"), 3, "no view"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=list(MISTAKES))
def test_a_mistake_gets_one_line_and_its_exit_code(site, case):
    arguments, code, words = MISTAKES[case]
    done = site.run(*arguments)
    assert done.returncode == code, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error[")
    assert words in line
    assert done.stdout == ""


def test_export_writes_files_that_are_whole(site):
    site.put("a", "b", name="Ann, Bob & Co")
    done = site.json(
        "records", "export", "shop", "customers", "--format", "csv", "--output", "x.csv"
    )
    assert done == {"exported": {"records": 2, "format": "csv", "output": "x.csv"}}
    text = (site.cwd / "x.csv").read_text()
    assert text == site.ok("records", "export", "shop", "customers", "--format", "csv")
    assert '"Ann, Bob & Co"' in text
    plain = site.ok("records", "export", "shop", "customers")
    assert ids(plain) == ["a", "b"]
    site.ok("records", "export", "shop", "customers", "--output", "x.jsonl")
    assert (site.cwd / "x.jsonl").read_text() == plain


def test_parquet_without_its_extra_is_one_line(site):
    blocked = site.cwd / "blocked"
    blocked.mkdir()
    (blocked / "pyarrow.py").write_text("raise ModuleNotFoundError('pyarrow')")
    arguments = ("export", "shop", "customers", "--format", "parquet", "--output", "x.parquet")
    done = site.run("records", *arguments, PYTHONPATH=str(blocked))
    assert done.returncode == 7
    [line] = done.stderr.splitlines()
    assert "pip install 'tieline[parquet]'" in line
    assert not (site.cwd / "x.parquet").exists()


def test_views_by_the_command_line(site):
    site.put("a", "b", email="a@example.com", balance=7, livemode=False)
    made = site.json("views", "create", "stripe", "customers", "--with-deleted")
    assert made["views"] == [{"name": "stripe_customers", "done": "created"}]
    [listed] = site.json("views", "list")["views"]
    assert (listed["state"], listed["with_deleted"]) == ("current", "stripe_customers_all")
    # Whoever has the file needs nothing of ours.
    with sqlite3.connect(site.installation.database.describe()) as database:
        query = "SELECT connection, record_id, email, balance, livemode FROM stripe_customers"
        assert database.execute(query).fetchone() == ("shop", "a", "a@example.com", 7, 0)
    database.close()
    assert "stripe_customers" in site.ok("views", "list")
    site.ok("db", "upgrade")
    assert site.json("views", "drop")["dropped"] == ["stripe_customers"]
    assert site.json("views", "list") == {"views": []}
