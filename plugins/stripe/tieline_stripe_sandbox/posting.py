"""One delivery over HTTP: the signature, and the request itself."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

__all__ = ["post", "signature"]

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_MOST_READ = 65_536


def signature(secrets: Iterable[str], at: int, body: bytes) -> str:
    """Write ``Stripe-Signature``: the time, and a signature for every secret that is good.

    Source: Stripe documentation, "Verify webhook signatures manually".
    """
    text = b"%d.%b" % (at, body)
    signed = (hmac.digest(secret.encode(), text, "sha256").hex() for secret in secrets)
    return ",".join([f"t={at}", *(f"v1={each}" for each in signed)])


async def post(url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> int:
    """Post a body, and return the status of the answer.

    A redirect is an answer like any other. The connection is not kept.

    Raises:
        OSError: Nobody is there, or the connection broke.
        TimeoutError: It took too long.
        ValueError: What came back is no HTTP.
    """
    parts = urlsplit(url)
    is_safe = parts.scheme == "https"
    port = parts.port or (443 if is_safe else 80)
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    own = {"Host": parts.netloc.rpartition("@")[2], "Content-Length": str(len(body))}
    sent = {**own, **headers, "Connection": "close"}
    lines = [f"{name}: {text}" for name, text in sent.items()]
    head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, "", ""]).encode()
    async with asyncio.timeout(timeout_s):
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=is_safe or None)
        try:
            writer.write(head + body)
            await writer.drain()
            first = await reader.readline()
            matched = _STATUS.match(first)
            if matched is None:
                raise ValueError(f"no HTTP: {first[:40]!r}")
            await reader.read(_MOST_READ)  # so that the other side can finish
            return int(matched[1])
        finally:
            writer.close()
