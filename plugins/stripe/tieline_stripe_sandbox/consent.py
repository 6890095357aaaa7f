"""The page that asks an account's owner, and the way back to who asked."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode, urlsplit, urlunsplit

from tieline_stripe_sandbox.answers import Answer

__all__ = ["consent_page", "redirect"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Connect your account</title></head>
<body>
<h1>Connect {account}</h1>
<p>{application} asks for access to your account: <code>{scope}</code>.</p>
<form method="post">
<button name="choice" value="allow">Allow</button>
<button name="choice" value="deny">Deny</button>
</form>
</body>
</html>
"""
# The form has no action: it goes to the page's own address, which holds what was asked.


def consent_page(*, application: str, account: str, scope: str) -> Answer:
    """Ask whether the application may have access."""
    shown = {"application": application, "account": account, "scope": scope}
    text = _PAGE.format_map({name: escape(value) for name, value in shown.items()})
    return Answer(body=text.encode(), content_type=b"text/html; charset=utf-8")


def redirect(address: str, params: dict[str, str]) -> Answer:
    """Send the browser back, with parameters added to the address."""
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(params))))
    location = urlunsplit(parts._replace(query=query))
    return Answer(status=302, body=b"", headers=((b"location", location.encode()),))
