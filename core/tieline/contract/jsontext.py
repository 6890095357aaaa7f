"""Read a provider's JSON once, quickly, and without changing a number."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from tieline.contract.errors import ProviderUnavailableError

__all__ = ["NotFinite", "parse_json"]

# orjson turns integers beyond 64 bits into floats without a word, so a body
# with 19 digits in a row is read by the exact, slower parser. Translating and
# searching costs 1 ns a byte; a regular expression costs fifteen.
_KEPT = b":,[-"
_DIGITS_TO_ZERO = bytes(
    48 if 48 <= byte <= 57 else byte if byte in _KEPT else 32 for byte in range(256)
)
_NINETEEN = b"0" * 19
_THREE = b"0" * 3
_BEGINNINGS = tuple(bytes([sign]) + _NINETEEN for sign in _KEPT)


class NotFinite:
    """Stands where a body had NaN, Infinity or a number beyond a float.

    JSON has none of them and PostgreSQL stores none of them: a record that
    holds one is quarantined.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"NotFinite({self.text[:20]!r})"


def parse_json(body: bytes) -> Any:
    """Parse a body as received.

    Integers of any size stay exact. Lone surrogates, NaN, Infinity and bytes
    that are not UTF-8, which some providers send, come through as text with
    surrogates and as :class:`NotFinite`, so that one bad record does not cost
    its page.

    Args:
        body: The whole body.

    Raises:
        ProviderUnavailableError: The body is not JSON: cut off, empty, HTML,
            or nested beyond what can be read. Asking again may help.
    """
    if not _may_hold_big_numbers(body):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    return _parse_exactly(body)


def _may_hold_big_numbers(body: bytes) -> bool:
    # Of nineteen bytes in a row, three are met by looking at every sixth alone.
    if _THREE not in body[::6].translate(_DIGITS_TO_ZERO):
        return False
    if _NINETEEN not in body.translate(_DIGITS_TO_ZERO):
        return False
    # Most are digits in a text; a number stands right after one of four signs.
    dense = body.translate(_DIGITS_TO_ZERO, b" \t\r\n")
    return any(beginning in dense for beginning in _BEGINNINGS)


def _parse_exactly(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8", "surrogateescape"),
            parse_constant=NotFinite,
            parse_float=_finite,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        raise ProviderUnavailableError(
            f"the answer is not JSON ({len(body)} bytes): {_reason(error)}", code="answer-malformed"
        ) from None


def _finite(text: str) -> float | NotFinite:
    number = float(text)
    return number if math.isfinite(number) else NotFinite(text)


def _integer(text: str) -> int | NotFinite:
    try:
        return int(text)
    except ValueError:  # beyond the interpreter's limit of 4,300 digits
        return NotFinite(text)


def _reason(error: Exception) -> str:
    """Name the fault without quoting the body, which may hold personal data."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return "nested too deeply" if isinstance(error, RecursionError) else "unreadable"
