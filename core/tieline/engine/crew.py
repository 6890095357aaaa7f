"""The hands of one process that work on one run, as many as there is use for."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from tieline.auth import OpenConnection
from tieline.contract import Entity
from tieline.engine.keeper import Either
from tieline.engine.kit import Engine, this_worker
from tieline.engine.pace import best_cut, page_time_s
from tieline.engine.push import PushWork
from tieline.engine.waiting import Waiting
from tieline.engine.work import PartitionWork
from tieline.errors import DependencyError, LeaseLost, StopRequested, WorkerLostError
from tieline.failpoints import failpoint
from tieline.store import log, partitions, runs
from tieline.store.database import Connection
from tieline.store.rows import PartitionRow, RunRow
from tieline.telemetry import get_logger

__all__ = ["Crew"]

_log = get_logger(__name__)
_LOOK_S = 0.25
_LOOK_AROUND_S = 1.0
_MOST_RESCUES = 3
_BUSY = 0.75
_MEASURE_S = 0.05


@dataclass(kw_only=True, slots=True)
class Crew:
    """Claims partitions of one run, cuts long ones up, and reads them side by side.

    One more hand is put to work only while there is a partition for it, this
    process has computing time left, and a good part of a page's time is spent
    waiting for the provider: a hand that would wait for the processor, or for
    the database, helps nobody.

    A crew that finds others at work on its run is there to help. It leaves
    when jobs wait for a worker: a run that nobody has begun goes first.

    Attributes:
        engine: The parts.
        opened: The connection's client; threads share it.
        run: The run.
        entity: What is read.
        stop: Set when this process has to leave.
    """

    engine: Engine
    opened: OpenConnection
    run: RunRow
    entity: Entity
    stop: threading.Event
    _hands: set[threading.Thread] = field(default_factory=set)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _halt: threading.Event = field(default_factory=threading.Event)
    _failure: BaseException | None = None
    _is_helping: bool = False
    _looked_at: float = 0.0
    _waiting: Waiting = field(default_factory=Waiting)
    _meter: _Meter = field(init=False)

    def __post_init__(self) -> None:
        self._meter = _Meter()

    def work(self) -> None:
        """Work until nothing of the run is free.

        Raises:
            StopRequested: ``stop`` was set.
            BaseException: What the first hand that failed raised; the others
                have finished their page and given their lease back.
        """
        with self.engine.database.read() as connection:
            now = self.engine.clock.now()
            self._is_helping = partitions.is_held_beside(
                connection, self.run.id, owner=this_worker(), now=now
            )
        may_cut = self.engine.settings.hands > 1 or self._is_helping
        if may_cut and self.run.may_split:
            self._work_side_by_side()
        else:
            self._work_alone()

    def _work_alone(self) -> None:
        while not (self.stop.is_set() or self._halt.is_set()):
            partition = self._claim()
            if partition is None:
                return
            try:
                self._hand(partition, Either(self.stop, self._halt), is_alone=True).finish()
            except LeaseLost:
                _log.warning("lease lost: another worker has the partition, or the run is over")
        raise StopRequested

    def _work_side_by_side(self) -> None:
        try:
            while not self.stop.is_set() and not self._halt.is_set():
                # Looked at first: a hand that ends meanwhile may leave something to claim.
                is_idle = not self._hands
                if self._has_use_for_more() and (partition := self._claim_or_cut()) is not None:
                    self._start(partition)
                    continue
                if is_idle:
                    return
                with self._news:
                    if self._hands:
                        self._news.wait(_LOOK_S)
        finally:
            self._halt.set()
            for hand in list(self._hands):
                hand.join()
        if self._failure is not None:
            raise self._failure
        raise StopRequested

    def _has_use_for_more(self) -> bool:
        if not self._hands:
            return True
        most = min(self.engine.settings.hands, self.opened.most_at_once or 1_000)
        return bool(
            len(self._hands) < most
            and self._waiting.is_long
            and not self.opened.is_full
            and self._meter.has_time_left()
        )

    def _start(self, partition: PartitionRow) -> None:
        hand = threading.Thread(
            # What it logs, and its spans, are the run's.
            target=contextvars.copy_context().run,
            args=(self._run, partition, not self._hands),
            name=f"hand-{partition.number}",
            daemon=True,
        )
        with self._news:
            self._hands.add(hand)
        hand.start()

    def _run(self, partition: PartitionRow, is_alone: bool) -> None:
        try:
            self._hand(partition, Either(self.stop, self._halt), is_alone=is_alone).finish()
        except LeaseLost:
            _log.warning("lease lost: another worker has the partition, or the run is over")
        except StopRequested:
            pass
        except BaseException as error:  # noqa: BLE001 - the crew's own thread raises it
            with self._news:
                self._failure = self._failure or error
            self._halt.set()
        finally:
            with self._news:
                self._hands.discard(threading.current_thread())
                self._news.notify()

    def _hand(
        self, partition: PartitionRow, stop: threading.Event, *, is_alone: bool
    ) -> PartitionWork | PushWork:
        """Equip a hand; one among others needs no second thread to fetch ahead of it."""
        if self.run.direction == "outbound":
            return PushWork(
                engine=self.engine,
                opened=self.opened,
                run=self.run,
                entity=self.entity,
                partition=partition,
                stop=stop,
            )
        return PartitionWork(
            engine=self.engine,
            opened=self.opened,
            run=self.run,
            entity=self.entity,
            partition=partition,
            stop=stop,
            ahead=self.engine.settings.read_ahead if is_alone else 0,
            on_page=self._tell,
        )

    def _tell(self, seconds: float, waited_s: float) -> None:
        with self._news:
            self._waiting.add(seconds, waited_s)
            if self._waiting.is_long:  # else nobody is wanted, and being told takes time
                self._news.notify()
        if self._is_helping and time.monotonic() - self._looked_at >= _LOOK_AROUND_S:
            self._looked_at = time.monotonic()
            if self._is_wanted_elsewhere():
                self._halt.set()

    def _is_wanted_elsewhere(self) -> bool:
        try:
            return self.engine.count_waiting() > 0
        except DependencyError:
            return False

    def _claim_or_cut(self) -> PartitionRow | None:
        return self._claim() or (self._claim() if self._cut() else None)

    def _claim(self) -> PartitionRow | None:
        """Take a partition that nobody holds.

        Raises:
            WorkerLostError: Too many workers died on it.
        """
        partition = self.engine.database.transact(self._claim_in)
        if partition is None:
            return None
        if partition.rescues > _MOST_RESCUES:
            raise WorkerLostError(
                f"{partition.rescues} workers in a row died on page {partition.pages + 1} of"
                f" partition {partition.number}",
                hint="look at the workers' logs (memory?), then: tieline dead list",
            )
        failpoint("sync.claim.after")
        return partition

    def _claim_in(self, connection: Connection) -> PartitionRow | None:
        now = self.engine.clock.now()
        partition = partitions.claim_partition(
            connection,
            self.run.id,
            owner=this_worker(),
            now=now,
            lease_until=self.engine.lease_until(),
        )
        if partition and partition.fence > 1:
            log.add_entry(
                connection,
                at=now,
                actor=this_worker(),
                event="partition.resumed",
                connection_id=self.run.connection_id,
                entity=self.run.entity,
                run_id=self.run.id,
                counts=partition.counts,
                detail=f"partition {partition.number} from page {partition.pages + 1}",
            )
        return partition

    def _cut(self) -> bool:
        """Cut the longest rest of a partition in two, whoever reads it."""
        return self.engine.database.transact(self._cut_in)

    def _cut_in(self, connection: Connection) -> bool:
        windows = self.entity.windows
        parts = partitions.splittable(connection, self.run.id)
        if windows is None or not parts or not runs.lock_splitting(connection, self.run.id):
            return False
        now = self.engine.clock.now()
        cut = best_cut(
            windows,
            partitions.splittable(connection, self.run.id),
            now=now,
            page_s=self._waiting.page_s or self._page_time_of_others(connection, now),
        )
        if cut is None:
            return False
        part, at = cut
        failpoint("sync.split.before_commit")
        return partitions.split(
            connection, part, at=at, newest_first=windows.order == "newest first"
        )

    def _page_time_of_others(self, connection: Connection, now: datetime) -> float:
        parts = partitions.list_partitions(connection, self.run.id)
        return page_time_s(parts, since=self.run.started_at or now, now=now)


class _Meter:
    """Says how much of one processor this process used lately: Python takes no more."""

    def __init__(self, read: Callable[[], tuple[float, float]] | None = None) -> None:
        self._read = read or (lambda: (time.process_time(), time.monotonic()))
        self._before = self._read()
        self._has_time_left = False

    def has_time_left(self) -> bool:
        now = self._read()
        wall = now[1] - self._before[1]
        if wall >= _MEASURE_S:
            self._has_time_left = (now[0] - self._before[0]) / wall < _BUSY
            self._before = now
        return self._has_time_left
