"""``./tie fuzz cli``: command lines of which most make no sense; see ``cli_calls.py``."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cli_calls


def run(*, cases: int, seed: int, database_url: str = "") -> int:
    """Make so many calls; 1 if anything was found that must not be."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tieline-fuzz-") as folder:
        found = cli_calls.fuzz(Path(folder), seed=seed, calls=cases, database_url=database_url)
    for each in found.bad:
        print(each)
    print(f"{cases} calls of seed {seed} in {time.monotonic() - began:.0f} s: {dict(found.codes)}")
    print(f"{len(found.bad)} tracebacks, hangs or undocumented exit codes", file=sys.stderr)
    return 1 if found.bad else 0
