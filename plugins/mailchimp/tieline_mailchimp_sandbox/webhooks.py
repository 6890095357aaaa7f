"""Webhooks through the API: made, changed, listed, deleted, audience by audience.

An address is looked at before it is stored: GET, without parameters, which has
to be answered 200 (Mailchimp's guide "Sync Audience Data with Webhooks"). How
the refusal is worded is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tieline_mailchimp_sandbox.answers import Answer, Problem, invalid, json_answer
from tieline_mailchimp_sandbox.audiences import Audience
from tieline_mailchimp_sandbox.fields import select
from tieline_mailchimp_sandbox.hooks import EVENTS, SOURCES, Hook
from tieline_mailchimp_sandbox.listing import missing, require_audience
from tieline_mailchimp_sandbox.request import Request
from tieline_mailchimp_sandbox.wire import PROBE
from tieline_mailchimp_sandbox.wire import request as send
from tieline_mailchimp_sandbox.world import Account

__all__ = ["Webhooks"]

_PROBE_TIMEOUT_S = 10.0


class Webhooks:
    """Answers ``/lists/{id}/webhooks`` and what is below.

    Args:
        new_id: Makes texts of hex digits that nobody had before.
        signs: Whether webhooks that are made now sign.
    """

    def __init__(self, new_id: Callable[[str], str], *, signs: bool) -> None:
        self._new_id = new_id
        self._signs = signs

    def all(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``GET /lists/{id}/webhooks``; there are no pages."""
        hooks = require_audience(account, list_id).hooks.values()
        shown = [hook.document(request.origin) for hook in hooks]
        body = {"webhooks": shown, "list_id": list_id, "total_items": len(shown), "_links": []}
        return json_answer(select(body, request.params()))

    def one(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``GET /lists/{id}/webhooks/{id}``; the secret is not told again."""
        return json_answer(_hook(account, list_id, name).document(request.origin))

    async def create(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``POST /lists/{id}/webhooks``."""
        audience, body = require_audience(account, list_id), request.json()
        url = await _looked_at(audience, body.get("url"))
        hook = Hook(
            id=self._new_id("webhook")[:10],
            list_id=list_id,
            url=url,
            events=_flags(body, "events", EVENTS, default=False),
            sources=_flags(body, "sources", SOURCES, default=True),
            secret=f"mcwhsec_{self._new_id('signing')[:32]}" if self._signs else "",
        )
        audience.hooks[hook.id] = hook
        return json_answer(hook.document(request.origin, with_secret=True))

    async def update(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``PATCH /lists/{id}/webhooks/{id}``."""
        hook, body = _hook(account, list_id, name), request.json()
        events = hook.events | _flags(body, "events", EVENTS, default=None)
        sources = hook.sources | _flags(body, "sources", SOURCES, default=None)
        if body.get("url", hook.url) != hook.url:
            hook.url = await _looked_at(require_audience(account, list_id), body["url"])
        hook.events, hook.sources, hook.missed = events, sources, 0
        return json_answer(hook.document(request.origin))

    def delete(self, _request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``DELETE /lists/{id}/webhooks/{id}``; what is on its way is dropped."""
        hook = _hook(account, list_id, name)
        hook.is_live = False
        del require_audience(account, list_id).hooks[hook.id]
        return Answer(status=204)


def _hook(account: Account, list_id: str, name: str) -> Hook:
    hook = require_audience(account, list_id).hooks.get(name)
    if hook is None:
        raise missing()
    return hook


async def _looked_at(audience: Audience, url: Any) -> str:
    """Return an address that answers; no two webhooks of an audience have the same."""
    parts = urlsplit(url) if isinstance(url, str) and url.isascii() and url.isprintable() else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname or " " in url:
        raise invalid(("url", "This value is not a valid URL."))
    if any(hook.url == url for hook in audience.hooks.values()):
        raise Problem(400, "Bad Request", "Sorry, you can't set up multiple WebHooks for one URL.")
    try:
        status = await send("GET", url, PROBE, b"", timeout_s=_PROBE_TIMEOUT_S)
    except (OSError, ValueError):
        status = 0
    if status != 200:
        said = "We couldn't verify the URL: it has to answer a GET request with status 200."
        raise invalid(("url", said))
    return str(url)


def _flags(
    body: dict[str, Any], name: str, known: tuple[str, ...], *, default: bool | None
) -> dict[str, bool]:
    """Read some flags; those that are not there are ``default``, or left out if that is None."""
    given = body.get(name, {})
    if not isinstance(given, dict) or not all(isinstance(flag, bool) for flag in given.values()):
        raise invalid((name, "Schema describes object of booleans."))
    if odd := given.keys() - set(known):
        raise invalid((f"{name}.{min(odd)}", "This is not a known name."))
    blank = {} if default is None else dict.fromkeys(known, default)
    return blank | given
