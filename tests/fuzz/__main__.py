"""``./tie fuzz NAME``: thousands of generated calls, none of which may meet a fault of ours."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    names = sorted(path.stem[5:] for path in HERE.glob("fuzz_*.py"))
    parser = argparse.ArgumentParser(prog="tie fuzz", description=__doc__)
    parser.add_argument("name", choices=names, help="what is called")
    parser.add_argument("--cases", type=int, default=5000, help="calls to make")
    parser.add_argument("--seed", type=int, default=1, help="the same calls for the same seed")
    parser.add_argument(
        "--database-url", default="", help="an empty database that may be filled [SQLite]"
    )
    given = parser.parse_args(arguments)
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    lane = import_module(f"fuzz_{given.name}")
    return int(lane.run(cases=given.cases, seed=given.seed, database_url=given.database_url))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
