"""Callers of several servers who keep their connections, and tell how they were sent away.

A server may be gone, and refuse a connection; it may say "later". It may not take a
request and leave it without an answer: a caller cannot know whether it was done.
"""

from __future__ import annotations

import http.client
import select
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["Ledger", "Patron", "Reply"]

_AGAIN_S = 0.02
_SILENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Ledger:
    """What all callers of a test met.

    Attributes:
        statuses: Of answers, to how many.
        refused: Connections that nobody took: the caller goes elsewhere.
        closing: Answers after which the server closes.
        impolite: Requests that were sent and not answered, and answers that no
            caller should get.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    closing: int = 0
    impolite: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Patron:
    """One caller: asks one server after the other until it is answered.

    Args:
        urls: Of the servers.
        ledger: Where it is written down.
        headers: Of each request.
    """

    def __init__(
        self, urls: Sequence[str], ledger: Ledger, headers: Mapping[str, str] | None = None
    ) -> None:
        self._hosts = [urlsplit(url).netloc for url in urls]
        self._ledger = ledger
        self._headers = dict(headers or {})
        self._kept: dict[str, http.client.HTTPConnection] = {}
        self._turn = 0

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask until there is an answer that is not "later"."""
        given = self._headers | dict(headers or {})
        while True:
            self._turn += 1
            host = self._hosts[self._turn % len(self._hosts)]
            reply = self._tried(host, method, path, body, given)
            if reply is not None and not self._is_later(reply, f"{method} {path}"):
                return reply
            time.sleep(_AGAIN_S)

    def close(self) -> None:
        """Hang up."""
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    def _tried(
        self, host: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply | None:
        kept = self._kept.pop(host, None)
        if kept is not None and _is_over(kept):
            kept.close()
            kept = None
        connection = kept or http.client.HTTPConnection(host, timeout=_SILENCE_S)
        try:
            if kept is None:
                connection.connect()
        except ConnectionRefusedError:
            with self._ledger.lock:
                self._ledger.refused += 1
            return None
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            is_last = answer.will_close
            reply = Reply(status=answer.status, headers=answer.headers, body=answer.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            where = "kept" if kept else "new"
            self._note(f"{method} {path} at {host}, {where} connection: {error!r}")
            return None
        if is_last:
            connection.close()
        else:
            self._kept[host] = connection
        with self._ledger.lock:
            self._ledger.statuses[reply.status] += 1
            self._ledger.closing += is_last
        return reply

    def _is_later(self, reply: Reply, what: str) -> bool:
        if reply.status == 503 and "retry-after" in reply.headers:
            return True
        if reply.status >= 400:
            self._note(f"{what}: {reply.status} {reply.body[:300]!r}")
        return False

    def _note(self, what: str) -> None:
        with self._ledger.lock:
            self._ledger.impolite.append(what)


def _is_over(connection: http.client.HTTPConnection) -> bool:
    """Say whether the server has hung up, as every client looks before it sends again."""
    readable, _, _ = select.select([connection.sock], [], [], 0)
    return bool(readable)
