"""Contacts, which the API calls members: those of every audience, archived ones too.

The same person in two audiences is two contacts. ``id`` is the MD5 of the
address and changes with it, ``contact_id`` stays, and nobody says that it
differs between audiences: so a key is the audience and the contact id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from marshmallow import fields

from tieline.contract import (
    Change,
    Entity,
    Feed,
    FeedPage,
    Page,
    PageParams,
    Record,
    RecordNotFoundError,
    RecordSchema,
    Reply,
    Whole,
    as_of,
    parse_json,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.walk import OVERLAP, take_step

__all__ = ["CONTACTS", "key_of"]

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)


class ContactSchema(RecordSchema):
    """What may be relied on: these types, or null; dates that never were are empty texts."""

    id = fields.String(required=True)
    list_id = fields.String(required=True)
    contact_id = fields.String(allow_none=True)
    email_address = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    full_name = fields.String(allow_none=True)
    unique_email_id = fields.String(allow_none=True)
    web_id = Whole(allow_none=True)
    email_type = fields.String(allow_none=True)
    language = fields.String(allow_none=True)
    vip = fields.Boolean(allow_none=True)
    source = fields.String(allow_none=True)
    last_changed = fields.String(allow_none=True)
    timestamp_signup = fields.String(allow_none=True)
    timestamp_opt = fields.String(allow_none=True)
    tags_count = Whole(allow_none=True)
    merge_fields = fields.Dict(allow_none=True)
    interests = fields.Dict(allow_none=True)


def key_of(record: Record) -> str | None:
    """Tell a contact's key; one without a contact id gets a new key with a new address."""
    names = (record.get("list_id"), record.get("contact_id") or record.get("id"))
    if all(isinstance(name, str) and _ID.fullmatch(name) for name in names):
        return ":".join(names)  # type: ignore[arg-type]  # they are texts
    return None


def page(api: MailchimpApi, params: PageParams, cursor: str | None) -> Page:
    """Read one page of all contacts."""
    step = take_step(api, params.window, cursor, is_whole=True)
    told = as_of(step.reply) if step.reply else None
    return Page(records=step.rows, next=step.next, as_of=told)


def changes(api: MailchimpApi, params: PageParams, cursor: str | None) -> FeedPage:
    """Read one page of the contacts that changed.

    Each is as it is now: its time is that of the reading, not of its change.
    """
    step = take_step(api, params.window, cursor, is_whole=False)
    if step.reply is None:
        return FeedPage(changes=[], next=step.next)
    at = _read_at(step.reply)
    found = [Change(key=_key_or_none(row) or "", at=at, record=row) for row in step.rows]
    return FeedPage(changes=found, next=step.next, as_of=as_of(step.reply))


def get(api: MailchimpApi, key: str) -> Record | None:
    """Read one contact; one that was deleted for good is not there."""
    audience, _, contact = key.partition(":")
    try:
        reply = api.ask(api.lists.get_list_member, audience, contact, exclude_fields=["_links"])
    except RecordNotFoundError:
        return None
    found: Record = parse_json(reply.content)
    return found


def _key_or_none(row: object) -> str | None:
    return key_of(row) if isinstance(row, Mapping) else None


def _read_at(reply: Reply) -> datetime:
    return as_of(reply) or datetime.now(UTC) - timedelta(seconds=reply.seconds)


CONTACTS = Entity(
    name="contacts",
    schema=ContactSchema(),
    page=page,
    get=get,
    key=key_of,
    feed=Feed(page=changes, retention=None, overlap=OVERLAP),
    # Archived ones stay, with that status; what was deleted for good is only missing.
    deletes="sweep",
    hides="archived contacts, which are asked for beside the others",
    volatile=("stats", "member_rating", "last_note"),
)
