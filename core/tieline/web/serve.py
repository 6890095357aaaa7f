"""Serve the application until it is told to leave, or beside something else for a while."""

from __future__ import annotations

import asyncio
import gc
import math
import select
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import uvicorn

from tieline.errors import InvalidInputError
from tieline.web.patience import PunctualProtocol

__all__ = ["Listener", "serve"]

_BACKLOG = 512
_LONGEST_REQUEST_HEAD = 32_768
_LEAVE_S = 8
_LAST_CALL_S = 1.0
_TICK_S = 0.02
_CLOSE = (b"connection", b"close")


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    leave_s: float = _LEAVE_S,
) -> None:
    """Serve until SIGINT or SIGTERM; whoever was let in is answered.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        on_ready: Called with the address once connections are accepted.
        leave_s: How long answers under way are waited for at the end.

    Raises:
        InvalidInputError: The address cannot be bound.
    """
    with _bind(host, port) as listening:
        _spare_what_is_there()
        on_ready(_address(listening))
        _Server(app, leave_s).run(sockets=[listening])


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
        self._socket = _bind(host, port)
        self.address = _address(self._socket)
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
    gets a last call: the next answer says that the connection closes after it.
    """

    def __init__(self, app: Any, leave_s: float) -> None:
        super().__init__(_config(self._told_to_close(app), leave_s))
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
        await self._let_in_who_waits(sockets or [])
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_CALL_S
        # uvicorn tells of no event when a connection ends
        while (  # noqa: ASYNC110
            self.server_state.connections and loop.time() < until and not self.force_exit
        ):
            await asyncio.sleep(_TICK_S)
        await super().shutdown(sockets)

    async def _let_in_who_waits(self, sockets: Sequence[socket.socket]) -> None:
        """Take the connections that the kernel has taken for us; to close resets them."""
        for listening in sockets:
            # the loop takes all that it finds
            while select.select([listening], [], [], 0)[0] and not self.force_exit:  # noqa: ASYNC110
                await asyncio.sleep(0)


def _spare_what_is_there() -> None:
    """Leave what was imported out of collections to come.

    To go through all of it takes a tenth of a second, in which nobody is answered,
    and comes round every few thousand deliveries.
    """
    gc.collect()
    gc.freeze()


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
        timeout_graceful_shutdown=max(1, math.ceil(leave_s)),
    )


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise InvalidInputError(
            f"{host}:{port} cannot be bound: {error.strerror}",
            hint="choose another --port; 0 takes a free one",
            code="port-taken",
        ) from None


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
