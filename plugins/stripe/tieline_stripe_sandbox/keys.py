"""Who may ask: API keys, by Bearer or Basic, and what a restricted key may read.

Texts and codes as api.stripe.com words them (Stripe API reference,
"Authentication"; "Error codes": api_key_expired, account_invalid,
secret_key_required). A key is only ever shown masked.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from tieline_stripe_sandbox.answers import ApiError

__all__ = ["Keys"]

_TEST_KEY = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]+")
_CHALLENGE = ((b"www-authenticate", b'Basic realm="Stripe"'),)
_DENIED = {
    "_noread": ("customer_read", "customer_write", "event_read", "accounts_kyc_basic_read"),
    "_nowrite": ("customer_write",),
    "_noevents": ("event_read",),
}
"""What restricted keys with these endings lack, by the vendor's names of rights."""

_NO_KEY = (
    "You did not provide an API key. You need to provide your API key in the Authorization header, "
    "using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
    "https://stripe.com/docs/api#authentication for details, or we can help at "
    "https://support.stripe.com/."
)
_PUBLISHABLE = (
    "This API call cannot be made with a publishable API key. Please use a secret API key. You can "
    "find a list of your API keys at https://dashboard.stripe.com/account/apikeys."
)


class Keys:
    """The keys of one account.

    Args:
        only: The one key that is accepted; empty: every well-formed test key.
        account: Id of the account.
    """

    def __init__(self, only: str, account: str) -> None:
        self._only = only
        self._account = account

    def check(self, headers: dict[bytes, bytes], right: str) -> None:
        """Let a request in.

        Args:
            headers: The request's, names in lower case.
            right: What the endpoint needs, such as ``customer_read``.

        Raises:
            ApiError: 401 for the key, 403 for the right or the account.
        """
        key = _key(headers.get(b"authorization", b"").decode("latin-1"))
        self._check_key(key)
        ending = key[key.rfind("_") :]
        if key.startswith("rk_") and right in _DENIED.get(ending, ()):
            raise self._denied(key, right)
        account = headers.get(b"stripe-account", b"").decode("latin-1")
        if account and account != self._account:
            raise self._no_access(key, account)

    def _check_key(self, key: str) -> None:
        if key.startswith("pk_"):
            raise _unauthorized(_PUBLISHABLE, "secret_key_required")
        if "_expired" in key:
            raise _unauthorized(f"Expired API Key provided: {_mask(key)}", "api_key_expired")
        is_known = key == self._only if self._only else _TEST_KEY.fullmatch(key)
        if not is_known:
            raise _unauthorized(f"Invalid API Key provided: {_mask(key)}")

    def _denied(self, key: str, right: str) -> ApiError:
        return ApiError(
            403,
            f"The provided key '{_mask(key)}' does not have the required permissions for this "
            f"endpoint on account '{self._account}'. Having the 'rak_{right}' permission would "
            "allow this request to continue.",
        )

    def _no_access(self, key: str, account: str) -> ApiError:
        return ApiError(
            403,
            f"The provided key '{_mask(key)}' does not have access to account '{account}' (or that "
            "account does not exist). Application access may have been revoked.",
            code="account_invalid",
        )


def _key(header: str) -> str:
    scheme, _, credentials = header.partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        key = _user(key)
    elif scheme.lower() != "bearer":
        key = ""
    if not key:
        raise _unauthorized(_NO_KEY)
    return key


def _user(credentials: str) -> str:
    """Read the key from Basic, where it is the user and the password is empty."""
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _mask(key: str) -> str:
    start = re.match(r"[a-z]{2}_(test|live)_", key)
    shown = start[0] if start else key[:1]
    last = key[len(shown) :][-4:]
    return f"{shown}{'*' * max(len(key) - len(shown) - len(last), 4)}{last}"


def _unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers=_CHALLENGE)
