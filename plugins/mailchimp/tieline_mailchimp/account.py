"""Whose account it is, by either way of connecting.

Both ways ask the API's root, so that the id is the same: what the OAuth
metadata call ``user_id`` is another number.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tieline.contract import (
    Account,
    NeedsReauthError,
    ProviderUnavailableError,
    object_of,
    parse_json,
    text_of,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.errors import AGAIN

__all__ = ["base_url_of_key", "identify_by_key", "identify_by_token", "refuse_key"]

_METADATA = "https://login.mailchimp.com/oauth2/metadata"
_KEY = re.compile(r".+-([a-z]{2,4}[0-9]{1,4})")
_CODE = re.compile(r"[a-z_]{1,40}")
# Errors of the metadata that say nothing about the token (RFC 6749, 4.1.2.1).
_PASSING = {"server_error", "temporarily_unavailable"}


def refuse_key(key: str) -> str | None:
    """Say why a text cannot be an API key; None if it can."""
    if key.startswith("md-"):
        return "it is a key of Mailchimp Transactional (Mandrill), which is another API"
    is_key = _KEY.fullmatch(key)
    return None if is_key else "it does not end in a data centre such as -us6: copy all of it"


def base_url_of_key(key: str) -> str | None:
    """Read the account's host from the end of its key."""
    found = None if refuse_key(key) else _KEY.fullmatch(key)
    return f"https://{found[1]}.api.mailchimp.com" if found else None


def identify_by_key(api: MailchimpApi, base_url: str = "") -> Account:
    """Say whose account a credential opens, at the connection's host or another: one call."""
    reply = api.ask(api.root(base_url).get_root, fields=["account_id", "account_name"])
    found = object_of(parse_json(reply.content))
    if not (account_id := text_of(found.get("account_id"))):
        raise ProviderUnavailableError("Mailchimp did not say whose account this is")
    return Account(id=account_id, name=text_of(found.get("account_name")))


def identify_by_token(api: MailchimpApi) -> Account:
    """Say whose account a token opens, and at which host it is: two calls.

    A dead token gets 200 from the first too.
    """
    found = object_of(parse_json(api.ask_sign_in(_METADATA).content))
    if endpoint := text_of(found.get("api_endpoint")):
        base_url = api.where(endpoint)
        return replace(identify_by_key(api, base_url), base_url=base_url)
    error = text_of(found.get("error"))
    if not found.get("error") or error in _PASSING:
        raise ProviderUnavailableError("Mailchimp did not say at which host the account is")
    code = error if _CODE.fullmatch(error) else "no known error"
    raise NeedsReauthError(f"Mailchimp refuses the token: {code}", hint=AGAIN)
