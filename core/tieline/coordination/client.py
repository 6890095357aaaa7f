"""Open a client of Redis or Valkey, and say how the server is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from tieline.contract import SettingsError
from tieline.coordination.away import redis_errors

__all__ = ["describe", "open_redis", "ping", "report"]


def open_redis(url: str, *, timeout_s: float = 5.0) -> Redis:
    """Make a client; nothing is connected before its first command.

    Args:
        url: ``redis://…``, ``rediss://…`` or ``unix://…``.
        timeout_s: Seconds that a command may take.

    Raises:
        SettingsError: The address makes no sense.
    """
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
            retry_on_error=[RedisConnectionError],
        )
    except (ValueError, TypeError):
        raise SettingsError(
            "TIELINE_REDIS_URL is no Redis address",
            hint="for example: redis://:PASSWORD@redis.example.com:6379/0",
        ) from None


def ping(client: Redis) -> None:
    """Make sure that the server answers.

    Raises:
        DependencyError: It does not.
    """
    with redis_errors():
        client.ping()


def describe(url: str) -> str:
    """Write an address without user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix:{parts.path}"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


def report(client: Redis) -> dict[str, Any]:
    """Read what ``tieline doctor`` wants to know.

    Returns:
        ``server`` (``redis`` or ``valkey``), ``version``, ``maxmemory_policy``
        (None if the server does not tell), ``is_persistent`` and ``used_bytes``.

    Raises:
        DependencyError: The server does not answer.
    """
    with redis_errors():
        server = client.info("server")
        memory = client.info("memory")
        persistence = client.info("persistence")
    return {
        "server": server.get("server_name", "redis"),
        "version": server.get("valkey_version") or server.get("redis_version", ""),
        "maxmemory_policy": memory.get("maxmemory_policy"),
        "is_persistent": bool(persistence.get("aof_enabled")),
        "used_bytes": memory.get("used_memory", 0),
    }
