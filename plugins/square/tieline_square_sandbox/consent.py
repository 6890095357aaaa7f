"""``/oauth2/authorize``: the browser comes, a seller consents, the browser goes.

Source: Square documentation, "OAuth API" (permission page and its answers). A
request that cannot be trusted is never sent on: its mistakes are shown here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode

from tieline_square_sandbox import scopes as rights
from tieline_square_sandbox.answers import Answer, page
from tieline_square_sandbox.application import Application
from tieline_square_sandbox.grants import Grants
from tieline_square_sandbox.request import Request, parameters
from tieline_square_sandbox.world import World

__all__ = ["CONSENTS", "Consent", "Orders"]

CONSENTS = ("auto", "deny", "page")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(slots=True, kw_only=True)
class Orders:
    """How the next sellers behave.

    Attributes:
        consent: One of :data:`CONSENTS`.
        login_as: Index of the seller.
    """

    consent: str = "auto"
    login_as: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request for access that makes sense."""

    redirect: str
    named_redirect: str | None
    scopes: tuple[str, ...]
    state: str | None
    challenge: str | None


class Consent:
    """The page on which sellers allow or deny access."""

    def __init__(
        self, application: Application, grants: Grants, world: World, orders: Orders
    ) -> None:
        self._application = application
        self._grants = grants
        self._world = world
        self._orders = orders

    def ask(self, request: Request) -> Answer:
        """Answer the browser: with the page, or as ordered."""
        given = parameters(request.query)
        asked = self._read(given)
        if isinstance(asked, str):
            return _mistake(asked)
        if self._orders.consent == "page":
            return self._page(given, asked)
        return self._decided(
            asked, self._orders.login_as, is_allowed=self._orders.consent == "auto"
        )

    def decide(self, request: Request) -> Answer:
        """Answer the page's buttons; everything is checked once more."""
        given = parameters(request.body)
        asked = self._read(given)
        if isinstance(asked, str):
            return _mistake(asked)
        indices = {str(index): index for index in range(len(self._world.sellers))}
        index, decision = indices.get(given.get("account", "")), given.get("decision")
        if index is None or decision not in {"allow", "deny"}:
            return _mistake("Choose an account, then Allow or Deny.")
        return self._decided(asked, index, is_allowed=decision == "allow")

    def _read(self, given: dict[str, str]) -> _Asked | str:
        """Read the parameters; a text says what is wrong with them."""
        if given.get("client_id") != self._application.client_id:
            return "The client_id is missing or unknown."
        named = given.get("redirect_uri")
        redirect = self._application.redirect(named)
        if redirect is None:
            return "The redirect_uri is missing, or is not registered for this application."
        asked = tuple(dict.fromkeys(given.get("scope", "").split())) or rights.DEFAULT
        if unknown := [name for name in asked if name not in rights.KNOWN]:
            return f"There is no permission {unknown[0]}."
        challenge = given.get("code_challenge")
        if given.get("code_challenge_method", "S256") != "S256" or (
            challenge is not None and not _CHALLENGE.fullmatch(challenge)
        ):
            return "The code_challenge is no SHA-256 digest in base64url (S256)."
        return _Asked(
            redirect=redirect,
            named_redirect=named,
            scopes=asked,
            state=given.get("state"),
            challenge=challenge,
        )

    def _decided(self, asked: _Asked, index: int, *, is_allowed: bool) -> Answer:
        if not is_allowed:
            back = {"error": "access_denied", "error_description": "user_denied"}
        else:
            code = self._grants.offer(
                account=self._world.at(index).id,
                scopes=asked.scopes,
                redirect_uri=asked.named_redirect,
                challenge=asked.challenge,
            )
            back = {"code": code, "response_type": "code"}
        if asked.state is not None:
            back["state"] = asked.state
        joint = "&" if "?" in asked.redirect else "?"
        location = f"{asked.redirect}{joint}{urlencode(back)}"
        return Answer(
            status=302,
            body=b"",
            headers=((b"location", location.encode()), (b"cache-control", b"no-store")),
        )

    def _page(self, given: dict[str, str], asked: _Asked) -> Answer:
        hidden = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in given.items()
            if name not in {"account", "decision"}
        )
        accounts = "".join(
            f'<option value="{index}"{" selected" if index == self._orders.login_as else ""}>'
            f"{escape(seller.name)}</option>"
            for index, seller in enumerate(self._world.sellers)
        )
        wanted = "".join(f"<li>{escape(name)}</li>" for name in asked.scopes)
        return page(
            200,
            f"{_HEAD}<h1>{escape(self._application.client_id)} asks for access</h1>"
            f'<form method="post" action="/oauth2/authorize">{hidden}'
            f'<p><label>Sign in as <select name="account">{accounts}</select></label></p>'
            f"<ul>{wanted}</ul>"
            '<p><button name="decision" value="allow">Allow</button> '
            '<button name="decision" value="deny">Deny</button></p></form>',
        )


_HEAD = (
    '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width"><title>Square sandbox</title></head><body>'
)


def _mistake(text: str) -> Answer:
    return page(400, f"{_HEAD}<h1>This authorization request is not valid</h1><p>{escape(text)}")
