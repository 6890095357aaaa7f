"""From what happens to what is told of it: events, and who gets to hear them.

An event is told for a seller who granted the right to read what it is about
(Square documentation, "Webhooks": permissions), and only where somebody listens:
without a subscription nothing is made.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from uuid import UUID

import orjson

from tieline_square_sandbox.clock import Clock
from tieline_square_sandbox.courier import Courier, Told
from tieline_square_sandbox.events import SCOPES, Change, News, Tell, news_of, revocation
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.subscriptions import Subscriptions
from tieline_square_sandbox.times import whole_ms, write_time

__all__ = ["Herald"]

_KEPT = 5_000


class Herald:
    """Makes events and hands them to the courier."""

    def __init__(
        self,
        clock: Clock,
        seed: int,
        grants: Grants,
        subscriptions: Subscriptions,
        courier: Courier,
    ) -> None:
        self._clock = clock
        self._seed = seed
        self._grants = grants
        self._subscriptions = subscriptions
        self._courier = courier
        self._made = 0
        self._told: OrderedDict[str, Told] = OrderedDict()

    def of(self, account: str) -> Tell:
        """Return what takes note of a seller's changes."""

        def tell(change: Change) -> None:
            for news in news_of(change) if any(self._subscriptions) else ():
                self._publish(account, news)

        return tell

    def tell_revoked(self, account: str, revoker: str) -> None:
        """Tell that a seller's access ended."""
        self._publish(account, revocation(self._made, revoker, whole_ms(self._clock.now())))

    def make(self, account: str, news: News) -> Told:
        """Give an event its id and its envelope."""
        self._made += 1
        number = f"event:{self._seed}:{self._made}".encode()
        name = str(UUID(bytes=blake2b(number, digest_size=16).digest(), version=4))
        envelope = {
            "merchant_id": account,
            "type": news.type,
            "event_id": name,
            "created_at": write_time(whole_ms(self._clock.now()), self._made % 3),
            "data": news.data,
        }
        return Told(name, news.type, account, orjson.dumps(envelope))

    def resend(self, names: list[str] | None) -> int:
        """Deliver events once more, as they were; None: all that are known. Return how many."""
        found = list(self._told.values()) if names is None else [self._known(one) for one in names]
        for told in found:
            self._send(told)
        return len(found)

    def _known(self, name: str) -> Told:
        if name not in self._told:
            raise ValueError(f"there is no event {name!r}")
        return self._told[name]

    def _publish(self, account: str, news: News) -> None:
        scope = SCOPES[news.type]
        if not self._subscriptions.wanting(news.type):
            return
        if scope and not self._grants.may_read(account, scope):
            return
        told = self.make(account, news)
        self._told[told.id] = told
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)
        self._send(told)

    def _send(self, told: Told) -> None:
        for subscription in self._subscriptions.wanting(told.type):
            self._courier.send(told, subscription)
