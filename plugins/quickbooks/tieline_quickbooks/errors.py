"""What each refusal of QuickBooks means for a sync.

Decided by Intuit's code first and by the HTTP status where the code says
nothing: a throttled call comes with 429, 403 or 400, and a fault with 200.

Source:
    Intuit, "Error codes" and "Handling common errors"; where these are silent,
    issues #40, #43, #83, #118, #120 and #250 of python-quickbooks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from quickbooks import exceptions  # type: ignore[import-untyped]  # 0.9.12 has no type hints

from tieline.contract import (
    ConflictError,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    RetryLaterError,
    retry_after,
)
from tieline_quickbooks.faults import Fault, fault_in, may_hold_fault, read_fault

__all__ = ["classify", "refusal", "refusal_in"]

THROTTLED_S = 60.0
"""How long Intuit asks to stay away; it sends no ``Retry-After``."""

_TID = re.compile(r"[\w-]{1,64}", re.ASCII)
_THROTTLED = 3001
_SEVERE = 10_000

_NOT_CONNECTED = "connect again; keys and environment of the application have to belong together"
_LOST_RIGHTS = "the user who connected has lost the right; let an administrator connect again"
_BILLING = "the company's owner has to renew its QuickBooks subscription"


def _as(kind: type[ProviderError], **more: str) -> Callable[[str], ProviderError]:
    return lambda said: kind(said, **more)


_BY_CODE: dict[int, Callable[[str], ProviderError]] = {
    100: _as(NeedsReauthError, hint=_LOST_RIGHTS),
    120: _as(NeedsReauthError, hint=_LOST_RIGHTS),
    130: RetryLaterError,  # the company is at another cluster
    500: RequestRejectedError,  # such an operation does not exist
    610: RecordNotFoundError,
    3100: _as(NeedsReauthError, hint=_NOT_CONNECTED),
    3200: NeedsReauthError,
    5010: ConflictError,
    6190: _as(PermissionDeniedError, hint=_BILLING),
    6240: _as(RequestRejectedError, code="duplicate-name"),
}
_BY_KIND: dict[str, Callable[[str], ProviderError]] = {
    "authentication": NeedsReauthError,
    "authorization": PermissionDeniedError,
    "service": ProviderUnavailableError,
    "system": ProviderUnavailableError,
}
"""The gateway's words; a company's service adds ``Fault``."""


def refusal(reply: Reply) -> ProviderError | None:
    """Say what an answer refuses; None for one that can be used.

    Args:
        reply: Any answer of the API.

    Returns:
        An error whose message has Intuit's own words and the ``intuit_tid``
        that its support asks for, and no secret.
    """
    if reply.status == 200 and not may_hold_fault(reply.content):
        return None
    fault = read_fault(reply.content)
    if fault is None and reply.status == 200:
        return None if reply.content[:100].lstrip()[:1] == b"{" else _malformed(reply)
    error = _meaning(reply.status, fault, _said(reply, fault))
    if isinstance(error, RetryLaterError):
        asked = retry_after(reply.headers)
        error.retry_after = error.retry_after if asked is None else asked
    return error


def refusal_in(part: Mapping[str, Any], reply: Reply) -> ProviderError | None:
    """Say what one part of a batch's answer refuses; the answer itself comes with 200."""
    fault = fault_in(part)
    return None if fault is None else _meaning(reply.status, fault, _said(reply, fault))


def classify(error: Exception) -> ProviderError | None:
    """Translate an error of the SDK; None if it is none.

    Answers that refuse are judged before the SDK sees them, so what is left
    are its own complaints: a body that is cut off, a call that it cannot make.
    """
    if not isinstance(error, exceptions.QuickbooksException):
        return None
    code = error.error_code if isinstance(error.error_code, int) else 0
    # The SDK's text would quote the whole body. Its code may be the HTTP status.
    said = f"the QuickBooks SDK refused: {type(error).__name__}, code {code}"
    kind = "authentication" if isinstance(error, exceptions.AuthorizationException) else ""
    return _meaning(400, Fault(code=code, kind=kind, words=""), said)


def _meaning(status: int, fault: Fault | None, said: str) -> ProviderError:
    code, kind = (fault.code, fault.kind.lower()) if fault else (0, "")
    kind = kind.removesuffix("fault")
    if status == 429 or code == _THROTTLED:
        return RateLimitedError(said, retry_after=THROTTLED_S)
    if status >= 500 or code >= _SEVERE:
        return ProviderUnavailableError(said)
    if code in _BY_CODE:
        return _BY_CODE[code](said)
    if status == 401:
        return NeedsReauthError(said)
    if kind in _BY_KIND:
        return _BY_KIND[kind](said)
    if status == 403:
        return PermissionDeniedError(said)
    if status in {408, 425} or (status < 400 and not code):
        return ProviderUnavailableError(said)
    return RequestRejectedError(said)


def _malformed(reply: Reply) -> ProviderError:
    size = len(reply.content)
    return ProviderUnavailableError(
        f"QuickBooks answered 200 with {size} bytes that are no JSON{_tid(reply)}",
        code="answer-malformed",
    )


def _said(reply: Reply, fault: Fault | None) -> str:
    if fault is None:
        return f"QuickBooks answered {reply.status}: no error of its form{_tid(reply)}"
    code = f" (code {fault.code})" if fault.code else ""
    return f"QuickBooks answered {reply.status}{code}: {fault.words}{_tid(reply)}"


def _tid(reply: Reply) -> str:
    tid = reply.headers.get("intuit_tid", "")
    return f" [intuit_tid {tid}]" if _TID.fullmatch(tid) else ""
