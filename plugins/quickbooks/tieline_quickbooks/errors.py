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
from functools import partial
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
    parse_json,
    retry_after,
)
from tieline_quickbooks.faults import Fault, fault_in, xml_as_json

__all__ = ["classify", "read_body", "refusal", "refusal_in"]

_THROTTLED = 3001

_NOT_CONNECTED = "connect again; keys and environment of the application have to belong together"
_LOST_RIGHTS = "the user who connected has lost the right; let an administrator connect again"
_BILLING = "the company's owner has to renew its QuickBooks subscription"

_BY_CODE: Mapping[int, Callable[[str], ProviderError]] = {
    100: partial(NeedsReauthError, hint=_LOST_RIGHTS),
    120: partial(NeedsReauthError, hint=_LOST_RIGHTS),
    130: RetryLaterError,  # the company is at another cluster
    500: RequestRejectedError,  # such an operation does not exist
    610: RecordNotFoundError,
    _THROTTLED: partial(
        RateLimitedError, retry_after=60.0
    ),  # as Intuit asks; it sends no Retry-After
    3100: partial(NeedsReauthError, hint=_NOT_CONNECTED),
    3200: NeedsReauthError,
    5010: ConflictError,
    6190: partial(PermissionDeniedError, hint=_BILLING),
    6240: partial(RequestRejectedError, code="duplicate-name"),
}
_BY_KIND: Mapping[str, Callable[[str], ProviderError]] = {
    "authentication": NeedsReauthError,
    "authorization": PermissionDeniedError,
    "service": ProviderUnavailableError,
    "system": ProviderUnavailableError,
}
"""The gateway's words; a company's service adds ``Fault``."""
_BY_STATUS: Mapping[int, Callable[[str], ProviderError]] = {
    403: PermissionDeniedError,
    408: ProviderUnavailableError,
    425: ProviderUnavailableError,
}
_MALFORMED = partial(ProviderUnavailableError, code="answer-malformed")


def read_body(reply: Reply) -> Mapping[str, Any]:
    """Parse an answer, once, that refuses nothing.

    Raises:
        ProviderError: It refuses: of the class that says what happens next.
    """
    body: Mapping[str, Any] = _body(reply)
    if (error := refusal_in(body, reply)) is not None:
        raise error
    return body


def refusal(reply: Reply) -> ProviderError | None:
    """Say what an answer refuses; None for one that can be used."""
    return refusal_in(_body(reply), reply)


def refusal_in(body: Any, reply: Reply) -> ProviderError | None:
    """Say what an answer refuses, or one part of a batch's; None for what can be used.

    Args:
        body: The answer or the part, parsed.
        reply: Any answer of the API.

    Returns:
        An error whose message has Intuit's own words and the ``intuit_tid``
        that its support asks for, and no secret.
    """
    fault = fault_in(body)
    if fault is None and reply.status == 200 and isinstance(body, Mapping):
        return None
    fault = fault or Fault()
    code, tid = f" (code {fault.code})" if fault.code else "", reply.headers.get("intuit_tid", "")
    known = f" [intuit_tid {tid}]" if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tid) else ""
    said = f"QuickBooks answered {reply.status}{code}: {fault.words}{known}"
    error = _meaning(reply.status, fault, said)
    if isinstance(error, RetryLaterError) and (asked := retry_after(reply.headers)) is not None:
        error.retry_after = asked
    return error


def classify(error: Exception) -> ProviderError | None:
    """Translate an error of the SDK; None if it is none.

    Answers that refuse are judged before the SDK sees them, so what is left
    are its own complaints, such as a call that it cannot make.
    """
    if not isinstance(error, exceptions.QuickbooksException):
        return None
    code = error.error_code if isinstance(error.error_code, int) else 0
    # The SDK's text would quote the whole body. Its code may be the HTTP status.
    said = f"the QuickBooks SDK refused: {type(error).__name__}, code {code}"
    kind = "authentication" if isinstance(error, exceptions.AuthorizationException) else ""
    return _meaning(400, Fault(code=code, kind=kind), said)


def _meaning(status: int, fault: Fault, said: str) -> ProviderError:
    code = _THROTTLED if status == 429 else fault.code
    kind = "authentication" if status == 401 else fault.kind.lower().removesuffix("fault")
    if code != _THROTTLED and (status >= 500 or code >= 10_000):
        return ProviderUnavailableError(said)
    is_no_answer = status < 400 and not code
    last = _MALFORMED if is_no_answer else RequestRejectedError
    meant = _BY_CODE.get(code) or _BY_KIND.get(kind) or _BY_STATUS.get(status) or last
    return meant(said)


def _body(reply: Reply) -> Any:
    try:
        return parse_json(reply.content)
    except ProviderUnavailableError:
        return xml_as_json(reply.content)
