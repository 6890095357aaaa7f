"""What the control surface tells of consents and tokens, and the orders it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline_stripe_sandbox.grants import SCOPES
from tieline_stripe_sandbox.oauth import OAuth, token_answer

__all__ = ["OAuthOrders"]

_ORDERS = frozenset({"consent", "grant", "login_as", "revoke"})


class OAuthOrders:
    """The part of the control surface at ``/_sandbox/oauth``."""

    def __init__(self, oauth: OAuth) -> None:
        self._oauth = oauth

    def accounts(self) -> list[dict[str, str]]:
        """Return the accounts that can be connected, by their index."""
        return [{"id": id_, "name": name} for id_, name in self._oauth.accounts.names.items()]

    def read(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return what happened, and how the next owner decides."""
        return self._oauth.grants.facts(query.get("grant", "")) | self._decision()

    def order(self, given: object) -> dict[str, Any]:
        """Carry out orders, all of them or none.

        Returns:
            For ``grant`` the answer of the token endpoint, else how the next
            owner decides.

        Raises:
            ValueError: An order makes no sense; Stripe rotates no refresh
                tokens, so there is no ``rotation`` and no ``grace_s``.
        """
        if not isinstance(given, dict) or given.keys() - _ORDERS:
            raise ValueError(f"orders are an object with some of {', '.join(sorted(_ORDERS))}")
        oauth = self._oauth
        login_as = given.get("login_as", oauth.login_as)
        oauth.accounts.at(login_as)
        wanted = self._wanted(given["grant"]) if "grant" in given else None
        revoked = oauth.grants.account_of(str(given["revoke"])) if "revoke" in given else None
        oauth.decide(given.get("consent", oauth.consent))
        oauth.login_as = login_as
        if revoked is not None:
            oauth.grants.revoke(revoked)
        return self._decision() if wanted is None else token_answer(oauth.grants.give(*wanted))

    def _wanted(self, given: object) -> tuple[str, str]:
        """Read the account and the scope of a grant that is made without a browser."""
        if not isinstance(given, dict) or given.keys() - {"account", "scopes"}:
            raise ValueError("a grant is an object with account and scopes")
        scopes = given.get("scopes", [SCOPES[0]])
        if not isinstance(scopes, list) or not scopes or set(scopes) - set(SCOPES):
            raise ValueError(f"scopes are a list with one of {', '.join(SCOPES)}")
        return self._oauth.accounts.at(given.get("account", 0)), max(scopes, key=SCOPES.index)

    def _decision(self) -> dict[str, Any]:
        return {"consent": self._oauth.consent, "login_as": self._oauth.login_as}
