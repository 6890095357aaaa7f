"""A work-horse that is told to leave does so also while it waits for its turn to write."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys

import pytest

# Takes the place of a work-horse whose page waits for SQLite, for longer than any test.
HORSE = """
import signal, sqlite3, sys
from tieline.jobs import functions

functions.stop_on(signal.SIGUSR1, signal.SIGTERM)
functions.leave_in_time(0.1)
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
