"""What limits counts in: the Redis, or Valkey, that there is a client of already."""

from __future__ import annotations

from limits.storage import RedisStorage

from tieline.coordination import Redis

__all__ = ["storage_on"]


class _Storage(RedisStorage):
    """Imports the one client that is used.

    limits imports every client of its storage that is installed. Valkey's comes
    with the embedded server, and every work-horse would import it.
    """

    STORAGE_SCHEME: list[str] = []  # noqa: RUF012 - as its base has them
    DEPENDENCIES = {"redis": RedisStorage.DEPENDENCIES["redis"]}  # noqa: RUF012


def storage_on(client: Redis) -> RedisStorage:
    """Count by the connections of a client."""
    # The address is not used: the pool is the client's own.
    return _Storage("redis://", connection_pool=client.connection_pool)
