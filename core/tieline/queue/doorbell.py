"""Ring for a worker. A job carries ids alone; losing or doubling it is harmless."""

from __future__ import annotations

from redis import Redis
from rq import Queue

from tieline.coordination.away import redis_errors

__all__ = ["QUEUE", "Doorbell"]

QUEUE = "sync"
_HELP_RUN = "tieline.jobs.functions.help_run"
_JOB_TIMEOUT_S = 6 * 3600
_FAILURE_TTL_S = 24 * 3600


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
            self._queue.enqueue(
                _HELP_RUN,
                run_id,
                job_id=f"{run_id}-{number}",
                unique=True,
                result_ttl=0,
                failure_ttl=_FAILURE_TTL_S,
                job_timeout=_JOB_TIMEOUT_S,
            )

    def count_waiting(self) -> int:
        """Count the wake-ups that no worker took yet.

        Raises:
            DependencyError: Redis does not answer.
        """
        with redis_errors():
            return self._queue.count
