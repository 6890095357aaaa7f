"""One request, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tieline_square_sandbox.answers import bad_request

__all__ = ["Request", "parameters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came in; header names are in lower case."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header; empty if there is none."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    def json(self) -> dict[str, Any]:
        """Read the body.

        Raises:
            RefusedError: 400 for what is no JSON object.
        """
        found = self.json_or_none()
        if found is None:
            raise bad_request("Expected a JSON object as the body.", "EXPECTED_JSON_BODY")
        return found

    def json_or_none(self) -> dict[str, Any] | None:
        """Read the body; None for what is no JSON object."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return found if isinstance(found, dict) else None


def parameters(text: bytes) -> dict[str, str]:
    """Read a query or a form; of several values of one name the first counts."""
    pairs = parse_qsl(text.decode("latin-1"), keep_blank_values=True)
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found
