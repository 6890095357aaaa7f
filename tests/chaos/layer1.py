"""Layer 1: thousands of seeded stories of the real engine, each in one process.

``./tie chaos --layer 1 --seed 8841`` repeats one of them exactly.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

if __package__ in {None, ""}:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.sim_world import Ground, World

__all__ = ["Told", "main", "play_all", "play_share"]

_MEMORY = Path("/dev/shm")


@dataclass
class Told:
    """What became of some seeds.

    Attributes:
        seeds: How many were played.
        failed: Which did not hold, and why.
        passed: Failpoints that a worker came by.
        seconds: How long it took.
    """

    seeds: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def a_minute(self) -> int:
        return round(self.seeds / self.seconds * 60) if self.seconds else 0

    def add(self, other: Told) -> None:
        self.seeds += other.seeds
        self.failed |= other.failed
        self.passed |= other.passed

    def as_dict(self) -> dict[str, object]:
        return {
            "layer": 1,
            "seeds": self.seeds,
            "seconds": round(self.seconds, 1),
            "a_minute": self.a_minute,
            "failed": {str(seed): why for seed, why in sorted(self.failed.items())},
            "failpoints": sorted(self.passed),
        }


def play_share(seeds: range, until: float = 0.0) -> Told:
    """Play seeds one after the other, on one database.

    Args:
        seeds: Which.
        until: When to begin no further one, monotonic; 0: play all.
    """
    told = Told()
    with quiet_ground() as ground:
        for seed in seeds:
            if until and time.monotonic() >= until:
                break
            world = World(ground, seed)
            try:
                world.play()
            except Exception as error:  # noqa: BLE001 - a broken seed is a result
                told.failed[seed] = f"{type(error).__name__}: {error}"
            told.passed |= world.stage.passed
            told.seeds += 1
    return told


def play_all(seeds: range, *, jobs: int = 1, until: float = 0.0) -> Told:
    """Play seeds in so many processes at once; see :func:`play_share`."""
    began, told = time.monotonic(), Told()
    shares = [seeds[first::jobs] for first in range(jobs)]
    if jobs == 1:
        told.add(play_share(seeds, until))
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            for share in pool.map(play_share, shares, [until] * jobs):
                told.add(share)
    told.seconds = time.monotonic() - began
    return told


@contextmanager
def quiet_ground() -> Iterator[Ground]:
    """Make a ground in memory; the engine's own log is kept down."""
    logger = logging.getLogger("tieline")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    home = Path(tempfile.mkdtemp(prefix="tieline-sim-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        ground = Ground.make(home)
        yield ground
        ground.installation.close()
    finally:
        logger.setLevel(before)
        shutil.rmtree(home, ignore_errors=True)


def tell(seed: int) -> tuple[str, bool]:
    """Play one seed; return its story, and whether everything held."""
    with quiet_ground() as ground:
        world = World(ground, seed, tells=True)
        try:
            world.play()
        except Exception as error:  # noqa: BLE001 - the end of the story
            world.story.append(f"{type(error).__name__}: {error}")
            return "\n".join(world.story), False
    return "\n".join([*world.story, "everything held"]), True


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tie chaos --layer 1")
    parser.add_argument("--layer", type=int, default=1, choices=[1])
    parser.add_argument("--seed", type=int, help="the first; alone, its story is told")
    parser.add_argument("--seeds", type=int, help="how many; 1,000 unless --seed is given")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    first, count = given.seed or 0, given.seeds or (1000 if given.seed is None else 1)
    if count == 1:
        story, held = tell(first)
        print(json.dumps({"layer": 1, "seed": first, "held": held}) if given.json else story)
        return 0 if held else 1
    told = play_all(range(first, first + count), jobs=max(1, min(given.jobs, count)))
    if given.json:
        print(json.dumps(told.as_dict()))
    else:
        print(f"{told.seeds} seeds in {told.seconds:.1f} s, {told.a_minute} a minute")
        print(f"did not hold: {len(told.failed)}")
        for seed, why in sorted(told.failed.items()):
            print(f"{why}\n  ./tie chaos --layer 1 --seed {seed}")
    return 1 if told.failed else 0


if __name__ == "__main__":
    sys.exit(main())
