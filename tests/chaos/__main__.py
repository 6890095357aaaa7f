"""``./tie chaos``: which layer, and the rest to it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos import layer1, layer2


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tie chaos", add_help=False)
    parser.add_argument("--layer", type=int, choices=[1, 2])
    given, _ = parser.parse_known_args(argv)
    if given.layer is None:
        sys.stderr.write("tie chaos: say --layer 1 or --layer 2; --help tells the rest\n")
        return 2
    return {1: layer1, 2: layer2}[given.layer].main(argv)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        sys.exit(130)
