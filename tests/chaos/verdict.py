"""What a siege left behind: lost, doubled, stale, stuck, read again, and how soon it went on."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from chaos.grounds import Grounds
from chaos.shop import Shop
from chaos.siege import ONE_HAND, Siege

__all__ = ["ActTold", "Verdict", "count_pages", "find_doubled", "find_lost", "judge_end"]

_EXPECTED = {"worker-lost"}  # killed four times in a row on one page


@dataclass
class ActTold:
    """What one act came to.

    Attributes:
        hands: ``one`` or ``many`` hands a worker; one reads nothing ahead.
        blows: What died, by how.
        pages: Pages of lists that were committed.
        read_again: Pages that were asked for beyond those.
        allowed: The most that may be, one a blow; None: not bounded.
        recoveries_s: Seconds from each death until its run went on.
        unplaced: Blows that hit no run that was under way.
        unrecovered: Blows whose run never went on.
    """

    hands: str
    blows: dict[str, int]
    pages: int
    read_again: int
    allowed: int | None
    recoveries_s: list[float]
    unplaced: int
    unrecovered: int
    scenes: dict[str, int]
    spare_s: list[float]
    stale_commits: int
    frozen_judged: int
    seconds: float

    @property
    def kills(self) -> int:
        return sum(self.blows.values())


@dataclass
class Verdict:
    """All of it."""

    db: str
    seed: int
    kills: int
    acts: list[ActTold] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    runs: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    records: int = 0

    @property
    def stale_commits(self) -> int:
        return sum(act.stale_commits for act in self.acts)

    @property
    def too_many_pages(self) -> bool:
        return any(act.allowed is not None and act.read_again > act.allowed for act in self.acts)

    @property
    def is_good(self) -> bool:
        bad = (self.lost, self.doubled, self.stuck, self.odd, self.stale_commits)
        return not any(bad) and not self.too_many_pages

    @property
    def repeat(self) -> str:
        return f"./tie chaos --layer 2 --db {self.db} --seed {self.seed} --kills {self.kills}"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"layer": 2, "held": self.is_good, "repeat": self.repeat}

    def lines(self) -> list[str]:
        """Tell it, one line each."""
        lines = [
            *self._what_happened(),
            f"lost: {len(self.lost)}",
            f"doubled: {len(self.doubled)}",
            self._stale_line(),
            f"runs that never ended: {len(self.stuck)}",
            f"odd: {len(self.odd)}",
            *(_pages_line(act) for act in self.acts),
            self._recovery_line(),
        ]
        for what in ("lost", "doubled", "stuck", "odd"):
            lines += [f"  {what}: {one}" for one in getattr(self, what)[:10]]
        return lines if self.is_good else [*lines, f"repeat: {self.repeat}"]

    def _what_happened(self) -> list[str]:
        done, seconds = sum(act.kills for act in self.acts), sum(act.seconds for act in self.acts)
        blows = sum((Counter(act.blows) for act in self.acts), Counter())
        scenes = sum((Counter(act.scenes) for act in self.acts), Counter())
        what = f"layer 2, {self.db}, seed {self.seed}: {done} kills in {seconds:.0f} s"
        runs = f"{sum(self.runs.values())} runs, {self.changes} changes at the providers"
        return [
            f"{what}, {runs}, {self.records} records",
            f"kills: {_listed(blows)}",
            f"scenes: {_listed(scenes)}; commits cut: {_listed(self.cuts) or 'none'}",
            f"runs: {_listed(self.runs)}",
        ]

    def _stale_line(self) -> str:
        judged = sum(act.frozen_judged for act in self.acts)
        return f"stale commits: {self.stale_commits} of {judged} frozen workers"

    def _recovery_line(self) -> str:
        found = [time for act in self.acts for time in act.recoveries_s]
        spare = [time for act in self.acts for time in act.spare_s]
        middle, longest = (median(found), max(found)) if found else (0.0, 0.0)
        told = f"recovery: p50 {middle:.1f} s, max {longest:.1f} s of {len(found)}"
        return f"{told}; all but a spare killed: max {max(spare, default=0):.1f} s of {len(spare)}"


def _pages_line(act: ActTold) -> str:
    bound = f"at most {act.allowed} allowed" if act.allowed is not None else "not bounded"
    kind = "one hand, nothing read ahead" if act.hands == "one" else "hands and read-ahead default"
    return f"pages read again, {kind}: {act.read_again} of {act.pages}, {act.kills} kills ({bound})"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def tell_act(siege: Siege, pages: tuple[int, int], seconds: float) -> ActTold:
    """Sum an act up.

    Args:
        siege: The act, in calm.
        pages: Pages of its time that were committed, and that were asked for.
        seconds: How long it took.
    """
    is_one = siege.settings == ONE_HAND
    blows = siege.blows
    hit = [blow for blow in blows if blow.run_id]
    # A database that restarts throws every worker's page away.
    allowed = len(blows) + siege.restarts * (len(siege.force.hands) + 3)
    return ActTold(
        hands="one" if is_one else "many",
        blows=dict(Counter(blow.what for blow in blows)),
        pages=pages[0],
        read_again=pages[1] - pages[0],
        allowed=allowed if is_one else None,
        recoveries_s=[round(blow.recovered_s, 2) for blow in hit if blow.recovered_s is not None],
        unplaced=len(blows) - len(hit),
        unrecovered=sum(1 for blow in hit if blow.recovered_s is None),
        scenes=dict(siege.scenes),
        spare_s=[round(time, 1) for time in siege.spare_s],
        stale_commits=siege.stale_commits,
        frozen_judged=siege.frozen_judged,
        seconds=round(seconds, 1),
    )


def count_pages(grounds: Grounds) -> tuple[int, int]:
    """Count the pages that were committed, and those that were asked for; restarts need one."""
    needed = grounds.query("SELECT COALESCE(SUM(pages + restarts), 0) FROM partitions")[0][0]
    return int(needed), sum(shop.count_lists() for shop in grounds.shops)


def find_lost(grounds: Grounds, when: str) -> list[str]:
    """Compare with the providers, record by record."""
    found = []
    for shop in grounds.shops:
        here, there = grounds.site.exported(shop.name), shop.truth()
        found += [f"{when}: {shop.name} misses {key}" for key in sorted(there.keys() - here)]
        found += [f"{when}: {shop.name} still has {key}" for key in sorted(here.keys() - there)]
        both = sorted(here.keys() & there)
        found += [f"{when}: {shop.name} has an old {k}" for k in both if here[k] != there[k]]
    return found


def find_doubled(grounds: Grounds) -> list[str]:
    """Find what was written more often than it changed, and counters that say otherwise."""
    found = []
    for shop in grounds.shops:
        found += _find_doubled_in(grounds, shop)
    found += [
        f"run {row[0]} ({row[1]}): seen {row[2]}, accounted for {row[3]}"
        for row in grounds.query(_UNEVEN)
    ]
    return found


def _find_doubled_in(grounds: Grounds, shop: Shop) -> list[str]:
    of = f"(SELECT id FROM connections WHERE name = '{shop.name}')"
    rows = grounds.query(f"SELECT record_id, revision FROM records WHERE connection_id = {of}")
    found = [
        f"{shop.name}: {key} was written {revision} times and changed {shop.changes[key]} times"
        for key, revision in rows
        if revision > shop.changes[key]
    ]
    written = sum(revision for _, revision in rows)
    ((position,),) = grounds.query(
        f"SELECT MAX(position) FROM entity_states WHERE connection_id = {of}"
    )
    ((counted,),) = grounds.query(
        f"SELECT SUM(created + updated + deleted) FROM runs WHERE connection_id = {of}"
    )
    if not written == position == int(counted):
        found.append(
            f"{shop.name}: {written} writes, {position} positions of the feed, {counted} counted"
        )
    return found


def judge_end(grounds: Grounds, verdict: Verdict) -> None:
    """Look at the runs and the log as they ended."""
    verdict.stuck += [f"{run_id} is {state}" for run_id, state in grounds.query(_UNENDED)]
    verdict.runs = {
        f"{state}{f' ({code})' if code else ''}": count
        for state, code, count in grounds.query(_ENDS)
    }
    for state, code, count in grounds.query(_ENDS):
        if state == "failed" and code not in _EXPECTED:
            verdict.odd.append(f"{count} runs failed: {code}")
    verdict.odd += [f"a fault of ours: {text}" for (text,) in grounds.query(_BUGS)]
    if not grounds.is_postgresql and grounds.query("PRAGMA integrity_check") != [("ok",)]:
        verdict.odd.append("the SQLite file is corrupt")
    for act in verdict.acts:
        if act.unrecovered:
            verdict.stuck.append(f"{act.unrecovered} killed runs never went on")
        verdict.odd += [f"the spare took {time} s" for time in act.spare_s if time > 60]
    verdict.records = sum(len(shop.truth()) for shop in grounds.shops)
    verdict.changes = sum(sum(shop.changes.values()) - shop.first for shop in grounds.shops)
    verdict.cuts = dict(grounds.proxy.cuts) if grounds.proxy else {}


_UNEVEN = """
SELECT id, mode, seen, created + updated + unchanged + quarantined FROM runs
WHERE seen <> created + updated + unchanged + quarantined
"""
_UNENDED = "SELECT id, state FROM runs WHERE finished_at IS NULL"
_ENDS = "SELECT state, error_code, COUNT(*) FROM runs GROUP BY state, error_code"
_BUGS = "SELECT DISTINCT detail FROM sync_log WHERE error_code = 'bug'"
