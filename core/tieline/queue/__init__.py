"""Ring the doorbell, and see who can hear it."""

from tieline.queue.doorbell import QUEUE, Doorbell
from tieline.queue.presence import Presence, WorkerSign

__all__ = ["QUEUE", "Doorbell", "Presence", "WorkerSign"]
