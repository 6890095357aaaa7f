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

__all__ = ["Fault", "fault_in", "xml_as_json"]

_LONGEST = 500
_XML_BYTES = 20_000
_CODE = re.compile(r"\s*([0-9]+)\s*")
_IN_MESSAGE = re.compile(r"errorCode=([0-9]+)")
_XML_ELEMENT = re.compile(r"<(?:\w+:)?(Fault|Error|Message|Detail)\b([^>]*)>([^<]*)")
_XML_ATTRIBUTE = re.compile(r"""\b(code|type)\s*=\s*["']([^"']*)""")
# Intuit's words may repeat the token that it refused. Those have digits in them, unlike
# words such as ApplicationAuthorizationFailed.
_TOKEN = re.compile(r"(?<![\w.\-])(?=[\w.\-]*[0-9])[\w.\-]{24,}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """The first error of an answer.

    Attributes:
        code: Intuit's number; 0 where there is none.
        kind: Such as ``ValidationFault`` or ``AUTHENTICATION``; empty if missing.
        words: What it says, in one line, without anything like a token.
    """

    code: int = 0
    kind: str = ""
    words: str = "nothing in the form that it should have"


def fault_in(body: Any) -> Fault | None:
    """Read the fault of an answer, or of one part of a batch's; None if it has none."""
    named = _in_lower_case(body)
    if not isinstance(named.get("fault"), Mapping):
        return None
    fault = _in_lower_case(named["fault"])
    errors = fault.get("error")
    first = _in_lower_case(errors[0] if isinstance(errors, list) and errors else errors)
    given = (first.get("message"), first.get("detail"))
    texts = [text.strip() for text in given if isinstance(text, str) and text.strip()]
    words = _TOKEN.sub("…", " ".join(": ".join(texts).split()))
    code = _CODE.fullmatch(str(first.get("code"))) or _IN_MESSAGE.search(" ".join(texts))
    return Fault(
        code=int(code[1].lstrip("0")[:9] or 0) if code else 0,
        kind=fault["type"] if isinstance(fault.get("type"), str) else "",
        words=words[:_LONGEST] or "no reason given",
    )


def xml_as_json(content: bytes) -> dict[str, Any] | None:
    """Write a fault in XML as the service writes one in JSON; None if there is none.

    What is needed is read by its shape: a parser would follow whatever else it holds.
    """
    text = content[:_XML_BYTES].decode("utf-8", "replace")
    found = {name: rest for name, *rest in reversed(_XML_ELEMENT.findall(text))}
    if "Fault" not in found:
        return None
    error = {name: unescape(found[name][1]) for name in ("Message", "Detail") if name in found}
    fault, first = (dict(_XML_ATTRIBUTE.findall(found[name][0])) for name in ("Fault", "Error"))
    return {"Fault": fault | {"Error": error | first}}


def _in_lower_case(value: Any) -> dict[str, Any]:
    return {name.lower(): each for name, each in value.items()} if isinstance(value, dict) else {}
