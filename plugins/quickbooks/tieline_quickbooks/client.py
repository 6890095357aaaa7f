"""The SDK on Tieline's transport.

python-quickbooks 0.9.12 hides status, headers and half of Intuit's error
shapes, has no time-out, and refreshes tokens by itself. It sends through one
method of its client, which is ours: an answer that refuses never reaches the
SDK, and neither ``intuit-oauth`` nor ``requests_oauthlib`` runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from types import SimpleNamespace
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from quickbooks import QuickBooks  # type: ignore[import-untyped]  # 0.9.12 has no type hints

from tieline.contract import (
    Account,
    Credential,
    NeedsReauthError,
    ProviderUnavailableError,
    Reply,
    Transport,
)
from tieline_quickbooks.errors import read_body

__all__ = ["MINOR_VERSION", "Answer", "QuickBooksApi", "identify", "unexpected"]

MINOR_VERSION = 75


class Answer(NamedTuple):
    """An answer that refuses nothing; its body was parsed once."""

    body: Mapping[str, Any]
    reply: Reply

    def part(self, name: str) -> Mapping[str, Any]:
        """Return an object that the body must have.

        Raises:
            ProviderUnavailableError: It has none of this name.
        """
        found = self.body.get(name)
        if not isinstance(found, Mapping):
            raise unexpected(f"there is no {name}")
        return found


class QuickBooksApi(QuickBooks):  # type: ignore[misc]  # its base has no type hints
    """One company's access to QuickBooks. Threads may share it.

    No auth object is handed to the SDK: with one, it would make a session of
    its own with a copy of the tokens, or call the token endpoint.

    Args:
        base_url: Address of the API, without a trailing slash.
        credential: Its ``access_token`` and ``realm_id`` are read at each call.
        transport: The only way to the network.

    Attributes:
        is_aside: Whether the SDK is shown an empty answer: it would parse each page too.
        answer: The last one.
    """

    is_aside = False
    answer: Answer

    def __new__(cls, *_given: object) -> Self:
        """Make the object as the SDK does, which sets everything here."""
        made: Self = super().__new__(cls, minorversion=MINOR_VERSION)
        return made

    def __init__(self, base_url: str, credential: Credential, transport: Transport) -> None:
        self.api_url_v3 = f"{base_url}/v3"  # of this object: the SDK keeps it at the class
        self._credential = credential
        self._transport = transport

    @property
    def company_id(self) -> str:
        """The realm id, which came with the redirect and goes into every path.

        Raises:
            NeedsReauthError: It is no number, so no company's.
        """
        realm = self._credential["realm_id"].reveal()
        if not re.fullmatch(r"[0-9]{1,20}", realm):
            raise NeedsReauthError("the company id of this connection is not a number")
        return realm

    def ask(self, call: Callable[[QuickBooks], object]) -> Answer:
        """Send one call as the SDK builds it, past the SDK's own parsing.

        Args:
            call: Makes one call of the SDK that it is handed; what that returns is nothing.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        asking = copy(self)
        asking.is_aside = True
        call(asking)
        return asking.answer

    def process_request(self, method: str, url: str, headers: Any, params: Any, data: Any) -> Any:
        """Send one request that the SDK built, and judge the answer first.

        Args:
            method: Such as ``POST``.
            url: Without the query.
            headers: Name to text.
            params: The query, name to value.
            data: The body as text; an empty mapping means none.

        Returns:
            The status and the text, which are all that the SDK looks at.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        token = self._credential["access_token"].reveal()
        headers = {**headers, "Authorization": f"Bearer {token}"}
        content = data.encode() if isinstance(data, str) else None
        address = f"{url}?{urlencode(params)}" if params else url
        reply = self._transport.send(method, address, headers=headers, content=content)
        self.answer = Answer(read_body(reply), reply)
        text = "{}" if self.is_aside else reply.content.decode("utf-8", "surrogateescape")
        return SimpleNamespace(status_code=reply.status, text=text)


def identify(api: QuickBooksApi) -> Account:
    """Say which company it is. QuickBooks cannot be asked for the scopes."""
    realm = api.company_id
    answer = api.ask(lambda sdk: sdk.get_single_object("CompanyInfo", realm))
    name = answer.part("CompanyInfo").get("CompanyName")
    return Account(id=realm, name=name if isinstance(name, str) else "")


def unexpected(what: str) -> ProviderUnavailableError:
    """Make the error for an answer with a good status that is not what was asked for."""
    return ProviderUnavailableError(
        f"the answer of QuickBooks is not as it should be: {what}", code="answer-malformed"
    )
