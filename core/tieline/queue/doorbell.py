"""Ring for a worker. A job carries ids alone; losing or doubling it is harmless.

Where traces are made, it names the span that it was rung in, too.
"""

from __future__ import annotations

from redis import Redis
from rq import Queue
from rq.job import JobStatus

from tieline.coordination.away import redis_errors
from tieline.telemetry import traceparent

__all__ = ["ASKED_IN", "DRAIN", "HELP_RUN", "QUEUE", "Doorbell"]

QUEUE = "sync"
HELP_RUN = "tieline.jobs.functions.help_run"
DRAIN = "tieline.jobs.functions.drain"
_JOB_TIMEOUT_S = 6 * 3600
_FAILURE_TTL_S = 24 * 3600
_RUNG = "tieline:drain-rung:"
_UNHEARD_S = 30
ASKED_IN = "traceparent"
"""Where a job's meta has the trace of whoever rang."""


class Doorbell:
    """Puts wake-ups on the queue that workers listen to.

    Args:
        client: Redis, or Valkey.
        queue: Name of the queue.
    """

    def __init__(self, client: Redis, queue: str = QUEUE) -> None:
        self._client = client
        self._queue = Queue(queue, connection=client, serializer="json")

    def ring(self, run_id: str, number: int) -> None:
        """Ask for a hand with a run.

        Args:
            run_id: The run.
            number: Of this ring, as the store counted it; the same ring twice
                is one job.

        Raises:
            DependencyError: Redis does not answer; the run stays asked for in
                the database, and the next sweep rings again.
        """
        with redis_errors():
            if number > 1 and self._is_waiting(f"{run_id}-{number - 1}"):
                return  # the last ring has not been heard yet; a second adds nothing
            self._queue.enqueue(
                HELP_RUN,
                run_id,
                job_id=f"{run_id}-{number}",
                unique=True,
                meta=_meta(),
                result_ttl=0,
                failure_ttl=_FAILURE_TTL_S,
                job_timeout=_JOB_TIMEOUT_S,
            )

    def ring_drain(self, connection_id: str) -> None:
        """Ask for a connection's events to be handled, before any run that waits.

        While a ring waits to be heard another adds nothing. Should a ring get
        lost, the next one after half a minute is made all the same.

        Args:
            connection_id: The connection.

        Raises:
            DependencyError: Redis does not answer; the events stay pending in
                the database, and the next sweep rings again.
        """
        with redis_errors():
            if self._client.set(_RUNG + connection_id, b"1", nx=True, ex=_UNHEARD_S):
                self._queue.enqueue(
                    DRAIN,
                    connection_id,
                    at_front=True,
                    meta=_meta(),
                    result_ttl=0,
                    failure_ttl=_FAILURE_TTL_S,
                    job_timeout=_JOB_TIMEOUT_S,
                )

    def note_heard(self, connection_id: str) -> None:
        """Say, before looking, that a ring for events was heard: who comes later rings anew.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            self._client.delete(_RUNG + connection_id)

    def _is_waiting(self, job_id: str) -> bool:
        job = self._queue.fetch_job(job_id)
        return job is not None and job.get_status() == JobStatus.QUEUED

    def count_waiting(self) -> int:
        """Count the wake-ups that no worker took yet.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            return self._queue.count


def _meta() -> dict[str, str] | None:
    return {ASKED_IN: told} if (told := traceparent()) else None
