"""From facts to pages: whatever is put in is text, without secrets, whatever it looks like."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from tieline.telemetry import tellable
from tieline.web.console.door import PAGE_HEADERS

__all__ = ["render"]

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_KINDS = {
    "ok": "good",
    "succeeded": "good",
    "active": "good",
    "running": "busy",
    "queued": "busy",
    "waiting": "wait",
    "retrying": "wait",
    "succeeded_with_quarantine": "wait",
    "half-open": "wait",
    "failed": "bad",
    "needs_reauth": "bad",
    "open": "bad",
}


def render(
    name: str,
    facts: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make a page.

    Args:
        name: Of its template.
        facts: What it shows.
        status: Of the answer.
        headers: Further ones.
    """
    body = _environment().get_template(name).render(facts)
    return HTMLResponse(body, status_code=status, headers={**PAGE_HEADERS, **(headers or {})})


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("tieline.web.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_told,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": _when, "brief": _brief, "kind": _kind, "many": _many}
    return made


def _told(value: Any) -> Any:
    """Look at all that a template prints: no template can forget to."""
    return tellable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _brief(text: str | None, most: int) -> str:
    """Cut what would make the page large; only after secrets are out: of half a one none knows."""
    whole = tellable(text or "")
    return whole if len(whole) <= most else f"{whole[:most]}…"


def _many(count: int, word: str) -> str:
    """Write a number and what is counted."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _kind(state: str) -> str:
    """Return the class that a state is drawn by; its word stands beside it."""
    return _KINDS.get(state, "rest")


def _when(time: datetime | None, now: datetime) -> Markup:
    """Write a time as people count it, and exactly for who looks closer."""
    if time is None:
        return Markup("–")
    seconds = int((now - time).total_seconds())
    size = abs(seconds)
    unit, length = next((each for each in _UNITS if size >= each[1]), _UNITS[-1])
    text = f"{size // length} {unit}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        time.isoformat(),
        f"{time:%Y-%m-%d %H:%M:%S} UTC",
        f"{text} ago" if seconds >= 0 else f"in {text}",
    )
