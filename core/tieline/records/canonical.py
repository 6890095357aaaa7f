"""One text per record, the same for the same content, that both databases take.

PostgreSQL's ``jsonb`` refuses NUL characters and lone surrogates, which JSON
allows and providers send. They are written visibly (``␛0``, ``␛ud800``, and
``␛␛`` for the sign itself) and the record is marked; :func:`restore` undoes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from tieline.contract import InvalidRecordError, NotFinite

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Canonical", "canonical", "raw_text", "restore"]

MAX_DEPTH = 100
MAX_BYTES = 16_000_000
_ESCAPE = "␛"
_HOSTILE = re.compile("[\x00␛\ud800-\udfff]")
_ESCAPED = re.compile("␛(?:(0)|(␛)|u([0-9a-f]{4}))")


class Canonical(NamedTuple):
    """A record as it is stored.

    Attributes:
        text: JSON with sorted keys, UTF-8.
        digest: 128 bits over the text, in hex.
        is_escaped: Whether characters were escaped.
    """

    text: bytes
    digest: str
    is_escaped: bool


def canonical(record: Mapping[str, Any]) -> Canonical:
    """Write a record in its one form.

    Raises:
        InvalidRecordError: It holds a number that JSON has not, is nested
            more than 100 deep, or is larger than 16 MB.
    """
    try:
        text = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        is_escaped = b"\\u0000" in text
    except TypeError:  # integers beyond 64 bits, lone surrogates, NotFinite, too deep
        text, is_escaped = b"", True
    if is_escaped:
        text, is_escaped = _canonical_slowly(record)
    size = len(text)
    if size > MAX_DEPTH and text.count(b"[") + text.count(b"{") > MAX_DEPTH:
        _check_depth(record)
    if size > MAX_BYTES:
        raise InvalidRecordError(
            f"the record has {size:,} bytes, more than {MAX_BYTES:,}", code="record-too-large"
        )
    # An escaped text and one that only looks like it are not the same content.
    mark = b"escaped" if is_escaped else b""
    return Canonical(text, blake2b(text, digest_size=16, person=mark).hexdigest(), is_escaped)


def restore(payload: str, *, is_escaped: bool) -> str:
    """Return a stored payload's JSON text with the content that the provider sent."""
    if not is_escaped:
        return payload
    return json.dumps(_map_texts(json.loads(payload), _unescape), separators=(",", ":"))


def raw_text(value: object) -> bytes:
    """Write any parsed value for the quarantine; what JSON has not becomes text."""
    try:
        text = json.dumps(value, default=repr, ensure_ascii=True, separators=(",", ":"))
    except (RecursionError, ValueError):
        text = json.dumps(f"a {type(value).__name__} that cannot be written")
    return text.encode()


def _canonical_slowly(record: Mapping[str, Any]) -> tuple[bytes, bool]:
    _check_depth(record)
    is_hostile = False

    def escape(text: str) -> str:
        nonlocal is_hostile
        is_hostile = is_hostile or bool(_HOSTILE.search(text.replace(_ESCAPE, "")))
        return _HOSTILE.sub(_escaped, text)

    escaped = _map_texts(record, escape)
    kept = escaped if is_hostile else _map_texts(record, str)
    try:
        text = json.dumps(
            kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
        )
    except ValueError:
        raise InvalidRecordError(
            "the record holds a number that cannot be written", code="record-not-finite"
        ) from None
    return text.encode(), is_hostile


def _map_texts(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _map_texts(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_texts(item, change) for item in value]
    if isinstance(value, NotFinite):
        raise InvalidRecordError(
            "the record holds a number that JSON has not (NaN or infinite)",
            code="record-not-finite",
        )
    return value


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if character == _ESCAPE:
        return _ESCAPE * 2
    return f"{_ESCAPE}0" if character == "\x00" else f"{_ESCAPE}u{ord(character):04x}"


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda m: "\x00" if m[1] else m[2] or chr(int(m[3], 16)), text)


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            if isinstance(item, (Mapping, list))
            for child in (item.values() if isinstance(item, Mapping) else item)
        ]
        if not level:
            return
    if any(isinstance(item, (Mapping, list)) for item in level):
        raise InvalidRecordError(
            f"the record is nested more than {MAX_DEPTH} deep", code="record-too-deep"
        )
