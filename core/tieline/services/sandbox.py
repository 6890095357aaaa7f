"""Serve a provider's sandbox on this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

import uvicorn

from tieline.errors import InvalidInputError, NotFoundError, PluginLoadError, nearest
from tieline.registry import find_sandboxes

__all__ = ["load_sandbox", "serve"]

_BACKLOG = 512


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
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        date_header=False,  # a sandbox has a clock of its own
        server_header=False,
    )
    # Accepted sockets take it over; without it a small answer waits 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        on_ready(f"http://{host}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])
