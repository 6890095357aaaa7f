"""How an answer leaves: whole, in drops, cut off, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from tieline_stripe_sandbox.answers import Answer, Headers
from tieline_stripe_sandbox.faults import Fault, FiredFaults

__all__ = ["Receive", "Scope", "Send", "deliver", "disconnected", "drop"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


async def deliver(
    answer: Answer, headers: Headers, fired: FiredFaults, receive: Receive, send: Send
) -> None:
    """Send an answer, with the faults that concern its way.

    Args:
        answer: What to send.
        headers: Those that every answer carries.
        fired: ``truncate`` and ``slow`` are looked at.
        receive: The connection's.
        send: The connection's.
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
    if "truncate" in fired:
        await _body(send, answer.body[: len(answer.body) // 2], is_last=False)
        await _hang_up(receive, send, at_once=False)
    elif "slow" in fired:
        await _drip(send, answer.body, fired["slow"])
    else:
        await _body(send, answer.body)


async def drop(receive: Receive, send: Send) -> None:
    """Close the connection without an answer."""
    await _hang_up(receive, send, at_once=True)


async def disconnected(receive: Receive) -> None:
    """Wait until the connection is closed."""
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


async def _hang_up(receive: Receive, send: Send, *, at_once: bool) -> None:
    """Close the connection below ASGI, which has no message for that.

    Uvicorn's ``send`` is a method of the object that holds the transport. Other
    servers close the connection when the application fails.
    """
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox was told to close this connection")
    if at_once:
        transport.abort()
    else:
        transport.close()
    await disconnected(receive)
