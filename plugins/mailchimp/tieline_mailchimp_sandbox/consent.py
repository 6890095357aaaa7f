"""The page on which a user allows or denies an application."""

from __future__ import annotations

from html import escape

from tieline_mailchimp_sandbox.request import Params
from tieline_mailchimp_sandbox.world import Account

__all__ = ["consent_page"]

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Mailchimp sandbox</title></head>
<body>
<h1>Allow access?</h1>
<p>Application {client} wants full access to the account {account}.</p>
<form method="post" action="/oauth2/authorize">
{hidden}
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>
</body>
</html>
"""


def consent_page(account: Account, asked: Params) -> str:
    """Write the page.

    Args:
        account: Who is asked.
        asked: Parameters of the authorize address; they come back with the
            decision.
    """
    hidden = "\n".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(text)}">'
        for name, text in asked.items()
    )
    return _PAGE.format(
        client=escape(asked.get("client_id", "")), account=escape(account.name), hidden=hidden
    )
