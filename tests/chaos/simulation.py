"""One seed's world: the real engine, workers that take turns, a clock that only we move.

A worker is a thread, but only one thread runs at any time: it hands control
back at each failpoint outside a transaction, at each call of the provider, and
when it sleeps. What runs next is drawn from the seed, so a seed is one story.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from tieline.clock import ManualClock
from tieline.errors import DependencyError
from tieline.failpoints import Crash

__all__ = ["Actor", "Stage", "TurnClock"]

_STEP_S = 20.0
_IN_TRANSACTION = {
    "sync.page.before_commit",
    "sync.split.before_commit",
    "sync.finish.before_commit",
}


class Actor:
    """A worker's process: does one job at a time, a turn at a time.

    Attributes:
        name: Who holds its leases.
        job: What it works on; None while it is idle.
        wake_at: When it wakes; None if it does not sleep.
        crash_in: It dies at the so-many-th failpoint from now; 0: it lives.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.job: Callable[[], object] | None = None
        self.label = ""
        self.stop = threading.Event()
        self.wake_at: datetime | None = None
        self.crash_in = 0
        self.place = ""
        self.deaths = 0
        self.failure: BaseException | None = None
        self.claim: tuple[str, int] | None = None
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, label: str, job: Callable[[], object]) -> None:
        self.label, self.job, self.crash_in, self.place = label, job, 0, "start"
        self.claim = None
        self.stop = threading.Event()

    def turn(self) -> bool:
        """Let it work until it pauses; False once its job is over."""
        self._go.release()
        if not self._back.acquire(timeout=_STEP_S):
            raise RuntimeError(f"{self.name} does not pause: {self.label} after {self.place}")
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self.job is not None

    def pause(self, place: str) -> None:
        """Give the turn back, and wait for the next one; called by its own thread."""
        self.place = place
        self._back.release()
        self._go.acquire()
        if self._is_over:
            raise Crash("the world ends")

    def die_if_due(self, place: str) -> None:
        if self.crash_in:
            self.crash_in -= 1
            if not self.crash_in:
                raise Crash(place)

    def end(self) -> None:
        """Let its thread come to an end; whatever it was at is dropped."""
        self._is_over = True
        self._go.release()
        self._thread.join(_STEP_S)

    def is_self(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while True:
            self._go.acquire()
            if self._is_over:
                return
            try:
                if self.job is not None:
                    self.job()
            except Crash:
                self.deaths += 1
                self.name = f"{self.name.split('.')[0]}.{self.deaths}"
            except BaseException as failure:  # noqa: BLE001 - the world's own thread raises it
                self.failure = failure
            self.job = None
            if self._is_over:
                return
            self._back.release()


class TurnClock(ManualClock):
    """A clock on which a worker that sleeps waits for its turn.

    Args:
        start: Where it stands at first.
        stage: Who may be asleep.
    """

    def __init__(self, start: datetime, stage: Stage) -> None:
        super().__init__(start)
        self._stage = stage

    def sleep(self, seconds: float, stop: threading.Event | None = None) -> bool:
        actor = self._stage.present()
        if actor is None:
            self.move(seconds)
        else:
            until = self.monotonic() + seconds
            while self.monotonic() < until and not (stop is not None and stop.is_set()):
                actor.wake_at = self.now() + timedelta(seconds=until - self.monotonic())
                actor.pause("sleep")
            actor.wake_at = None
        return stop is not None and stop.is_set()

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an administrator does."""
        self._now += timedelta(seconds=seconds)


@dataclass
class Stage:
    """The workers, and the bells that were rung and not heard yet.

    Attributes:
        rng: Decides everything.
        on_place: Told of each failpoint that a worker passes.
    """

    rng: Random
    actors: list[Actor] = field(default_factory=list)
    bells: list[str] = field(default_factory=list)
    is_deaf: bool = False
    on_place: Callable[[Actor, str], None] = lambda actor, place: None
    passed: set[str] = field(default_factory=set)

    def hire(self, count: int) -> None:
        self.actors = [Actor(f"w{number}") for number in range(1, count + 1)]

    def present(self) -> Actor | None:
        """Return the worker whose turn it is; None if nobody's."""
        return next((actor for actor in self.actors if actor.is_self()), None)

    def worker_name(self, _pid: int | None = None) -> str:
        actor = self.present()
        return actor.name if actor else "main"

    def ring(self, run_id: str, _number: int) -> None:
        if self.is_deaf:
            raise DependencyError("Redis is away")
        self.bells.append(run_id)

    def failpoint(self, name: str) -> None:
        """Stand in for the core's own, at every place of the engine."""
        actor = self.present()
        if actor is None:
            return
        self.passed.add(name)
        self.on_place(actor, name)
        actor.die_if_due(name)
        if name not in _IN_TRANSACTION:
            actor.pause(name)

    def call(self) -> None:
        """A call of the provider begins, or its answer is under way."""
        if actor := self.present():
            actor.pause("call")

    def idle(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.job is None]

    def awake(self, now: datetime) -> list[Actor]:
        return [
            actor
            for actor in self.actors
            if actor.job is not None
            and (actor.wake_at is None or actor.wake_at <= now or actor.stop.is_set())
        ]
