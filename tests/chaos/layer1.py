"""Layer 1: thousands of seeded stories of the real engine in one process.

``./tie chaos --layer 1 --seed 8841`` repeats one of them exactly.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

if __package__ in {None, ""}:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.sim_world import Ground, World

__all__ = ["main", "run_seeds"]


def run_seeds(ground: Ground, seeds: range, *, until: float = 0.0) -> dict[str, object]:
    """Play seeds one after the other.

    Args:
        ground: Where.
        seeds: Which.
        until: When to begin no further one, monotonic; 0: play all.

    Returns:
        How many were played, what failed and why, and which failpoints were passed.
    """
    failed: dict[int, str] = {}
    passed: set[str] = set()
    began, played = time.monotonic(), 0
    for seed in seeds:
        if until and time.monotonic() >= until:
            break
        world = World(ground, seed)
        try:
            world.play()
        except Exception as error:  # noqa: BLE001 - a broken seed is a result
            failed[seed] = f"{type(error).__name__}: {error}"
        passed |= world.stage.passed
        played += 1
    seconds = time.monotonic() - began
    return {
        "seeds": played,
        "seconds": round(seconds, 1),
        "a_minute": round(played / seconds * 60) if played else 0,
        "failed": failed,
        "failpoints": sorted(passed),
    }


def repeat_line(seed: int) -> str:
    return f"./tie chaos --layer 1 --seed {seed}"


def tell(ground: Ground, seed: int) -> str:
    """Play one seed and return its story."""
    world = World(ground, seed, tells=True)
    try:
        world.play()
    except Exception as error:  # noqa: BLE001 - the end of the story
        world.story.append(f"{type(error).__name__}: {error}")
    return "\n".join(world.story)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tie chaos --layer 1")
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    logging.getLogger("tieline").setLevel(logging.CRITICAL)
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="tieline-sim-", dir=memory if memory.is_dir() else None))
    try:
        ground = Ground.make(home)
        if given.seeds == 1:
            story = tell(ground, given.seed)
            print(story)
            return 1 if story.splitlines()[-1].startswith(("Broken", "Runtime")) else 0
        told = run_seeds(ground, range(given.seed, given.seed + given.seeds))
        ground.installation.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if given.json:
        print(json.dumps(told))
    else:
        print(f"{told['seeds']} seeds in {told['seconds']} s, {told['a_minute']} a minute")
        for seed, why in told["failed"].items():
            print(f"{why}\n  {repeat_line(seed)}")
    return 1 if told["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
