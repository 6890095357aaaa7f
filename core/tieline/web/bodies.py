"""Read the body of a request within a limit, a time, and the memory that all share."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

__all__ = ["Body", "BodyRefused", "Room"]

_SLOWEST_BODY_S = 10.0
_ROOM_BYTES = 64_000_000


class BodyRefused(Exception):  # noqa: N818 - it is an answer
    """A body is not read to its end.

    Args:
        status: What to answer.
        reason: Why, as a short code.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Room:
    """The memory that all bodies that are under way share."""

    left = _ROOM_BYTES


class Body:
    """A body that is read within a limit, a time, and the room.

    Args:
        request: Whose.
        most: The most bytes.
        room: What it takes its memory from, until it is released.
    """

    def __init__(self, request: Request, most: int, room: Room) -> None:
        self._request = request
        self._most = most
        self._room = room
        self._taken = 0
        self._is_late = False

    async def read(self) -> bytes:
        """Return all of it.

        Raises:
            BodyRefused: It is too large or too slow, or there is no room.
            ClientDisconnect: Nobody sends any more.
        """
        declared = self._request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > self._most:
            raise BodyRefused(413, "too-large")
        reader = asyncio.current_task()
        assert reader is not None
        # As asyncio.timeout does, for a third of what it costs: most bodies are there already.
        watch = asyncio.get_running_loop().call_later(_SLOWEST_BODY_S, self._give_up, reader)
        try:
            return await self._chunks()
        except asyncio.CancelledError:
            if self._is_late and reader.uncancel() == 0:
                raise BodyRefused(408, "too-slow") from None
            raise
        finally:
            watch.cancel()

    def _give_up(self, reader: asyncio.Task[object]) -> None:
        self._is_late = True
        reader.cancel()

    async def _chunks(self) -> bytes:
        parts: list[bytes] = []
        is_more = True
        while is_more:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk = message.get("body", b"")
            is_more = message.get("more_body", False)
            self._taken += len(chunk)
            self._room.left -= len(chunk)
            if self._taken > self._most:
                raise BodyRefused(413, "too-large")
            if self._room.left < 0:
                raise BodyRefused(503, "crowded")
            if chunk:
                parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self) -> None:
        """Give the memory back."""
        self._room.left += self._taken
        self._taken = 0
