"""One HTTP POST, to an application that has to be told something."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

__all__ = ["Posted", "is_address", "post"]

_MOST_HEADERS = 100
_MOST_BYTES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What came back.

    Attributes:
        status: 0: no answer.
        answer: The beginning of its body, as text.
        error: Why there is no answer, in a word; empty if there is one.
    """

    status: int = 0
    answer: str = ""
    error: str = ""


def is_address(url: str) -> bool:
    """Tell whether something can be posted there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def post(url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float) -> Posted:
    """Post a body; redirects are not followed, and nothing is tried twice.

    Args:
        url: For which :func:`is_address` holds.
        headers: Beside those of the connection.
        body: As it is.
        timeout_s: For all of it, the answer's head included.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(urlsplit(url), headers, body)
    except TimeoutError:
        return Posted(error="timeout")
    except (OSError, EOFError, ValueError) as error:
        return Posted(error=type(error).__name__)


async def _exchange(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> Posted:
    is_secure = parts.scheme == "https"
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or (443 if is_secure else 80),
        ssl=ssl.create_default_context() if is_secure else None,
    )
    try:
        writer.write(_head(parts, headers, len(body)) + body)
        await writer.drain()
        return await _answer(reader)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _head(parts: SplitResult, headers: Mapping[str, str], size: int) -> bytes:
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    own = {"Host": parts.netloc.rpartition("@")[2], "Content-Length": size, "Connection": "close"}
    lines = [f"{name}: {text}" for name, text in {**own, **headers}.items()]
    return "\r\n".join([f"POST {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


async def _answer(reader: asyncio.StreamReader) -> Posted:
    version, status, *_ = (await reader.readline()).decode("latin-1").split(" ", 2)
    if not version.startswith("HTTP/1.") or not 200 <= int(status) <= 599:
        raise ValueError("no answer of HTTP's")
    for _ in range(_MOST_HEADERS):
        if not (await reader.readline()).strip():
            break
    text = (await reader.read(_MOST_BYTES)).decode("utf-8", "replace")
    return Posted(status=int(status), answer=text)
