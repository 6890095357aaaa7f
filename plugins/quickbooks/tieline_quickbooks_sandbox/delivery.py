"""How an answer leaves: whole, in drops, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tieline_quickbooks_sandbox.answers import Answer, Headers
from tieline_quickbooks_sandbox.faults import Fault, FiredFaults

__all__ = ["Receive", "Scope", "Send", "deliver", "drop"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


async def deliver(answer: Answer, headers: Headers, fired: FiredFaults, send: Send) -> None:
    """Send an answer.

    Args:
        answer: What to send.
        headers: Those that every answer carries.
        fired: ``slow`` is looked at.
        send: The connection's.
    """
    own = {name for name, _ in answer.headers}
    carried = [(b"content-type", answer.content_type), *headers]
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-length", b"%d" % len(answer.body)),
                *(header for header in carried if header[0] not in own),
                *answer.headers,
            ],
        }
    )
    if "slow" in fired:
        await _drip(send, answer.body, fired["slow"])
    else:
        await _body(send, answer.body)


async def drop(receive: Receive, send: Send) -> None:
    """Close the connection below ASGI, which has no message for that.

    Uvicorn's ``send`` is a method of the object that holds the transport. Other
    servers close the connection when the application fails.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox was told to close this connection")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _drip(send: Send, body: bytes, fault: Fault) -> None:
    size = max(1, -(-len(body) // fault.chunks))
    for start in range(0, len(body), size):
        await asyncio.sleep(fault.seconds / fault.chunks)
        await _body(send, body[start : start + size], is_last=False)
    await _body(send, b"")


async def _body(send: Send, body: bytes, *, is_last: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})
