"""The SDK on Tieline's transport.

python-quickbooks 0.9.12 hides status, headers and half of Intuit's error
shapes, has no time-out, and refreshes tokens by itself. Of its session it uses
``access_token`` and ``request`` alone: both are ours, so an answer that refuses
never reaches it, and neither ``intuit-oauth`` nor ``requests_oauthlib`` runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from types import SimpleNamespace
from typing import Any, Self
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
from tieline_quickbooks.errors import refusal

__all__ = ["MINOR_VERSION", "QuickBooksApi", "identify"]

MINOR_VERSION = 75
_REALM = re.compile(r"[0-9]{1,20}")


class QuickBooksApi(QuickBooks):  # type: ignore[misc]  # its base has no type hints
    """One company's access to QuickBooks. Threads may share it.

    No auth object is handed to the SDK: with one, it would make a session of
    its own with a copy of the tokens, or call the token endpoint.

    Args:
        base_url: Address of the API, without a trailing slash.
        credential: Its ``access_token`` and ``realm_id`` are read at each call.
        transport: The only way to the network.
    """

    def __new__(cls, *_given: object) -> Self:
        """Make the object as the SDK does, which sets everything here."""
        made: Self = super().__new__(cls, minorversion=MINOR_VERSION)
        return made

    def __init__(self, base_url: str, credential: Credential, transport: Transport) -> None:
        self.api_url_v3 = f"{base_url}/v3"  # of this object: the SDK keeps it at the class
        self.session = _Session(credential, transport)
        self._credential = credential

    @property
    def company_id(self) -> str:
        """The realm id, which came with the redirect and goes into every path.

        Raises:
            NeedsReauthError: It is no number, so no company's.
        """
        realm = self._credential["realm_id"].reveal()
        if not _REALM.fullmatch(realm):
            raise NeedsReauthError("the company id of this connection is not a number")
        return realm

    def reply_to(self, ask: Callable[[QuickBooks], object]) -> Reply:
        """Send one call as the SDK builds it, past the SDK's own parsing.

        Args:
            ask: Makes one call of the SDK that it is handed; what that returns is nothing.

        Returns:
            The answer of a call that succeeded, its body not parsed yet.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        asking = copy(self)
        asking.session = session = copy(self.session)
        session.is_aside = True
        ask(asking)
        return session.reply


def identify(api: QuickBooksApi) -> Account:
    """Say which company it is. QuickBooks cannot be asked for the scopes."""
    realm = api.company_id
    answer = api.get_single_object("CompanyInfo", realm)
    company = answer.get("CompanyInfo") if isinstance(answer, Mapping) else None
    if not isinstance(company, Mapping):
        raise ProviderUnavailableError(
            "QuickBooks answered without the company's name", code="answer-malformed"
        )
    name = company.get("CompanyName")
    return Account(id=realm, name=name if isinstance(name, str) else "")


class _Session:
    """Sends what the SDK built, and judges the answer first.

    Attributes:
        is_aside: Whether the answer is kept in ``reply``, and the SDK shown an
            empty one: it would parse each page too.
    """

    reply: Reply

    def __init__(self, credential: Credential, transport: Transport) -> None:
        self.is_aside = False
        self._credential = credential
        self._transport = transport

    @property
    def access_token(self) -> str:
        """The token that is good now."""
        return self._credential["access_token"].reveal()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | str | None = None,
        data: str | bytes | Mapping[str, Any] | None = None,
    ) -> SimpleNamespace:
        """Send one request that the SDK built.

        Raises:
            ProviderError: Of the class that says what happens next.
        """
        address = f"{url}?{urlencode(params)}" if isinstance(params, Mapping) and params else url
        content = data.encode() if isinstance(data, str) else data
        reply = self._transport.send(
            method,
            address,
            headers=headers,
            content=content if isinstance(content, bytes) and content else None,
        )
        error = refusal(reply)
        if error is not None:
            raise error
        self.reply = reply
        text = "{}" if self.is_aside else reply.content.decode("utf-8", "surrogateescape")
        return SimpleNamespace(status_code=reply.status, text=text)  # all that the SDK looks at
