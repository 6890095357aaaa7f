"""Consent: what the browser meets at ``/connect/oauth2``.

A wrong ``client_id`` or ``redirect_uri`` ends on a page of Intuit's own; any
other mistake, and a "no", goes back to the application with ``error`` and
``state``. PKCE is not taken: its parameters mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import urlencode, urlsplit

from tieline_quickbooks_sandbox.answers import Answer, page, redirect
from tieline_quickbooks_sandbox.companies import Company
from tieline_quickbooks_sandbox.grants import Grants
from tieline_quickbooks_sandbox.request import Request

__all__ = ["ACCOUNTING", "ANSWERS", "CONSENT_PATH", "Application", "Consent"]

CONSENT_PATH = "/connect/oauth2"
ACCOUNTING = "com.intuit.quickbooks.accounting"
ANSWERS = ("auto", "deny", "page")
_SCOPES = frozenset(
    {
        ACCOUNTING,
        "com.intuit.quickbooks.payment",
        "openid",
        "profile",
        "email",
        "phone",
        "address",
    }
)
_CARRIED = ("client_id", "response_type", "scope", "redirect_uri", "state")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What was registered with Intuit.

    Attributes:
        client_id: Public name of the application.
        client_secret: Known to its server alone.
        redirect_uris: Where browsers may be sent; none: any https address, and
            any of this machine.
    """

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...] = ()

    def sends_to(self, address: str) -> bool:
        """Whether browsers may be sent there."""
        if self.redirect_uris:
            return address in self.redirect_uris
        try:
            parts = urlsplit(address)
        except ValueError:
            return False
        is_here = parts.scheme == "http" and parts.hostname in _LOOPBACK
        return not parts.fragment and (is_here or (parts.scheme == "https" and bool(parts.netloc)))


class Consent:
    """Answers the browser.

    Args:
        application: Whose requests are known.
        companies: What can be connected.
        grants: Where codes are made.
        answer: One of :data:`ANSWERS`: what the user says.
    """

    def __init__(
        self, application: Application, companies: Sequence[Company], grants: Grants, answer: str
    ) -> None:
        self.answer = answer
        self.login_as = companies[0]
        self._application = application
        self._companies = companies
        self._grants = grants

    def ask(self, request: Request) -> Answer:
        """Answer the request that an application sent the browser with."""
        asked = request.asked()
        refusal = self._refusal(asked)
        if refusal is not None:
            return refusal
        if self.answer == "page":
            return page(_form(asked, self._companies, self.login_as))
        return self._decide(asked, self.login_as, is_allowed=self.answer == "auto")

    def decide(self, request: Request) -> Answer:
        """Answer the form of the consent page."""
        asked = request.form()
        refusal = self._refusal(asked)
        if refusal is not None:
            return refusal
        chosen = [each for each in self._companies if each.id == asked.get("company")]
        is_allowed = asked.get("decision") == "allow" and bool(chosen)
        return self._decide(asked, chosen[0] if chosen else self.login_as, is_allowed=is_allowed)

    def _refusal(self, asked: dict[str, str]) -> Answer | None:
        if asked.get("client_id") != self._application.client_id:
            return _wrong("client_id", "it is the one on the app's keys page")
        if not self._application.sends_to(asked.get("redirect_uri", "")):
            return _wrong("redirect_uri", "it is listed among the app's redirect URIs, exactly so")
        if asked.get("response_type") != "code":
            return _back(asked, error="unsupported_response_type")
        scopes = asked.get("scope", "").split()
        if not scopes or not _SCOPES.issuperset(scopes):
            return _back(asked, error="invalid_scope")
        return None

    def _decide(self, asked: dict[str, str], company: Company, *, is_allowed: bool) -> Answer:
        if not is_allowed:
            return _back(asked, error="access_denied")
        scopes = asked["scope"].split()
        code = self._grants.promise(company, scopes, asked["redirect_uri"])
        realm = {"realmId": company.id} if ACCOUNTING in scopes else {}
        return _back(asked, code=code, **realm)


def _back(asked: dict[str, str], **told: str) -> Answer:
    """Send the browser back to the application, with its state if it gave one."""
    state = {"state": asked["state"]} if "state" in asked else {}
    address = asked["redirect_uri"]
    sign = "&" if urlsplit(address).query else "?"
    return redirect(f"{address}{sign}{urlencode(told | state)}")


def _wrong(name: str, what_is_right: str) -> Answer:
    return page(
        "<!DOCTYPE html><html><head><title>Intuit</title></head><body>"
        "<h1>Sorry, the application didn't connect</h1>"
        f"<p>The {name} query parameter value is invalid. Make sure {what_is_right}.</p>"
        "</body></html>",
        status=400,
    )


def _form(asked: dict[str, str], companies: Sequence[Company], chosen: Company) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(asked[name])}">'
        for name in _CARRIED
        if name in asked
    )
    options = "".join(
        f'<option value="{company.id}"{" selected" if company is chosen else ""}>'
        f"{escape(company.name)}</option>"
        for company in companies
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        "<title>QuickBooks sandbox</title></head><body><h1>Connect a company</h1>"
        f"<p>An application asks for: {escape(asked['scope'])}</p>"
        f'<form method="post" action="{CONSENT_PATH}">{hidden}'
        f'<p><label>Company <select name="company">{options}</select></label></p>'
        '<p><button name="decision" value="allow">Allow</button> '
        '<button name="decision" value="deny">Deny</button></p></form></body></html>'
    )
