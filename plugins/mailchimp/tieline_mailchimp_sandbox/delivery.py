"""How an answer leaves: whole, in drops, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tieline_mailchimp_sandbox.answers import Answer, Headers
from tieline_mailchimp_sandbox.faults import Fault

__all__ = ["Receive", "Scope", "Send", "deliver", "drop", "read_body"]

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
        slow: Makes the body drip.
    """
    kind: Headers = ((b"content-type", answer.content_type),) if answer.content_type else ()
    sent = [*kind, (b"content-length", b"%d" % len(answer.body)), *headers, *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": sent})
    if slow:
        size = max(1, -(-len(answer.body) // slow.chunks))
        for start in range(0, len(answer.body), size):
            await asyncio.sleep(slow.seconds / slow.chunks)
            part = answer.body[start : start + size]
            await send({"type": "http.response.body", "body": part, "more_body": True})
    body = b"" if slow else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": False})


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


async def read_body(receive: Receive) -> bytes:
    """Read a request's body to its end."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
