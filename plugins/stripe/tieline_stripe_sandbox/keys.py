"""Who may ask: API keys, by Bearer or Basic, and what a key may read of whom.

A key opens the platform's account. The platform's own secret key also opens
connected accounts, which ``Stripe-Account`` names; so does the access token of
one of them, which is a key of that account.

Texts and codes as api.stripe.com words them (Stripe API reference,
"Authentication"; "Error codes": api_key_expired, account_invalid,
secret_key_required). A key is only ever shown masked.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode

from tieline_stripe_sandbox.answers import ApiError
from tieline_stripe_sandbox.grants import SCOPES, Grants, Token

__all__ = ["Keys", "mask", "read_key"]

_TEST_KEY = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]+")
_CHALLENGE = ((b"www-authenticate", b'Basic realm="Stripe"'),)
_DENIED = {
    "_noread": (
        "customer_read",
        "customer_write",
        "product_read",
        "subscription_read",
        "charge_read",
        "event_read",
        "accounts_kyc_basic_read",
        "webhook_read",
        "webhook_write",
    ),
    "_nocharges": ("charge_read",),
    "_nosubscriptions": ("subscription_read",),
    "_nowrite": ("customer_write", "webhook_write"),
    "_noevents": ("event_read",),
    "_nowebhooks": ("webhook_read", "webhook_write"),
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
        only: The one key that is accepted beside the platform's; empty: every
            well-formed test key.
        account: Id of the account.
        platform_key: The platform's secret key.
        grants: Which connected accounts are open.
    """

    def __init__(self, only: str, account: str, *, platform_key: str, grants: Grants) -> None:
        self._only = only
        self._account = account
        self._platform_key = platform_key
        self._grants = grants
        self._good: set[str] = set()

    def check(self, headers: dict[bytes, bytes], right: str) -> None:
        """Let a request in.

        Args:
            headers: The request's, names in lower case.
            right: What the endpoint needs, such as ``customer_read``.

        Raises:
            ApiError: 401 for the key, 403 for the right or the account.
        """
        key = read_key(headers)
        account = headers.get(b"stripe-account", b"").decode("latin-1")
        if key not in self._good:
            if (token := self._grants.token(key)) is not None:
                self._check_token(token, account, right)
                return
            self._check_key(key)
            self._good.add(key)
        ending = key[key.rfind("_") :]
        if key.startswith("rk_") and right in _DENIED.get(ending, ()):
            raise self._denied(key, right)
        if account and account != self._account:
            scope = self._grants.scope_of(account) if key == self._platform_key else None
            self._check_scope(key, account, scope, right)

    def account_of(self, headers: dict[bytes, bytes]) -> str:
        """Say in whose name a request that was let in asks."""
        token = self._grants.token(read_key(headers))
        named = headers.get(b"stripe-account", b"").decode("latin-1")
        return token.grant.account if token else named or self._account

    def _check_token(self, token: Token, account: str, right: str) -> None:
        grant = token.grant
        if grant.state != "live":
            raise ApiError(
                403,
                f"Expired API Key provided: {mask(token.text)}. Platform access may have been "
                "revoked.",
                code="platform_api_key_expired",
            )
        scope = token.scope if account in {"", grant.account} else None
        self._check_scope(token.text, account or grant.account, scope, right)

    def _check_scope(self, key: str, account: str, scope: str | None, right: str) -> None:
        if scope is None:
            raise self._no_access(key, account)
        if scope == SCOPES[0] and right.endswith("_write"):
            raise self._denied(key, right, account)

    def _check_key(self, key: str) -> None:
        if not key:
            raise _unauthorized(_NO_KEY)
        if key.startswith("pk_"):
            raise _unauthorized(_PUBLISHABLE, "secret_key_required")
        if "_expired" in key:
            raise _unauthorized(f"Expired API Key provided: {mask(key)}", "api_key_expired")
        is_known = key == self._only if self._only else _TEST_KEY.fullmatch(key)
        if not is_known and key != self._platform_key:
            raise _unauthorized(f"Invalid API Key provided: {mask(key)}")

    def _denied(self, key: str, right: str, account: str = "") -> ApiError:
        return ApiError(
            403,
            f"The provided key '{mask(key)}' does not have the required permissions for this "
            f"endpoint on account '{account or self._account}'. Having the 'rak_{right}' "
            "permission would allow this request to continue.",
        )

    def _no_access(self, key: str, account: str) -> ApiError:
        return ApiError(
            403,
            f"The provided key '{mask(key)}' does not have access to account '{account}' (or that "
            "account does not exist). Application access may have been revoked.",
            code="account_invalid",
        )


def read_key(headers: dict[bytes, bytes]) -> str:
    """Return the key that a request has; empty if it has none."""
    header = headers.get(b"authorization", b"").decode("latin-1")
    scheme, _, credentials = header.partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        return _user(key)
    return key if scheme.lower() == "bearer" else ""


def _user(credentials: str) -> str:
    """Read the key from Basic, where it is the user and the password is empty."""
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def mask(key: str) -> str:
    """Write a key so that only its kind and its last letters show."""
    start = re.match(r"[a-z]{2}_(test|live)_", key)
    shown = start[0] if start else key[:1]
    last = key[len(shown) :][-4:]
    return f"{shown}{'*' * max(len(key) - len(shown) - len(last), 4)}{last}"


def _unauthorized(message: str, code: str | None = None) -> ApiError:
    return ApiError(401, message, code=code, headers=_CHALLENGE)
