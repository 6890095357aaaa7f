"""What can go wrong at a provider, grouped by what happens next.

```
TielineError                     code, message (one sentence, no secrets), hint
├── SettingsError                refuse to start, or to open this connection; names the setting
└── ProviderError
    ├── RetryLaterError          put off, repeating is safe; retry_after
    │   ├── RateLimitedError
    │   └── ProviderUnavailableError
    ├── OutcomeUnknownError      a write may have happened: settle it, never hope
    ├── NeedsReauthError         stop this connection; a person connects again
    ├── CursorExpiredError       read this window again from its start
    ├── InvalidRecordError       quarantine this record; the run goes on
    └── RequestRejectedError     fail; repeating won't help
        ├── PermissionDeniedError
        ├── RecordNotFoundError
        └── ConflictError
```

The core's own errors are in ``tieline.errors``; a plugin raises these alone.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ANSWER_TOO_SLOW",
    "ConflictError",
    "CursorExpiredError",
    "InvalidRecordError",
    "NeedsReauthError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "ProviderError",
    "ProviderUnavailableError",
    "RateLimitedError",
    "RecordNotFoundError",
    "RequestRejectedError",
    "RetryLaterError",
    "SettingsError",
    "TielineError",
]


class TielineError(Exception):
    """Anything that Tieline says went wrong.

    Args:
        message: One sentence: what was wrong and where. Never holds a secret.
        hint: What to do about it, as a command where there is one; empty if
            nothing helps.
        code: Stable slug that programs may compare; the class's own if None.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.slug = code or type(self).code


class SettingsError(TielineError):
    """A setting is missing or out of range; the message names it."""

    code = "settings-invalid"


class ProviderError(TielineError):
    """The provider, or the way to it, did not do what was asked."""

    code = "provider-error"


class RetryLaterError(ProviderError):
    """Not now; repeating the same call later is safe.

    Args:
        message: As for every error.
        retry_after: Seconds that the provider asked us to wait; None if it
            named none.
        hint: As for every error.
        code: As for every error.
    """

    code = "retry-later"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        hint: str = "",
        code: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after


class RateLimitedError(RetryLaterError):
    """The provider refused the call for its rate, not for what it asked."""

    code = "rate-limited"


class ProviderUnavailableError(RetryLaterError):
    """No usable answer: unreachable, too slow, a 5xx, or not what was promised.

    Its ``slug`` is :data:`ANSWER_TOO_SLOW` where the request went out and its
    answer did not come whole in time: asking for less may help.
    """

    code = "provider-unavailable"


ANSWER_TOO_SLOW = "answer-too-slow"
"""Slug of a :class:`ProviderUnavailableError` after a time-out of the answer."""


class OutcomeUnknownError(ProviderError):
    """A write was sent and its answer was lost."""

    code = "outcome-unknown"


class NeedsReauthError(ProviderError):
    """The credential is refused for good; a person has to connect again."""

    code = "needs-reauth"


class CursorExpiredError(ProviderError):
    """The provider no longer knows the cursor; its window is read again."""

    code = "cursor-expired"


class InvalidRecordError(ProviderError):
    """One record cannot be used; it is quarantined and the run goes on."""

    code = "invalid-record"


class RequestRejectedError(ProviderError):
    """The provider understood the call and said no."""

    code = "request-rejected"


class PermissionDeniedError(RequestRejectedError):
    """The credential lacks a right; say which one in the message."""

    code = "permission-denied"


class RecordNotFoundError(RequestRejectedError):
    """There is no such record, or no longer."""

    code = "record-not-found"


class ConflictError(RequestRejectedError):
    """The record changed at the provider since we read it."""

    code = "conflict"
