"""Serve a provider's sandbox on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn

from tieline.errors import (
    DependencyError,
    InvalidInputError,
    NotFoundError,
    PluginLoadError,
    nearest,
)
from tieline.registry import find_sandboxes

__all__ = ["load_sandbox", "serve", "serving"]

_BACKLOG = 512
_START_S = 30.0


def load_sandbox(name: str) -> Callable[..., Any]:
    """Import a sandbox's factory of ASGI apps.

    Raises:
        NotFoundError: No installed plugin ships a sandbox of that name.
        PluginLoadError: It does not import.
    """
    known = find_sandboxes()
    if name not in known:
        raise NotFoundError(f"there is no sandbox {name!r}", hint=nearest(name, known))
    try:
        return cast("Callable[..., Any]", known[name].load())
    except Exception as error:
        raise PluginLoadError(
            f"the sandbox {name!r} does not import: {type(error).__name__}: {error}"
        ) from error


def serve(app: Any, *, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve an ASGI app until SIGINT or SIGTERM.

    Args:
        app: The app.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        on_ready: Called with the address once connections are accepted.

    Raises:
        InvalidInputError: The address cannot be bound.
    """
    try:
        listener = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise InvalidInputError(
            f"{host}:{port} cannot be bound: {error.strerror}",
            hint="choose another --port; 0 takes a free one",
            code="port-taken",
        ) from None
    config = _config(app)
    # Accepted sockets take it over; without it a small answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        on_ready(f"http://{host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app in a thread of this process, at a free port; yield its address.

    Raises:
        DependencyError: The server does not start.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see serve()
        server = uvicorn.Server(_config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until = time.monotonic() + _START_S
        try:
            while not server.started:
                if not thread.is_alive() or time.monotonic() > until:
                    raise DependencyError("the sandbox's server does not start")
                time.sleep(0.002)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(_START_S)


def _config(app: Any, *, log_level: str = "warning") -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level=log_level,
        access_log=False,
        lifespan="off",
        date_header=False,  # a sandbox has a clock of its own
        server_header=False,
    )
