"""What goes back to the caller: answers, and refusals in Square's words.

The API and most of OAuth refuse with ``{"errors": [{"category", "code",
"detail", "field"}]}`` (Square API reference, "Handling errors"). OAuth refuses
an application that it does not know in an older shape, ``{"message", "type"}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

__all__ = [
    "Answer",
    "Headers",
    "RefusedError",
    "bad_request",
    "default_error",
    "json_answer",
    "missing_parameter",
    "not_authorized",
    "not_found",
    "page",
    "unauthorized",
]

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer before it goes out."""

    status: int = 200
    body: bytes
    headers: Headers = ()
    content_type: bytes = b"application/json"


class RefusedError(Exception):
    """A request that is not granted.

    Args:
        answer: What the caller gets.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(status: int, value: Any) -> Answer:
    """Write a value as JSON."""
    return Answer(status=status, body=orjson.dumps(value))


def page(status: int, html: str) -> Answer:
    """Wrap a page for people."""
    return Answer(
        status=status,
        body=html.encode(),
        content_type=b"text/html; charset=utf-8",
        headers=((b"cache-control", b"no-store"), (b"x-frame-options", b"DENY")),
    )


def _refused(
    status: int, category: str, code: str, detail: str, field: str | None = None
) -> RefusedError:
    error = {"category": category, "code": code, "detail": detail}
    return RefusedError(
        json_answer(status, {"errors": [error | ({"field": field} if field else {})]})
    )


def unauthorized(detail: str, code: str = "UNAUTHORIZED", status: int = 401) -> RefusedError:
    """Refuse a token, a code or a right."""
    return _refused(status, "AUTHENTICATION_ERROR", code, detail)


def not_authorized() -> RefusedError:
    """Refuse an application: unknown, or its secret is wrong."""
    body = {"message": "Not Authorized", "type": "service.not_authorized"}
    return RefusedError(json_answer(401, body))


def bad_request(detail: str, code: str = "BAD_REQUEST", field: str | None = None) -> RefusedError:
    """Refuse what was asked."""
    return _refused(400, "INVALID_REQUEST_ERROR", code, detail, field)


def missing_parameter(name: str) -> RefusedError:
    """Ask for a parameter."""
    return bad_request(f"missing required parameter '{name}'", "MISSING_REQUIRED_PARAMETER", name)


def not_found(detail: str = "Resource not found.") -> RefusedError:
    """Say that there is nothing there."""
    return _refused(404, "INVALID_REQUEST_ERROR", "NOT_FOUND", detail)


def default_error(status: int) -> Answer:
    """Return what Square says with a status when nothing more is known."""
    category, code, detail = _DEFAULTS.get(
        status,
        ("API_ERROR", "INTERNAL_SERVER_ERROR", "An internal error has occurred.")
        if status >= 500
        else ("INVALID_REQUEST_ERROR", "BAD_REQUEST", "Bad request."),
    )
    return json_answer(status, {"errors": [{"category": category, "code": code, "detail": detail}]})


_DEFAULTS = {
    401: ("AUTHENTICATION_ERROR", "UNAUTHORIZED", "This request could not be authorized."),
    403: ("AUTHENTICATION_ERROR", "FORBIDDEN", "Forbidden."),
    404: ("INVALID_REQUEST_ERROR", "NOT_FOUND", "Resource not found."),
    409: ("INVALID_REQUEST_ERROR", "CONFLICT", "Conflict."),
    429: ("RATE_LIMIT_ERROR", "RATE_LIMITED", "Rate limit reached."),
    503: ("API_ERROR", "SERVICE_UNAVAILABLE", "Service unavailable."),
    504: ("API_ERROR", "GATEWAY_TIMEOUT", "Gateway timeout."),
}
