"""HubSpot's CRM on this machine, for development, tests and checks.

It imports neither the plugin nor Tieline, so that a mistake has to be made twice
to stay unseen. What ``/_sandbox/`` answers is in Tieline's reference of checks.

Facts are from developers.hubspot.com, the API reference of version 2026-03: "Contacts",
"Companies", "Search the CRM", "OAuth tokens", "Account information", "Error handling", "API usage
guidelines and limits". Words and examples here are our own.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tieline_hubspot_sandbox.control import Clock, Script
from tieline_hubspot_sandbox.crm import Crm, RefusedError

__all__ = ["create_app"]

VERSION = "2026-03"
CLIENT_ID, CLIENT_SECRET = "hubspot-app", "hubspot-app-secret-0123456789"
TOKEN_S = 1800
INTERVAL_S = 10
PORTAL = 62515


def create_app(
    *,
    contacts: int = 250,
    companies: int = 120,
    most_per_page: int = 100,
    per_ten_seconds: int = 110,
    searches_per_second: int = 5,
    seed: int = 1,
) -> Sandbox:
    """Make HubSpot, as it lives in this process.

    Args:
        contacts: How many there are from the start; every tenth was archived.
        companies: The same of companies.
        most_per_page: The largest page that is given.
        per_ten_seconds: Requests that are answered in ten seconds; searches do not count.
        searches_per_second: Searches that are answered in a second.
        seed: First letter of names; same seed, same bytes.
    """
    clock = Clock()
    crm = Crm(clock, most_per_page=most_per_page, seed=seed)
    for kind, number in (("contacts", contacts), ("companies", companies)):
        crm.fill(kind, number)
    return Sandbox(crm, clock, per_ten_seconds, searches_per_second)


class Sandbox:
    """An ASGI application; made by :func:`create_app`."""

    def __init__(self, crm: Crm, clock: Clock, per_interval: int, searches_per_second: int) -> None:
        self.crm, self.clock, self.script = crm, clock, Script()
        self.per_interval, self.searches_per_second = per_interval, searches_per_second
        self.recent: list[float] = []
        self.searches: list[float] = []
        self.codes: dict[str, str] = {}
        self.grants: list[dict[str, Any]] = []
        self.token_calls = self.refreshes = 0

    # --- the provider -------------------------------------------------------------------------

    def api(self, method: str, path: str, query: dict[str, str], headers: dict[str, str],
            body: bytes) -> tuple[int, Any, dict[str, str]]:  # fmt: skip
        """Answer as HubSpot does."""
        if path == "/oauth/authorize":
            return 302, b"", {"location": self.consent(query)}
        if path == f"/oauth/{VERSION}/token" and method == "POST":
            return 200, self.token(dict(parse_qsl(body.decode()))), {}
        if path == f"/oauth/{VERSION}/token/revoke" and method == "POST":
            self.give_back(dict(parse_qsl(body.decode())))
            return 204, b"", {}
        self.require_access(headers.get("authorization", ""))
        told = self.metered(path)
        if path == f"/account-info/{VERSION}/details":
            return 200, {"portalId": PORTAL, "accountType": "STANDARD", "timeZone": "UTC",
                         "uiDomain": "app.hubspot.com", "companyCurrency": "EUR"}, told  # fmt: skip
        prefix = f"/crm/objects/{VERSION}/"
        if not path.startswith(prefix):
            raise RefusedError(404, "OBJECT_NOT_FOUND", "no such page")
        status, answer = self.crm.answer(method, path.removeprefix(prefix), query, body)
        return status, answer, told

    def metered(self, path: str) -> dict[str, str]:
        """Count a request by its real time, and refuse one too many."""
        now = self.clock.real()
        if path.endswith("/search"):
            self.searches = [at for at in self.searches if at > now - 1]
            if len(self.searches) >= self.searches_per_second:
                raise RefusedError(429, "RATE_LIMITS", "secondly limit", policy="SECONDLY")
            self.searches.append(now)
            return {}  # searches tell nothing of limits
        self.recent = [at for at in self.recent if at > now - INTERVAL_S]
        if len(self.recent) >= self.per_interval:
            raise RefusedError(429, "RATE_LIMITS", "rolling limit", policy="TEN_SECONDLY_ROLLING")
        self.recent.append(now)
        return {
            "x-hubspot-ratelimit-max": str(self.per_interval),
            "x-hubspot-ratelimit-remaining": str(self.per_interval - len(self.recent)),
            "x-hubspot-ratelimit-interval-milliseconds": str(INTERVAL_S * 1000),
        }

    def require_access(self, given: str) -> None:
        """Refuse whoever shows no access token that is alive."""
        for grant in self.grants:
            if given == f"Bearer {grant['access_token']}" and grant["state"] == "live":
                if self.clock.now() < grant["ends"]:
                    return
                raise RefusedError(401, "EXPIRED_AUTHENTICATION", "the token has ended")
        raise RefusedError(401, "INVALID_AUTHENTICATION", "the token is not known")

    def consent(self, query: dict[str, str]) -> str:
        """Consent at once, and return where the browser goes on."""
        code = f"code_{len(self.codes) + 1}_0123456789"
        self.codes[code] = query.get("redirect_uri", "")
        told = {"code": code} | ({"state": query["state"]} if "state" in query else {})
        return f"{query.get('redirect_uri', '')}?{urlencode(told)}"

    def require_client(self, form: dict[str, str]) -> None:
        """Refuse an application that does not name itself in the body."""
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            raise RefusedError(401, "invalid_client", "the application is not known")

    def token(self, form: dict[str, str]) -> dict[str, Any]:
        """Answer the token endpoint; a refresh token stays the same for as long as it lives."""
        self.token_calls += 1
        self.require_client(form)
        if form.get("grant_type") == "authorization_code":
            redirect = self.codes.pop(form.get("code", ""), None)
            if redirect is None or redirect != form.get("redirect_uri"):
                raise RefusedError(400, "invalid_grant", "the code is not known")
            return self.grant()
        for grant in self.grants:
            if grant["state"] == "live" and grant["refresh_token"] == form.get("refresh_token"):
                self.refreshes += 1
                return self.renewed(grant)
        raise RefusedError(400, "invalid_grant", "the refresh token is not known")

    def give_back(self, form: dict[str, str]) -> None:
        """End a grant; one that is unknown is as good as ended (RFC 7009)."""
        self.require_client(form)
        for grant in self.grants:
            if form.get("token") == grant["refresh_token"]:
                grant["state"] = "revoked"

    def grant(self) -> dict[str, Any]:
        """Make a grant."""
        number = len(self.grants) + 1
        made = {"id": number, "state": "live", "refresh_token": f"refresh_{number}_0123456789"}
        self.grants.append(made)
        return self.renewed(made)

    def renewed(self, grant: dict[str, Any]) -> dict[str, Any]:
        """Give a grant its next access token."""
        grant["number"] = grant.get("number", 0) + 1
        grant["access_token"] = f"access_{grant['id']}_{grant['number']}_0123456789"
        grant["ends"] = self.clock.now() + TOKEN_S
        return {name: grant[name] for name in ("access_token", "refresh_token")} | {
            "token_type": "bearer", "expires_in": TOKEN_S, "hub_id": PORTAL}  # fmt: skip

    def refused(self, path: str, refused: RefusedError) -> tuple[int, Any, dict[str, str]]:
        """Write a refusal as HubSpot does."""
        status, code, words, policy = refused.args
        body = {"status": "error", "message": words, "correlationId": "0" * 8}
        if path.startswith("/oauth/"):
            return status, body | {"error": code, "error_description": words}, {}
        if policy:
            return status, body | {"errorType": "RATE_LIMIT", "policyName": policy}, {}
        return status, body | {"category": code}, {}

    # --- the control surface ------------------------------------------------------------------

    def guide(self) -> dict[str, Any]:
        """Say to the checks how this sandbox is used, and how HubSpot refuses."""

        def entity(kind: str) -> dict[str, Any]:
            orders = {
                order: {"path": f"/_sandbox/mutate/{kind}", "body": {order: "$n"}}
                for order in ("create", "update", "delete")
            }
            return {"truth": f"/_sandbox/truth/{kind}", **orders}

        write = {
            "create": {"properties": {"email": "new@example.com", "firstname": "New"}},
            "update": {"properties": {"lastname": "Other"}},
        }
        denied = {"status": "error", "category": "MISSING_SCOPES", "message": "a scope is missing"}
        revoked = {"status": "error", "category": "INVALID_AUTHENTICATION", "message": "gone"}
        throttled = {"status": "error", "errorType": "RATE_LIMIT", "policyName": "SECONDLY"}
        return {
            "version": 1,
            # So many requests that no check meets a limit it did not ask for.
            "options": {"contacts": 47, "companies": 23, "most_per_page": 10,
                        "per_ten_seconds": 100_000, "searches_per_second": 10_000},
            "auth": {"kind": "oauth2", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET},
            "entities": {
                "contacts": entity("contacts") | {"write": write},
                "companies": entity("companies"),
            },
            "refusals": {
                "throttled": {"status": 429, "body": throttled},
                "denied": {"status": 403, "body": denied},
                "revoked": {"status": 401, "body": revoked},
            },
            "limits": {"per_second": 11},
            "delivery": self.signed([{"eventId": 1, "portalId": PORTAL}]),
        }  # fmt: skip

    def signed(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Sign a delivery as HubSpot does, in version 3: by the application's secret."""
        address, body = "https://hooks.example.com/hubspot", json.dumps(events)
        at_ms = str(int(self.clock.now() * 1000))
        text = f"POST{address}{body}{at_ms}".encode()
        digest = b64encode(hmac.digest(CLIENT_SECRET.encode(), text, "sha256")).decode()
        headers = {"X-HubSpot-Signature-v3": digest, "X-HubSpot-Request-Timestamp": at_ms}
        return {"secret": CLIENT_SECRET, "address": address, "at": int(at_ms) // 1000,
                "headers": headers, "body": body}  # fmt: skip

    def order_oauth(self, given: dict[str, Any]) -> Any:
        """Make a grant without a browser, or take one back."""
        if "grant" in given:
            return self.grant()
        for grant in self.grants:
            if given.get("revoke") == grant["id"]:
                grant["state"] = "revoked"
        return {"token_calls": self.token_calls, "refreshes": self.refreshes, "grants": self.grants}

    def control(self, method: str, name: str, query: dict[str, str], given: Any) -> Any:
        """Answer what is asked under ``/_sandbox/``."""
        name, _, kind = name.partition("/")
        if name == "guide":
            return self.guide()
        if name == "truth":
            return self.crm.truth(kind)
        if name == "mutate":
            return self.crm.mutate(kind, given)
        if name == "oauth":
            return self.order_oauth(given or {})
        if name == "clock":
            return self.clock.order(given if method == "POST" else {})
        if name == "faults":
            return self.script.order(given if method == "POST" else None)
        if name == "log":
            return self.script.since(int(query.get("after", 0)))
        raise RefusedError(404, "OBJECT_NOT_FOUND", "no such page")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        method, path = scope["method"], scope["path"]
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        headers = {name.decode().lower(): text.decode() for name, text in scope["headers"]}
        if path.startswith("/_sandbox/"):
            answer = self.control(method, path[10:], query, json.loads(body or b"null"))
            await self.deliver(send, 200, answer, {})
            return
        met = self.script.met(method, path)
        status, answer, extra = 200, b"", dict[str, str]()
        if not met or met.get("executed"):
            try:
                status, answer, extra = self.api(method, path, query, headers, body)
            except RefusedError as refused:
                status, answer, extra = self.refused(path, refused)
        kind = met.get("kind", "")
        if kind == "status":
            status = met.get("status", 500)
            fallback = self.refused(path, RefusedError(status, "INTERNAL_ERROR", "a fault"))[1]
            answer, extra = met.get("body", fallback), met.get("headers", {})
        elif kind:
            status, answer = 200, b"<html>Welcome</html>" if kind == "html200" else b""
        self.script.note(method, path, scope["query_string"].decode(), status)
        if kind == "drop":
            send.__self__.transport.abort()  # uvicorn's: ASGI has no message for that
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await self.deliver(send, status, answer, extra)

    async def deliver(self, send: Any, status: int, answer: Any, extra: dict[str, str]) -> None:
        """Send an answer, with the time of this sandbox's own clock."""
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        date = format_datetime(datetime.fromtimestamp(self.clock.now(), UTC), usegmt=True)
        given = {"content-type": "application/json", "date": date, **extra}
        headers = [(name.lower().encode(), text.encode()) for name, text in given.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
