"""What goes back to the caller: answers, and errors in Stripe's words.

Source: Stripe API reference, "Errors"; codes from "Error codes". The shape is
``{"error": {"type", "code", "param", "message", "doc_url"}}``; that of the OAuth
endpoints is flat, ``{"error", "error_description"}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

__all__ = [
    "Answer",
    "ApiError",
    "Headers",
    "OAuthError",
    "empty_parameter",
    "invalid_request",
    "list_answer",
    "missing",
    "missing_parameter",
    "too_many_requests",
    "unknown_parameters",
    "unrecognized_url",
]

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer before it goes out."""

    status: int = 200
    body: bytes
    headers: Headers = ()
    content_type: bytes = b"application/json"


class ApiError(Exception):
    """A refusal.

    Args:
        status: HTTP status.
        message: Stripe's text.
        kind: ``error.type``.
        code: ``error.code``; left out when None.
        param: The parameter that is to blame; left out when None.
        headers: Further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        doc_url = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}" if code else None
        named = {"code": code, "doc_url": doc_url, "message": message, "param": param, "type": kind}
        self.error: dict[str, Any] = {
            name: text for name, text in named.items() if text is not None
        }

    def answer(self) -> Answer:
        """Return it as an answer."""
        return Answer(
            status=self.status, body=orjson.dumps({"error": self.error}), headers=self.headers
        )


class OAuthError(ApiError):
    """A refusal by an OAuth endpoint.

    Args:
        code: ``error``, such as ``invalid_grant``.
        description: ``error_description``.
        status: HTTP status.
    """

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(status, description, code=code)
        self.flat = {"error": code, "error_description": description}

    def answer(self) -> Answer:
        """Return it as an answer."""
        return Answer(status=self.status, body=orjson.dumps(self.flat))


def list_answer(url: bytes, texts: list[bytes], *, has_more: bool) -> Answer:
    """Wrap objects that are JSON already; there is no total count since 2025-03-31."""
    more = b"true" if has_more else b"false"
    parts = (b'{"object":"list","data":[', b",".join(texts), b'],"has_more":', more)
    return Answer(body=b"".join((*parts, b',"url":"', url, b'"}')))


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Refuse a parameter's value."""
    return ApiError(400, message, code=code, param=param)


def missing(what: str, name: str, *, param: str = "id") -> ApiError:
    """Say that an object does not exist: 404 for the path's id, 400 for any other parameter."""
    status = 404 if param == "id" else 400
    return ApiError(status, f"No such {what}: '{name}'", code="resource_missing", param=param)


def unknown_parameters(names: list[str]) -> ApiError:
    """Refuse parameters that the endpoint does not take."""
    plural = "s" if len(names) > 1 else ""
    message = f"Received unknown parameter{plural}: {', '.join(names)}"
    return invalid_request(message, names[0], "parameter_unknown")


def missing_parameter(name: str) -> ApiError:
    """Ask for a parameter."""
    return invalid_request(f"Missing required param: {name}.", name, "parameter_missing")


def empty_parameter(name: str) -> ApiError:
    """Refuse ``""`` where nothing can be unset."""
    message = (
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset "
        f"a parameter; however '{name}' cannot be unset. You should remove '{name}' from your "
        "request or supply a non-empty value."
    )
    return invalid_request(message, name, "parameter_invalid_empty")


def too_many_requests(reason: bytes) -> ApiError:
    """Throttle; Stripe documents no ``Retry-After`` and sends none."""
    return ApiError(
        429,
        "Request rate limit exceeded. You can learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers=((b"stripe-rate-limited-reason", reason),),
    )


def unrecognized_url(method: str, path: str) -> ApiError:
    """Say that there is no such path, or not with this method."""
    hint = "Please see https://stripe.com/docs or we can help at https://support.stripe.com/."
    if path.endswith("/"):
        hint = (
            "If you are trying to list objects, remove the trailing slash. If you are trying to "
            "retrieve an object, make sure you passed a valid (non-empty) identifier in your code. "
            + hint
        )
    return ApiError(404, f"Unrecognized request URL ({method}: {path}). {hint}")
