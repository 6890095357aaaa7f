"""Look for secrets in whatever came out of Tieline, in every form that it may have there.

Written without a look at how Tieline hides them: a mistake has to be made twice.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["Hit", "forms", "scan"]

_DEEPEST = 4
_AROUND = 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A secret that was found.

    Attributes:
        secret: Its name.
        form: In which form; names are those of :func:`forms`.
        around: The bytes before and after it.
    """

    secret: str
    form: str
    around: bytes


def forms(secret: str) -> dict[str, bytes]:
    """Write a secret in every form in which it is looked for."""
    raw = secret.encode()
    found = {
        "raw": raw,
        "url": urllib.parse.quote(secret, safe="").encode(),
        "url path": urllib.parse.quote(secret).encode(),
        "url form": urllib.parse.quote_plus(secret).encode(),
        "json": json.dumps(secret).encode()[1:-1],
        "json unicode": json.dumps(secret, ensure_ascii=False).encode()[1:-1],
        "python": repr(secret).encode()[1:-1],
        "python bytes": repr(raw).encode()[2:-1],
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
    }
    for neighbours in range(3):
        inner = _unmoved(raw, neighbours)
        found[f"base64 +{neighbours}"] = inner
        found[f"base64url +{neighbours}"] = inner.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def scan(blob: bytes, secrets: Mapping[str, str]) -> list[Hit]:
    """Find secrets in bytes.

    The bytes are looked at as they are and, layer by layer, with what is
    packed in them unpacked, what is escaped unescaped, and what is wrapped
    put on one line.

    Args:
        blob: Whatever came out.
        secrets: Name to secret.

    Returns:
        One hit for each secret that is there.
    """
    hits: dict[str, Hit] = {}
    every = [(name, *form) for name, secret in secrets.items() for form in forms(secret).items()]
    for layer in _layers(blob):
        for name, form, text in every:
            if name not in hits and (at := layer.find(text)) >= 0:
                around = layer[max(0, at - _AROUND) : at + len(text) + _AROUND]
                hits[name] = Hit(secret=name, form=form, around=around)
    return list(hits.values())


def _unmoved(raw: bytes, neighbours: int) -> bytes:
    """Encode bytes among others; return what is the same whatever the others are."""
    after = 6 - (neighbours + len(raw)) % 3
    low, high = (
        base64.b64encode(other * neighbours + raw + other * after) for other in (b"\x00", b"\xff")
    )
    same = [index for index, pair in enumerate(zip(low, high, strict=True)) if pair[0] == pair[1]]
    return low[same[0] : same[-1] + 1]


def _layers(blob: bytes) -> Iterator[bytes]:
    seen = {blob}
    layers = [blob]
    for _ in range(_DEEPEST):
        yield from layers
        found = {inner for layer in layers for inner in _peeled(layer)} - seen - {b""}
        seen |= found
        layers = list(found)


def _peeled(blob: bytes) -> Iterator[bytes]:
    yield from _unpacked(blob)
    yield _unescaped(blob)
    yield urllib.parse.unquote_to_bytes(blob) if b"%" in blob else blob
    yield re.sub(rb"\n> |\s+|\\[rnt]|\xe2\x94\x82", b"", blob)  # lines, and the frames around them


_ZLIB = re.compile(rb"x[\x01\x5e\x9c\xda]")
_ZLIB_IN_BASE64 = re.compile(rb"eJ[A-Za-z0-9+/]{10,}={0,2}")


def _unpacked(blob: bytes) -> Iterator[bytes]:
    """Undo zlib, which RQ puts its payloads through, and base64 around that."""
    for found in _ZLIB.finditer(blob):
        yield _inflated(memoryview(blob)[found.start() :])
    for packed in _ZLIB_IN_BASE64.finditer(blob):
        try:
            yield _inflated(base64.b64decode(packed[0]))
        except ValueError:
            continue


def _inflated(blob: bytes | memoryview) -> bytes:
    try:
        return zlib.decompressobj().decompress(blob)
    except zlib.error:
        return b""


def _unescaped(blob: bytes) -> bytes:
    return re.sub(rb"\\([\"'\\/])", lambda found: found[1], blob) if b"\\" in blob else blob
