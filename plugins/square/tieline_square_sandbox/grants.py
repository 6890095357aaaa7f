"""What the authorization server remembers: codes, tokens, and whose they are.

Rules of lifetime and use only; what a request must look like is decided by the
endpoints. Sources: Square documentation, "OAuth API" (requirements and
limitations) and the reference of ObtainToken.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from tieline_square_sandbox.clock import Clock, iso

__all__ = ["ROTATIONS", "AccessToken", "Code", "Grant", "Grants"]

CODE_LIFE_S = 300
ACCESS_LIFE_S = 30 * 86_400
SHORT_LIFE_S = 86_400
REFRESH_LIFE_S = 90 * 86_400

ROTATIONS = ("single-use", "strict", "grace")
"""What becomes of a used refresh token; see the package's docstring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An authorization code that waits to be exchanged.

    Attributes:
        account: Id of the merchant who consented.
        scopes: The rights granted.
        redirect_uri: As the authorize address named it; None: it named none.
        challenge: Of PKCE, S256; None in the code flow.
        expires: Until when, in seconds since the epoch.
    """

    account: str
    scopes: tuple[str, ...]
    redirect_uri: str | None
    challenge: str | None
    expires: float


@dataclass(slots=True, kw_only=True)
class Grant:
    """One consent of one seller, and what was made of it."""

    id: str
    account: str
    scopes: tuple[str, ...]
    is_pkce: bool
    state: Literal["live", "revoked", "reused"] = "live"
    access: AccessToken | None = None
    refresh_token: str = ""
    refresh_expires: float | None = None
    used: dict[str, float] = field(default_factory=dict)
    refreshes: int = 0
    refused: int = 0
    reuse: int = 0
    in_flight: int = 0
    max_in_flight: int = 0


@dataclass(slots=True, kw_only=True)
class AccessToken:
    """One access token.

    Attributes:
        text: The token.
        account: Id of the merchant whose data it opens.
        scopes: What it may do.
        expires: Until when, in seconds since the epoch; None: for ever.
        is_short_lived: It was asked for 24 hours only.
        grant: Where it comes from; None: a personal access token.
        is_revoked: It was taken back.
    """

    text: str
    account: str
    scopes: tuple[str, ...]
    expires: float | None = None
    is_short_lived: bool = False
    grant: Grant | None = None
    is_revoked: bool = False


class Grants:
    """All codes, grants and tokens of one application.

    Args:
        clock: The sandbox's.
        seed: Same seed and same order of requests, same tokens.
    """

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._made: Counter[str] = Counter()
        self._codes: dict[str, Code] = {}
        self._grants: dict[str, Grant] = {}
        self._by_refresh: dict[str, Grant] = {}
        self._access: dict[str, AccessToken] = {}
        self.rotation: str = ROTATIONS[0]
        self.grace_s = 0.0
        self.on_revoked: Callable[[str, str], None] = lambda _account, _by: None

    def __iter__(self) -> Iterator[Grant]:
        return iter(self._grants.values())

    def add_personal(self, text: str, account: str, scopes: Iterable[str]) -> None:
        """Register a personal access token."""
        self._access[text] = AccessToken(text=text, account=account, scopes=tuple(sorted(scopes)))

    def offer(
        self,
        *,
        account: str,
        scopes: Sequence[str],
        redirect_uri: str | None,
        challenge: str | None,
    ) -> str:
        """Make an authorization code."""
        text = self._mint("sandbox-sq0cgb-", 16)
        self._codes[text] = Code(
            account=account,
            scopes=tuple(scopes),
            redirect_uri=redirect_uri,
            challenge=challenge,
            expires=self._clock.now() + CODE_LIFE_S,
        )
        return text

    def code(self, text: str) -> Code | None:
        """Return a code that can still be exchanged."""
        found = self._codes.get(text)
        return found if found and self._clock.now() < found.expires else None

    def redeem(self, text: str, *, is_short_lived: bool) -> AccessToken:
        """Exchange a code that :meth:`code` returned; it is gone afterwards."""
        code = self._codes.pop(text)
        return self.begin(
            account=code.account,
            scopes=code.scopes,
            is_pkce=code.challenge is not None,
            is_short_lived=is_short_lived,
        )

    def begin(
        self, *, account: str, scopes: Sequence[str], is_pkce: bool, is_short_lived: bool = False
    ) -> AccessToken:
        """Make a grant with its first tokens."""
        grant = Grant(
            id=f"grant_{len(self._grants) + 1}",
            account=account,
            scopes=tuple(scopes),
            is_pkce=is_pkce,
        )
        self._grants[grant.id] = grant
        self._new_refresh_token(grant)
        return self._new_access_token(grant, grant.scopes, is_short_lived=is_short_lived)

    def of_refresh_token(self, text: object) -> Grant | None:
        """Return the grant of a refresh token, used ones included."""
        return self._by_refresh.get(text) if isinstance(text, str) else None

    def renew(
        self, grant: Grant, text: str, *, scopes: Sequence[str] | None, is_short_lived: bool
    ) -> AccessToken | None:
        """Exchange one of a grant's refresh tokens; None: it is refused.

        Args:
            grant: As :meth:`of_refresh_token` found it.
            text: The refresh token.
            scopes: What the new access token shall be limited to; None: nothing.
            is_short_lived: Whether it shall end after 24 hours.
        """
        present = self._again(grant, text) if text in grant.used else None
        if present is not None:
            return present
        if grant.state != "live" or text in grant.used or self._is_late(grant):
            grant.refused += 1
            return None
        grant.refreshes += 1
        if grant.is_pkce:
            grant.used[text] = self._clock.now()
            self._new_refresh_token(grant)
        kept = grant.scopes if scopes is None else [one for one in grant.scopes if one in scopes]
        return self._new_access_token(grant, kept, is_short_lived=is_short_lived)

    def access(self, text: str) -> AccessToken | None:
        """Return an access token, dead ones included."""
        return self._access.get(text)

    def is_expired(self, token: AccessToken) -> bool:
        """Whether an access token's time is over."""
        return token.expires is not None and self._clock.now() >= token.expires

    def may_read(self, account: str, scope: str) -> bool:
        """Whether a merchant has granted a right, and not taken it back."""
        return any(
            token.account == account and scope in token.scopes and not token.is_revoked
            for token in self._access.values()
        )

    def revoke(self, name: str, *, by: str = "MERCHANT") -> int:
        """End grants: the one of that id, or all of the merchant of that id.

        Args:
            name: The id.
            by: Who does it, as the event tells: ``MERCHANT`` or ``APPLICATION``.

        Returns:
            How many of them there are, ended before or now.
        """
        found = [grant for grant in self._grants.values() if name in {grant.id, grant.account}]
        live = {grant.account for grant in found if grant.state == "live"}
        for grant in found:
            self._end(grant, "revoked")
        for account in live:
            self.on_revoked(account, by)
        return len(found)

    def find(self, grant_id: str) -> Grant | None:
        """Return a grant by its id."""
        return self._grants.get(grant_id)

    def answer(self, token: AccessToken) -> dict[str, Any]:
        """Write what ``/oauth2/token`` answers."""
        grant = token.grant
        assert grant is not None
        assert token.expires is not None
        told = {
            "access_token": token.text,
            "token_type": "bearer",
            "expires_at": iso(token.expires),
            "merchant_id": token.account,
            "refresh_token": grant.refresh_token,
            "short_lived": token.is_short_lived,
        }
        if grant.refresh_expires is not None:
            told["refresh_token_expires_at"] = iso(grant.refresh_expires)
        return told

    def _again(self, grant: Grant, text: str) -> AccessToken | None:
        """Meet a used refresh token; the present tokens where there is grace."""
        grant.reuse += 1
        is_in_time = self._clock.now() < grant.used[text] + self.grace_s
        if self.rotation == "grace" and is_in_time and grant.state == "live":
            return grant.access
        if self.rotation == "strict" and grant.state == "live":
            self._end(grant, "reused")
        return None

    def _is_late(self, grant: Grant) -> bool:
        return grant.refresh_expires is not None and self._clock.now() >= grant.refresh_expires

    def _end(self, grant: Grant, state: Literal["revoked", "reused"]) -> None:
        if grant.state == "live":
            grant.state = state
        for token in self._access.values():
            if token.grant is grant:
                token.is_revoked = True

    def _new_refresh_token(self, grant: Grant) -> None:
        grant.refresh_token = self._mint("EQAA", 45)
        self._by_refresh[grant.refresh_token] = grant
        if grant.is_pkce:
            grant.refresh_expires = self._clock.now() + REFRESH_LIFE_S

    def _new_access_token(
        self, grant: Grant, scopes: Sequence[str], *, is_short_lived: bool
    ) -> AccessToken:
        life = SHORT_LIFE_S if is_short_lived else ACCESS_LIFE_S
        token = AccessToken(
            text=self._mint("EAAA", 45),
            account=grant.account,
            scopes=tuple(scopes),
            expires=self._clock.now() + life,
            is_short_lived=is_short_lived,
            grant=grant,
        )
        grant.access = self._access[token.text] = token
        return token

    def _mint(self, prefix: str, size: int) -> str:
        self._made[prefix] += 1
        told = f"{prefix}:{self._seed}:{self._made[prefix]}"
        digest = blake2b(told.encode(), digest_size=size).digest()
        return prefix + urlsafe_b64encode(digest).decode().rstrip("=")
