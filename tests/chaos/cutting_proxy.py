"""Stands between a worker and PostgreSQL, and cuts connections around a COMMIT.

After the COMMIT was carried out and before its answer gets back, the worker
cannot know that it was; before the COMMIT gets there, it was not. Both look
the same to the worker, and a page must neither be lost nor applied twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url

__all__ = ["CuttingProxy"]

_COMMIT = b"COMMIT\0"
_PAGE = b"UPDATE partitions SET pages"
_PORT = 5432
_START_S = 10.0


class CuttingProxy:
    """A proxy on a thread of its own.

    Args:
        url: PostgreSQL's, as SQLAlchemy writes it; by socket folder or by host.
        folder: Where its own socket is made, if PostgreSQL's is one.
        rng: Decides which page's commit is cut, and how.
        every: One page of about so many is cut.

    Attributes:
        cuts: How often which: ``answer lost`` or ``commit lost``.
    """

    def __init__(self, url: str, folder: Path, rng: Random, *, every: int = 5) -> None:
        self._target, self._folder = make_url(url), folder
        self._rng, self._every = rng, every
        self.cuts: Counter[str] = Counter()
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._stop = asyncio.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> str:
        """Listen; return PostgreSQL's address by way of here."""
        self._thread.start()
        if not self._is_up.wait(_START_S):
            raise RuntimeError("the proxy does not start")
        return self._address().render_as_string(hide_password=False)

    def stop(self) -> None:
        """Close every connection."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_S)

    @property
    def _socket(self) -> str | None:
        folder = self._target.query.get("host")
        return f"{folder}/.s.PGSQL.{self._target.port or _PORT}" if folder else None

    def _address(self) -> URL:
        if self._socket:
            plain = self._target.set(port=None, query={})
            text = plain.render_as_string(hide_password=False)
            return make_url(f"{text}?host={quote(str(self._folder))}")
        query = {**self._target.query, "sslmode": "disable"}
        return self._target.set(host="127.0.0.1", port=self._port, query=query)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        if self._socket:
            path = f"{self._folder}/.s.PGSQL.{_PORT}"
            server = await asyncio.start_unix_server(self._meet, path)
        else:
            server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
            self._port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stop.wait()
        server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection; whichever side ends it, both end."""
        with contextlib.suppress(OSError):
            there = await self._connect()
            link = _Link(self._draw)
            both = [
                asyncio.ensure_future(link.carry_up(reader, there[1])),
                asyncio.ensure_future(link.carry_down(there[0], writer)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
                there[1].close()
        writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._socket:
            return await asyncio.open_unix_connection(self._socket)
        return await asyncio.open_connection(self._target.host, self._target.port or _PORT)

    def _draw(self) -> str:
        """Say what becomes of a page's commit: empty if nothing."""
        if self._rng.randrange(self._every):
            return ""
        how = self._rng.choice(("answer lost", "answer lost", "commit lost"))
        self.cuts[how] += 1
        return how


class _Link:
    """One connection's two directions."""

    def __init__(self, draw: Callable[[], str]) -> None:
        self._draw = draw
        self._tail = b""
        self._has_page = False
        self._keeps_answer = False

    async def carry_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what the worker says; ends where the commit is to be lost."""
        while data := await reader.read(65536):
            seen, self._tail = self._tail + data, data[-64:]
            self._has_page = self._has_page or _PAGE in seen
            if _COMMIT in seen:
                how = self._draw() if self._has_page else ""
                self._has_page, self._tail = False, b""
                if how == "commit lost":
                    return
                self._keeps_answer = how == "answer lost"
            writer.write(data)
            await writer.drain()

    async def carry_down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry what PostgreSQL answers; ends instead of telling of a commit."""
        while data := await reader.read(65536):
            if self._keeps_answer:
                return
            writer.write(data)
            await writer.drain()
