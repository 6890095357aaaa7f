"""A worker: RQ's, with our sweep, signs of life and way of leaving."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from redis.exceptions import RedisError
from rq import Worker as RqWorker
from rq.exceptions import StopRequested as RqStopRequested

from tieline import __version__
from tieline.contract import TielineError
from tieline.engine import Idle, mourn, sweep, this_worker
from tieline.errors import DependencyError
from tieline.jobs import functions
from tieline.jobs.drainers import ForkedDrainer
from tieline.jobs.memory import resident_mb
from tieline.jobs.messengers import ForkedMessenger
from tieline.queue import DRAIN, HELP_RUN, QUEUE, Presence, WorkerSign
from tieline.services.heap import spare_what_is_there
from tieline.services.installation import Installation
from tieline.services.pulse import Pulse
from tieline.store import drains, pauses, runs
from tieline.telemetry import get_logger, import_ahead
from tieline.transport import trusted_certificates

__all__ = ["work"]

_log = get_logger(__name__)
_LONGEST_BACKOFF_S = 15.0
_FIRST_BACKOFF_S = 0.5
_BURST_POLL_S = 0.2
_RING_AGAIN_S = 30.0
_HELD_POLL_S = 1.0
# How often an idle worker looks whether a run would be over sooner with its help: of a
# run of ten seconds, half of what it could take over is gone after five.
_LOOK_S = 0.5
_ANSWERED_WITHIN_S = 4.0
_IDS = {
    HELP_RUN: re.compile(r"run_[a-z2-7]{16}"),
    DRAIN: re.compile(r"con_[a-z2-7]{16}"),
}


def work(
    installation: Installation,
    *,
    queues: Sequence[str],
    is_burst: bool = False,
    most_jobs: int | None = None,
    on_sweep: Callable[[], object] | None = None,
) -> None:
    """Do jobs until SIGTERM or SIGINT; with ``is_burst`` until nothing is left to do.

    A worker that loses Redis or the database goes on when they are back. From a
    queue that is paused it takes nothing.

    Args:
        installation: Where.
        queues: Names of the queues to listen to.
        is_burst: Leave once no run and no event is due and none can become so
            by a lease that lapses, or once every queue is paused.
        most_jobs: Leave after so many jobs, whatever is left; None: never.
        on_sweep: Called every few seconds by whoever runs other processes beside
            this one, to look after them. Such a worker never leaves for its
            own memory, as nobody would start it again.

    Raises:
        SettingsError: The database's schema is not the code's, or the settings of
            alerts make no sense.
        DependencyError: At the start, the database or Redis is away.
    """
    # RQ raises its own logger to INFO unless it has a level, and tells of every ring.
    logging.getLogger("rq.worker").setLevel(logging.WARNING)
    _ = installation.engine, installation.redis
    # Imported and read once here, not in every work-horse.
    installation.registry.list()
    import_ahead()
    trusted_certificates()
    functions.use(installation)
    spare_what_is_there()
    messenger, drainer = ForkedMessenger(installation), ForkedDrainer(installation)
    pulse = Pulse(installation.settings.home, "worker")
    try:
        parts = _Parts(messenger, drainer, pulse, on_sweep)
        _work(installation, queues, parts, is_burst=is_burst, most_jobs=most_jobs)
    except RqStopRequested:
        pass  # it came between one RQ worker and the next
    finally:
        pulse.stop()


class _Parts(NamedTuple):
    """What one worker after the other has of this process."""

    messenger: ForkedMessenger
    drainer: ForkedDrainer
    pulse: Pulse
    on_sweep: Callable[[], object] | None


def _work(
    installation: Installation,
    queues: Sequence[str],
    parts: _Parts,
    *,
    is_burst: bool,
    most_jobs: int | None,
) -> None:
    backoff_s = _FIRST_BACKOFF_S
    patience_s = installation.settings.lease_s + _RING_AGAIN_S
    while True:
        worker = _Worker(installation, queues, parts, is_burst=is_burst)
        began = time.monotonic()
        has_worked = False
        try:
            worker.hear_signals()
            worker.sweep()
            has_worked = worker.work(burst=is_burst, logging_level=None, max_jobs=most_jobs)
            backoff_s = _FIRST_BACKOFF_S
        except (RedisError, OSError, DependencyError) as error:
            _log.warning("a dependency is away", reason=str(error), again_in_s=backoff_s)
        if worker.was_stopped:
            return
        if most_jobs is not None:  # one that lost Redis meanwhile has done some of them
            most_jobs -= worker.jobs_done
            if most_jobs <= 0:
                return
        if is_burst and (worker.is_held or not _wait_for_more(installation, worker)):
            return
        time.sleep(_BURST_POLL_S if is_burst else backoff_s)
        backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
        patience_s = (
            installation.settings.lease_s + _RING_AGAIN_S
            if has_worked
            else patience_s - (time.monotonic() - began)
        )
        if is_burst and patience_s < 0:
            return  # what is left is somebody else's, or on another queue


def _wait_for_more(installation: Installation, worker: _Worker) -> bool:
    """Wait for a dead worker's lease to lapse; False if there is nothing to wait for."""
    for _ in range(2):
        with worker.undisturbed(), installation.database.read() as connection:
            found = (runs.next_due_at(connection), drains.next_due_at(connection))
        due_at = min(filter(None, found), default=None)
        if due_at is None or worker.was_stopped:
            return False
        wait = (due_at - installation.clock.now()).total_seconds()
        if wait <= 0:
            return True
        if wait > installation.settings.lease_s:
            return False
        installation.clock.sleep(wait + 0.05)
    return False


