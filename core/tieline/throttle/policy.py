"""Which limits hold for a connection, and which of them count a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from limits import RateLimitItem, parse_many

from tieline.contract import Connection, Rate, RateLimitPolicy, SettingsError

__all__ = ["Scope", "Window", "endpoint_of", "policy_of", "read_override", "windows_of"]

Scope = Literal["account", "application", "endpoint"]

_IDENTIFIER = re.compile(r"(?=[^/]*\d)[^/]{7,}")
_CONCURRENCY = re.compile(r"0*[1-9][0-9]{0,5}")
_SECTION = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One limit that counts a call.

    Attributes:
        item: How many calls in which time.
        by: What they are counted by.
        scope: What the provider meters with it.
        label: What it counts, for people.
    """

    item: RateLimitItem
    by: tuple[str, ...]
    scope: Scope
    label: str


def policy_of(
    provider: str,
    declared: RateLimitPolicy | None,
    overrides: Mapping[str, str],
    name: str = "",
) -> RateLimitPolicy:
    """Return the limits that hold: the settings', else the plugin's, else none.

    Args:
        provider: The provider's name.
        declared: What its plugin says of the connection.
        overrides: Provider to limits as settings give them. What comes before
            the first ``[name]`` is for every connection, what follows one for
            that connection alone: ``80/second; concurrency=8; [shop] 20/second``.
        name: The connection's name.

    Raises:
        SettingsError: The override makes no sense.
    """
    policy = declared or RateLimitPolicy()
    given = _part_for(name, overrides.get(provider, ""))
    return read_override(provider, given, policy) if given else policy


def _part_for(name: str, text: str) -> str:
    """Choose the part of a setting that is for a connection; empty: none is."""
    first, *rest = _SECTION.split(text)
    parts = {each.strip(): part for each, part in zip(rest[::2], rest[1::2], strict=True)}
    return parts.get(name, first).strip(" ;")


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
        if name.strip() == "concurrency" and _CONCURRENCY.fullmatch(number.strip()):
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
    return replace(declared, rates=rates, concurrency=concurrency)


def windows_of(
    policy: RateLimitPolicy, connection: Connection, *, method: str, path: str
) -> list[Window]:
    """Choose the limits that count a call; paths that differ by an id count together."""
    found: list[Window] = []
    account = policy.key or connection.account.id or connection.id
    for rate in policy.rates:
        paths = (rate.match,) if isinstance(rate.match, str) else tuple(rate.match)
        if not path.startswith(paths):
            continue
        by: tuple[str, ...] = (connection.provider, connection.environment)
        label = "all calls of the application"
        if rate.scope != "application":
            by += (account,)
            label = "all calls"
        if rate.scope == "endpoint":
            endpoint = (method, " ".join(paths) or _IDENTIFIER.sub("*", path))
            by += endpoint
            label = " ".join(endpoint)
        elif rate.match:
            by += paths
            label = " ".join(paths)
        found += [
            Window(item=item, by=by, scope=rate.scope, label=label)
            for item in parse_many(rate.limit)
        ]
    return found


def endpoint_of(method: str, path: str) -> str:
    """Name an endpoint: paths that differ by an id are one."""
    return f"{method} {_IDENTIFIER.sub('*', path)}"
