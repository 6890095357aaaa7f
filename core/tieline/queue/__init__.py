"""Ring the doorbell, see who can hear it, and what waits."""

from tieline.coordination import alone
from tieline.queue.doorbell import ASKED_IN, DRAIN, HELP_RUN, QUEUE, Doorbell
from tieline.queue.presence import Presence, WorkerSign
from tieline.queue.sight import JobSight, QueueSight, known_queues, look_at_queue

assert alone  # before RQ imports redis-py

__all__ = [
    "ASKED_IN",
    "DRAIN",
    "HELP_RUN",
    "QUEUE",
    "Doorbell",
    "JobSight",
    "Presence",
    "QueueSight",
    "WorkerSign",
    "known_queues",
    "look_at_queue",
]