class _Worker(RqWorker):
    """One RQ worker process.

    RQ looks after itself every ten minutes and between jobs; runs of a dead
    worker cannot wait that long, so its maintenance is our sweep.
    """

    max_connection_wait_time = _LONGEST_BACKOFF_S

    def __init__(
        self, installation: Installation, queues: Sequence[str], parts: _Parts, *, is_burst: bool
    ) -> None:
        self._installation = installation
        self._on_sweep = parts.on_sweep
        self._told_horse = 0
        self._sweep_s = installation.settings.sweep_s
        self._presence = Presence(installation.redis)
        self._queues_named = tuple(queues)
        self._messenger = parts.messenger
        self._drainer = parts.drainer
        self._pulse = parts.pulse
        self._is_burst = is_burst
        self._paused: frozenset[str] = frozenset()
        self._is_at_work = False
        self._sweep_at = 0.0
        self._idle = Idle(installation.engine)
        self.was_stopped = False
        self.jobs_done = 0
        super().__init__(
            list(queues),
            connection=installation.redis,
            serializer="json",
            job_monitoring_interval=max(1, math.ceil(self._sweep_s)),
            maintenance_interval=0,
            log_job_description=False,
            worker_ttl=60,
        )

    @property
    def dequeue_timeout(self) -> float:  # type: ignore[override]  # Redis takes parts of a second
        return _LOOK_S

    def hear_signals(self) -> None:
        """Take signals from now on; RQ would not before it listens."""
        self._install_signal_handlers()  # type: ignore[no-untyped-call]

    def sweep(self) -> None:
        """Say that this worker lives, ring for what nobody does, and have alerts told."""
        with self.undisturbed():
            self._pulse.beat()
            if self._on_sweep is not None:
                self._on_sweep()
            self._mind_memory()
            self._announce()
            self._look_at_pauses()
            if QUEUE not in self._paused:
                sweep(self._installation.engine)
            self._messenger.send()

    @property
    def is_held(self) -> bool:
        """Whether every queue was paused when this was last looked at."""
        return self._paused.issuperset(self._queues_named)

    def _look_at_pauses(self) -> None:
        """Listen to the queues that are not paused."""
        with self._installation.database.read() as connection:
            paused = frozenset(pauses.paused_queues(connection))
        if paused != self._paused:
            _log.info("queues are paused or go on", paused=sorted(paused))
        self._paused = paused
        # Never to none, which RQ does not know: is_held then keeps it from listening.
        self._ordered_queues = [q for q in self.queues if q.name not in paused] or [*self.queues]

    def _rest_while_held(self) -> None:
        """Take nothing while every queue is paused; look after all else meanwhile."""
        while self.is_held:
            if self._is_burst or self._stop_requested:
                raise RqStopRequested
            self.heartbeat()
            time.sleep(min(_HELD_POLL_S, self._sweep_s))
            self._sweep_calmly()

    def execute_job(self, job: Any, queue: Any) -> None:
        """Do a job only if it is one of ours: whoever writes to Redis runs no code here."""
        with self.undisturbed():
            try:
                self._look_at_pauses()
            except DependencyError:
                pass  # then the job can do nothing either
            if queue.name in self._paused:  # it was paused while this one waited for a job
                self._put_back(job, queue)
                return
            if len(self.queues) > 1:  # RQ clears this up for those alone that have but one queue
                self._installation.redis.lrem(queue.intermediate_queue_key, 1, job.id)
            if not _is_ours(job):
                _log.error("a job that is none of ours was refused", job=str(job.id)[:80])
                job.delete()
                return
            self._warm_up(job.args[0])
            if self._stop_requested:
                self._put_back(job, queue)
                return
            self.jobs_done += 1
            super().execute_job(job, queue)
            self._sweep_at = 0.0  # what the job left is looked after at once

    def _put_back(self, job: Any, queue: Any) -> None:
        with self._installation.redis.pipeline() as pipe:
            queue.push_job_id(job.id, pipeline=pipe, at_front=True)
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
            pipe.execute()

    def _warm_up(self, its_id: str) -> None:
        """Have the data keys of a job's credential here, so that its work-horse inherits them.

        A work-horse ends with its job, and with it what it asked the key
        service for; with this, a worker bridges an outage from job to job.
        """
        if self._installation.vault.kind == "local":
            return
        try:
            with self._installation.database.read() as connection:
                run = runs.get_run(connection, its_id)
            connection_id = run.connection_id if run is not None else its_id
            self._installation.engine.opener.refresher.peek(connection_id)
        except TielineError as error:
            _log.debug("no data keys to inherit", job_of=its_id, reason=error.message)

    def run_maintenance_tasks(self) -> None:
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + self._sweep_s
            self._sweep_calmly()
            self.clean_registries()  # type: ignore[no-untyped-call]
        self._offer_help()
        self._rest_while_held()
        if self._stop_requested:  # while it listens, RQ looks at nothing but what a signal raises
            raise RqStopRequested

    def _sweep_calmly(self) -> None:
        try:
            self.sweep()
        except DependencyError as error:
            _log.warning("sweep failed", reason=error.message)

    def _offer_help(self) -> None:
        """Ring for a run that others read: RQ asks for maintenance when there is no job."""
        if QUEUE in self._paused:
            return
        try:
            with self.undisturbed():
                self._idle.offer_help()
        except DependencyError as error:
            _log.warning("no help was offered", reason=error.message)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        if self._stop_requested and self.horse_pid:  # the signal may have come before it was there
            _signal(self.horse_pid, signal.SIGUSR1)
        try:
            super().maintain_heartbeats(job, execution)
            if self._stop_requested:  # others look after the rest
                return
            self.sweep()
            if QUEUE not in self._paused:
                self._drainer.drain()
        except (RedisError, OSError, DependencyError) as error:
            _log.warning("heartbeat failed", reason=type(error).__name__)

    def handle_warm_shutdown_request(self) -> None:
        self.was_stopped = True
        self._stop_requested = True
        if self.horse_pid:
            _signal(self.horse_pid, signal.SIGUSR1)

    def _shutdown(self) -> None:
        """Leave at once where this worker listens; RQ's raises in a query of ours, too.

        The connection would be left in the middle of it, and the pool, which
        cannot reset such a one, would tell of that as an error. What the
        database does not answer in time is given up by an exception that
        psycopg knows: it cancels the query.
        """
        if not self._is_at_work:
            raise RqStopRequested
        if not self.horse_pid:  # RQ needs the alarm to look after a work-horse
            signal.signal(signal.SIGALRM, _give_up)
            signal.setitimer(signal.ITIMER_REAL, _ANSWERED_WITHIN_S)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Have a first signal noted, and nothing raised, as long as this lasts."""
        was_at_work, self._is_at_work = self._is_at_work, True
        try:
            yield
        finally:
            self._is_at_work = was_at_work
            if not was_at_work and self._stop_requested:
                signal.setitimer(signal.ITIMER_REAL, 0)

    def handle_work_horse_killed(self, job: Any, retpid: int, ret_val: int, _rusage: Any) -> None:
        """Let others take over at once: the kernel's word is better than a lease."""
        _log.warning("a work-horse died", pid=retpid, wait_status=ret_val, job=job.id)
        try:
            mourn(self._installation.engine, this_worker(retpid))
        except DependencyError as error:
            _log.warning("its leases will lapse", reason=error.message)

    def handle_job_failure(
        self,
        job: Any,
        queue: Any,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Any = None,
    ) -> None:
        """Keep in Redis what failed and where; the words, which may quote anything, are logged."""
        if (error := sys.exc_info()[1]) is not None:
            place = traceback.extract_tb(error.__traceback__)[-1]
            exc_string = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)

    def request_force_stop(self, signum: int, frame: Any) -> None:
        self.was_stopped = True
        super().request_force_stop(signum, frame)

    def setup_work_horse_signals(self) -> None:
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        functions.stop_on(signal.SIGUSR1, signal.SIGTERM)
        functions.leave_with_parent()
        functions.leave_in_time()

    def teardown(self) -> None:
        if not self.is_horse:
            try:
                self._presence.withdraw(this_worker())
            except DependencyError:
                pass  # it vanishes by itself
        super().teardown()  # type: ignore[no-untyped-call]

    def _mind_memory(self) -> None:
        """Have a process that grew too large finish its page and make way for a fresh one.

        Mostly that is a work-horse: another is forked, and goes on from its
        checkpoint. Whoever supervises this process starts it again.
        """
        most = self._installation.settings.worker_memory_mb
        if not most:
            return
        horse = self.horse_pid
        if horse and horse != self._told_horse and (has := resident_mb(horse)) > most:
            self._told_horse = horse
            _log.warning("a work-horse grew too large and makes way", has_mb=round(has), most=most)
            _signal(horse, signal.SIGUSR1)
        may_leave = self._on_sweep is None and not self.was_stopped
        if may_leave and (has := resident_mb(os.getpid())) > most:
            _log.warning("this worker grew too large and leaves", has_mb=round(has), most=most)
            self.handle_warm_shutdown_request()

    def _announce(self) -> None:
        sign = WorkerSign(
            name=this_worker(),
            queues=self._queues_named,
            busy_with=self.get_current_job_id() or "" if self.horse_pid else "",
            version=__version__,
        )
        self._presence.announce(sign, ttl_s=3 * max(1.0, self._sweep_s) + 1)


def _give_up(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


def _is_ours(job: Any) -> bool:
    try:
        name, given, named = job.func_name, job.args, job.kwargs
    except Exception:  # noqa: BLE001 - a payload that cannot be read is not ours
        return False
    form = _IDS.get(name)
    is_id = len(given) == 1 and isinstance(given[0], str)
    return form is not None and is_id and bool(form.fullmatch(given[0])) and not named


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself
