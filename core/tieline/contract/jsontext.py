"""Read a provider's JSON once, quickly, and without changing a number."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

from tieline.contract.errors import ProviderUnavailableError

__all__ = ["NotFinite", "parse_json"]

# orjson turns integers beyond 64 bits into floats without a word, so a body with
# a number of 19 digits is read by the exact, slower parser. Such a number holds
# three neighbours of every sixth byte: looking at those alone costs a fifth of a
# nanosecond a byte, a regular expression over all of them fifteen.
_STEP = 6
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_THREE = b"000"
_ZEROS = re.compile(b"0*")
_NINETEEN = re.compile(rb"[0-9]{19}")
_BLANKS = b" \t\r\n"
_MOST_BLANKS = 64


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
    seen = body[::_STEP].translate(_DIGITS_TO_ZERO)
    first = seen.find(_THREE)
    while first >= 0:
        zeros = _ZEROS.match(seen, first)
        end = zeros.end() if zeros else first + 1
        low, high = max(0, first * _STEP - _STEP + 1), end * _STEP
        for digits in _NINETEEN.finditer(body, low, high):
            if _stands_as_number(body, digits.start()):
                return True
        first = seen.find(_THREE, end)
    return False


def _stands_as_number(body: bytes, start: int) -> bool:
    """Tell a number from digits within a text, most of which follow no sign of JSON."""
    before = body[max(0, start - _MOST_BLANKS) : start].rstrip(_BLANKS)
    return not before or before[-1] in b":,[-"


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
