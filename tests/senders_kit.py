"""Providers that deliver to real servers, and go on until they are answered with success."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select

from ingest_kit import Harbour, Signed
from oauth_kit import free_port
from site_of import Site, wait_until
from tieline.store.tables import webhook_events

__all__ = ["Senders", "post", "serving", "stored_keys"]

_LOOK_EVERY = 50


def serving(site: Site, port: int | None = None, **extra: str):
    """Start a server and wait until it, and no other, answers; return process and address."""
    port = port or free_port()
    process = site.start("serve", "--port", str(port), **extra)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, f"it left by itself: {site.logs()[-1000:]}"
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answers)
    return process, url


def post(url: str, signed: Signed) -> int:
    """Deliver; 0 if there is no answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("POST", signed.path, signed.body, dict(signed.headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def stored_keys(harbour: Harbour) -> list[str]:
    """Return the providers' ids of all events, as often as they are there."""
    with harbour.installation.database.read() as connection:
        return list(connection.execute(select(webhook_events.c.event_key)).scalars())


class Senders:
    """Go on until a delivery is acknowledged, as providers do; three in ten are duplicates.

    Args:
        harbour: Where events are kept.
        urls: Of the servers; each try goes to any of them.
        distinct: The events' ids.
        make: Makes the delivery of an event.
    """

    def __init__(
        self,
        harbour: Harbour,
        urls: Sequence[str],
        distinct: Sequence[str],
        make: Callable[[str], Signed] | None = None,
    ) -> None:
        self._harbour, self._urls = harbour, urls
        self._make = make or harbour.senders["stripe"].signed
        self._chances = random.Random(7)
        wanted = [*distinct, *self._chances.choices(distinct, k=len(distinct) * 3 // 7)]
        self._chances.shuffle(wanted)
        self._left = deque(wanted)
        self._lock = threading.Lock()
        self.count = len(wanted)
        self.taken = 0
        self.acknowledged: set[str] = set()
        self.tried: dict[int, int] = {}

    @property
    def left(self) -> int:
        return len(self._left)

    @property
    def wrong(self) -> dict[int, int]:
        """Statuses that no provider should see: neither success nor nobody there nor later."""
        return {status: count for status, count in self.tried.items() if status not in _RIGHT}

    def work(self) -> None:
        """Be one of them, until there is nothing left to deliver."""
        while True:
            with self._lock:
                if not self._left:
                    return
                name = self._left.popleft()
                signed = self._make(name)
            while self._try(signed) != 200:
                time.sleep(0.02)
            with self._lock:
                self.taken += 1
                self.acknowledged.add(name)
                is_time = len(self.acknowledged) % _LOOK_EVERY == 0
            if is_time:
                self.look()

    def look(self) -> None:
        """See that what was acknowledged is there, whoever dies next."""
        with self._lock:
            acknowledged = set(self.acknowledged)
        missing = acknowledged - set(stored_keys(self._harbour))
        assert not missing, f"acknowledged and not stored: {sorted(missing)}"

    def _try(self, signed: Signed) -> int:
        with self._lock:
            url = self._chances.choice(self._urls)
        status = post(url, signed)
        with self._lock:
            self.tried[status] = self.tried.get(status, 0) + 1
        return status


_RIGHT = frozenset({0, 200, 503})
