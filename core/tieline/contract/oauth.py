"""OAuth 2 with an authorization code, described as data.

The core asks, exchanges, refreshes and revokes; a plugin says in which words
its provider wants that done. No plugin calls a token endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Literal

from tieline.contract.declarations import (
    NAME,
    ApiKey,
    Basic,
    Identify,
    require_callable,
    require_origin,
)

__all__ = ["Auth", "OAuth2", "Revocation"]

ClientAuth = Literal["basic", "body", "bearer", "client"]
Encoding = Literal["form", "json"]

RESERVED = frozenset(
    {"access_token", "refresh_token", "previous_refresh_token", "client_id", "client_secret"}
)
"""Fields of a credential that the core itself fills."""


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


def _require_address(url: str, what: str) -> None:
    if not url.startswith("/"):
        require_origin(url.partition("?")[0].rstrip("/"), what)


@dataclass(frozen=True, kw_only=True, slots=True)
class Revocation:
    """How access is given back.

    Attributes:
        url: An address, or a path at the connection's base address.
        fields: Parameter of the request to the field of the credential that
            it carries, such as ``{"token": "refresh_token"}``. ``client_id``
            is a field too.
        client_auth: How the application names itself; ``"client"`` is
            ``Authorization: Client <client secret>``.
        encoding: How the parameters are written.
        is_gone: ``(status, words) -> bool``: whether a refusal says that there
            was nothing left to give back; the words are the error's code and
            text, empty if there were none. None: by ``OAuth2.refused`` alone.
    """

    url: str
    fields: Mapping[str, str]
    client_auth: ClientAuth = "basic"
    encoding: Encoding = "form"
    is_gone: Callable[[int, str], bool] | None = None

    def __post_init__(self) -> None:
        _require_address(self.url, "Revocation.url")
        if not self.fields:
            raise ValueError("Revocation.fields: at least one must say what is revoked")
        require_callable(self.is_gone, "Revocation.is_gone", or_none=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class OAuth2:
    """The provider takes OAuth 2 with an authorization code (RFC 6749).

    An address that begins with ``/`` is a path at the connection's base
    address. Where the base address is not the provider's own (a sandbox, a
    proxy), absolute ones are called there too, at the same path.

    The credential's fields are ``access_token``, ``refresh_token`` where the
    provider gives one, those that are kept, and the application's own
    ``client_id`` and ``client_secret``. Read the access token at every call:
    the core renews it while the client lives.

    Attributes:
        identify: As for :class:`ApiKey`.
        authorize_url: Where the browser is sent.
        token_url: Where codes and refresh tokens are exchanged.
        scopes: Asked for by default, in the provider's words.
        scope_separator: What stands between them.
        extra: Further fixed parameters of the authorize address.
        pkce: ``"always"``: the provider takes PKCE with S256; ``"public"``:
            only from an application without a secret; ``""``: not at all.
        issuer: Expected ``iss`` of the answer (RFC 9207); empty where none is
            given.
        client_auth: How the application names itself at ``token_url``:
            ``"basic"``; ``"body"``, as parameters; ``"bearer"``, the secret
            alone as a bearer token.
        encoding: How the token request is written.
        repeats_redirect: The exchange of a code repeats the redirect address.
        token_headers: Further fixed headers of a token request.
        keep: Name in the token answer to a field of the credential that it
            becomes: ``{"merchant_id": "merchant_id"}``. Missing ones fail the
            connect.
        keep_redirect: The same for parameters of the redirect, which the
            visitor's browser brings: only for what the provider checks against
            the token at each call.
        discard: Fields of the token answer that are not stored, such as
            ``("access_token", "refresh_token")`` where the application's own
            secret is used in their place.
        access_lifetime: How long an access token lives if the answer has
            neither ``expires_in`` nor ``expires_at``; None: for ever.
        refresh_deadlines: Fields of the token answer that say until when the
            refresh token can be used, as seconds from now or ISO 8601 text;
            the earliest counts.
        refresh_every: Longest time between two refreshes, used or not; None:
            only before the access token ends.
        refused: Codes of the token endpoint's errors which say that the grant
            itself is gone; any other failure leaves the connection as it is.
        client_refused: Codes which say that the application is not known, or
            its secret is wrong: a matter of settings, not of the grant.
        revocation: How access is given back; None where the provider has no
            way.
        where: Address of the page where applications are registered.

    Source:
        RFC 6749, RFC 7636 (PKCE), RFC 9207 (``iss``).
    """

    identify: Identify
    authorize_url: str
    token_url: str
    scopes: Sequence[str] = ()
    scope_separator: str = " "
    extra: Mapping[str, str] = field(default_factory=_nothing)
    pkce: Literal["", "always", "public"] = ""
    issuer: str = ""
    client_auth: Literal["basic", "body", "bearer"] = "basic"
    encoding: Encoding = "form"
    repeats_redirect: bool = True
    token_headers: Mapping[str, str] = field(default_factory=_nothing)
    keep: Mapping[str, str] = field(default_factory=_nothing)
    keep_redirect: Mapping[str, str] = field(default_factory=_nothing)
    discard: Sequence[str] = ()
    access_lifetime: timedelta | None = None
    refresh_deadlines: Sequence[str] = ()
    refresh_every: timedelta | None = None
    refused: Sequence[str] = ("invalid_grant",)
    client_refused: Sequence[str] = ("invalid_client", "unauthorized_client")
    revocation: Revocation | None = None
    where: str = ""
    kind: Literal["oauth2"] = "oauth2"

    def __post_init__(self) -> None:
        require_callable(self.identify, "OAuth2.identify")
        _require_address(self.authorize_url, "OAuth2.authorize_url")
        _require_address(self.token_url, "OAuth2.token_url")
        for name in self.kept:
            if not NAME.fullmatch(name) or name in RESERVED:
                raise ValueError(f"OAuth2.keep: {name!r} cannot name a field of the credential")
        if len(set(self.kept)) != len(self.kept):
            raise ValueError(
                "OAuth2.keep and keep_redirect: two become one field of the credential"
            )
        if not self.refused:
            raise ValueError("OAuth2.refused: at least one code says that the grant is gone")

    @property
    def kept(self) -> tuple[str, ...]:
        """Fields of the credential beside the tokens."""
        return (*self.keep.values(), *self.keep_redirect.values())


Auth = ApiKey | Basic | OAuth2
"""How an account is connected."""
