"""Contacts, which the API calls members, and lists, which the pages call audiences.

Contacts are those of every audience, archived ones too. The same person in two
audiences is two contacts. ``id`` is the MD5 of the address and changes with it,
``contact_id`` stays, and nobody says that it differs between audiences: so a
key is the audience and the contact id.

Lists have no time of change, neither as a field nor as a filter: all of them
are read each time.
"""

from __future__ import annotations

import json
from functools import partial

from marshmallow import fields

from tieline.contract import (
    Change,
    Entity,
    Feed,
    FeedPage,
    Page,
    PageParams,
    RecordSchema,
    Whole,
)
from tieline_mailchimp import meanings
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.keys import key_of
from tieline_mailchimp.pages import Place, Sorted, read_after, read_one
from tieline_mailchimp.walk import OVERLAP, take_step
from tieline_mailchimp.webhooks import EVENTS
from tieline_mailchimp.writes import WRITE

__all__ = ["CONTACTS", "LISTS", "key_of"]

_LISTS = Sorted("lists", "date_created", 250)


class Contact(RecordSchema):
    """What may be relied on of a contact; times that never were are empty texts."""

    id = fields.String(required=True)
    list_id = fields.String(required=True)
    contact_id = fields.String(allow_none=True)
    email_address = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    full_name = fields.String(allow_none=True)
    unique_email_id = fields.String(allow_none=True)
    email_type = fields.String(allow_none=True)
    language = fields.String(allow_none=True)
    source = fields.String(allow_none=True)
    last_changed = fields.String(allow_none=True)
    timestamp_signup = fields.String(allow_none=True)
    timestamp_opt = fields.String(allow_none=True)
    merge_fields = fields.Dict(allow_none=True)
    interests = fields.Dict(allow_none=True)
    web_id = Whole(allow_none=True)
    tags_count = Whole(allow_none=True)
    vip = fields.Boolean(allow_none=True)


class List(RecordSchema):
    """What may be relied on of a list."""

    id = fields.String(required=True)
    name = fields.String(allow_none=True)
    date_created = fields.String(allow_none=True)
    visibility = fields.String(allow_none=True)
    permission_reminder = fields.String(allow_none=True)
    contact = fields.Dict(allow_none=True)
    campaign_defaults = fields.Dict(allow_none=True)
    stats = fields.Dict(allow_none=True)
    web_id = Whole(allow_none=True)
    double_optin = fields.Boolean(allow_none=True)
    marketing_permissions = fields.Boolean(allow_none=True)


def changed(api: MailchimpApi, params: PageParams, cursor: str | None) -> FeedPage:
    """Read one page of the contacts that changed.

    Each is as it is now: its time is that of the reading, not of its change.
    """
    page = take_step(api, params, cursor, is_whole=False)
    at = page.as_of
    changes = [Change(key=key_of(row) or "", at=at, record=row) for row in page.records if at]
    return FeedPage(changes=changes, next=page.next, as_of=at)


def lists(api: MailchimpApi, _params: PageParams, cursor: str | None) -> Page:
    """Read one page of lists."""
    at = Place(*json.loads(cursor)) if cursor else Place()
    left_out = ["_links", "lists._links"]
    read = read_after(api, api.lists.get_all_lists, of=_LISTS, at=at, exclude_fields=left_out)
    following = json.dumps(read.place) if read.place else None
    return Page(records=read.rows, next=following, as_of=read.as_of)


CONTACTS = Entity(
    name="contacts",
    schema=Contact(),
    page=partial(take_step, is_whole=True),
    get=lambda api, key: read_one(api, api.lists.get_list_member, key),
    key=key_of,
    feed=Feed(page=changed, retention=None, overlap=OVERLAP),
    events=EVENTS["contacts"],
    event_key=("list_id", "id"),  # deliveries know addresses alone
    # Archived ones stay, with that status; what was deleted for good is only missing.
    deletes="sweep",
    write=WRITE,
    hides="archived contacts, which are asked for beside the others",
    canonical=meanings.contact,
    volatile=("stats", "member_rating", "last_note"),
)
LISTS = Entity(
    name="lists",
    schema=List(),
    page=lists,
    get=lambda api, key: read_one(api, api.lists.get_list, key, parts=1),
    deletes="sweep",
    volatile=("stats", "list_rating"),
)
