"""Mailchimp's deliveries: forms, one event each, set up audience by audience.

They are hints and no more: what they say of a contact is incomplete and
ambiguous, so it is read again. Most are not signed: the address holds a
secret, and newer webhooks have a signature beside it, each with a secret of its
own. There is no id of an event; a repeated delivery repeats its body.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qsl

from tieline.contract import (
    Event,
    EventAction,
    Hmac,
    InvalidRecordError,
    PathSecret,
    ProviderError,
    RecordNotFoundError,
    Registration,
    RequestRejectedError,
    Secret,
    Webhooks,
    page_of,
    time_of,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.keys import hash_of, names_of
from tieline_mailchimp.pages import record_of

__all__ = ["EVENTS", "WEBHOOKS"]

_TYPES = ("subscribe", "unsubscribe", "profile", "upemail", "cleaned")
EVENTS: Mapping[str, Mapping[str, EventAction]] = {"contacts": dict.fromkeys(_TYPES, "re-read")}
"""Entity to the types of its events, and what each means for it."""

# An omitted source counts as nobody says what; our own writes that come back change nothing.
_WANTED = {
    "events": dict.fromkeys(_TYPES, True) | {"campaign": False},
    "sources": dict.fromkeys(("user", "admin", "api"), True),
}
_ADDRESSES = ("data[email]", "data[new_email]", "data[old_email]")
_LARGEST = 65_536
_DEEPEST = 3
_read = partial(
    parse_qsl, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=500
)


def parse(body: bytes, headers: Mapping[str, str]) -> list[Event]:
    """Read one verified delivery.

    The key names a contact by the MD5 of its address, by which it can be read;
    the record that comes tells its own. ``upemail`` is two events: who has the
    new address now, and what became of who had the old one.
    """
    form = _form(body, headers)
    audience, is_contact = form.get("data[list_id]"), form["type"] in _TYPES
    addresses = [form[name] for name in _ADDRESSES if form.get(name) and audience and is_contact]
    return [
        Event(
            id=hashlib.sha256(repr((key, sorted(form.items()))).encode()).hexdigest(),
            type=form["type"],
            entity="contacts" if is_contact else None,
            key=key,
            occurred_at=time_of(f"{form.get('fired_at')}+00:00"),  # no zone is told
        )
        for key in [f"{audience}:{hash_of(each)}" for each in addresses] or (None,)
    ]


def _form(body: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    content = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content != "application/x-www-form-urlencoded" or len(body) > _LARGEST:
        raise _malformed("it is no form, or too large")
    try:
        pairs = _read(body.decode())
    except ValueError:
        raise _malformed("its form cannot be read") from None
    form = dict(pairs)
    is_flat = all(name.count("[") <= _DEEPEST for name in form)
    if not is_flat or len(form) < len(pairs) or not form.get("type"):
        raise _malformed("it has no type, a field twice, or one that is nested too deeply")
    return form


def _malformed(reason: str) -> InvalidRecordError:
    said = f"the delivery is none of Mailchimp's: {reason}"
    return InvalidRecordError(said, code="delivery-malformed")


def register(api: MailchimpApi, url: str) -> Registration:
    """Add a webhook to every audience, or to none.

    One whose answer was lost may be there all the same, so what has to be taken
    back is found by the address. Signing is asked of all or none: deliveries of
    one that does not sign would be refused where another's secret is known.
    """
    reply = api.ask(api.lists.get_all_lists, fields=["lists.id"], count=1000)
    audiences = [row["id"] for row in page_of(reply, "lists")[1]]
    if not audiences:
        raise RequestRejectedError("the account has no audience that could have a webhook")
    call, body = api.lists.create_list_webhook, {"url": url, **_WANTED}
    try:
        made = [record_of(api.ask(call, audience, body)) for audience in audiences]
    except BaseException:  # whatever ends it, half of the audiences would go on to deliver
        for audience in audiences:
            with suppress(ProviderError):
                _take_back(api, audience, url)
        raise
    names = " ".join(f"{hook['list_id']}:{hook['id']}" for hook in made)
    secrets = [Secret(hook["signing_secret"]) for hook in made if hook.get("signing_secret")]
    return Registration(id=names, secrets=secrets if len(secrets) == len(made) else ())


def unregister(api: MailchimpApi, names: str) -> None:
    """Delete the webhooks that :func:`register` made."""
    for name in names.split():
        with suppress(RecordNotFoundError):
            api.ask(api.lists.delete_list_webhook, *names_of(name))


def _take_back(api: MailchimpApi, audience: str, url: str) -> None:
    _, hooks = page_of(api.ask(api.lists.get_list_webhooks, audience), "webhooks")
    names = [f"{audience}:{hook['id']}" for hook in hooks if hook.get("url") == url]
    unregister(api, " ".join(names))


WEBHOOKS = Webhooks(
    scheme=PathSecret(
        also=Hmac(
            header="x-mailchimp-signature",
            signed=("timestamp", ".", "body"),
            signature="v1",
            timestamp="t",
            is_spaced=True,
        )
    ),
    parse=parse,
    challenge=lambda _method, _query, _body: b"",  # it looks before it stores an address
    register=register,
    unregister=unregister,
    types=_TYPES,
    fixtures="tieline_mailchimp.deliveries",
    instructions="`tieline webhooks register` adds it to each audience. By hand: open the audience,"
    " Settings, Webhooks, and add one for this address with the updates above, made by subscribers,"
    " by admins and by the API. Register again, or add it by hand, for an audience that is new.",
)
