"""One POST over a connection of its own, as the sender of webhooks makes it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

__all__ = ["post"]

_LONGEST_HEAD = 65_536


async def post(url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> int:
    """Send a POST; follow no redirect, and leave the answer's body unread.

    Args:
        url: With http or https.
        headers: In addition to those that every request has.
        body: Sent as it is.
        timeout_s: For everything until the answer's head is there.

    Returns:
        The answer's status.

    Raises:
        TimeoutError: It took longer.
        OSError: Nothing was reached, TLS was refused, or the answer was none.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    context = ssl.create_default_context() if is_tls else None
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    told = {
        "Host": parts.netloc.rpartition("@")[2],
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {text}" for name, text in told.items()), "", ""]
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(
            parts.hostname, port, ssl=context, limit=_LONGEST_HEAD
        )
        try:
            writer.write("\r\n".join(lines).encode("latin-1") + body)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionError("there was no answer") from error
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                await writer.wait_closed()
    protocol, _, rest = head.partition(b" ")
    if not protocol.startswith(b"HTTP/") or not rest[:3].isdigit():
        raise ConnectionError("the answer was no HTTP")
    return int(rest[:3])
