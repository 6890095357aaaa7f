"""Serve the application until it is told to leave, or beside something else for a while."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import uvicorn

from tieline.errors import InvalidInputError

__all__ = ["Listener", "serve"]

_BACKLOG = 512
_LONGEST_REQUEST_HEAD = 32_768
_LEAVE_S = 8


def serve(app: Any, *, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are finished.

    Args:
        app: The application.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        on_ready: Called with the address once connections are accepted.

    Raises:
        InvalidInputError: The address cannot be bound.
    """
    with _bind(host, port) as listening:
        _spare_what_is_there()
        on_ready(_address(listening))
        uvicorn.Server(_config(app)).run(sockets=[listening])


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
        self._server = uvicorn.Server(_config(app))
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


def _spare_what_is_there() -> None:
    """Leave what was imported out of collections to come.

    To go through all of it takes a tenth of a second, in which nobody is answered,
    and comes round every few thousand deliveries.
    """
    gc.collect()
    gc.freeze()


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,  # the root logger's handler redacts
        log_level="warning",
        access_log=False,  # addresses hold codes and states
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        http="h11",  # the other one knows no limit
        ws="none",
        h11_max_incomplete_event_size=_LONGEST_REQUEST_HEAD,
        limit_concurrency=1000,
        timeout_graceful_shutdown=_LEAVE_S,
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
