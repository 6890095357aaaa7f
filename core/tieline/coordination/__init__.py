"""Redis or Valkey: the embedded server, clients, what to say when it is away."""

from tieline.coordination.alone import Redis
from tieline.coordination.away import redis_errors
from tieline.coordination.client import describe, open_redis, ping, report
from tieline.coordination.embedded import EmbeddedServer, is_locked

__all__ = [
    "EmbeddedServer",
    "Redis",
    "describe",
    "is_locked",
    "open_redis",
    "ping",
    "redis_errors",
    "report",
]
