"""What may happen in a seed, and what must hold whatever happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

from sqlalchemy import event

from chaos import sim_provider
from chaos.sim_provider import START, SimProvider
from chaos.simulation import Actor, Stage, TurnClock
from kit import entry_point
from tieline.auth import Opener
from tieline.contract import Secret
from tieline.engine import Engine, ask_run, help_run, sweep
from tieline.engine.crew import Crew
from tieline.engine.reconcile import mourn
from tieline.records.canonical import canonical
from tieline.registry import Registry
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.syncs import cancel_run
from tieline.settings import load_settings
from tieline.store import connections, partitions, runs, schema
from tieline.store.database import Connection
from tieline.store.tables import metadata

_HOUR = 3600
_ROUNDS = 400
_KEPT = {"connections", "credentials", "views"}
_FINISHED = {"succeeded", "succeeded_with_quarantine"}


def _never_flush(connection, _record) -> None:
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA journal_mode=MEMORY")


def _is_held(end: dict) -> bool:
    """Whether a run ends by a refusal to delete: whoever finds all parts read may say so."""
    return (end.get("error") or ("",))[0] == "deletes-held"


class BrokenError(Exception):
    """An invariant does not hold."""


@dataclass
class Ground:
    """An installation that seed after seed is played on.

    Attributes:
        installation: Its database is emptied before each seed.
        connection_id: The one connection.
    """

    installation: Installation
    connection_id: str
    registry: Registry

    @classmethod
    def make(cls, home: Path, database_url: str = "") -> Ground:
        """Make it; on SQLite nothing is ever flushed to a disk."""
        environ = {
            "TIELINE_HOME": str(home),
            "TIELINE_DATABASE_URL": database_url or f"sqlite:///{home}/sim.db",
            "TIELINE_REDIS_URL": "redis://127.0.0.1:1",
            "TIELINE_HANDS": "1",
            "TIELINE_READ_AHEAD": "0",
        }
        registry = Registry(given=[entry_point("sim", "chaos.sim_provider")])
        installation = Installation(load_settings(environ, home), registry=registry)
        installation.make_key()
        schema.upgrade(installation.raw_database)
        engine = installation.raw_database.engine
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _never_flush)
            engine.dispose()
        make_engine(installation, lambda run_id, number: None)
        sim_provider.PRESENT[sim_provider.ADDRESS] = SimProvider(Random(0), installation.clock)
        row = connect_api_key(
            installation,
            "sim",
            name="sim",
            key=Secret("key"),
            base_url=sim_provider.ADDRESS,
            actor="sim",
        )
        return cls(installation, row.id, registry)

    def clear(self) -> None:
        """Forget what the seed before left."""
        with self.installation.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name not in _KEPT:
                    connection.exec_driver_sql(f"DELETE FROM {table.name}")
            connection.exec_driver_sql("UPDATE connections SET state = 'ok'")


def make_engine(installation: Installation, ring: Callable[[str, int], None]) -> Engine:
    """Put an engine without a throttle into an installation."""
    made = installation
    opener = Opener(made.database, made.registry, made.vault, made.settings, clock=made.clock)
    engine = Engine(
        database=made.database,
        registry=made.registry,
        opener=opener,
        clock=made.clock,
        settings=made.settings,
        ring=ring,
    )
    made.__dict__["engine"] = engine
    return engine


class World:
    """One seed.

    Args:
        ground: Where it is played.
        seed: Decides everything.
        steps: How many things happen before it grows quiet.
        tells: Whether to keep a story.
    """

    def __init__(self, ground: Ground, seed: int, *, steps: int = 0, tells: bool = False) -> None:
        self.seed, self.ground = seed, ground
        self.rng = rng = Random(f"layer 1, seed {seed}")
        self.stage = Stage(rng, on_place=self._look)
        self.clock = TurnClock(START, self.stage)
        self.entity_name = rng.choice(("things", "things", "versioned", "listed"))
        self.provider = SimProvider(
            rng,
            self.clock,
            ahead=timedelta(seconds=rng.choice((0, 0, 0, 400, -400))),
            fault_share=rng.choice((0, 3, 12)),
            is_versioned=self.entity_name == "versioned",
        )
        if not self.provider.ahead:
            self.provider.tells_time = rng.random() < 0.7
        self.steps = steps or rng.randint(40, 110)
        self.is_rough = rng.random() < 0.25  # days go by, clocks are set
        self.tells = tells
        self.story: list[str] = []
        self.last_id = ""

    def play(self) -> None:
        """Play the seed.

        Raises:
            BrokenError: Something does not hold.
        """
        self.ground.clear()
        random.seed(self.seed)  # for jitter
        with self._set_up():
            try:
                self._live()
                self._grow_quiet()
                self._check_rest()
            finally:
                for actor in self.stage.actors:
                    actor.end()

    @contextmanager
    def _set_up(self) -> Iterator[None]:
        made = self.ground.installation
        made.clock = self.clock
        self.database = made.database
        self.engine = make_engine(made, self.stage.ring)
        sim_provider.PRESENT[sim_provider.ADDRESS] = self.provider
        self.entity = self.ground.registry.get("sim").entity(self.entity_name)
        with self.database.read() as connection:
            self.row = connections.find_connection(connection, self.ground.connection_id)
        self.provider.pause = self.stage.call
        self.provider.fill(self.rng.randint(0, 12))
        self.stage.hire(self.rng.choice((1, 2, 2, 3)))
        places = ("work", "crew", "fetch", "finish")
        patches = [
            mock.patch(f"tieline.engine.{place}.failpoint", self.stage.failpoint)
            for place in places
        ]
        patches += [
            mock.patch(f"tieline.engine.{place}.this_worker", self.stage.worker_name)
            for place in ("crew", "help", "ask", "finish")
        ]
        patches += self._watch_fences()
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    def _watch_fences(self) -> list[Any]:
        """Nobody whose lease was lost may end a run, or put it off."""

        claim_partition = partitions.claim_partition

        def claim(connection, *given, **named):
            found = claim_partition(connection, *given, **named)
            if (actor := self.stage.present()) and found:
                actor.claim = (found.id, found.fence)
            return found

        def watched(step):
            def watch(connection, run_id, **named):
                if named.get("state") not in {"cancelled", *_FINISHED} and not _is_held(named):
                    self._check_fence(connection, run_id, str(named.get("state")))
                return step(connection, run_id, **named)

            return watch

        return [
            mock.patch("tieline.engine.crew.partitions.claim_partition", claim),
            mock.patch("tieline.engine.help.runs.put_off", watched(runs.put_off)),
            mock.patch("tieline.engine.finish.runs.end_run", watched(runs.end_run)),
        ]

    def _check_fence(self, connection: Connection, run_id: str, state: str) -> None:
        actor = self.stage.present()
        if actor is None or actor.claim is None:
            return
        now = partitions.read_partition(connection, actor.claim[0])
        if now and now.run_id == run_id and now.fence != actor.claim[1]:
            raise BrokenError(f"3: a worker that lost its lease made its run {state}")

    # --- what happens -------------------------------------------------------------------------

    def _live(self) -> None:
        acts = {
            self._turn: 60,
            self._answer_a_bell: 14,
            self._ask: 5,
            self._mutate: 6,
            self._tick: 8,
            self._sweep: 4,
            self._kill: 2.5,
            self._cut: 3,
            self._stop: 0.7,
            self._cancel: 0.7,
            self._lose_bells: 1,
            self._toggle_redis: 0.7,
            self._mourn: 0.7,
        }
        if self.is_rough:
            acts |= {self._outage: 1.2}
        if self.is_rough and self.provider.tells_time:  # else our clock is all there is
            acts |= {self._set_clock: 1}
        self._ask()
        for _ in range(self.steps):
            self.rng.choices(list(acts), list(acts.values()))[0]()

    def _turn(self) -> None:
        awake = self.stage.awake(self.clock.now())
        if awake:
            self._let(self.rng.choice(awake))
        elif self.stage.bells:
            self._answer_a_bell()

    def _let(self, actor: Actor) -> None:
        label = actor.label
        is_busy = actor.turn()
        self._say("{} {}: {}", actor.name, label, actor.place if is_busy else "done")

    def _answer_a_bell(self) -> None:
        idle = self.stage.idle()
        if idle and self.stage.bells:
            actor = self.rng.choice(idle)
            run_id = self.stage.bells.pop(self.rng.randrange(len(self.stage.bells)))
            self._say("{} hears the bell of {}", actor.name, run_id)
            actor.begin("help", lambda: help_run(self.engine, run_id, actor.stop))

    def _ask(self) -> None:
        modes = ["incremental"] * 4 + ["full"] * 2 + ["verify", "repair"]
        if self.entity.windows is not None:
            modes.append("window")
        mode = self.rng.choice(modes)
        window = (None, None)
        if mode == "window":
            edge = self.clock.now() - timedelta(seconds=self.rng.randrange(3 * _HOUR))
            window = (edge, edge + timedelta(hours=1))
        self._begin(mode, window)

    def _begin(self, mode: str, window=(None, None)) -> bool:
        asked = ask_run(
            self.engine, self.row, self.entity, mode=mode, asked_by="sim", window=window
        )
        self.last_id = asked.run.id
        self._say("ask {}: {} {} new={}", mode, asked.run.mode, asked.run.id, asked.is_new)
        return asked.is_new

    def _mutate(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.provider.mutate()
        self._say("provider: {}", self.provider.log[-1])

    def _tick(self) -> None:
        self._move(self.rng.choice((0.3, 1.1, 3, 12, 31, 70)))

    def _move(self, seconds: float) -> None:
        self.clock.move(seconds)
        self._say("{} s go by", seconds)

    def _sweep(self) -> None:
        self._say("sweep rings {} times", sweep(self.engine))

    def _busy(self) -> list[Actor]:
        return [actor for actor in self.stage.actors if actor.job is not None]

    def _kill(self) -> None:
        if busy := self._busy():
            actor = self.rng.choice(busy)
            actor.crash_in = self.rng.randint(1, 4)
            self._say("{} will die", actor.name)

    def _stop(self) -> None:
        if busy := self._busy():
            actor = self.rng.choice(busy)
            actor.stop.set()
            self._say("{} is told to stop", actor.name)

    def _cancel(self) -> None:
        active = self._active()
        if active:
            run_id = active[0][0]
            cancel_run(self.ground.installation, run_id, actor="sim")
            self._say("cancel {}", run_id)

    def _cut(self) -> None:
        """An idle hand of another process cuts a long window."""
        active = self._active()
        if not active or self.entity.windows is None or not self.stage.idle():
            return
        run_id = active[0][0]
        actor = self.rng.choice(self.stage.idle())

        def cut() -> None:
            with self.database.read() as connection:
                run = runs.get_run(connection, run_id)
            crew = Crew(
                engine=self.engine, opened=None, run=run, entity=self.entity, stop=actor.stop
            )
            crew._waiting.add(1000.0, 1000.0)
            self._say("{} cuts: {}", actor.name, crew._cut())

        actor.begin("cut", cut)
        actor.crash_in = self.rng.choice((0, 0, 0, 1))

    def _lose_bells(self) -> None:
        self.stage.bells.clear()
        self._say("all bells are lost")

    def _toggle_redis(self) -> None:
        self.stage.is_deaf = not self.stage.is_deaf
        self._say("Redis away: {}", self.stage.is_deaf)

    def _mourn(self) -> None:
        dead = [actor for actor in self.stage.actors if actor.deaths]
        if dead:
            actor = self.rng.choice(dead)
            before = actor.name.split(".")[0] + (f".{actor.deaths - 1}" if actor.deaths > 1 else "")
            mourn(self.engine, before)
            self._say("mourn {}", before)

    def _outage(self) -> None:
        self._move(self.rng.choice((0.5, 20, 35)) * 86400)

    def _set_clock(self) -> None:
        seconds = self.rng.choice((-600, -30, 30, 600))
        self.clock.jump(seconds)
        self.provider.ahead -= timedelta(seconds=seconds)
        self._say("our clock is set by {}", seconds)

    # --- what must hold -----------------------------------------------------------------------

    def _grow_quiet(self) -> None:
        """No more faults: everything under way comes to its end."""
        self.provider.fault_share, self.provider.is_quiet = 0, True
        self.stage.is_deaf = False
        self._drain()
        self._move(700)  # the log has filled
        self._begin("incremental")
        self._drain()

    def _drain(self) -> None:
        for _ in range(_ROUNDS):
            awake = self.stage.awake(self.clock.now())
            if awake:
                self._let(self.rng.choice(awake))
            elif self.stage.bells and self.stage.idle():
                self._answer_a_bell()
            elif not self._active() and not self._busy():
                return
            else:
                self._move(31)
                self._sweep()
        raise BrokenError(f"4: a run does not end: {self._active()}")

    def _look(self, _actor: Actor, place: str) -> None:
        if place == "sync.finish.after_commit":
            self._check_tombstones()

    def _query(self, text: str) -> list[tuple]:
        with self.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(text)]

    def _active(self) -> list[tuple]:
        return self._query(
            "SELECT id, state, mode, due_at, error_code FROM runs WHERE finished_at IS NULL"
        )

    def _check_tombstones(self) -> None:
        gone = {
            row[0]
            for row in self._query("SELECT record_id FROM records WHERE deleted_at IS NOT NULL")
        }
        if alive := gone & set(self.provider.objects):
            raise BrokenError(f"15: deleted here and alive there: {sorted(alive)}")

    def _check_rest(self) -> None:
        self._check_tombstones()
        self._check_counts()
        last = self._query(f"SELECT state, error_code FROM runs WHERE id = '{self.last_id}'")
        if last[0][0] != "succeeded":
            raise BrokenError(f"4: with nothing in its way the last run ended as {last[0]}")
        rows = self._query("SELECT record_id, content_hash FROM records WHERE deleted_at IS NULL")
        here = dict(rows)
        there = {key: canonical(one).digest for key, one in self.provider.objects.items()}
        if here != there:
            missing, surplus = sorted(there.keys() - here), sorted(here.keys() - there)
            stale = sorted(key for key in here.keys() & there if here[key] != there[key])
            raise BrokenError(f"1: missing {missing}, surplus {surplus}, stale {stale}")

    def _check_counts(self) -> None:
        odd = self._query(
            "SELECT id, mode, state FROM runs"
            " WHERE seen <> created + updated + unchanged + quarantined"
        )
        if odd:
            raise BrokenError(f"10: counters do not add up: {odd}")
        [(done,)] = self._query("SELECT COALESCE(SUM(created + updated + deleted), 0) FROM runs")
        [(position,)] = self._query("SELECT COALESCE(MAX(position), 0) FROM entity_states")
        if done != position:
            raise BrokenError(f"10: the runs tell of {done} changes, the feed of {position}")

    def _say(self, what: str, *values: object) -> None:
        if self.tells:
            time = (self.clock.now() - START).total_seconds()
            self.story.append(f"{time:10.2f}  {what.format(*values)}")
