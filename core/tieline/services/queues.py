"""Look at the queues of jobs, hold them, let them go on, wait until nobody is at work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tieline.engine.timetable import read_duration_s
from tieline.errors import NotFoundError, RefusedError, nearest
from tieline.queue import QUEUE, JobSight, QueueSight, WorkerSign, known_queues, look_at_queue
from tieline.services.installation import Installation
from tieline.store import connections, log, move, pauses, runs
from tieline.store.database import Connection as Transaction
from tieline.store.pauses import PausedQueue

__all__ = ["Job", "Queue", "What", "drain_queue", "list_queues", "pause_queue", "resume_queue"]

_POLL_S = 0.5

What = Literal["run", "events", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A wake-up that waits, or is being worked.

    Attributes:
        what: ``run``, ``events`` or, of a stranger's job, ``unknown``.
        run: Id of the run that it is for; None of events.
        connection: Name of the connection; None if it is gone.
        entity: Of the run; None of events.
        worker: Who is at work, ``host:pid``; None while it waits, or if nobody knows.
        since: Since when it waits or is being worked; None: nobody knows.
    """

    what: What
    run: str | None
    connection: str | None
    entity: str | None
    worker: str | None
    since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """One queue of jobs.

    Attributes:
        name: Of the queue.
        paused_at: Since when workers take nothing; None: they do.
        paused_by: Who paused it.
        workers: How many living ones listen to it.
        count: How many jobs wait.
        waits_since: Since when the longest of the next ones waits.
        waiting: Those that are next, a bounded number.
        working: Those that are being worked.
    """

    name: str
    paused_at: datetime | None
    paused_by: str | None
    workers: int
    count: int
    waits_since: datetime | None
    waiting: Sequence[Job]
    working: Sequence[Job]


def list_queues(installation: Installation) -> list[Queue]:
    """Look at every queue: ours, those that workers listen to, those that jobs were put on.

    Raises:
        DependencyError: Database or Redis does not answer.
    """
    signs = installation.presence.alive()
    with installation.database.read() as transaction:
        paused = pauses.paused_queues(transaction)
    sights = [look_at_queue(installation.redis, name) for name in _names(installation, signs)]
    with installation.database.read() as transaction:
        named = _name_jobs(transaction, sights)
    return [_queue(sight, paused.get(sight.name), signs, named) for sight in sights]


def pause_queue(installation: Installation, name: str, *, actor: str) -> Queue:
    """Have all workers take no further job from a queue; those under way go on to their end.

    It is kept in the database: it holds for workers that start later, and when
    Redis was emptied.

    Raises:
        NotFoundError: There is no such queue.
        RefusedError: It is paused already.
        DependencyError: Database or Redis does not answer.
    """
    _require(installation, name)

    def work(transaction: Transaction) -> None:
        now = installation.clock.now()
        if not pauses.pause_queue(transaction, name, now=now, by=actor):
            raise RefusedError(
                f"the queue {name} is paused already",
                hint=f"tieline queue resume {name}",
                code="queue-paused",
            )
        log.add_entry(transaction, at=now, actor=actor, event="queue.paused", detail=name)

    installation.database.transact(work)
    return _one(installation, name)


def resume_queue(installation: Installation, name: str, *, actor: str) -> Queue:
    """Let workers take jobs from a queue again.

    Raises:
        NotFoundError: There is no such queue.
        RefusedError: It is not paused.
        DependencyError: Database or Redis does not answer.
    """
    _require(installation, name)

    def work(transaction: Transaction) -> None:
        if not pauses.resume_queue(transaction, name):
            raise RefusedError(f"the queue {name} is not paused", code="queue-not-paused")
        now = installation.clock.now()
        log.add_entry(transaction, at=now, actor=actor, event="queue.resumed", detail=name)

    installation.database.transact(work)
    return _one(installation, name)


