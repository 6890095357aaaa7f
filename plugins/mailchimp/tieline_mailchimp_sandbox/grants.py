"""What was granted to the application: codes, tokens, and how they were used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from tieline_mailchimp_sandbox.answers import OAuthError
from tieline_mailchimp_sandbox.meter import Meter
from tieline_mailchimp_sandbox.world import Account, digest

__all__ = ["CODE_LIFETIME_S", "Grant", "Grants"]

CODE_LIFETIME_S = 600
"""Mailchimp does not say; ten minutes are the most that RFC 6749 recommends."""


@dataclass(slots=True, kw_only=True)
class Grant:
    """One consent of one account, and its token once the code was exchanged."""

    id: str
    account: Account
    redirect_uri: str
    code: str
    code_until: float
    access_token: str = ""
    is_live: bool = True
    refused: int = 0
    reuse: int = 0
    meter: Meter = field(default_factory=Meter)

    def token_answer(self) -> dict[str, Any]:
        """Return what the token endpoint says; the token never expires."""
        return {"access_token": self.access_token, "expires_in": 0, "scope": None}

    def report(self) -> dict[str, Any]:
        """Return what the control surface shows."""
        return {
            "id": self.id,
            "account": self.account.id,
            "state": "live" if self.is_live else "revoked",
            "refreshes": 0,
            "refused": self.refused,
            "reuse": self.reuse,
            "max_in_flight": self.meter.most,
            "access_token": self.access_token,
            "refresh_token": None,
        }


class Grants:
    """All grants.

    Args:
        seed: Chooses codes and tokens.
        now: The sandbox's time.
    """

    def __init__(self, seed: int, now: Callable[[], float]) -> None:
        self._seed = seed
        self._now = now
        self._grants: list[Grant] = []
        self._meter = Meter()
        self._token_calls = 0

    def consent(self, account: Account, redirect_uri: str) -> Grant:
        """Note that an account consents; its code waits to be exchanged."""
        number = len(self._grants) + 1
        grant = Grant(
            id=f"grant_{number}",
            account=account,
            redirect_uri=redirect_uri,
            code=digest(self._seed, "code", number)[:32],
            code_until=self._now() + CODE_LIFETIME_S,
        )
        self._grants.append(grant)
        return grant

    def exchange(self, code: str, redirect_uri: str) -> Grant:
        """Exchange a code for its token, once.

        A second exchange is refused and leaves the token alive.

        Raises:
            OAuthError: The code is unknown, used, too old, or was made for
                another redirect address.
        """
        grant = self._of_code(code)
        if grant is None:
            raise OAuthError("invalid_grant", "The authorization code is unknown.")
        if grant.access_token:
            grant.refused += 1
            grant.reuse += 1
            raise OAuthError("invalid_grant", "The authorization code was used already.")
        if self._now() > grant.code_until or grant.redirect_uri != redirect_uri:
            grant.refused += 1
            why = "is for another redirect_uri" if self._now() <= grant.code_until else "expired"
            raise OAuthError("invalid_grant", f"The authorization code {why}.")
        grant.access_token = digest(self._seed, "token", grant.id)[:32]
        return grant

    def give(self, account: Account) -> Grant:
        """Make a grant without a browser."""
        grant = self.consent(account, "")
        return self.exchange(grant.code, "")

    def account_of(self, token: str) -> Account | None:
        """Return whose live token this is."""
        found = (grant for grant in self._grants if token and grant.access_token == token)
        grant = next(found, None)
        return grant.account if grant and grant.is_live else None

    def revoke(self, name: str) -> bool:
        """End a grant, or all of an account; say whether there was one."""
        found = [grant for grant in self._grants if name in {grant.id, grant.account.id}]
        for grant in found:
            grant.is_live = False
        return bool(found)

    @contextmanager
    def token_call(self, code: str) -> Iterator[None]:
        """Count a call of the token endpoint while it lasts."""
        grant = self._of_code(code)
        with ExitStack() as stack:
            stack.enter_context(self._meter.flight())
            if grant:
                stack.enter_context(grant.meter.flight())
            yield

    def count_token_call(self) -> None:
        """Count a call of the token endpoint that is carried out."""
        self._token_calls += 1

    def report(self, only: str = "") -> dict[str, Any]:
        """Return what the control surface shows; consents without a token are left out."""
        shown = [grant for grant in self._grants if grant.access_token and only in {"", grant.id}]
        return {
            "token_calls": self._token_calls,
            "refreshes": 0,
            "max_in_flight": self._meter.most,
            "grants": [grant.report() for grant in shown],
        }

    def _of_code(self, code: str) -> Grant | None:
        return next((grant for grant in self._grants if grant.code == code), None)
