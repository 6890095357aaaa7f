"""What waits on a queue and what is being worked, as Redis knows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from tieline.coordination.away import redis_errors

__all__ = ["JobSight", "QueueSight", "known_queues", "look_at_queue"]

_MOST_JOBS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSight:
    """A job, waiting or under way.

    Attributes:
        job_id: RQ's.
        of: The run or the connection that it is a wake-up for; empty if it is none of ours.
        since: Since when it waits or is being worked; None: nobody noted it.
    """

    job_id: str
    of: str
    since: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSight:
    """One queue.

    Attributes:
        name: Of the queue.
        count: How many jobs wait.
        waiting: Those that are next, 200 at most.
        working: Those under way; a killed worker's until its sign of life lapses.
        taken: How many a worker has taken that it did not begin yet.
    """

    name: str
    count: int
    waiting: tuple[JobSight, ...]
    working: tuple[JobSight, ...]
    taken: int

    @property
    def is_at_rest(self) -> bool:
        """Whether no worker has a job of it."""
        return not self.working and not self.taken


def known_queues(client: Redis) -> set[str]:
    """Name the queues on which there ever was a job.

    Raises:
        DependencyError: Redis does not answer.
    """
    with redis_errors():
        return {queue.name for queue in Queue.all(connection=client)}


def look_at_queue(client: Redis, name: str) -> QueueSight:
    """Look at one queue.

    Raises:
        DependencyError: Redis does not answer.
    """
    queue = Queue(name, connection=client, serializer="json")
    with redis_errors():
        now = datetime.now(UTC)  # RQ writes its own times by the system's clock
        registry = queue.started_job_registry
        alive = client.zrangebyscore(registry.key, now.timestamp(), "+inf")
        started = [registry.parse_job_id(entry) for entry in alive]
        taken: list[bytes] = client.lrange(queue.intermediate_queue_key, 0, -1)  # type: ignore[assignment]
        return QueueSight(
            name=name,
            count=queue.count,
            waiting=tuple(_sights(client, queue.get_job_ids(0, _MOST_JOBS), "enqueued_at")),
            working=tuple(_sights(client, started, "started_at")),
            taken=len({str(each, "utf-8") for each in taken} - set(started)),
        )


def _sights(client: Redis, job_ids: Iterable[str], since: str) -> Iterable[JobSight]:
    ids = list(dict.fromkeys(job_ids))
    for job_id, job in zip(ids, Job.fetch_many(ids, client, JSONSerializer), strict=True):
        if job is None:  # it ended at this very moment
            continue
        at = getattr(job, since)
        yield JobSight(
            job_id=job_id,
            of=_of(job),
            since=at if at is None or at.tzinfo else at.replace(tzinfo=UTC),
        )


def _of(job: Job) -> str:
    try:
        [given] = job.args
    except Exception:  # noqa: BLE001 - a payload that cannot be read is not ours
        return ""
    return given if isinstance(given, str) else ""
