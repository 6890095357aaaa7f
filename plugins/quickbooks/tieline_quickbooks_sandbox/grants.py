"""What companies have granted, and which tokens are good: the rules, without HTTP.

Lifetimes are Intuit's: access tokens one hour, refresh tokens 101 days from the
last refresh and five years in all. How long a code can be exchanged is not
documented.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.letters import Letters

__all__ = ["ROTATIONS", "Code", "Grant", "Grants", "RefusedError", "Rotation"]

ACCESS_S = 3600
REFRESH_S = 8_726_400
HARD_S = 157_680_000
CODE_S = 600
DAY_S = 86_400
ROTATIONS = ("daily", "strict", "grace")


class RefusedError(Exception):
    """A code or a refresh token cannot be used."""


@dataclass(slots=True, kw_only=True)
class Rotation:
    """How refresh tokens change.

    Attributes:
        mode: One of :data:`ROTATIONS`.
        grace_s: Seconds for which ``grace`` takes an old one.
    """

    mode: str
    grace_s: float

    def brings_new(self, age_s: float) -> bool:
        """Whether a refresh changes the value, by the age of the present one."""
        return self.mode != "daily" or age_s >= DAY_S

    @property
    def takes_old_s(self) -> float:
        """For how long the value before is taken."""
        return {"daily": float(DAY_S), "grace": self.grace_s}.get(self.mode, 0.0)


@dataclass(slots=True, kw_only=True)
class Code:
    """An authorization code.

    Attributes:
        company: Whose consent it stands for.
        scopes: What was granted.
        redirect_uri: Where it was sent; the exchange has to repeat it.
        ends: Seconds since the epoch.
        grant: What it was exchanged for; None before that.
    """

    company: Company
    scopes: tuple[str, ...]
    redirect_uri: str
    ends: float
    grant: Grant | None = None


@dataclass(slots=True, kw_only=True)
class Grant:
    """One consent and its tokens.

    Attributes:
        id: In the control surface.
        company: Whose data it opens.
        scopes: What it opens of them.
        hard_end: When it ends whatever happens, in seconds since the epoch.
        state: ``live``, ``revoked`` or ``reused``.
        access_token: The newest.
        refresh_token: The newest.
        refresh_made: When that value was first given.
        refresh_end: When it ends unless it is used.
        access_ends: Every access token and when it ends.
        old: Every refresh token before, and until when it is taken.
        refreshes: How many gave a new access token.
        refused: How many token calls with a token of this grant were refused.
        reuse: How often a token that is no longer the newest, or a used code,
            was presented.
        in_flight: Token calls under way.
        max_in_flight: The most of them at once.
    """

    id: str
    company: Company
    scopes: tuple[str, ...]
    hard_end: float
    state: str = "live"
    access_token: str = ""
    refresh_token: str = ""
    refresh_made: float = 0.0
    refresh_end: float = 0.0
    access_ends: dict[str, float] = field(default_factory=dict)
    old: dict[str, float] = field(default_factory=dict)
    refreshes: int = 0
    refused: int = 0
    reuse: int = 0
    in_flight: int = 0
    max_in_flight: int = 0

    def described(self) -> dict[str, Any]:
        """Return what the control surface shows."""
        return {
            "id": self.id,
            "account": self.company.id,
            "scopes": self.scopes,
            "state": self.state,
            "refreshes": self.refreshes,
            "refused": self.refused,
            "reuse": self.reuse,
            "max_in_flight": self.max_in_flight,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
        }


class Grants:
    """All grants, codes and tokens of one sandbox.

    Args:
        clock: Tells when they end.
        letters: Makes them.
        rotation: How refresh tokens change; it may be changed meanwhile.
    """

    def __init__(self, clock: Clock, letters: Letters, rotation: Rotation) -> None:
        self.rotation = rotation
        self.token_calls = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self._clock = clock
        self._letters = letters
        self._codes: dict[str, Code] = {}
        self._grants: list[Grant] = []
        self._by_refresh: dict[str, Grant] = {}
        self._by_access: dict[str, Grant] = {}

    def promise(self, company: Company, scopes: Sequence[str], redirect_uri: str) -> str:
        """Make a code for a consent."""
        code = self._letters.code()
        self._codes[code] = Code(
            company=company,
            scopes=tuple(scopes),
            redirect_uri=redirect_uri,
            ends=self._clock.now() + CODE_S,
        )
        return code

    def exchange(self, text: str, redirect_uri: str) -> Grant:
        """Turn a code into a grant.

        Raises:
            RefusedError: It is unknown, too old, was sent elsewhere, or was
                exchanged before; then what it gave ends too.
        """
        code = self._codes.get(text)
        if code is None:
            raise RefusedError
        if code.grant is not None:
            code.grant.reuse += 1
            self.end(code.grant, "reused")
            raise RefusedError
        if redirect_uri != code.redirect_uri or self._clock.now() >= code.ends:
            raise RefusedError
        code.grant = self.open(code.company, code.scopes)
        return code.grant

    def open(self, company: Company, scopes: Sequence[str]) -> Grant:
        """Make a grant; the company's grants before it end."""
        for before in self._grants:
            if before.company is company:
                self.end(before, "revoked")
        company.has_lost_rights = False
        grant = Grant(
            id=f"grant-{len(self._grants) + 1}",
            company=company,
            scopes=tuple(scopes),
            hard_end=self._clock.now() + HARD_S,
        )
        self._grants.append(grant)
        self._give_refresh_token(grant)
        self._give_access_token(grant)
        return grant

    def refresh(self, token: str) -> Grant:
        """Renew the tokens of a grant; those to answer with are its newest.

        Raises:
            RefusedError: The token is unknown, has ended, or may no longer be
                used.
        """
        grant, now = self._by_refresh.get(token), self._clock.now()
        if grant is None:
            raise RefusedError
        if grant.state != "live" or now >= grant.refresh_end:
            grant.refused += 1
            raise RefusedError
        if token != grant.refresh_token:
            self._take_old(grant, token)
            return grant
        grant.refreshes += 1
        if self.rotation.brings_new(now - grant.refresh_made):
            grant.old[token] = now + self.rotation.takes_old_s
            self._give_refresh_token(grant)
        else:
            grant.refresh_end = self._refresh_end(grant)
        self._give_access_token(grant)
        return grant

    def revoke(self, token: str) -> None:
        """End a grant by any of its tokens.

        Raises:
            RefusedError: It is unknown, or the grant has ended before.
        """
        grant = self._by_refresh.get(token) or self._by_access.get(token)
        if grant is None or grant.state != "live":
            raise RefusedError
        self.end(grant, "revoked")

    def end(self, grant: Grant, state: str) -> None:
        """End a grant; one that has ended keeps its first reason."""
        if grant.state == "live":
            grant.state = state

    def end_at_the_provider(self, name: str) -> None:
        """End a grant, or all of an account, as its user does in QuickBooks.

        Raises:
            ValueError: There is none of that id.
        """
        named = [grant for grant in self._grants if name in {grant.id, grant.company.id}]
        if not named:
            raise ValueError(f"there is no grant, and no account with one, called {name!r}")
        for grant in named:
            self.end(grant, "revoked")

    def is_connected(self, realm: str) -> bool:
        """Whether a company is connected to the application now."""
        return any(each.state == "live" for each in self._grants if each.company.id == realm)

    def opened_by(self, access_token: str) -> Grant | None:
        """Return the grant that an access token opens; None if it opens nothing."""
        grant = self._by_access.get(access_token)
        if grant is None or grant.state != "live":
            return None
        return grant if self._clock.now() < grant.access_ends[access_token] else None

    def answer(self, grant: Grant, *, with_hard_end: bool) -> dict[str, Any]:
        """Return what the token endpoint says of a grant."""
        now = self._clock.now()
        body: dict[str, Any] = {
            "token_type": "bearer",
            "access_token": grant.access_token,
            "refresh_token": grant.refresh_token,
            "expires_in": ceil(grant.access_ends[grant.access_token] - now),
            "x_refresh_token_expires_in": ceil(grant.refresh_end - now),
        }
        if with_hard_end:
            body["x_refresh_token_hard_expires_in"] = ceil(grant.hard_end - now)
        return body

    @contextmanager
    def under_way(self, refresh_token: str) -> Iterator[None]:
        """Count a call to the token endpoint for as long as it takes."""
        counted: list[Grants | Grant] = [self]
        if refresh_token in self._by_refresh:
            counted.append(self._by_refresh[refresh_token])
        for each in counted:
            each.in_flight += 1
            each.max_in_flight = max(each.max_in_flight, each.in_flight)
        try:
            yield
        finally:
            for each in counted:
                each.in_flight -= 1

    def described(self, name: str = "") -> dict[str, Any]:
        """Return what happened, of all grants or of one."""
        return {
            "token_calls": self.token_calls,
            "refreshes": sum(grant.refreshes for grant in self._grants),
            "max_in_flight": self.max_in_flight,
            "grants": [grant.described() for grant in self._grants if name in {"", grant.id}],
        }

    def _take_old(self, grant: Grant, token: str) -> None:
        """Answer an old refresh token with the present ones, or refuse it."""
        now = self._clock.now()
        grant.reuse += 1
        if now >= grant.old[token]:
            grant.refused += 1
            if self.rotation.mode != "daily":
                self.end(grant, "reused")
            raise RefusedError
        if self.rotation.mode == "daily" or now >= grant.access_ends[grant.access_token]:
            grant.refreshes += 1
            self._give_access_token(grant)

    def _give_refresh_token(self, grant: Grant) -> None:
        grant.refresh_end = self._refresh_end(grant)
        grant.refresh_made = self._clock.now()
        grant.refresh_token = self._letters.refresh_token(grant.refresh_end)
        self._by_refresh[grant.refresh_token] = grant

    def _give_access_token(self, grant: Grant) -> None:
        grant.access_token = self._letters.access_token()
        grant.access_ends[grant.access_token] = self._clock.now() + ACCESS_S
        self._by_access[grant.access_token] = grant

    def _refresh_end(self, grant: Grant) -> float:
        return min(self._clock.now() + REFRESH_S, grant.hard_end)
