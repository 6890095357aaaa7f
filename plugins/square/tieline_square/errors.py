"""What each of Square's errors means for us.

Source: Square API reference, "Handling errors" and "Error codes". A body is
``{"errors": [{"category", "code", "detail", "field"}]}``, the status belongs to
the first; OAuth has an older shape too, ``{"message", "type"}``. What has
neither was written by something on the way, and says nothing about the account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx
from square.core.api_error import ApiError

from tieline.contract import (
    ConflictError,
    CursorExpiredError,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    list_of,
    object_of,
    parse_json,
    retry_after,
    text_of,
)

__all__ = ["classify", "read_answer"]


def read_answer(reply: Reply, *, has_cursor: bool = False) -> dict[str, Any]:
    """Read the answer of a call.

    Args:
        reply: The answer, whatever its status.
        has_cursor: The call went on with a list that was good before.

    Returns:
        The JSON object of a call that succeeded.

    Raises:
        ProviderError: It did not, or the body is not what was promised: a good
            status may come with ``errors``, with HTML or with nothing.
    """
    body, is_good = None, 200 <= reply.status < 300
    try:
        body = parse_json(reply.content)
    except ProviderError:
        if is_good:
            raise
    if not is_good or object_of(body).get("errors"):
        raise _meaning(reply.status, reply.headers, body, has_cursor=has_cursor)
    if not isinstance(body, dict):
        said = f"Square answered {reply.status} with what is no JSON object"
        raise ProviderUnavailableError(said, code="answer-malformed")
    return body


def classify(error: Exception) -> ProviderError | None:
    """Translate an error of the SDK; None if it is none."""
    if isinstance(error, ApiError):
        return _meaning(error.status_code or 0, error.headers or {}, error.body)
    if isinstance(error, httpx.HTTPError):
        return ProviderUnavailableError(f"Square gave no usable answer: {type(error).__name__}")
    if type(error).__module__.partition(".")[0] == "square":
        return RequestRejectedError(f"the Square SDK refused: {type(error).__name__}")
    return None


# Codes of Square's, and statuses for codes that are not known.
_KINDS = {
    NeedsReauthError: "ACCESS_TOKEN_EXPIRED ACCESS_TOKEN_REVOKED CLIENT_DISABLED UNAUTHORIZED"
    " service.not_authorized 401",
    PermissionDeniedError: "APPLICATION_DISABLED FORBIDDEN INSUFFICIENT_SCOPES V1_ACCESS_TOKEN"
    " V1_APPLICATION 403",
    CursorExpiredError: "INVALID_CURSOR",
    RecordNotFoundError: "NOT_FOUND 404",
    ConflictError: "CONFLICT IDEMPOTENCY_KEY_REUSED VERSION_MISMATCH 409",
    ProviderUnavailableError: "GATEWAY_TIMEOUT INTERNAL_SERVER_ERROR REQUEST_TIMEOUT"
    " SERVICE_UNAVAILABLE TEMPORARY_ERROR 408",
}
_MEANINGS: Mapping[str, type[ProviderError]] = {
    code: kind for kind, codes in _KINDS.items() for code in codes.split()
}

_HINTS = {
    "INSUFFICIENT_SCOPES": "connect the account again with that permission",
    "UNAUTHORIZED": "connect the account again; is it of this environment?",
}


def _meaning(
    status: int, headers: Mapping[str, str], body: object, *, has_cursor: bool = False
) -> ProviderError:
    code, words = _said(body)
    said = f"Square answered {status}: {words or 'no error of its own form'}"
    if status == 429 or code == "RATE_LIMITED":
        return RateLimitedError(said, retry_after=retry_after(headers))
    kind = _MEANINGS.get(code) or _MEANINGS.get(str(status)) or RequestRejectedError
    is_unsaid = status < 400 and code not in _MEANINGS
    if status >= 500 or not code or is_unsaid or kind is ProviderUnavailableError:
        return ProviderUnavailableError(said, retry_after=retry_after(headers))
    if has_cursor and code == "BAD_REQUEST":  # an old cursor's error, at times
        kind = CursorExpiredError
    return kind(said, hint=_HINTS.get(code, ""))


def _said(body: object) -> tuple[str, str]:
    """Find the code and Square's own words; both empty if the body is not Square's."""
    first = object_of(next(iter(list_of(object_of(body).get("errors"))), body))
    code = text_of(first.get("code", first.get("type")))
    detail = _plain(text_of(first.get("detail", first.get("message"))))
    return code, ": ".join(filter(None, (code, detail))) if code else ""


# Access, refresh and client secrets, and codes, by how Square's begin.
_TOKEN = re.compile(r"\b(?:E[AQ]A|(?:sandbox-)?sq0c)[\w-]{8,}")


def _plain(text: str) -> str:
    """Put a text on one line, at most 300 characters, and without a secret."""
    return _TOKEN.sub("…", " ".join(text.split()))[:300]
