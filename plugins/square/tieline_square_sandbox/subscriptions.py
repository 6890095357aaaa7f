"""The application's webhook subscriptions, and how a delivery to one is signed.

Source: Square documentation, "Webhook Subscriptions API" and "Verify and validate
an event notification": one subscription serves all sellers of the application.
"""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from hmac import digest
from typing import Any

from tieline_square_sandbox.clock import Clock

__all__ = ["SILENCE_S", "Subscription", "Subscriptions", "signature"]

SILENCE_S = 21 * 86_400
"""A subscription that had no answer of 2xx for so long is disabled (three weeks)."""


@dataclass(slots=True, kw_only=True)
class Subscription:
    """One subscription.

    Attributes:
        id: Square's.
        name: The application's own.
        url: Where events are sent.
        event_types: Which.
        api_version: Of the events' bodies; there is just one form here.
        signature_key: What they are signed with from now on, retries included.
        is_enabled: Whether anything is sent.
        is_gone: Whether it was deleted.
        created: Seconds since the epoch.
        updated: The same.
        failing_since: Since when no delivery was taken; None: the last one was.
    """

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    api_version: str
    signature_key: str
    created: float
    updated: float
    is_enabled: bool = True
    is_gone: bool = False
    failing_since: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether events are sent to it."""
        return self.is_enabled and not self.is_gone

    def sign(self, body: bytes) -> str:
        """Sign the address as it was registered, and the body."""
        return signature(self.signature_key, self.url, body)

    def heard(self, now: float, *, is_taken: bool) -> None:
        """Take note of an answer; a subscription that is never answered is disabled."""
        if is_taken:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = now
        elif now - self.failing_since >= SILENCE_S:
            self.is_enabled = False

    def shown(self, *, with_key: bool = True) -> dict[str, Any]:
        """Write it as the API does; its times are in the form of Square's examples."""
        key = {"signature_key": self.signature_key} if with_key else {}
        return {
            "id": self.id,
            "name": self.name,
            "enabled": self.is_enabled,
            "event_types": list(self.event_types),
            "notification_url": self.url,
            "api_version": self.api_version,
            **key,
            "created_at": _time(self.created),
            "updated_at": _time(self.updated),
        }


class Subscriptions:
    """All subscriptions of the application, in the order of their making."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._all: dict[str, Subscription] = {}
        self._made = 0

    def __iter__(self) -> Any:
        return iter(list(self._all.values()))

    def find(self, name: str) -> Subscription | None:
        """Return one by its id."""
        return self._all.get(name)

    def wanting(self, kind: str) -> list[Subscription]:
        """Return those to which events of a type are sent."""
        return [each for each in self._all.values() if each.is_live and kind in each.event_types]

    def add(
        self, *, name: str, url: str, event_types: tuple[str, ...], api_version: str, enabled: bool
    ) -> Subscription:
        """Make one, with a key of its own."""
        now = self._clock.now()
        made = Subscription(
            id=f"wbhk_{self._mint().hex()}",
            name=name,
            url=url,
            event_types=event_types,
            api_version=api_version,
            signature_key=self._key(),
            created=now,
            updated=now,
            is_enabled=enabled,
        )
        self._all[made.id] = made
        return made

    def renew_key(self, subscription: Subscription) -> str:
        """Replace the key at once: Square signs with one only."""
        subscription.signature_key = self._key()
        subscription.updated = self._clock.now()
        return subscription.signature_key

    def remove(self, subscription: Subscription) -> None:
        """Delete one; what waits for it is not sent any more."""
        subscription.is_gone = True
        del self._all[subscription.id]

    def _key(self) -> str:
        return urlsafe_b64encode(self._mint()).decode().rstrip("=")

    def _mint(self) -> bytes:
        self._made += 1
        return blake2b(f"webhook:{self._seed}:{self._made}".encode(), digest_size=16).digest()


def signature(key: str, url: str, body: bytes) -> str:
    """Write ``x-square-hmacsha256-signature``; the key is used as a text, not as its bytes."""
    return b64encode(digest(key.encode(), url.encode() + body, sha256)).decode()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
