"""Say in our own words that Redis is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from tieline.errors import DependencyError

__all__ = ["redis_errors"]


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate whatever Redis raises.

    Raises:
        DependencyError: Redis does not answer, or refuses.
    """
    try:
        yield
    except (RedisError, OSError) as error:
        raise DependencyError(
            f"Redis does not answer or refuses: {type(error).__name__}",
            hint="tieline doctor",
            code="redis-down",
        ) from None
