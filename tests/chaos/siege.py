"""Runs go on, workers die, servers fall: a storm until enough were killed, then calm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from chaos.grounds import Grounds
from chaos.shop import Shop
from chaos.workforce import Blow, Hand, Workforce, is_stopped
from tieline.errors import DependencyError

__all__ = ["ONE_HAND", "FrozenWorker", "Siege", "StuckError"]

ONE_HAND = {"TIELINE_HANDS": "1", "TIELINE_READ_AHEAD": "0"}
WORKERS = 3
_POLL_S = 0.03
_A_KILL_S = 6.0
_CALM_S = 90.0
_AGAIN_S = 60.0
_FROZEN_S = 20.0
_MOST_DEATHS = 3


class StuckError(Exception):
    """Something did not come to be within its bound."""


@dataclass(eq=False)
class FrozenWorker:
    """A worker that stopped and did not know it.

    Attributes:
        hand: It.
        shop: Whose run it held.
        at: Since when, monotonic.
        before: What the database had when it woke; None while it sleeps.
    """

    hand: Hand
    shop: Shop
    at: float
    before: tuple[Any, ...] | None = None


@dataclass(eq=False)
class Siege:
    """One act: so many kills, with workers of one kind.

    Attributes:
        grounds: Servers, site, shops.
        rng: Decides which faults, in which order; not when.
        kills: How many have to die.
        settings: Of every worker.
    """

    grounds: Grounds
    rng: Random
    kills: int
    settings: dict[str, str]
    scenes: dict[str, int] = field(default_factory=dict)
    stale_commits: int = 0
    frozen_judged: int = 0
    spare_s: list[float] = field(default_factory=list)
    restarts: int = 0
    _frozen: list[FrozenWorker] = field(default_factory=list)
    _progress: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.force = Workforce(self.grounds.site, self.settings)
        self._timer = self._draw_timers()
        self._next_s, self._next = next(self._timer)
        self._timed_at = time.monotonic() + self._next_s

    @property
    def blows(self) -> list[Blow]:
        return self.force.blows

    def storm(self) -> None:
        """Go on until enough have died.

        Raises:
            StuckError: That takes too long.
        """
        until = time.monotonic() + 60 + _A_KILL_S * self.kills
        scenes = self._plan_scenes()
        while len(self.blows) < self.kills:
            if time.monotonic() > until:
                raise StuckError(f"{len(self.blows)} of {self.kills} kills in time")
            if scenes and len(self.blows) >= scenes[0][0]:
                self._play(scenes.pop(0)[1])
            self._keep_busy()
            self._keep_staffed()
            self._step()
            self._strike_if_due()
            time.sleep(_POLL_S)
        for _, name in scenes:  # the last kills came thick and fast
            self._play(name)

    def calm(self) -> None:
        """Kill nothing more; wait until every run is over.

        Raises:
            StuckError: A run does not end.
        """
        self._wake_all()
        for hand in list(self.force.hands):
            self._strike(hand, "calm, both", horse=True, worker=True)
        for _ in range(2):
            self.force.hire()
        self._wait("a run did not end", lambda: not self._read_progress(), _CALM_S)
        self._step()

    def sync(self, shop: Shop, mode: str) -> None:
        """Do one clean run.

        Raises:
            StuckError: It does not end.
        """
        run_id = shop.ask(mode)
        site = self.grounds.site
        self._wait(
            f"the last {mode} run did not end", lambda: site.state_of(run_id).is_over, _CALM_S
        )

    def _wait(self, what: str, is_so: Callable[[], object], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._tolerant(is_so):
            if time.monotonic() > until:
                raise StuckError(what)
            self._step()
            time.sleep(_POLL_S)

    def _tolerant(self, ask: Callable[[], object]) -> object:
        try:
            return ask()
        except DependencyError:
            return None

    # --- what goes on all the time ------------------------------------------------------------

    def _keep_busy(self) -> None:
        for shop in self.grounds.shops:
            if shop.is_held or shop.run_id in self._progress:
                if shop.run_id in self._progress and shop.rng.random() < 0.004:
                    shop.mutate()
                continue
            shop.mutate()
            self._progress |= {run_id: 0 for run_id in [shop.ask()] if run_id}

    def _keep_staffed(self) -> None:
        while len(self.force.hands) < WORKERS:
            fault = self._draw_fault()
            extra = {}
            if self.grounds.proxied_url and self.rng.random() < 0.5:
                extra["TIELINE_DATABASE_URL"] = self.grounds.proxied_url
            self.force.hire(fault, **extra)

    def _step(self) -> None:
        """Look at everything once."""
        found = self._tolerant(self._read_progress)
        now = time.monotonic()
        new = self.force.look()
        if isinstance(found, dict):
            self._place(new, found)
            self._note_recoveries(found, now)
            self._progress = found
        for hand in list(self.force.hands):
            if hand.deaths >= _MOST_DEATHS and not hand.is_frozen:
                self.force.strike(hand, "timer, both", horse=True, worker=True)
        self._tend_frozen()

    def _read_progress(self) -> dict[str, int]:
        """Return how far each run is that is not over."""
        return dict(self.grounds.query(_PROGRESS))

    def _holders(self) -> dict[int, str]:
        """Return who holds which run, by process number."""
        return {
            int(owner.rpartition(":")[2]): run_id for owner, run_id in self.grounds.query(_HELD)
        }

    def _place(self, new: list[Blow], found: dict[str, int]) -> None:
        """Find out which runs were hit."""
        if not new:
            return
        holders = self._tolerant(self._holders)
        for blow in new:
            if isinstance(holders, dict):
                blow.run_id = blow.run_id or holders.get(blow.pid, "")
            blow.pages = self._progress.get(blow.run_id, found.get(blow.run_id, -1))

    def _note_recoveries(self, found: dict[str, int], now: float) -> None:
        for blow in self.blows:
            if blow.recovered_s is not None or not blow.run_id:
                continue
            if blow.run_id not in found or found[blow.run_id] > blow.pages:
                blow.recovered_s = now - blow.at

    # --- kills by timer -------------------------------------------------------------------------

    def _draw_timers(self) -> Iterator[tuple[float, str]]:
        while True:
            kinds = ("both", "both", "horse", "horse", "horse", "worker")
            yield self.rng.uniform(0.2, 2.0), self.rng.choice(kinds)

    def _strike_if_due(self) -> None:
        if time.monotonic() < self._timed_at:
            return
        if hand := self._pick_busy():
            what = self._next
            self._strike(hand, f"timer, {what}", horse=what != "worker", worker=what != "horse")
            self._next_s, self._next = next(self._timer)
        self._timed_at = time.monotonic() + self._next_s

    def _pick_busy(self) -> Hand | None:
        """Pick a worker with a work-horse, if there is one with a partition in its hands."""
        awake = [hand for hand in self.force.hands if not hand.is_frozen]
        busy = [hand for hand in awake if hand.horse]
        holders = self._tolerant(self._holders)
        if isinstance(holders, dict):
            busy = [hand for hand in busy if hand.horse in holders] or busy
        return self.rng.choice(busy) if busy else None

    def _strike(self, hand: Hand, what: str, *, horse: bool, worker: bool) -> None:
        holders = self._tolerant(self._holders)
        blow = self.force.strike(hand, what, horse=horse, worker=worker)
        if blow is not None and isinstance(holders, dict):
            blow.run_id = holders.get(blow.pid, "")
            blow.pages = self._progress.get(blow.run_id, -1)

    def _draw_fault(self) -> str:
        """Draw a worker's failpoint; a kill that bars all headway takes the worker along."""
        kind = self.rng.choice(("", "killall", "killall", "kill", "kill", "stop"))
        pages = ("sync.fetch.before", "sync.fetch.after", "sync.page.before_commit")
        points = [*pages, "sync.page.after_commit"]
        if kind == "killall":
            ends = ["sync.claim.after", "sync.finish.before_commit", "sync.finish.after_commit"]
            cuts = [] if self.settings else ["sync.split.before_commit"]
            points += ends + cuts
        if kind == "stop" and not self.grounds.is_postgresql:
            points.remove("sync.page.before_commit")  # it would hold up every writer of SQLite
        point = self.rng.choice(points)
        is_page = point in {*pages, "sync.page.after_commit"}
        passage = self.rng.randint(2 if kind == "kill" else 1, 4) if is_page else 1
        return f"{point}={kind}@{passage}" if kind else ""

    # --- frozen workers ------------------------------------------------------------------------

    def _tend_frozen(self) -> None:
        for hand in self.force.hands:
            if "=stop" in hand.fault and not hand.is_frozen and is_stopped(hand.horse):
                self._freeze(hand)
        for frozen in list(self._frozen):
            if frozen.before is None:
                self._wake_if_due(frozen)
            else:
                self._judge(frozen)

    def _freeze(self, hand: Hand) -> None:
        holders = self._tolerant(self._holders)
        run_id = holders.get(hand.horse, "") if isinstance(holders, dict) else ""
        shop = next((one for one in self.grounds.shops if one.run_id == run_id), None)
        hand.freeze()
        if shop is None or shop.is_held:
            self.force.strike(hand, "timer, both", horse=True, worker=True)
            return
        shop.is_held = True
        self.force.hands.remove(hand)
        self._frozen.append(FrozenWorker(hand, shop, time.monotonic()))
        self.scenes["frozen worker"] = self.scenes.get("frozen worker", 0) + 1
        pages = self._progress.get(run_id, -1)
        self.blows.append(Blow(time.monotonic(), "frozen", hand.horse, run_id, pages))

    def _wake_if_due(self, frozen: FrozenWorker) -> None:
        """Wake it once others have done its work; late, and unjudged, if they do not come to."""
        is_over = frozen.shop.run_id not in self._progress
        if is_over or time.monotonic() - frozen.at > _FROZEN_S:
            facts = self._tolerant(lambda: self.grounds.facts_of(frozen.shop))
            frozen.before = facts if is_over and isinstance(facts, tuple) else ()
            frozen.at = time.monotonic()
            frozen.hand.thaw()

    def _judge(self, frozen: FrozenWorker) -> None:
        """Compare once it has had its time to commit what it held."""
        has_left = not any(is_alive(pid) for pid in frozen.hand.horses)
        if not has_left and time.monotonic() - frozen.at < 5.0:
            return
        if frozen.before:
            after = self._tolerant(lambda: self.grounds.facts_of(frozen.shop))
            if not isinstance(after, tuple):
                return
            self.frozen_judged += 1
            self.stale_commits += after != frozen.before
        self._frozen.remove(frozen)
        frozen.shop.is_held = False
        frozen.hand.is_gone = True
        frozen.hand.kill(horse=True, worker=True)

    def _wake_all(self) -> None:
        until = time.monotonic() + _FROZEN_S + 10.0
        while self._frozen and time.monotonic() < until:
            self._keep_staffed()
            self._step()
            time.sleep(_POLL_S)

    # --- scenes ---------------------------------------------------------------------------------

    def _plan_scenes(self) -> list[tuple[int, str]]:
        """Spread the scenes over the act, each at least once if it is not a very short one."""
        names = ["flush", "spare", "redis restart"]
        if self.grounds.owns_postgres:
            names.append("postgres restart")
        self.rng.shuffle(names)
        count = max(len(names), self.kills // 12)
        step = self.kills / (count + 1)
        return [(round(step * (number + 1)), names[number % len(names)]) for number in range(count)]

    def _play(self, name: str) -> None:
        scene = {
            "flush": self.grounds.flush,
            "redis restart": lambda: self.grounds.restart_redis(self.rng.uniform(0.2, 2.0)),
            "postgres restart": self._restart_postgres,
            "spare": self._leave_one_spare,
        }[name]
        scene()
        self.scenes[name] = self.scenes.get(name, 0) + 1

    def _restart_postgres(self) -> None:
        self.restarts += 1
        self.grounds.restart_postgres()

    def _leave_one_spare(self) -> None:
        """Kill everybody but one who was idle; nobody new comes until work goes on."""
        self._wait("no run for the spare", self._has_work, _AGAIN_S)
        spare = self.force.hire()
        names = f":{spare.process.pid}"
        self._wait(
            "the spare did not start",
            lambda: any(name.endswith(names) for name in self.grounds.living_workers()),
            _AGAIN_S,
        )
        for hand in [one for one in self.force.hands if one is not spare]:
            self._strike(hand, "timer, all but a spare", horse=True, worker=True)
        # On a slow machine the others may have ended every run while the spare was starting.
        self._wait("no run for the spare", self._has_asked, _AGAIN_S)
        began, before = time.monotonic(), dict(self._progress)
        self._wait("the spare did not take over", lambda: self._has_moved(before), _AGAIN_S)
        self.spare_s.append(time.monotonic() - began)

    def _has_work(self) -> bool:
        self._keep_staffed()
        return self._has_asked()

    def _has_asked(self) -> bool:
        self._keep_busy()
        return bool(self._progress)

    def _has_moved(self, before: dict[str, int]) -> bool:
        now = self._read_progress()
        return any(now.get(run_id, pages + 1) > pages for run_id, pages in before.items())


def is_alive(pid: int) -> bool:
    """Say whether a process runs or sleeps; a zombie does neither."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_PROGRESS = """
SELECT r.id, COALESCE(SUM(p.pages), 0) FROM runs r LEFT JOIN partitions p ON p.run_id = r.id
WHERE r.finished_at IS NULL GROUP BY r.id
"""
_HELD = """
SELECT p.lease_owner, p.run_id FROM partitions p JOIN runs r ON r.id = p.run_id
WHERE p.state = 'running' AND r.finished_at IS NULL AND p.lease_owner IS NOT NULL
"""
