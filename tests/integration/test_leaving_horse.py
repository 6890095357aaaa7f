"""A work-horse that is told to leave does so also while it waits for its turn to write."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys

import pytest

# Takes the place of a work-horse whose page waits for SQLite, for longer than any test.
HORSE = """
import os, signal, sqlite3, sys, time
from tieline.jobs import functions

functions.stop_on(signal.SIGUSR1, signal.SIGTERM)
functions.leave_in_time(0.1)
if sys.argv[2:]:  # a worker tells it each second
    for _ in range(3):
        os.kill(os.getpid(), int(sys.argv[2]))
        time.sleep(0.02)
    time.sleep(60)
page = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=600)
print("ready", flush=True)
page.execute("BEGIN IMMEDIATE")
"""


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_work_horse_leaves_while_another_process_keeps_it_from_writing(tmp_path, number):
    path = tmp_path / "busy.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        horse = subprocess.Popen(
            [sys.executable, "-c", HORSE, str(path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert horse.stdout.readline() == "ready\n"
            horse.send_signal(number)
            assert horse.wait(60) == 0
        finally:
            horse.kill()
            horse.communicate()
    other.close()


def test_to_be_told_again_is_no_error(tmp_path):
    told = [sys.executable, "-c", HORSE, str(tmp_path / "idle.db"), str(int(signal.SIGUSR1))]
    done = subprocess.run(told, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
