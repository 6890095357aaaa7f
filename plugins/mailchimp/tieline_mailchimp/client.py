"""The official SDK on Tieline's transport.

The SDK builds addresses and checks parameters. What it does with an answer is
not used: it takes a refusal without a body for a success, and hides status
and headers (mailchimp-marketing 3.0.80, ``ApiClient.call_api``).
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

from mailchimp_marketing import ApiClient, ListsApi, RootApi  # type: ignore[import-untyped]  # has no hints
from mailchimp_marketing.api_client import ApiClientError  # type: ignore[import-untyped]  # neither

from tieline.contract import Connection, Credential, Reply, Transport
from tieline_mailchimp.errors import refusal

__all__ = ["API_VERSION", "Call", "MailchimpApi"]

API_VERSION = "3.0"
Call = Callable[..., Any]
"""A method of one of the SDK's classes."""


class MailchimpApi:
    """One account's access to Mailchimp. Threads may share it.

    ``lists`` are the SDK's calls about lists and their members, for :meth:`ask`.

    Args:
        connection: Where Mailchimp is; before an account that is connected by
            OAuth was identified, its base address is that of the sign-in.
        credential: An ``api_key`` or an ``access_token``.
        transport: The only way to the network.
    """

    def __init__(
        self, connection: Connection, credential: Credential, transport: Transport
    ) -> None:
        self._connection = connection
        self._credential = credential
        self._transport = transport
        self.lists = ListsApi(_Sdk(connection.base_url, self._send))

    def root(self, base_url: str = "") -> RootApi:
        """Return the SDK's calls about the account itself.

        Args:
            base_url: Of the API; empty for the connection's own.
        """
        return RootApi(_Sdk(base_url or self._connection.base_url, self._send))

    def ask(self, call: Call, *given: Any, **named: Any) -> Reply:
        """Make one call of the SDK's.

        Args:
            call: A method of one of the SDK's classes, such as
                ``api.root().get_root``.
            given: Its arguments.
            named: Its named arguments; ``fields`` must be a list.

        Returns:
            The answer of a call that succeeded, its body not parsed yet.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        try:
            reply: Reply = call(*given, **named)
        except ApiClientError as error:
            # The SDK wraps whatever comes out of request(), which is ours.
            raise (error.text if isinstance(error.text, Exception) else error) from None
        return reply

    def ask_sign_in(self, url: str) -> Reply:
        """Ask one of the addresses where accounts sign in, which the SDK does not know.

        Args:
            url: Absolute.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        headers = {"Accept": "application/json"}
        return self._send("GET", self._connection.address(url), headers, kind="OAuth")

    def where(self, base_url: str) -> str:
        """Say where an address of the API that Mailchimp named is called."""
        return self._connection.address(base_url.rstrip("/"))

    def _send(
        self, method: str, url: str, headers: Any, body: bytes | None = None, kind: str = "Bearer"
    ) -> Reply:
        """Send a request with the secret as it is now; raise for all answers but a success."""
        is_key = "api_key" in list(self._credential)
        secret = self._credential["api_key" if is_key else "access_token"].reveal()
        pair = b64encode(f"tieline:{secret}".encode()).decode()
        authorization = f"Basic {pair}" if is_key else f"{kind} {secret}"
        headers = {**headers, "Authorization": authorization}
        reply = self._transport.send(method, url, headers=headers, content=body)
        if not 200 <= reply.status < 300:
            raise refusal(reply, secret=secret)
        return reply


class _Sdk(ApiClient):  # type: ignore[misc]  # the SDK has no type hints
    """The SDK with its one way to the network replaced.

    ``server`` must be empty: the SDK puts it in place of every "server" in an
    address, also of those in ids. It gets no credential, so that it keeps none.
    """

    def __init__(self, base_url: str, send: Callable[..., Reply]) -> None:
        super().__init__({"server": ""})
        self.host = f"{base_url}/{API_VERSION}"
        self._send = send

    def request(
        self, method: str, url: str, query_params: Any = None, headers: Any = None, body: Any = None
    ) -> Any:
        """Send one request that the SDK built; what it takes for the JSON is the whole reply."""
        query = urlencode([(name, _written(value)) for name, value in query_params or ()])
        content = None if body is None else json.dumps(body).encode()
        reply = self._send(method, f"{url}?{query}" if query else url, headers or {}, content)
        kind = {"content-type": "application/json"}
        return SimpleNamespace(ok=True, headers=kind, json=lambda: reply)


def _written(value: object) -> object:
    """Write a parameter; Mailchimp reads only lower-case booleans."""
    return str(value).lower() if isinstance(value, bool) else value
