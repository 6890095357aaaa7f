"""Who let the platform in: authorization codes, grants and their tokens.

Every code makes a grant of its own. What counts for calls with
``Stripe-Account`` is the account: it is open while one of its grants is live,
and taking access away ends all of them.
Source: Stripe documentation, "Connect OAuth reference"; texts of the errors
also from the tests of Stripe's own libraries. Codes live for five minutes;
tokens live until they are revoked, and refreshing rotates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from tieline_stripe_sandbox.answers import OAuthError
from tieline_stripe_sandbox.clock import Clock
from tieline_stripe_sandbox.ids import Ids

__all__ = ["CODE_S", "SCOPES", "Grant", "Grants", "Token"]

CODE_S = 300
SCOPES = ("read_only", "read_write")
"""What can be asked for, each with all rights of those before it."""

_FILLS = {"ac": "Tieline0Sandbox00", "grant": "", "pk_test": "51T", "rt": "Tie", "sk_test": "51T"}


@dataclass(slots=True)
class Flights:
    """How many calls are in the air, and how many ever were at once."""

    now: int = 0
    most: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a call for as long as it takes."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1


@dataclass(slots=True, kw_only=True)
class Grant:
    """One owner's consent; ``state`` is live, revoked or reused."""

    id: str
    account: str
    scope: str
    access_token: str
    refresh_token: str
    publishable_key: str
    flights: Flights
    state: str = "live"
    refreshes: int = 0
    refused: int = 0
    reuse: int = 0

    def facts(self) -> dict[str, Any]:
        """Return what the control surface tells of it."""
        names = ("id", "account", "state", "scope", "refreshes", "refused", "reuse")
        tokens = ("access_token", "refresh_token")
        told = {name: getattr(self, name) for name in (*names, *tokens)}
        return told | {"max_in_flight": self.flights.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token: whose, and with which scope, which may be a lesser one."""

    text: str
    grant: Grant
    scope: str


@dataclass(slots=True, kw_only=True)
class _Code:
    account: str
    scope: str
    made: float
    flights: Flights = field(default_factory=Flights)
    grant: Grant | None = None


class Grants:
    """All consents to one platform.

    Args:
        seed: Chooses codes and tokens.
        clock: The sandbox's time, by which codes end.
        tell: ``(event type, account)``: writes the event.
    """

    def __init__(self, *, seed: int, clock: Clock, tell: Callable[[str, str], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._ids = {kind: Ids(kind, seed, fill=fill) for kind, fill in _FILLS.items()}
        self._codes: dict[str, _Code] = {}
        self._grants: dict[str, Grant] = {}
        self._refreshable: dict[str, Grant] = {}
        self._tokens: dict[str, Token] = {}
        self._open: dict[str, str] = {}
        self._flights = Flights()
        self._token_calls = 0

    def scope_of(self, account: str) -> str | None:
        """Return the widest scope in which an account is open; None: it is not."""
        return self._open.get(account)

    def token(self, text: str) -> Token | None:
        """Find an access token, also a revoked one."""
        return self._tokens.get(text)

    def new_code(self, account: str, scope: str) -> str:
        """Make an authorization code."""
        text = self._ids["ac"].of(len(self._codes))
        self._codes[text] = _Code(account=account, scope=scope, made=self._clock.now())
        return text

    def give(self, account: str, scope: str, flights: Flights | None = None) -> Token:
        """Make a grant."""
        number = len(self._grants)
        grant = Grant(
            id=self._ids["grant"].of(number),
            account=account,
            scope=scope,
            access_token=self._new_token_text(),
            refresh_token=self._ids["rt"].of(number),
            publishable_key=self._ids["pk_test"].of(number),
            flights=flights or Flights(),
        )
        self._grants[grant.id] = self._refreshable[grant.refresh_token] = grant
        was_open = account in self._open
        self._open[account] = max(scope, self._open.get(account, scope), key=SCOPES.index)
        if not was_open:
            self._tell("account.application.authorized", account)
        return self._keep(Token(text=grant.access_token, grant=grant, scope=scope))

    def redeem(self, text: str) -> Token:
        """Exchange a code; a second use ends what the first one gave.

        Raises:
            OAuthError: The code is unknown, used or too old.
        """
        code = self._codes.get(text)
        if code is None:
            raise _no_grant(f"Authorization code does not exist: {text}")
        if code.grant is not None:
            code.grant.reuse += 1
            code.grant.refused += 1
            self._end(code.grant, "reused")
            raise _no_grant(
                "This authorization code has already been used. All tokens issued with this code "
                "have been revoked."
            )
        if self._clock.now() - code.made > CODE_S:
            raise _no_grant("Authorization code expired")
        token = self.give(code.account, code.scope, code.flights)
        code.grant = token.grant
        return token

    def refresh(self, refresh_token: str, scope: str) -> Token:
        """Exchange a refresh token; the same scope gives the same access token.

        Args:
            refresh_token: As given; it stays good.
            scope: What is asked for; empty: all that was granted.

        Raises:
            OAuthError: The token is unknown or revoked, or the scope too wide.
        """
        grant = self._refreshable.get(refresh_token)
        if grant is None:
            raise _no_grant("Refresh token does not exist")
        try:
            token = self._refreshed(grant, scope or grant.scope)
        except OAuthError:
            grant.refused += 1
            raise
        grant.refreshes += 1
        return token

    def revoke(self, account: str) -> None:
        """Take the platform's access to an account away, as its owner or the platform can."""
        for grant in self._grants.values():
            if grant.account == account:
                self._end(grant, "revoked")
        self._tell("account.application.deauthorized", account)

    def account_of(self, name: str) -> str:
        """Return the open account of a grant's or account's id; ValueError when there is none."""
        grant = self._grants.get(name)
        account = grant.account if grant else name
        if account not in self._open:
            raise ValueError(f"{name} is no account or grant with access")
        return account

    @contextmanager
    def calling(self, code: str, refresh_token: str) -> Iterator[None]:
        """Count a request to the token endpoint from its arrival to its answer."""
        held = self._codes.get(code) or self._refreshable.get(refresh_token)
        with self._flights.one(), held.flights.one() if held else nullcontext():
            yield

    def count_call(self) -> None:
        """Count a request to the token endpoint that is carried out."""
        self._token_calls += 1

    def facts(self, only: str = "") -> dict[str, Any]:
        """Return what happened so far.

        Args:
            only: Id of the one grant to tell of; empty: all.
        """
        return {
            "token_calls": self._token_calls,
            "refreshes": sum(grant.refreshes for grant in self._grants.values()),
            "max_in_flight": self._flights.most,
            "grants": [grant.facts() for grant in self._grants.values() if only in {"", grant.id}],
        }

    def _refreshed(self, grant: Grant, scope: str) -> Token:
        if grant.state != "live":
            raise _no_grant("Refresh token has been revoked")
        if scope not in SCOPES[: SCOPES.index(grant.scope) + 1]:
            raise OAuthError("invalid_scope", f"Invalid scope: {scope}")
        given = (token for token in self._tokens.values() if token.grant is grant)
        same = next((token for token in given if token.scope == scope), None)
        return same or self._keep(Token(text=self._new_token_text(), grant=grant, scope=scope))

    def _new_token_text(self) -> str:
        return self._ids["sk_test"].of(len(self._tokens))

    def _keep(self, token: Token) -> Token:
        self._tokens[token.text] = token
        return token

    def _end(self, grant: Grant, state: str) -> None:
        if grant.state == "live":
            grant.state = state
        live = [one for one in self._grants.values() if one.state == "live"]
        scopes = [one.scope for one in live if one.account == grant.account]
        if scopes:
            self._open[grant.account] = max(scopes, key=SCOPES.index)
        else:
            self._open.pop(grant.account, None)


def _no_grant(description: str) -> OAuthError:
    return OAuthError("invalid_grant", description)
