"""Webhook endpoints: who is told of which events, and what they are told with.

Source: Stripe API reference, "Webhook Endpoints"; parameters as in the official
OpenAPI file (API version 2026-10-28.endive). Differing from Stripe, addresses
on this machine and plain http are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.ids import Ids

__all__ = ["Endpoint", "Endpoints"]

_ALL = "*"
_SECRET_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # noqa: S105
_SECRET_LENGTH = 32
# They are about the platform's access and go to it alone ("Types of events").
_OF_ACCESS = "account.application."


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One webhook endpoint.

    ``account`` is whose it is; with ``is_connect`` it is told of the events of
    the accounts that are connected to that one, and else of its own.
    ``retired`` are secrets before the present one, with the time of the
    sandbox's clock until which they sign, too.
    """

    id: str
    account: str
    url: str
    enabled_events: list[str]
    api_version: str | None
    is_connect: bool
    created: int
    secret: str
    description: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    is_disabled: bool = False
    retired: list[tuple[str, float]] = field(default_factory=list)

    def wants(self, kind: str) -> bool:
        """Whether it is told of events of a type."""
        is_named = kind in self.enabled_events or _ALL in self.enabled_events
        return is_named and not self.is_disabled and self._is_meant(kind)

    def secrets(self, now: float) -> list[str]:
        """Return what its deliveries are signed with, the present secret first."""
        return [self.secret, *(text for text, until in self.retired if now < until)]

    def shown(self) -> dict[str, Any]:
        """Return it as answers show it; the secret is told once, at its creation."""
        return {
            "id": self.id,
            "object": "webhook_endpoint",
            "api_version": self.api_version,
            "application": None,
            "created": self.created,
            "description": self.description,
            "enabled_events": self.enabled_events,
            "livemode": False,
            "metadata": self.metadata,
            "status": "disabled" if self.is_disabled else "enabled",
            "url": self.url,
        }

    def _is_meant(self, kind: str) -> bool:
        return self.is_connect or not kind.startswith(_OF_ACCESS)


class Endpoints:
    """All webhook endpoints of all accounts, in the order of their making.

    Args:
        seed: Chooses ids and secrets.
        clock: The sandbox's time.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        self._ids = Ids("we", seed, fill="1TieB7WZ01")
        self._seed = seed
        self._clock = clock
        self._made = 0
        self._secrets = 0
        self._kept: dict[str, Endpoint] = {}

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._kept)

    def all(self) -> list[Endpoint]:
        """Return every endpoint, the oldest first."""
        return list(self._kept.values())

    def of(self, account: str) -> list[Endpoint]:
        """Return those of an account, the oldest first."""
        return [each for each in self._kept.values() if each.account == account]

    def find(self, name: str, account: str | None = None) -> Endpoint | None:
        """Return the endpoint of an id; None if there is none, or it is another account's."""
        found = self._kept.get(name)
        return found if found and account in {None, found.account} else None

    def add(self, account: str, **given: Any) -> Endpoint:
        """Make an endpoint."""
        made = Endpoint(
            id=self._ids.of(self._made),
            account=account,
            created=self._clock.second(),
            secret=self._new_secret(),
            **given,
        )
        self._made += 1
        self._kept[made.id] = made
        return made

    def remove(self, endpoint: Endpoint) -> None:
        """Delete an endpoint; what was to be delivered to it no longer is."""
        del self._kept[endpoint.id]

    def roll(self, endpoint: Endpoint, overlap_s: float) -> str:
        """Give an endpoint a new secret; the one before signs, too, for a while."""
        now = self._clock.now()
        endpoint.retired = [each for each in endpoint.retired if now < each[1]]
        endpoint.retired.insert(0, (endpoint.secret, now + overlap_s))
        endpoint.secret = self._new_secret()
        return endpoint.secret

    def _new_secret(self) -> str:
        self._secrets += 1
        digest = blake2b(f"whsec:{self._seed}:{self._secrets}".encode(), digest_size=64).digest()
        letters = "".join(_SECRET_LETTERS[byte % 62] for byte in digest[:_SECRET_LENGTH])
        return f"whsec_{letters}"
