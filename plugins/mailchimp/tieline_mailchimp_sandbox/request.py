"""One request, read once."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tieline_mailchimp_sandbox.answers import Problem

__all__ = ["Params", "Request"]

Params = dict[str, str]
"""Parameters; of several of one name the last counts."""

_FORM = b"application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came in; header names are in lower case.

    Attributes:
        id: What ``X-Request-Id`` will say.
        origin: Scheme and host by which the sandbox was called.
        method: In upper case.
        path: Decoded, without the query.
        query: As it came.
        headers: As they came.
        body: As it came.
    """

    id: str
    origin: str
    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes

    def params(self) -> Params:
        """Read the query."""
        return dict(parse_qsl(self.query.decode("latin-1"), keep_blank_values=True))

    def form(self) -> Params:
        """Read the body; what is no form has no parameters."""
        if not self.headers.get(b"content-type", b"").startswith(_FORM):
            return {}
        return dict(parse_qsl(self.body.decode("latin-1"), keep_blank_values=True))

    def json(self) -> dict[str, Any]:
        """Read the body.

        Raises:
            Problem: 400: it is no JSON object.
        """
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise Problem(
                400, "JSON Parse Error", "We encountered an unspecified JSON parsing error."
            )
        return found

    def token(self, *schemes: str) -> str:
        """Return what ``Authorization`` holds under one of the schemes; empty: none."""
        scheme, _, text = self.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return text.strip() if scheme.lower() in schemes else ""

    def password(self) -> str:
        """Return the password of Basic sign-in, whatever the user; empty: none."""
        try:
            pair = base64.b64decode(self.token("basic"), validate=True).decode("latin-1")
        except (binascii.Error, ValueError):
            return ""
        return pair.partition(":")[2]
