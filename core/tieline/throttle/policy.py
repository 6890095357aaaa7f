"""Which limits hold for a connection, and which of them count a call."""

from __future__ import annotations

import re
from collections.abc import Mapping

from limits import RateLimitItem, parse_many

from tieline.contract import Connection, Rate, RateLimitPolicy, SettingsError

__all__ = ["Windows", "policy_of", "read_override", "windows_of"]

Windows = list[tuple[RateLimitItem, tuple[str, ...]]]
"""Limits, each with what it is counted by."""

_IDENTIFIER = re.compile(r"(?=.*\d)[^/]{7,}")


def policy_of(
    provider: str, declared: RateLimitPolicy | None, overrides: Mapping[str, str]
) -> RateLimitPolicy:
    """Return the limits that hold: the settings', else the plugin's, else none.

    Args:
        provider: The provider's name.
        declared: What its plugin says of the connection.
        overrides: Provider to limits as settings give them.

    Raises:
        SettingsError: The override makes no sense.
    """
    policy = declared or RateLimitPolicy()
    given = overrides.get(provider, "")
    return read_override(provider, given, policy) if given else policy


def read_override(provider: str, text: str, declared: RateLimitPolicy) -> RateLimitPolicy:
    """Read limits such as ``80/second; 20/second endpoint; concurrency=8``, or ``none``.

    Raises:
        SettingsError: A part of it makes no sense.
    """
    rates: list[Rate] = []
    concurrency: int | None = None
    for part in (part.strip() for part in text.split(";")):
        if part in {"", "none"}:
            continue
        name, _, number = part.partition("=")
        if name.strip() == "concurrency" and number.strip().isdecimal() and int(number) > 0:
            concurrency = int(number)
            continue
        words = part.rsplit(" ", 1)
        scope = words[1] if len(words) > 1 and "/" not in words[1] else "account"
        limit = words[0].strip() if scope in {"account", "application", "endpoint"} else part
        try:
            rates.append(Rate(limit=limit, scope=scope))  # type: ignore[arg-type]
        except ValueError:
            raise SettingsError(
                f"TIELINE_{provider.upper()}_RATE_LIMITS: {part!r} is no limit",
                hint="for example: 80/second; 20/second endpoint; concurrency=8",
            ) from None
    return RateLimitPolicy(
        rates=rates,
        concurrency=concurrency,
        reserve=declared.reserve,
        alert_at=declared.alert_at,
    )


def windows_of(
    policy: RateLimitPolicy, connection: Connection, *, method: str, path: str
) -> Windows:
    """Choose the limits that count a call; paths that differ by an id count together."""
    found: Windows = []
    account = connection.account.id or connection.id
    for rate in policy.rates:
        if not path.startswith(rate.match):
            continue
        by: tuple[str, ...] = (connection.provider,)
        if rate.scope != "application":
            by += (account,)
        if rate.scope == "endpoint":
            by += (method, rate.match or _IDENTIFIER.sub("*", path))
        found += [(item, by) for item in parse_many(rate.limit)]
    return found
