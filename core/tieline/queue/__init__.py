"""Ring the doorbell, and see who can hear it."""

from tieline.queue.doorbell import DRAIN, HELP_RUN, QUEUE, Doorbell
from tieline.queue.presence import Presence, WorkerSign

__all__ = ["DRAIN", "HELP_RUN", "QUEUE", "Doorbell", "Presence", "WorkerSign"]
