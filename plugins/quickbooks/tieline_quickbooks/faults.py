"""Read the errors that QuickBooks writes, in each of their shapes.

A company's service writes ``{"Fault": {"Error": [{"Message", "Detail", "code",
"element"}], "type"}}``, now and then with HTTP 200; the gateway before it writes
the same in lower case; some of the gateway's come as XML although JSON was
asked for; what stands before that answers with HTML or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

from tieline.contract import ProviderUnavailableError, parse_json

__all__ = ["Fault", "fault_in", "may_hold_fault", "read_fault"]

_LONGEST = 500
_XML_BYTES = 20_000
_IN_MESSAGE = re.compile(r"errorCode=0*(\d+)")
_XML_FAULT = re.compile(r"<(?:\w+:)?Fault\b([^>]*)>")
_XML_ERROR = re.compile(r"<(?:\w+:)?Error\b([^>]*)>")
_XML_CODE = re.compile(r"""\bcode\s*=\s*["']([^"']*)""")
_XML_TYPE = re.compile(r"""\btype\s*=\s*["']([^"']*)""")
# Intuit's words may repeat the token that it refused.
_LONG_WORD = re.compile(r"[\w.\-]{24,}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """The first error of an answer.

    Attributes:
        code: Intuit's number; 0 where there is none.
        kind: Such as ``ValidationFault`` or ``AUTHENTICATION``; empty if missing.
        words: What it says, in one line, without anything like a token.
    """

    code: int
    kind: str
    words: str


def may_hold_fault(content: bytes) -> bool:
    """Tell cheaply whether a good status may hide a fault, or no answer at all."""
    is_object = content[:100].lstrip()[:1] == b"{"
    return not is_object or b'"Fault"' in content or b'"fault"' in content


def read_fault(content: bytes) -> Fault | None:
    """Read the fault of an answer; None if it has none in a known shape."""
    if content[:100].lstrip()[:1] == b"<":
        return _from_xml(content[:_XML_BYTES].decode("utf-8", "replace"))
    try:
        body = parse_json(content)
    except ProviderUnavailableError:
        return None
    return fault_in(body)


def fault_in(body: Any) -> Fault | None:
    """Read the fault of an answer, or of one part of a batch's; None if it has none."""
    named = _in_lower_case(body)
    if not isinstance(named.get("fault"), Mapping):
        return None
    fault = _in_lower_case(named["fault"])
    errors = fault.get("error")
    first = _in_lower_case(errors[0] if isinstance(errors, list) and errors else errors)
    return _fault(first.get("code"), fault.get("type"), first.get("message"), first.get("detail"))


def _from_xml(text: str) -> Fault | None:
    """Read what is needed by its shape: a parser would follow whatever else it holds."""
    fault, error = _XML_FAULT.search(text), _XML_ERROR.search(text)
    if fault is None:
        return None
    code = _XML_CODE.search(error[1]) if error else None
    kind = _XML_TYPE.search(fault[1])
    message, detail = _element(text, "Message"), _element(text, "Detail")
    return _fault(code and code[1], kind and kind[1], message, detail)


def _element(text: str, name: str) -> str:
    found = re.search(rf"<(?:\w+:)?{name}\b[^>]*>([^<]*)<", text)
    return unescape(found[1]) if found else ""


def _fault(code: Any, kind: Any, message: Any, detail: Any) -> Fault:
    texts = [text.strip() for text in (message, detail) if isinstance(text, str) and text.strip()]
    digits = str(code if code is not None else "").strip()
    if not (digits.isascii() and digits.isdigit()):  # it stands in the gateway's message too
        found = _IN_MESSAGE.search(" ".join(texts))
        digits = found[1] if found else "0"
    words = _LONG_WORD.sub(_without_token, " ".join(": ".join(texts).split()))
    return Fault(
        code=int(digits[:9]),
        kind=kind if isinstance(kind, str) else "",
        words=words[:_LONGEST] or "no reason given",
    )


def _without_token(found: re.Match[str]) -> str:
    """Keep words, such as ApplicationAuthorizationFailed; tokens have digits in them."""
    return "…" if any(letter.isdigit() for letter in found[0]) else found[0]


def _in_lower_case(value: Any) -> dict[str, Any]:
    return {name.lower(): each for name, each in value.items()} if isinstance(value, dict) else {}
