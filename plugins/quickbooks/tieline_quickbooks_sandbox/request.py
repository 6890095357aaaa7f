"""One request as it came in, read once."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import orjson

__all__ = ["Request"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request; header names are in lower case.

    Attributes:
        id: Its ``intuit_tid``.
        method: In capitals.
        path: Decoded.
        query: As sent.
        headers: The last of several of one name.
        body: Read to its end.
    """

    id: str
    method: str
    path: str
    query: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""

    def asked(self) -> dict[str, str]:
        """Return the query's parameters; of several of one name the last."""
        return _pairs(self.query)

    def form(self) -> dict[str, str]:
        """Return the body's parameters, if it is a form."""
        kind = self.headers.get(b"content-type", b"")
        return _pairs(self.body) if kind.startswith(b"application/x-www-form-urlencoded") else {}

    def form_or_json(self) -> dict[str, str]:
        """Return the body's parameters, written either way; only texts count."""
        if not self.headers.get(b"content-type", b"").startswith(b"application/json"):
            return self.form()
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        named = value if isinstance(value, dict) else {}
        return {name: text for name, text in named.items() if isinstance(text, str)}

    def bearer(self) -> str:
        """Return the token that the request carries; empty if it has none."""
        kind, _, token = self._authorization().partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    def basic(self) -> tuple[str, str] | None:
        """Return name and password; None if there are none."""
        kind, _, text = self._authorization().partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, colon, password = b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (name, password) if colon else None

    def _authorization(self) -> str:
        return self.headers.get(b"authorization", b"").decode("latin-1")


def _pairs(text: bytes) -> dict[str, str]:
    return dict(parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True))
