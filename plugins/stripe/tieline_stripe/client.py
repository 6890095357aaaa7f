"""The official SDK on Tieline's transport.

The SDK builds, versions and signs every request and names every error. What
it does not do is read pages: its objects cost 140 µs a customer and its plain
``raw_request`` parses each body too, so the page's bytes go past it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import stripe
from stripe import StripeClient  # imported here and not at its first use, in every work-horse

from tieline.contract import (
    Account,
    ProviderError,
    ProviderUnavailableError,
    Reply,
    RequestRejectedError,
    Secret,
    Transport,
    parse_json,
)
from tieline_stripe.errors import classify

__all__ = ["API_VERSION", "StripeApi", "identify"]

API_VERSION = "2026-10-28.endive"
# Otherwise the first client writes a file into the user's home and every
# request carries details of the machine (stripe 16.1.0, _telemetry_id).
stripe.enable_telemetry = False


class StripeApi:
    """One account's access to Stripe. Threads may share it.

    Args:
        base_url: Address of the API, without a trailing slash.
        key: Secret or restricted key.
        transport: The only way to the network.
        account: Connected account that a platform's key is used for; empty: its own.
    """

    def __init__(self, base_url: str, key: Secret, transport: Transport, account: str = "") -> None:
        self.account = account
        self._pages = StripeClient(
            key.reveal(),
            http_client=_PageHttp(transport),
            max_network_retries=0,
            stripe_account=account or None,
            stripe_version=API_VERSION,
            base_addresses={"api": base_url},
        )

    def get(self, path: str, query: Mapping[str, Any]) -> Reply:
        """Read from the API; see :meth:`send`."""
        return self.send("get", path, query)

    def send(self, method: str, path: str, params: Mapping[str, Any]) -> Reply:
        """Call the API.

        Args:
            method: ``get``, ``post`` or ``delete``.
            path: Such as ``/v1/customers``.
            params: Nested ones as mappings; the SDK puts them where they belong.

        Returns:
            The answer of a call that succeeded, its body not parsed yet.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        try:
            answer = self._pages.raw_request(method, path, **params)
        except stripe.StripeError as error:
            raise classify(error, is_platform=bool(self.account)) or error from error
        assert isinstance(answer.headers, _Aside)
        return answer.headers.reply


def identify(api: StripeApi) -> Account:
    """Say whose account is open; a key that may not know can still be good."""
    try:
        account = parse_json(api.get("/v1/account", {}).content)
    except (RequestRejectedError, ProviderUnavailableError):  # restricted keys may get 403 here
        account = None
    found = _text_at(account, "id")
    if found is None:
        parse_json(api.get("/v1/customers", {"limit": 1}).content)
        return Account(id=api.account or None)
    if api.account and found != api.account:
        raise RequestRejectedError(
            f"Stripe answered for the account {found}, not for the connected {api.account}"
        )
    return Account(id=found, name=_text_at(account, "settings", "dashboard", "display_name") or "")


def _text_at(value: object, *path: str) -> str | None:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _shown(reply: Reply) -> bytes:
    """Return what the SDK gets to read: nothing of a page, an error in its own form.

    stripe 16.1.0 fails with AttributeError or UnicodeDecodeError on errors
    that a proxy wrote, and hides the status of those that are not JSON.
    """
    if 200 <= reply.status < 300:
        return b"{}"
    try:
        is_stripes = isinstance(parse_json(reply.content)["error"]["message"], str)
    except (ProviderError, LookupError, TypeError):
        is_stripes = False
    return reply.content if is_stripes else b'{"error": {"message": "no error of Stripe\'s form"}}'


class _Aside(dict[str, str]):
    """Headers of an answer, with the answer that the SDK was not shown."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.headers)
        self.reply = reply


class _PageHttp(stripe.HTTPClient):
    """Sends what the SDK built; on success it sets the body aside.

    ``stripe.HTTPXClient`` is not used: it hides every exception of a
    transport behind a retryable error of its own.
    """

    name = "tieline"

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **_usage: Any,
    ) -> Any:
        """Send one request that the SDK built."""
        content = post_data.encode() if isinstance(post_data, str) else post_data
        reply = self._transport.send(method, url, headers=headers or {}, content=content)
        return _shown(reply), reply.status, _Aside(reply)

    def close(self) -> None:
        """Leave the transport to its owner."""
