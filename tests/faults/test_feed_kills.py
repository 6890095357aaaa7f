"""Many writers, and a consumer that is killed again and again: it sees every change."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import feed_kit
from site_of import make_site
from tieline.services import feed

PAGES = 150
SEED = 20261101


def lines_of(path: Path) -> list[dict]:
    """Read what a reader wrote; of one that was killed, a last line may be cut off."""
    *whole, rest = path.read_bytes().split(b"\n")
    if path.name == "last.jsonl":
        assert rest == b""
    return [json.loads(line) for line in whole]


def test_a_consumer_that_is_killed_at_random_sees_every_change_of_eight_writers(
    database_url, tmp_path
):
    site = make_site(tmp_path / "site", database_url, feed_kit.NO_REDIS)
    try:
        feed_kit.connect_shop(site.installation)
        folder = tmp_path / "lines"
        folder.mkdir()
        process = subprocess.Popen(
            [sys.executable, feed_kit.__file__, folder, str(PAGES), str(SEED)],
            env=site.environ,
            cwd=site.cwd,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            told = json.loads(process.communicate(timeout=90)[0])
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert (told["failed_writers"], told["last"]) == (0, 0)
        assert told["kills"] >= 5
        check(site.installation, folder)
    finally:
        site.close()


def check(installation, folder: Path) -> None:
    sessions = [lines_of(path) for path in sorted(folder.iterdir())]
    for lines in sessions:
        positions = [line["position"] for line in lines]
        assert positions == sorted(set(positions))
    seen = [line for lines in sessions for line in lines]
    # Keys that were written once: had a position been skipped, one would be missing.
    own = {
        f"own-{number}-{turn}-{each}"
        for number in range(feed_kit.WRITERS)
        for turn in range(PAGES)
        for each in range(4)
    }
    assert own - {line["id"] for line in seen} == set()
    assert sum(map(bool, sessions)) > 1  # more than one reader got to write
    # What the consumer has of each record in the end is what there is.
    latest = {line["id"]: line for line in sorted(seen, key=lambda line: line["position"])}
    changes = feed.read_changes(installation, "shop", "customers", limit=10**6)
    assert {key: line["position"] for key, line in latest.items()} == {
        record.record_id: record.position for record in changes.records
    }
    assert {key: line["payload"] for key, line in latest.items()} == {
        record.record_id: json.loads(record.payload) for record in changes.records
    }
    [consumer] = feed.list_consumers(installation, "shop", "customers")
    assert consumer.behind == 0
