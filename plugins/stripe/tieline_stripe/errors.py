"""What each error of the SDK means for a sync.

Decided by HTTP status first: ``error.type`` of a missing right is
"invalid_request_error", and ``code`` is None on most classes of the SDK.
"""

from __future__ import annotations

from collections.abc import Mapping

import stripe
from stripe.oauth_error import InvalidGrantError

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
    RetryLaterError,
    retry_after,
)

__all__ = ["classify"]

# 403 with one of these is not a missing right: access itself is gone.
_ACCESS_GONE = {"account_invalid", "platform_api_key_expired"}
_CONNECT_AGAIN = "access was taken away, or the key is now another platform's: connect again"


def classify(error: Exception, *, is_platform: bool = False) -> ProviderError | None:
    """Translate an error of the SDK; None if it is none.

    Args:
        error: Whatever was raised.
        is_platform: The key is the installation's: a bad one ends no connection.
    """
    if not isinstance(error, stripe.StripeError):
        return None
    status = error.http_status
    if status is None:
        return _without_answer(error)
    said = f"Stripe answered {status}: {_words(error)}"
    if status == 401 and is_platform:
        return RequestRejectedError(said, hint="TIELINE_STRIPE_CLIENT_SECRET needs a good key")
    if status == 401:
        return NeedsReauthError(said, hint="make a new key at dashboard.stripe.com/apikeys")
    if status == 403:
        if _code(error) in _ACCESS_GONE:
            return NeedsReauthError(said, hint=_CONNECT_AGAIN)
        return PermissionDeniedError(said)
    if status == 429 and _code(error) != "lock_timeout":
        return RateLimitedError(said, retry_after=retry_after(_headers(error)))
    if status in {409, 429}:  # the object is locked, or the same key is in flight
        return RetryLaterError(said, retry_after=retry_after(_headers(error)))
    if status >= 500 or status < 400:  # below 400: a good status with a body that is not JSON
        return ProviderUnavailableError(said, retry_after=retry_after(_headers(error)))
    return _rejected(error, said)


def _rejected(error: stripe.StripeError, said: str) -> ProviderError:
    if isinstance(error, stripe.IdempotencyError):
        return ConflictError(said)
    if isinstance(error, InvalidGrantError):
        return NeedsReauthError(said)
    if _code(error) == "resource_missing" and getattr(error, "param", "") == "starting_after":
        return CursorExpiredError(said)
    if error.http_status == 404:
        return RecordNotFoundError(said)
    return RequestRejectedError(said)


def _without_answer(error: stripe.StripeError) -> ProviderError:
    if isinstance(error, stripe.APIConnectionError):
        return ProviderUnavailableError("Stripe cannot be reached")
    return RequestRejectedError(f"the Stripe SDK refused: {type(error).__name__}")


def _code(error: stripe.StripeError) -> str | None:
    return getattr(error.error, "code", None) or error.code


def _headers(error: stripe.StripeError) -> Mapping[str, str]:
    """Find the headers, which the SDK puts elsewhere when a body is not JSON."""
    for headers in (error.headers, error.json_body):
        if isinstance(headers, Mapping) and "error" not in headers and headers:
            return headers
    return {}


def _words(error: stripe.StripeError) -> str:
    """Return Stripe's own words; a body that is not its own JSON is not quoted."""
    is_stripes = isinstance(error.json_body, Mapping) and "error" in error.json_body
    return str(error.user_message or "").strip() if is_stripes else "no error of Stripe's form"