def drain_queue(
    installation: Installation,
    name: str,
    *,
    timeout: str,
    on_progress: Callable[[int, int], None] = lambda _working, _waiting: None,
) -> Queue:
    """Wait until nobody is at work, and, unless the queue is paused, nothing waits.

    Of a queue that is paused what waits stays. Nobody is at work once no worker
    has a job and no lease is held in the database, by whatever process.

    Args:
        installation: Where.
        name: Of the queue.
        timeout: The longest to wait, such as ``5m``.
        on_progress: Told each time how many jobs are under way, and how many wait.

    Raises:
        NotFoundError: There is no such queue.
        InvalidInputError: The time makes no sense.
        RefusedError: It took longer; everything goes on as before.
        DependencyError: Database or Redis does not answer.
    """
    timeout_s = read_duration_s(timeout.strip(), field="timeout", least_s=0)
    _require(installation, name)
    clock = installation.clock
    until = clock.monotonic() + timeout_s
    while True:
        sight = look_at_queue(installation.redis, name)
        with installation.database.read() as transaction:
            is_paused = name in pauses.paused_queues(transaction)
            held_until = move.lease_left(transaction, clock.now())
        # Redis was asked first: whoever took a job since has a lease by now, or finds it paused.
        is_empty = is_paused or not sight.count
        if sight.is_at_rest and held_until is None and is_empty:
            return _one(installation, name)
        on_progress(len(sight.working) + sight.taken, sight.count)
        if clock.monotonic() >= until:
            raise _busy(name, sight, is_paused=is_paused)
        clock.sleep(min(_POLL_S, max(0.0, until - clock.monotonic())))


def _busy(name: str, sight: QueueSight, *, is_paused: bool) -> RefusedError:
    at_work = len(sight.working) + sight.taken
    waits = "" if is_paused else f", {sight.count} wait"
    return RefusedError(
        f"the queue {name} is not at rest: {at_work} jobs are under way{waits}",
        hint="wait longer: --timeout" if is_paused else f"tieline queue pause {name}",
        code="queue-busy",
    )


def _names(installation: Installation, signs: Sequence[WorkerSign]) -> list[str]:
    listened = {name for sign in signs for name in sign.queues}
    with installation.database.read() as transaction:
        paused = set(pauses.paused_queues(transaction))
    others = (known_queues(installation.redis) | listened | paused) - {QUEUE}
    return [QUEUE, *sorted(others)]


def _require(installation: Installation, name: str) -> None:
    names = _names(installation, installation.presence.alive())
    if name not in names:
        raise NotFoundError(
            f"there is no queue {name[:80]!r}, and no worker listens to one",
            hint=nearest(name, names),
            code="queue-unknown",
        )


def _one(installation: Installation, name: str) -> Queue:
    return next(each for each in list_queues(installation) if each.name == name)


def _name_jobs(
    transaction: Transaction, sights: Sequence[QueueSight]
) -> Mapping[str, tuple[str, str | None]]:
    """Say of runs and connections what they are called: connection and entity, by id."""
    ids = {job.of for sight in sights for job in (*sight.waiting, *sight.working)}
    named: dict[str, tuple[str, str | None]] = {
        row.id: (row.name, None) for row in connections.list_connections(transaction)
    }
    return {**named, **runs.names_of(transaction, ids)}


def _queue(
    sight: QueueSight,
    paused: PausedQueue | None,
    signs: Sequence[WorkerSign],
    named: Mapping[str, tuple[str, str | None]],
) -> Queue:
    workers = {sign.busy_with: sign.name for sign in signs if sign.busy_with}

    def job(of: JobSight) -> Job:
        connection, entity = named.get(of.of, (None, None))
        is_run = of.of.startswith("run_")
        return Job(
            what="run" if is_run else "events" if of.of.startswith("con_") else "unknown",
            run=of.of if is_run else None,
            connection=connection,
            entity=entity,
            worker=workers.get(of.job_id),
            since=of.since,
        )

    return Queue(
        name=sight.name,
        paused_at=paused.paused_at if paused else None,
        paused_by=paused.paused_by if paused else None,
        workers=sum(sight.name in sign.queues for sign in signs),
        count=sight.count,
        waits_since=min((each.since for each in sight.waiting if each.since), default=None),
        waiting=[job(each) for each in sight.waiting],
        working=[job(each) for each in sight.working],
    )
