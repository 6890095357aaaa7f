"""One HTTP request to a webhook's address, and the status that comes back."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["PROBE", "request"]

PROBE = {"User-Agent": "MailChimp.com WebHook Validator"}
"""Headers of the look at an address before it is stored (wire capture, 2017)."""

_LONGEST_HEAD = 65_536


async def request(
    method: str, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float
) -> int:
    """Send one request over a connection of its own; redirects are not followed.

    Raises:
        OSError: Nobody is there, or the connection ended; a ``TimeoutError`` is one.
        ValueError: The address is none, or what answered was no HTTP.
    """
    async with asyncio.timeout(timeout_s):
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        reader, writer = await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if is_tls else 80),
            ssl=ssl.create_default_context() if is_tls else None,
            limit=_LONGEST_HEAD,
        )
        try:
            path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            head = {"Host": parts.netloc, "Content-Length": str(len(body)), "Connection": "close"}
            lines = [f"{method} {path} HTTP/1.1"]
            lines += [f"{name}: {text}" for name, text in (head | dict(headers)).items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            version, _, rest = (await reader.readline()).decode("latin-1").partition(" ")
            if not version:
                raise ConnectionResetError("the connection was closed")
            if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
                raise ValueError("what answered is no HTTP")
            return int(rest[:3])
        finally:
            writer.close()
