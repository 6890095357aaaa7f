"""The official SDK on Tieline's transport.

The SDK builds addresses and checks parameters. What it does with an answer is
not used: it takes a refusal without a body for a success, and hides status
and headers (mailchimp-marketing 3.0.80, ``ApiClient.call_api``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from mailchimp_marketing import ApiClient, ListsApi, RootApi  # type: ignore[import-untyped]  # has no hints
from mailchimp_marketing.api_client import ApiClientError  # type: ignore[import-untyped]  # neither

from tieline.contract import Connection, Credential, Reply, Transport
from tieline_mailchimp.errors import refusal

__all__ = ["API_VERSION", "MailchimpApi"]

API_VERSION = "3.0"


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
        self.lists = ListsApi(self._sdk(connection.base_url))

    def root(self, base_url: str = "") -> RootApi:
        """Return the SDK's calls about the account itself.

        Args:
            base_url: Of the API; empty for the connection's own.
        """
        return RootApi(self._sdk(base_url or self._connection.base_url))

    def ask(self, call: Callable[..., Any], *given: Any, **named: Any) -> Reply:
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
            answer = call(*given, **named)
        except ApiClientError as error:
            # The SDK wraps whatever comes out of request(), which is ours.
            raise (error.text if isinstance(error.text, Exception) else error) from None
        assert isinstance(answer, _Answer)
        return answer.reply

    def ask_sign_in(self, url: str) -> Reply:
        """Ask one of the addresses where accounts sign in, which the SDK does not know.

        Args:
            url: Absolute.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        token = self._credential["access_token"].reveal()
        headers = {"Accept": "application/json", "Authorization": f"OAuth {token}"}
        reply = self._transport.send("GET", self._connection.address(url), headers=headers)
        if reply.status != 200:
            raise refusal(reply, secret=token)
        return reply

    def where(self, base_url: str) -> str:
        """Say where an address of the API that Mailchimp named is called."""
        is_elsewhere = self._connection.is_redirected
        return self._connection.base_url if is_elsewhere else base_url.rstrip("/")

    def _sdk(self, base_url: str) -> ApiClient:
        return _Sdk(base_url, self._credential, self._transport)


class _Sdk(ApiClient):  # type: ignore[misc]  # the SDK has no type hints
    """The SDK with its one way to the network replaced.

    ``server`` must be empty: the SDK puts it in place of every "server" in an
    address, also of those in ids. It gets no credential, so that it keeps none.
    """

    def __init__(self, base_url: str, credential: Credential, transport: Transport) -> None:
        super().__init__({"server": ""})
        self.host = f"{base_url}/{API_VERSION}"
        self._credential = credential
        self._transport = transport

    def request(
        self,
        method: str,
        url: str,
        query_params: Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> _Answer:
        """Send one request that the SDK built; raise for every answer but a success."""
        query = urlencode([(name, _written(value)) for name, value in query_params or ()])
        secret, authorization = _signed(self._credential)
        reply = self._transport.send(
            method,
            f"{url}?{query}" if query else url,
            headers={**(headers or {}), "Authorization": authorization},
            content=None if body is None else json.dumps(body).encode(),
        )
        if not 200 <= reply.status < 300:
            raise refusal(reply, secret=secret)
        return _Answer(reply)


class _Answer:
    """An answer that the SDK takes for one without a body, and hands on as it is."""

    ok = True
    text = ""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.status_code = reply.status
        self.headers = {"content-type": "application/json"}

    def json(self) -> None:
        """Return nothing: the body is read by who asked."""


def _signed(credential: Credential) -> tuple[str, str]:
    """Return the secret, as it is now, and the header that carries it."""
    if "access_token" in list(credential):
        token = credential["access_token"].reveal()
        return token, f"Bearer {token}"
    key = credential["api_key"].reveal()
    pair = base64.b64encode(f"tieline:{key}".encode()).decode()
    return key, f"Basic {pair}"


def _written(value: object) -> object:
    """Write a parameter; Mailchimp reads only lower-case booleans."""
    return str(value).lower() if isinstance(value, bool) else value
