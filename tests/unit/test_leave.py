"""SIGTERM ends a command also where the exception that it raises is swallowed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, time
from importlib import import_module

main = import_module("tieline.cli.main")
signal.signal(signal.SIGTERM, main._leave)
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
except SystemExit:
    pass  # as a pool does with what comes while it takes a connection back
try:
    time.sleep(20)
    print("nobody told it again")
finally:
    time.sleep(1.2)  # longer than it takes to be told again
    print("cleared up")
"""


def test_a_swallowed_sigterm_comes_again_and_leaves_the_clearing_up_alone():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleared up\n", "")
