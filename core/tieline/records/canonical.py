"""One text per record, the same for the same content, that both databases take.

PostgreSQL's ``jsonb`` refuses NUL characters and lone surrogates, which JSON
allows and providers send. They are written visibly (``␛0``, ``␛ud800``, and
``␛␛`` for the sign itself) and the record is marked; :func:`restore` undoes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson

from tieline.contract import (
    InvalidRecordError,
    NotFinite,
    ProviderUnavailableError,
    parse_json,
)

__all__ = [
    "APPROXIMATE",
    "MAX_BYTES",
    "MAX_DEPTH",
    "Canonical",
    "canonical",
    "digests",
    "holds",
    "is_same_content",
    "raw_text",
    "read_raw",
    "restore",
    "usual_texts",
]

# orjson writes 254 levels and refuses more; four are left for what records are put into.
MAX_DEPTH = 250
_ROOM = 4
MAX_BYTES = 16_000_000
APPROXIMATE = "tieline-approximation"
"""Stands around a raw text that is not exactly what came."""
_NOTHING_HASHED = blake2b(digest_size=16)
_ESCAPE = "␛"
_HOSTILE = re.compile("[\x00␛\ud800-\udfff]")
_ESCAPED = re.compile("␛(?:(0)|(␛)|u([0-9a-f]{4}))")


class Canonical(NamedTuple):
    """A record as it is stored.

    Attributes:
        text: JSON with sorted keys, UTF-8.
        digest: 128 bits over the text, less what is volatile, in hex.
        is_escaped: Whether characters were escaped.
    """

    text: bytes
    digest: str
    is_escaped: bool


def canonical(record: Mapping[str, Any], volatile: tuple[str, ...] = ()) -> Canonical:
    """Write a record in its one form.

    Args:
        record: As the plugin returned it.
        volatile: Dotted paths that the digest leaves out; the text does not.

    Raises:
        InvalidRecordError: It holds a number that JSON has not, is nested
            more than 250 deep, or is larger than 16 MB.
    """
    text, is_escaped = _written(record)
    size = len(text)
    if size > MAX_BYTES:
        raise InvalidRecordError(
            f"the record has {size:,} bytes, more than {MAX_BYTES:,}", code="record-too-large"
        )
    told, is_told_escaped = text, is_escaped
    if volatile:
        told, is_told_escaped = _written(_without(record, _split(volatile)))
    # An escaped text and one that only looks like it are not the same content.
    mark = b"escaped" if is_told_escaped else b""
    return Canonical(text, blake2b(told, digest_size=16, person=mark).hexdigest(), is_escaped)


def _written(record: Mapping[str, Any]) -> tuple[bytes, bool]:
    """Return the JSON text, and whether characters were escaped."""
    texts = usual_texts([record])
    return _canonical_slowly(record) if texts is None else (texts[0], False)


def usual_texts(records: Sequence[Mapping[str, Any]]) -> list[bytes] | None:
    """Write the texts of records that need no escaping.

    Returns:
        As :func:`canonical` writes them; None if one of them is not usual.
    """
    dumps, sort = orjson.dumps, orjson.OPT_SORT_KEYS
    try:
        texts = [dumps([[[[record]]]], None, sort)[_ROOM:-_ROOM] for record in records]
    except TypeError:  # integers beyond 64 bits, lone surrogates, NotFinite, too deep
        return None
    whole = b"".join(texts)
    # The first look takes no time, and from the right the second a third of it from the left.
    is_hostile = b"\\" in whole and whole.rfind(b"\\u0000") >= 0
    return None if is_hostile or max(map(len, texts), default=0) > MAX_BYTES else texts


def digests(texts: Sequence[bytes]) -> list[str]:
    """Hash texts that are not escaped, as :func:`canonical` does."""
    found = []
    for text in texts:
        hashed = _NOTHING_HASHED.copy()  # a fifth quicker than a new one
        hashed.update(text)
        found.append(hashed.hexdigest())
    return found


def restore(payload: str, *, is_escaped: bool) -> str:
    """Return a stored payload's JSON text with the content that the provider sent."""
    if not is_escaped:
        return payload
    return json.dumps(_map_texts(json.loads(payload), _unescape), separators=(",", ":"))


