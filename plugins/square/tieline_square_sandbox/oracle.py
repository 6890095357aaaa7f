"""What really happened at the token endpoint, for tests that want to know.

Square tells nobody; a test has to. Counts are of requests, not of answers that
arrived.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tieline_square_sandbox.grants import Grant, Grants
from tieline_square_sandbox.request import Request

__all__ = ["Oracle"]


class Oracle:
    """Counts token calls, and how many there were at once."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants
        self._in_flight = 0
        self._max_in_flight = 0
        self.token_calls = 0

    @contextmanager
    def watching(self, request: Request) -> Iterator[None]:
        """Count a request in flight; anything but a token call is let pass."""
        if (request.method, request.path) != ("POST", "/oauth2/token"):
            yield
            return
        body = request.json_or_none() or {}
        grant = self._grants.of_refresh_token(body.get("refresh_token"))
        self._in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self._in_flight)
        if grant is not None:
            grant.in_flight += 1
            grant.max_in_flight = max(grant.max_in_flight, grant.in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            if grant is not None:
                grant.in_flight -= 1

    def tell(self, grant_id: str = "") -> dict[str, Any]:
        """Return the counts and the grants, or one grant; ValueError if there is none."""
        if grant_id and self._grants.find(grant_id) is None:
            raise ValueError(f"there is no grant {grant_id!r}")
        grants = list(self._grants)
        return {
            "token_calls": self.token_calls,
            "refreshes": sum(grant.refreshes for grant in grants),
            "max_in_flight": self._max_in_flight,
            "grants": [_told(grant) for grant in grants if grant_id in {"", grant.id}],
        }


def _told(grant: Grant) -> dict[str, Any]:
    return {
        "id": grant.id,
        "account": grant.account,
        "flow": "pkce" if grant.is_pkce else "code",
        "state": grant.state,
        "scopes": grant.scopes,
        "refreshes": grant.refreshes,
        "refused": grant.refused,
        "reuse": grant.reuse,
        "max_in_flight": grant.max_in_flight,
        "access_token": grant.access.text if grant.access else "",
        "refresh_token": grant.refresh_token,
    }
