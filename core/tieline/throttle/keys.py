"""Where the throttle keeps what in Redis; every process builds the same names."""

from __future__ import annotations

from typing import Literal, get_args

from tieline.contract import Connection, RateLimitPolicy

__all__ = [
    "EVENTS",
    "PACES",
    "Pace",
    "breaker_at",
    "breaker_of",
    "breakers_at",
    "hosts_of",
    "place_of",
    "provider_of",
    "rank_of",
]

Pace = Literal["live", "sync", "backfill"]
"""What a call is for: people and webhooks, keeping in step, reading all of the past."""

PACES: tuple[Pace, ...] = get_args(Pace)
EVENTS = "tieline:throttle:events"


def rank_of(pace: Pace) -> int:
    """Return whose turn comes first: 1 for live, 2 for sync, 3 for backfill."""
    return PACES.index(pace) + 1


def provider_of(connection: Connection) -> str:
    """Name what is known of one environment of a provider, where all its accounts count together.

    An account may have the same id in live and in test, and has a budget in each.
    """
    return f"tieline:throttle:{connection.provider}:{connection.environment}"


def place_of(connection: Connection, policy: RateLimitPolicy) -> str:
    """Name what is known of one account, or of what else the provider counts by."""
    key = policy.key or connection.account.id or connection.id
    return f"{provider_of(connection)}:{key}"


def breaker_of(connection: Connection, host: str) -> str:
    """Name the breaker of a connection at a host."""
    return breaker_at(connection.id, host)


def hosts_of(connection: Connection) -> str:
    """Name the set of hosts at which a connection has met failures."""
    return breakers_at(connection.id)


def breaker_at(connection_id: str, host: str) -> str:
    """Name the breaker of a connection, by its id, at a host."""
    return f"tieline:breaker:{connection_id}:{host}"


def breakers_at(connection_id: str) -> str:
    """Name the set of hosts at which a connection, by its id, has met failures."""
    return f"tieline:breaker:{connection_id}"
