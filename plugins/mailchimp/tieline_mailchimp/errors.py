"""What each refusal of Mailchimp, and each error of its SDK, means for a sync.

Decided by HTTP status first, then by whether Mailchimp said it: under load it
answers 403 and 429 without its problem document, and then neither is about
rights (Mailchimp, "Throttling", 2026-08).
"""

from __future__ import annotations

import json
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
    object_of,
    parse_json,
    retry_after,
    text_of,
)

__all__ = ["AGAIN", "classify", "malformed", "refusal", "rejection"]

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
    status, problem, wait = reply.status, _problem(reply.content), retry_after(reply.headers)
    said = f"Mailchimp answered {status}: {_words(problem, secret)}"
    is_access_gone = text_of(problem.get("title")).lower() in _ACCESS_GONE
    if status == 401 or (status == 403 and is_access_gone):
        return NeedsReauthError(said, hint=AGAIN)
    if status == 403 and problem:
        return PermissionDeniedError(said)
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
    content = (said if isinstance(said, str) else json.dumps(said)).encode("utf-8", "replace")
    return refusal(Reply(status=status, headers={}, content=content, seconds=0))


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


def malformed(what: str) -> ProviderUnavailableError:
    """Say that an answer is not what the reference promises; asking again may help."""
    said = f"Mailchimp's answer is not as it should be: {what}"
    return ProviderUnavailableError(said, code="answer-malformed")


def _problem(content: bytes) -> Mapping[str, Any]:
    """Read a problem document; empty for what is none of Mailchimp's."""
    try:
        found = object_of(parse_json(content))
    except ProviderError:
        return {}
    return found if isinstance(found.get("title"), str) else {}


def _words(problem: Mapping[str, Any], secret: str) -> str:
    """Return Mailchimp's own words; a body that is not its own is not quoted."""
    errors = problem.get("errors")
    known = [object_of(one) for one in errors] if isinstance(errors, list) else []
    wrong = [f"{one.get('field')} ({one.get('message')})" for one in known if one]
    parts = (
        text_of(part).strip() for part in (problem.get("title"), problem.get("detail"), *wrong)
    )
    words = ": ".join(filter(None, parts)) or "no problem document of Mailchimp's"
    return (words.replace(secret, "…") if secret else words)[:_LONGEST]
