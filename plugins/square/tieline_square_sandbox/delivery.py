"""How an answer leaves: whole, in drops, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tieline_square_sandbox.answers import Answer, Headers
from tieline_square_sandbox.faults import Fault

__all__ = ["Receive", "Scope", "Send", "deliver", "drop", "live", "read"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


async def deliver(answer: Answer, headers: Headers, send: Send, slow: Fault | None = None) -> None:
    """Send an answer.

    Args:
        answer: What to send.
        headers: Those that every answer carries.
        send: The connection's.
        slow: Spreads the body over time.
    """
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", answer.content_type),
                (b"content-length", b"%d" % len(answer.body)),
                *headers,
                *answer.headers,
            ],
        }
    )
    if slow is None:
        await _body(send, answer.body, is_last=True)
        return
    size = max(1, -(-len(answer.body) // slow.chunks))
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(slow.seconds / slow.chunks)
        await _body(send, answer.body[start : start + size], is_last=False)
    await _body(send, b"", is_last=True)


async def drop(receive: Receive, send: Send) -> None:
    """Close the connection without an answer, below ASGI, which has no message for that.

    Uvicorn's ``send`` is a method of the object that holds the transport. Other
    servers close the connection when the application fails.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox was told to close this connection")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def read(receive: Receive) -> bytes:
    """Read a request's body to its end."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def live(receive: Receive, send: Send) -> None:
    """Take part in the server's start and stop; there is nothing to prepare."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _body(send: Send, body: bytes, *, is_last: bool) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})
