"""Servers killed while they take deliveries in, and deliveries of any size to real ones."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest_kit import harbour_of
from oauth_kit import free_port
from senders_kit import Senders, post, serving
from site_of import wait_until

ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}


@pytest.fixture
def harbour(site):
    return harbour_of(site.installation)


@pytest.mark.parametrize(
    ("point", "rows"), [("inbox.accept.before_commit", 0), ("inbox.accept.after_commit", 1)]
)
def test_a_server_that_is_killed_before_its_answer_loses_and_doubles_nothing(
    site, harbour, point, rows
):
    signed = harbour.senders["stripe"].signed()
    process, url = serving(site, TIELINE_FAILPOINTS=f"{point}=kill", **ALLOWED)
    assert post(url, signed) == 0
    process.wait(10)
    assert harbour.count() == rows
    _, url = serving(site)
    assert post(url, signed) == 200
    assert post(url, signed) == 200
    assert harbour.count() == 1


def peak_bytes(process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_bodies_beyond_the_limit_cost_a_server_no_memory(sqlite_url, redis_url, tmp_path):
    from site_of import make_site

    site = make_site(tmp_path / "site", sqlite_url, redis_url)
    try:
        harbour = harbour_of(site.installation)
        process, url = serving(site)
        sender = harbour.senders["mailchimp-unsigned"]
        for _ in range(20):
            assert post(url, sender.signed()) == 200
        before = peak_bytes(process)
        for _ in range(20):
            body = b"x" * 10_000_000
            assert post(url, sender.signed().changed(body=body)) in {0, 413}
        assert peak_bytes(process) - before <= 8_000_000
        assert post(url, sender.signed()) == 200
    finally:
        site.close()


@pytest.mark.timeout(180)
def test_eight_senders_and_servers_that_are_killed_end_in_exactly_the_distinct_set(site, harbour):
    distinct = [f"evt_{number:04d}" for number in range(1_400)]
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    senders, chances = Senders(harbour, [url], distinct), random.Random(11)
    kills = 0
    with ThreadPoolExecutor(8) as pool:
        sending = [pool.submit(senders.work) for _ in range(8)]
        while senders.left:
            process = site.start("serve", "--port", str(port))
            before = len(senders.acknowledged)
            wait_until(lambda before=before: len(senders.acknowledged) > before or not senders.left)
            if kills < 4:
                time.sleep(chances.uniform(0.05, 0.3))
                process.kill()
                process.wait(10)
                kills += 1
                site.installation.redis.flushall()
                continue
            wait_until(lambda: not senders.left, seconds=100)
        for each in sending:
            each.result(30)
    assert kills == 4
    assert senders.wrong == {}
    assert senders.acknowledged == set(distinct)
    assert sorted(event["event_key"] for event in harbour.events()) == distinct
