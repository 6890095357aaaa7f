"""The application that asks sellers for access, as it is registered at Square."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from urllib.parse import urlsplit

__all__ = ["API_KEY", "CLIENT_ID", "CLIENT_SECRET", "Application", "is_reachable"]

CLIENT_ID = "sandbox-sq0idb-TielineSandbox00000001"
"""Application id unless another is given; Square's have 22 letters after the prefix."""

CLIENT_SECRET = "sandbox-sq0csb-TielineSandboxSecret00000000000000000000001"  # noqa: S105 - opens nothing but sandboxes
"""Application secret unless another is given; Square's have 43 letters there."""

API_KEY = "EAAATielineSandboxPersonalAccessToken000000000000000000000000001"
"""Personal access token unless another is given; Square's have 64 letters."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """One registered application.

    Attributes:
        client_id: Its id.
        client_secret: Its secret.
        redirect_uris: Where it may send sellers back to; none: any https
            address, and http on this machine.
    """

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.client_id or not self.client_secret:
            raise ValueError("client_id and client_secret must not be empty")
        for uri in self.redirect_uris:
            if not _may_be_registered(uri):
                raise ValueError(f"redirect_uris: {uri!r} is neither https nor http on localhost")

    def has_secret(self, text: str) -> bool:
        """Whether a text is the application's secret."""
        return compare_digest(text.encode(), self.client_secret.encode())

    def redirect(self, asked: str | None) -> str | None:
        """Say where a seller is sent back to; None: nowhere, the address is refused.

        Args:
            asked: As the authorize address names it; None: it names none, and
                the registered one is meant.
        """
        if asked is None:
            return self.redirect_uris[0] if self.redirect_uris else None
        if self.redirect_uris:
            return asked if asked in self.redirect_uris else None
        return asked if _may_be_registered(asked) else None


def is_reachable(url: str) -> bool:
    """Whether events may be sent to an address: https, or http on this machine."""
    return url.isascii() and " " not in url and _may_be_registered(url)


def _may_be_registered(uri: str) -> bool:
    """Whether Square's console takes an address ("OAuth API", requirements)."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname
    except ValueError:
        return False
    if not host or parts.fragment or not uri.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
