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
    RequestRejectedError,
    parse_json,
    retry_after,
)

__all__ = ["classify", "read_answer"]


def read_answer(status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Read the answer of a call.

    Args:
        status: HTTP status.
        headers: Names in any case.
        content: The body, decompressed.

    Returns:
        The JSON object of a call that succeeded.

    Raises:
        ProviderError: It did not, or the body is not what was promised: a good
            status may come with ``errors``, with HTML or with nothing.
    """
    is_good = 200 <= status < 300
    try:
        body = parse_json(content)
    except ProviderError:
        if is_good:
            raise
        body = None
    if not is_good or (isinstance(body, dict) and body.get("errors")):
        raise _meaning(status, headers, body)
    if not isinstance(body, dict):
        raise ProviderUnavailableError(
            f"Square answered {status} with what is no JSON object", code="answer-malformed"
        )
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


_BY_CODE: Mapping[str, type[ProviderError]] = {
    "ACCESS_TOKEN_EXPIRED": NeedsReauthError,
    "ACCESS_TOKEN_REVOKED": NeedsReauthError,
    "CLIENT_DISABLED": NeedsReauthError,
    "UNAUTHORIZED": NeedsReauthError,
    "service.not_authorized": NeedsReauthError,
    "APPLICATION_DISABLED": PermissionDeniedError,
    "FORBIDDEN": PermissionDeniedError,
    "INSUFFICIENT_SCOPES": PermissionDeniedError,
    "V1_ACCESS_TOKEN": PermissionDeniedError,
    "V1_APPLICATION": PermissionDeniedError,
    "INVALID_CURSOR": CursorExpiredError,
    "NOT_FOUND": RecordNotFoundError,
    "CONFLICT": ConflictError,
    "IDEMPOTENCY_KEY_REUSED": ConflictError,
    "VERSION_MISMATCH": ConflictError,
    "GATEWAY_TIMEOUT": ProviderUnavailableError,
    "INTERNAL_SERVER_ERROR": ProviderUnavailableError,
    "REQUEST_TIMEOUT": ProviderUnavailableError,
    "SERVICE_UNAVAILABLE": ProviderUnavailableError,
    "TEMPORARY_ERROR": ProviderUnavailableError,
}

_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: NeedsReauthError,
    403: PermissionDeniedError,
    404: RecordNotFoundError,
    408: ProviderUnavailableError,
    409: ConflictError,
}

_HINTS = {
    "INSUFFICIENT_SCOPES": "connect the account again with that permission",
    "UNAUTHORIZED": "connect the account again; is it of this environment?",
}


def _meaning(status: int, headers: Mapping[str, str], body: object) -> ProviderError:
    code, words = _said(body)
    said = f"Square answered {status}: {words or 'no error of its own form'}"
    if status == 429 or code == "RATE_LIMITED":
        return RateLimitedError(said, retry_after=retry_after(headers))
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status) or RequestRejectedError
    is_unsaid = status < 400 and code not in _BY_CODE
    if status >= 500 or not code or is_unsaid or kind is ProviderUnavailableError:
        return ProviderUnavailableError(said, retry_after=retry_after(headers))
    return kind(said, hint=_HINTS.get(code, ""))


def _said(body: object) -> tuple[str, str]:
    """Find the code and Square's own words; both empty if the body is not Square's."""
    found = body.get("errors") if isinstance(body, dict) else None
    first = found[0] if isinstance(found, list) and found else body
    if not isinstance(first, dict):
        return "", ""
    code = first.get("code", first.get("type"))
    detail = first.get("detail", first.get("message"))
    if not isinstance(code, str) or not code:
        return "", ""
    return code, f"{code}: {_plain(detail)}" if isinstance(detail, str) and detail else code


# Access, refresh and client secrets, and codes, by how Square's begin.
_TOKEN = re.compile(r"\b(?:E[AQ]A|(?:sandbox-)?sq0c)[\w-]{8,}")


def _plain(text: str) -> str:
    """Put a text on one line, at most 300 characters, and without a secret."""
    return _TOKEN.sub("…", " ".join(text.split()))[:300]
