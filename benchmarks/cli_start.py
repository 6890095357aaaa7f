"""Processor time of commands that people type, with twenty more plugins installed.

    ./tie bench cli_start [--rounds 9] [--json]

Each command runs as a process of its own in an installation with three
connections; its user and system time is what the kernel says of it, so that
waiting does not count. Bytecode is kept, as it is wherever Tieline is installed.
Beside each stands a bare ``python -c pass``: a busy or slow machine slows both.
The median of the rounds is shown.

The plugins are distributions whose import would raise: a command that imports
one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tieline.contract import Secret
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise
from tieline.settings import load_settings

PLUGINS = 20
GOALS_MS = {"--help": 200, "version": 400, "status": 1000}
COMMANDS = {
    "--help": ["-m", "tieline", "--help"],
    "sync run --help": ["-m", "tieline", "sync", "run", "--help"],
    "version": ["-m", "tieline", "version"],
    "help needs-reauth": ["-m", "tieline", "help", "needs-reauth"],
    "status": ["-m", "tieline", "status"],
    "connections": ["-m", "tieline", "connections"],
    "python -c pass": ["-c", "pass"],
}


def plant(folder: Path) -> None:
    """Install twenty distributions that nobody may import."""
    for number in range(PLUGINS):
        module = f"bench_provider_{number:02}"
        (folder / f"{module}.py").write_text("raise RuntimeError('nobody asked for this plugin')")
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[tieline.providers]\nbench{number} = {module}\n")


def cpu_ms(arguments: list[str], environ: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments], env=environ, capture_output=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode()
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tieline-bench-") as folder:
        plant(Path(folder))
        environ = dict(os.environ) | {
            "PYTHONDONTWRITEBYTECODE": "",
            "TIELINE_HOME": f"{folder}/home",
            "PYTHONPATH": folder,
            "TERM": "dumb",
        }
        opened = Installation(load_settings(environ, Path(folder)))
        initialise(opened)
        for name in ("shop", "till", "news"):
            connect_api_key(
                opened,
                "stripe",
                name=name,
                key=Secret("sk_test_bench1"),
                base_url="http://127.0.0.1:9",
                is_checked=False,
                actor="bench",
            )
        _ = opened.redis
        seen: dict[str, list[float]] = {name: [] for name in COMMANDS}
        try:
            for turn in range(given.rounds + 1):
                for name, arguments in COMMANDS.items():
                    spent = cpu_ms(arguments, environ)
                    if turn:  # the first one may compile
                        seen[name].append(spent)
        finally:
            opened.embedded.stop()
            opened.close()
    found = {name: statistics.median(each) for name, each in seen.items()}
    if given.json:
        print(json.dumps({"cpu_ms": found, "goals_ms": GOALS_MS}))
        return
    for name, spent in found.items():
        goal = f"goal {GOALS_MS[name]} ms" if name in GOALS_MS else ""
        least = min(seen[name])
        print(f"{name:<20}{spent:7.0f} ms (least {least:.0f})   {goal}")


if __name__ == "__main__":
    main()
