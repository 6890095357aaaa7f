"""The few pages that people see, without scripts and without outside files."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, Response

__all__ = ["HEADERS", "page"]

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer: addresses here hold codes, so nothing may keep or pass them on."""

_LONGEST = 500
_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Tieline</title>
<h1>{title}</h1>
<p>{text}</p>
{hint}</html>
"""


def page(status: int, title: str, text: str, hint: str = "") -> Response:
    """Make a page; everything that is put in is text, whatever it looks like."""
    body = _PAGE.format(
        title=escape(title[:_LONGEST]),
        text=escape(text[:_LONGEST]),
        hint=f"<p><small>{escape(hint[:_LONGEST])}</small></p>\n" if hint else "",
    )
    return HTMLResponse(body, status_code=status, headers=HEADERS)
