"""What each refusal of Mailchimp, and each error of its SDK, means for a sync.

Decided by HTTP status first, then by whether Mailchimp said it: under load it
answers 403 and 429 without its problem document, and then neither is about
rights (Mailchimp, "Throttling", 2026-08).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline.contract import (
    ANSWER_TOO_SLOW,
    ConflictError,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    parse_json,
    retry_after,
)

__all__ = ["AGAIN", "classify", "refusal", "rejection"]

AGAIN = "connect the account again; so too if it was moved to another data centre"

# 403 with one of these is not a missing right: access itself is gone.
_ACCESS_GONE = {"user disabled", "wrong datacenter"}
_LONGEST = 300
# Mailchimp's error glossary, and replies that others have met.
_REJECTIONS: Mapping[str, tuple[type[RequestRejectedError], str]] = {
    "in a compliance state": (ConflictError, "consent-conflict"),
    "already a list member": (ConflictError, "contact-exists"),
    "list member cannot be removed": (ConflictError, "contact-unremovable"),  # or is archived
    "permanently deleted": (RequestRejectedError, "contact-forgotten"),
    "signed up to a lot of lists": (RequestRejectedError, "address-throttled"),
}


def refusal(reply: Reply, *, secret: str = "") -> ProviderError:
    """Say what an answer means that is no success.

    Args:
        reply: The answer.
        secret: What the request was signed with; the message never holds it.

    Returns:
        An error of the class that says what happens next, in Mailchimp's words.
    """
    return _meaning(reply.status, _problem(reply.content), retry_after(reply.headers), secret)


def classify(error: Exception) -> ProviderError | None:
    """Translate an error of the SDK; None if it is none.

    ``str()`` of them is empty: what was said is in ``text``, which is the
    problem document as text, or parsed, or an exception (mailchimp-marketing
    3.0.80). The SDK also has ``ApiException``, which nothing raises.
    """
    if type(error).__module__.partition(".")[0] != "mailchimp_marketing":
        return None
    said = getattr(error, "text", None) or getattr(error, "body", None)
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    if isinstance(said, ProviderError):  # our transport's, wrapped by the SDK
        return said
    if isinstance(said, OSError):  # what requests raises derives from it
        return ProviderUnavailableError("Mailchimp cannot be reached")
    if not isinstance(status, int):
        what = type(said if isinstance(said, Exception) else error).__name__
        return RequestRejectedError(f"the Mailchimp SDK refused: {what}")
    return _meaning(status, _problem(said), None, "")


def _meaning(
    status: int, problem: Mapping[str, Any] | None, wait: float | None, secret: str
) -> ProviderError:
    said = f"Mailchimp answered {status}: {_words(problem, secret)}"
    if status == 401:
        return NeedsReauthError(said, hint=AGAIN)
    if status == 403 and problem:
        is_gone = str(problem["title"]).lower() in _ACCESS_GONE
        return NeedsReauthError(said, hint=AGAIN) if is_gone else PermissionDeniedError(said)
    if status in {403, 429}:
        return RateLimitedError(said, retry_after=wait)
    if status >= 500 or status < 400:  # below 400: a good status that was not what was promised
        code = ANSWER_TOO_SLOW if status == 504 else None  # its own limit is 120 s
        return ProviderUnavailableError(said, retry_after=wait, code=code)
    if status == 404:
        return RecordNotFoundError(said)
    if status == 426:
        return RequestRejectedError(said, hint="Mailchimp wants TLS 1.2 or newer")
    return rejection(said)


def rejection(said: str) -> RequestRejectedError:
    """Say what a refusal means for a contact that was to be written.

    Args:
        said: Mailchimp's words; a row of many has no title beside them.

    Returns:
        A conflict where the contact's own will, or another contact, is in the way.
    """
    words = said.lower()
    found = (meaning for phrase, meaning in _REJECTIONS.items() if phrase in words)
    kind, code = next(found, (RequestRejectedError, "request-rejected"))
    return kind(said, code=code)


def _problem(said: object) -> Mapping[str, Any] | None:
    """Read a problem document, which the SDK hands over as text; None if it is none."""
    if isinstance(said, str | bytes):
        try:
            said = parse_json(said if isinstance(said, bytes) else said.encode("utf-8", "replace"))
        except ProviderError:
            return None
    is_problem = isinstance(said, Mapping) and isinstance(said.get("title"), str)
    return said if is_problem else None  # type: ignore[return-value]


def _words(problem: Mapping[str, Any] | None, secret: str) -> str:
    """Return Mailchimp's own words; a body that is not its own is not quoted."""
    if problem is None:
        return "no problem document of Mailchimp's"
    parts = [problem["title"], problem.get("detail"), *_fields(problem.get("errors"))]
    words = ": ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    shown = words.replace(secret, "…") if secret else words
    return shown[:_LONGEST]


def _fields(errors: Any) -> list[str]:
    """Name each field that was wrong, and what was."""
    known = errors if isinstance(errors, list) else []
    return [f"{one.get('field')} ({one.get('message')})" for one in known if isinstance(one, dict)]
