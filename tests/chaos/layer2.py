"""Layer 2: real workers, servers and providers; SIGKILL by failpoint and by timer.

``./tie chaos --layer 2 --db postgresql --seed 8841 --kills 37`` draws the same
faults in the same order again; their moments are the machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import FrameType

if __package__ in {None, ""}:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from chaos.grounds import Grounds, make_grounds
from chaos.siege import ONE_HAND, Siege, StuckError
from chaos.verdict import Verdict, count_pages, find_doubled, find_lost, judge_end, tell_act

__all__ = ["main", "play"]

_KEPT = Path(__file__).parents[2] / ".tieline-chaos"


_ACTS = (ONE_HAND, {})


def play(
    db: str,
    seed: int,
    kills: int,
    *,
    given_url: str = "",
    acts: Sequence[Mapping[str, str]] = _ACTS,
) -> Verdict:
    """Hold a siege of two acts: workers with one hand, then with as many as they like.

    Args:
        db: ``sqlite`` or ``postgresql``.
        seed: Decides which faults come in which order.
        kills: In both acts together.
        given_url: A PostgreSQL that somebody else runs; it is not restarted.
        acts: The workers' settings in each act.
    """
    verdict = Verdict(db, seed, kills)
    home = Path(tempfile.mkdtemp(prefix="tieline-chaos-", dir="/tmp"))  # short, for sockets
    try:
        with make_grounds(home / "h", db, seed, given_url=given_url) as grounds:
            rng = Random(f"layer 2, seed {seed}")
            _hold(grounds, verdict, rng, acts)
            if not verdict.is_good:
                _keep_logs(grounds, verdict)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return verdict


def _hold(
    grounds: Grounds, verdict: Verdict, rng: Random, acts: Sequence[Mapping[str, str]]
) -> None:
    for number, settings in enumerate(acts, 1):
        kills = verdict.kills // len(acts) + (number <= verdict.kills % len(acts))
        siege = Siege(grounds, Random(rng.getrandbits(64)), kills, dict(settings))
        began, before = time.monotonic(), count_pages(grounds)
        try:
            siege.storm()
            siege.calm()
            pages, asked = count_pages(grounds)
            spent = (pages - before[0], asked - before[1])
            verdict.acts.append(tell_act(siege, spent, time.monotonic() - began))
            _end_act(grounds, verdict, siege, number)
        except StuckError as error:
            verdict.stuck.append(f"act {number}: {error}")
            return
        finally:
            siege.force.dismiss()
    judge_end(grounds, verdict)


def _end_act(grounds: Grounds, verdict: Verdict, siege: Siege, number: int) -> None:
    """Compare after one clean incremental run, then after a full one, which has nothing to do."""
    for mode in ("incremental", "full"):
        for shop in grounds.shops:
            siege.sync(shop, mode)
        verdict.lost += find_lost(grounds, f"act {number}, after the last {mode} run")
    verdict.doubled += find_doubled(grounds)
    for shop in grounds.shops:
        run = grounds.site.state_of(shop.run_id)
        written = (run.counts.created, run.counts.updated, run.counts.deleted)
        if any(written) or not run.state.startswith("succeeded"):
            verdict.lost.append(f"act {number}: the last full run was {run.state}, wrote {written}")


def _keep_logs(grounds: Grounds, verdict: Verdict) -> None:
    folder = _kept_folder() / f"logs-{verdict.db}-{verdict.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in grounds.site.cwd.glob("*.log"):
        if path.stat().st_size:
            shutil.copy(path, folder)
    for path in grounds.site.cwd.glob("chaos.db*"):
        shutil.copy(path, folder)


def _kept_folder() -> Path:
    """Return the folder for what is kept; git does not see it."""
    _KEPT.mkdir(exist_ok=True)
    (_KEPT / ".gitignore").write_text("*\n")
    return _KEPT


def keep(verdict: Verdict) -> Path:
    """Keep a verdict, so that trends show."""
    now = datetime.now(UTC)
    name = f"layer2-{verdict.db}-{verdict.seed}-{now:%Y%m%dT%H%M%S}.json"
    path = _kept_folder() / name
    told = verdict.as_dict() | {"at": now.isoformat(timespec="seconds")}
    path.write_text(json.dumps(told, indent=1) + "\n")
    return path


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tie chaos --layer 2")
    parser.add_argument("--layer", type=int, default=2, choices=[2])
    parser.add_argument("--seed", type=int, help="the first; drawn if it is not given")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one siege each")
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--db", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    first = random.SystemRandom().randrange(10_000) if given.seed is None else given.seed
    given_url = os.environ.get("TIELINE_TEST_PG_URL", "")
    verdicts = []
    for seed in range(first, first + given.seeds):
        for db in ("sqlite", "postgresql") if given.db == "both" else (given.db,):
            verdict = play(db, seed, given.kills, given_url=given_url if db != "sqlite" else "")
            verdicts.append(verdict)
            path = keep(verdict)
            if not given.json:
                print("\n".join([*verdict.lines(), f"kept: {path}", ""]), flush=True)
    if given.json:
        print(json.dumps([verdict.as_dict() for verdict in verdicts]))
    return 0 if all(verdict.is_good for verdict in verdicts) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