def is_same_content(
    payload: str, copy: bytes, *, escaped: tuple[bool, bool], volatile: tuple[str, ...]
) -> bool:
    """Say whether a stored payload is the content of a copy, but for what is volatile.

    Args:
        payload: JSON as the database gives it back.
        copy: Canonical JSON.
        escaped: Whether the payload is escaped, and whether the copy is.
        volatile: Dotted paths that may differ.
    """
    if escaped[0] == escaped[1]:
        return holds(payload, copy, volatile)
    if not volatile:
        return False
    # What had to be escaped may stand in what does not count.
    other = restore(copy.decode(), is_escaped=escaped[1]).encode()
    return holds(restore(payload, is_escaped=escaped[0]), other, volatile)


def holds(payload: str, copy: bytes, volatile: tuple[str, ...] = ()) -> bool:
    """Say whether a stored payload is the content of a canonical text.

    A database may write the same content in other words: ``jsonb`` sorts keys
    its own way and makes ``1e22`` a number of 23 digits.

    Args:
        payload: JSON as the database gives it back.
        copy: Canonical JSON, escaped as the payload is.
        volatile: Dotted paths that may differ.
    """
    if payload.encode("utf-8", "surrogatepass") == copy:
        return True
    try:
        paths = _split(volatile)
        return _is_equal(_without(_exact(payload), paths), _without(_exact(copy.decode()), paths))
    except (ValueError, RecursionError):
        return False


_Paths = Sequence[Sequence[str]]


@lru_cache
def _split(volatile: tuple[str, ...]) -> _Paths:
    return tuple(path.split(".") for path in volatile)


def _without(value: Any, paths: _Paths) -> Any:
    """Leave out what paths lead to; what stays is shared, not copied."""
    if not paths or not isinstance(value, Mapping):
        return value
    left_out = {path[0] for path in paths if len(path) == 1}
    kept = {name: item for name, item in value.items() if name not in left_out}
    for name, *rest in paths:
        if rest and name in kept:
            kept[name] = _without(kept[name], (rest,))
    return kept


def _exact(text: str) -> Any:
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def _is_equal(one: Any, other: Any) -> bool:
    """Compare without taking ``true`` for 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _is_equal(item, other[key]) for key, item in one.items()
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)


def raw_text(value: object) -> bytes:
    """Write any parsed value for the quarantine, as JSON in ASCII.

    What JSON has not becomes text, and the whole is then put into an object
    with the one key :data:`APPROXIMATE`: it tells people what came, and
    :func:`read_raw` never takes it for the record.
    """
    try:
        text = json.dumps(value, default=repr, separators=(",", ":"), allow_nan=False)
        if json.loads(text) == value:
            return text.encode()
    except (RecursionError, ValueError, TypeError):
        text = _last_resort(value)
    return f"{{{json.dumps(APPROXIMATE)}:{text}}}".encode()


def read_raw(raw: bytes) -> Any:
    """Read what :func:`raw_text` wrote, if it is exactly what the provider sent.

    Raises:
        InvalidRecordError: It is not; the provider has to be asked.
    """
    try:
        value = parse_json(raw)
        is_exact = raw_text(value) == raw
    except ProviderUnavailableError:
        value, is_exact = None, False
    if is_exact and not (isinstance(value, dict) and list(value) == [APPROXIMATE]):
        return value
    raise InvalidRecordError(
        "it holds what JSON text cannot keep (NaN, an infinite or endless number, or too many"
        " levels), so the stored text is not exactly what the provider sent",
        code="raw-not-exact",
    )


def _last_resort(value: object) -> str:
    try:
        return json.dumps(repr(value))
    except (RecursionError, ValueError, TypeError):
        return json.dumps(f"a {type(value).__name__} that cannot be written")


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
    except TypeError:
        raise InvalidRecordError(
            "the record holds a value that JSON has not", code="record-not-json"
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
