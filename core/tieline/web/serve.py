"""Serve the application until it is told to leave, or beside something else for a while."""

from __future__ import annotations

import asyncio
import math
import select
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import uvicorn

from tieline.services.heap import spare_what_is_there
from tieline.web.patience import PunctualProtocol
from tieline.web.sockets import address_of, bind, take_over, turn_newcomers_away

__all__ = ["IDLE_S", "Listener", "serve"]

IDLE_S = 5
"""How long a connection is kept after an answer; callers let go of theirs before that."""

_LONGEST_REQUEST_HEAD = 32_768
_LEAVE_S = 8
_HANDSHAKE_S = 0.25
_LAST_CALL_S = 1.0
_TICK_S = 0.02
_CLOSE = (b"connection", b"close")


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    fd: int | None = None,
    on_ready: Callable[[str], None],
    leave_s: float = _LEAVE_S,
) -> None:
    """Serve until SIGINT or SIGTERM; whoever was let in is answered.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        fd: Number of a socket that somebody else listens at and lends; who is
            not taken here waits for whoever is lent it next. None: one of our
            own, at that address.
        on_ready: Called with the address once connections are accepted.
        leave_s: How long answers under way are waited for at the end.

    Raises:
        InvalidInputError: The address cannot be bound, or that is no such socket.
    """
    is_lent = fd is not None
    with bind(host, port) if fd is None else take_over(fd) as listening:
        spare_what_is_there()
        on_ready(address_of(listening))
        server = _Server(app, leave_s, rest_s=IDLE_S, is_lent=is_lent)
        server.run(sockets=[listening])


class Listener:
    """Serves an application in a thread, as a context.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.

    Raises:
        InvalidInputError: The address cannot be bound.
    """

    def __init__(self, app: Any, *, host: str, port: int) -> None:
        self._socket = bind(host, port)
        self.address = address_of(self._socket)
        self._server = _Server(app, _LEAVE_S)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_LEAVE_S)
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's, with another way of leaving.

    uvicorn closes at once what is idle: a connection that was just let in, and one
    whose next request is on its way. Such a caller cannot know whether it was heard.
    So at first nobody new is let in, which sends callers elsewhere, and whoever is in
    gets a last call: the next answer says that the connection closes after it. To end
    one that rests may meet its next request half-way, the sooner the likelier, so it
    is done no sooner than at any other time, and who has yet to ask has as long.

    Args:
        app: The application.
        leave_s: How long answers under way are waited for.
        rest_s: How long who was let in may take to ask, for the first time or again.
        is_lent: Whether the socket stays open when this server has left.
    """

    def __init__(
        self,
        app: Any,
        leave_s: float,
        *,
        rest_s: float = _LAST_CALL_S,
        is_lent: bool = False,
    ) -> None:
        super().__init__(_config(self._told_to_close(app), leave_s))
        self._rest_s = rest_s
        self._is_lent = is_lent
        self._is_leaving = False

    def _told_to_close(self, app: Any) -> Any:
        """Have each answer say, once this server leaves, that its connection ends."""

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            async def send_last(message: Any) -> None:
                if self._is_leaving and message["type"] == "http.response.start":
                    kept = [each for each in message.get("headers", ()) if each[0] != _CLOSE[0]]
                    message = {**message, "headers": [*kept, _CLOSE]}
                await send(message)

            await app(scope, receive, send_last)

        return answer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in, answer who is, and end."""
        self._is_leaving = True
        if not self._is_lent:
            await self._let_in_who_waits(sockets or [])
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        await asyncio.sleep(_TICK_S)  # whoever was taken last is among the connections then
        await self._wait_while(lambda: self._connections, self._rest_s)
        for each in self._connections:
            if each.is_at_rest:
                each.shutdown()
        await self._wait_while(
            lambda: any(each.is_awaited for each in self._connections), _LAST_CALL_S
        )
        await super().shutdown(sockets)

    @property
    def _connections(self) -> list[PunctualProtocol]:
        return [
            each for each in self.server_state.connections if isinstance(each, PunctualProtocol)
        ]

    async def _wait_while(self, is_so: Callable[[], object], most_s: float) -> None:
        """Look again and again: uvicorn tells of no event when a connection ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + most_s
        while is_so() and loop.time() < until and not self.force_exit:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)

    async def _let_in_who_waits(self, sockets: Sequence[socket.socket]) -> None:
        """Take the connections that the kernel has taken for us; to close resets them."""
        can_wait = [turn_newcomers_away(listening) for listening in sockets]
        if any(can_wait):
            await asyncio.sleep(_HANDSHAKE_S)
        for listening in sockets:
            # the loop takes all that it finds
            while select.select([listening], [], [], 0)[0] and not self.force_exit:  # noqa: ASYNC110
                await asyncio.sleep(0)


def _config(app: Any, leave_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,  # the root logger's handler redacts
        log_level="warning",
        access_log=False,  # addresses hold codes and states
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        http=PunctualProtocol,  # by h11: the other one knows no limit
        ws="none",
        h11_max_incomplete_event_size=_LONGEST_REQUEST_HEAD,
        limit_concurrency=1000,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=max(1, math.ceil(leave_s)),
    )
