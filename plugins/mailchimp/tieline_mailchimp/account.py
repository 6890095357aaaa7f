"""Whose account it is, by either way of connecting.

Both ways ask the API's root, so that the id is the same: what the OAuth
metadata call ``user_id`` is another number.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from tieline.contract import (
    Account,
    NeedsReauthError,
    ProviderUnavailableError,
    Reply,
    parse_json,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.errors import AGAIN

__all__ = ["base_url_of_key", "identify_by_key", "identify_by_token", "refuse_key"]

_METADATA = "https://login.mailchimp.com/oauth2/metadata"
_DATA_CENTER = re.compile(r"[a-z]{2,4}[0-9]{1,4}")
_CODE = re.compile(r"[a-z_]{1,40}")
# Errors of the metadata that say nothing about the token (RFC 6749, 4.1.2.1).
_PASSING = {"server_error", "temporarily_unavailable"}


def refuse_key(key: str) -> str | None:
    """Say why a text cannot be an API key; None if it can."""
    if key.startswith("md-"):
        return "it is a key of Mailchimp Transactional (Mandrill), which is another API"
    head, dash, data_center = key.rpartition("-")
    if not dash or not head or not _DATA_CENTER.fullmatch(data_center):
        return "it does not end in a data centre such as -us6: copy all of it"
    return None


def base_url_of_key(key: str) -> str | None:
    """Read the account's host from the end of its key."""
    data_center = key.rpartition("-")[2]
    return None if refuse_key(key) else f"https://{data_center}.api.mailchimp.com"


def identify_by_key(api: MailchimpApi) -> Account:
    """Say whose account an API key opens: one call."""
    return _account(api, "")


def identify_by_token(api: MailchimpApi) -> Account:
    """Say whose account a token opens, and at which host it is: two calls."""
    endpoint = _endpoint(api)
    return replace(_account(api, endpoint), base_url=endpoint)


def _account(api: MailchimpApi, base_url: str) -> Account:
    reply = api.ask(api.root(base_url).get_root, fields=["account_id", "account_name"])
    found = _object(reply)
    name, account_id = found.get("account_name"), found.get("account_id")
    if not isinstance(account_id, str) or not account_id:
        raise ProviderUnavailableError("Mailchimp did not say whose account this is")
    return Account(id=account_id, name=name if isinstance(name, str) else "")


def _endpoint(api: MailchimpApi) -> str:
    """Ask at which host the account is; a dead token gets 200 here too."""
    found = _object(api.ask_sign_in(_METADATA))
    endpoint, error = found.get("api_endpoint"), found.get("error")
    if isinstance(endpoint, str) and endpoint:
        return api.where(endpoint)
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else "no known error"
    if error and code not in _PASSING:
        raise NeedsReauthError(f"Mailchimp refuses the token: {code}", hint=AGAIN)
    raise ProviderUnavailableError("Mailchimp did not say at which host the account is")


def _object(reply: Reply) -> dict[str, Any]:
    found = parse_json(reply.content)
    return found if isinstance(found, dict) else {}
