"""Open a client of Redis or Valkey, and say how the server is."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.retry import Retry

from tieline.contract import SettingsError
from tieline.coordination.away import redis_errors

__all__ = ["describe", "open_redis", "ping", "report"]


def open_redis(url: str, *, timeout_s: float = 5.0) -> Redis:
    """Make a client; nothing is connected before its first command.

    A lost connection is tried again twice, within a quarter of a second; a
    command that timed out is not, for it may have been done.

    Args:
        url: ``redis://…``, ``rediss://…`` or ``unix://…``.
        timeout_s: Seconds that a command may take; a blocking read must wait
            for less.

    Returns:
        A client that answers in bytes.

    Raises:
        SettingsError: The address makes no sense.
    """
    try:
        return Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            health_check_interval=30,
            retry=Retry(
                ExponentialBackoff(cap=0.5, base=0.05), 2, supported_errors=(RedisConnectionError,)
            ),
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
    try:
        with redis_errors():
            client.ping()
    except TypeError:  # redis-py hands unknown options to its sockets
        raise SettingsError(
            "TIELINE_REDIS_URL has an option that the driver does not know"
        ) from None


def describe(url: str) -> str:
    """Write an address without user, password and options.

    Returns:
        Such as ``redis://redis.example.com:6379/0`` or ``unix:/run/valkey.sock``;
        of an address that makes no sense, nothing but an ellipsis.
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "…"
    if parts.scheme not in {"redis", "rediss", "unix"}:
        return "…"
    if parts.scheme == "unix":
        return f"unix:{unquote(parts.path)}"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def report(client: Redis) -> dict[str, Any]:
    """Read what ``tieline doctor`` wants to know.

    Returns:
        ``server`` (``redis`` or ``valkey``), ``version``, ``maxmemory_policy``
        (None if the server does not tell), ``aof_enabled`` (bool), ``saves``
        (bool: it writes snapshots; None if it does not tell), ``used_memory``
        and ``maxmemory`` (bytes; 0: no bound), ``role`` (``master`` or
        ``slave``), and ``time``, by its clock in seconds since the epoch.

    Raises:
        DependencyError: The server does not answer.
    """
    with redis_errors():
        server = client.info("server")
        memory = client.info("memory")
        persistence = client.info("persistence")
        replication = client.info("replication")
        seconds, micros = client.time()
        try:
            saves = bool(client.config_get("save").get("save"))
        except ResponseError:  # hosted servers refuse CONFIG
            saves = None
    return {
        "server": server.get("server_name", "redis"),
        "version": server.get("valkey_version") or server.get("redis_version", ""),
        "maxmemory_policy": memory.get("maxmemory_policy"),
        "aof_enabled": bool(persistence.get("aof_enabled")),
        "saves": saves,
        "used_memory": memory.get("used_memory", 0),
        "maxmemory": memory.get("maxmemory", 0),
        "role": replication.get("role", "master"),
        "time": seconds + micros / 1_000_000,
    }
