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
import re
from collections.abc import Callable
from typing import Any

from marshmallow import Schema, fields

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
    Whole,
    parse_json,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.pages import Place, Sorted, read_after
from tieline_mailchimp.walk import OVERLAP, take_step

__all__ = ["CONTACTS", "LISTS", "key_of"]

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_LISTS = Sorted("lists", "date_created", 250)


def _promise(must: str, *, texts: str, objects: str, wholes: str, booleans: str) -> Schema:
    """Say what may be relied on: these types, or null. Times that never were are empty texts."""
    kinds = {fields.String: texts, fields.Dict: objects, Whole: wholes, fields.Boolean: booleans}
    found: dict[str, fields.Field[Any]] = {
        name: fields.String(required=True) for name in must.split()
    }
    for kind, names in kinds.items():
        found |= {name: kind(allow_none=True) for name in names.split()}
    return RecordSchema.from_dict(found)()


def key_of(record: Any) -> str | None:
    """Tell a contact's key; one without a contact id gets a new key with a new address."""
    known = record if isinstance(record, dict) else {}
    audience, name = known.get("list_id"), known.get("contact_id") or known.get("id")
    is_good = all(isinstance(each, str) and _ID.fullmatch(each) for each in (audience, name))
    return f"{audience}:{name}" if is_good else None


def contacts(api: MailchimpApi, params: PageParams, cursor: str | None) -> Page:
    """Read one page of all contacts."""
    return take_step(api, params.window.start, cursor, is_whole=True)


def changed(api: MailchimpApi, params: PageParams, cursor: str | None) -> FeedPage:
    """Read one page of the contacts that changed.

    Each is as it is now: its time is that of the reading, not of its change.
    """
    page = take_step(api, params.window.start, cursor, is_whole=False)
    changes = [
        Change(key=key_of(row) or "", at=page.as_of, record=row)
        for row in page.records
        if page.as_of
    ]
    return FeedPage(changes=changes, next=page.next, as_of=page.as_of)


def lists(api: MailchimpApi, _params: PageParams, cursor: str | None) -> Page:
    """Read one page of lists."""
    at = Place(*json.loads(cursor)) if cursor else Place()
    left_out = ["_links", "lists._links"]
    read = read_after(api, api.lists.get_all_lists, of=_LISTS, at=at, exclude_fields=left_out)
    following = json.dumps(read.place) if read.place else None
    return Page(records=read.rows, next=following, as_of=read.as_of)


def contact(api: MailchimpApi, key: str) -> Record | None:
    """Read one contact; one that was deleted for good is not there."""
    audience, _, name = key.partition(":")
    return _one(api, api.lists.get_list_member, audience, name)


def one_list(api: MailchimpApi, key: str) -> Record | None:
    """Read one list."""
    return _one(api, api.lists.get_list, key)


def _one(api: MailchimpApi, call: Callable[..., Any], *names: str) -> Record | None:
    try:
        found: Record = parse_json(api.ask(call, *names, exclude_fields=["_links"]).content)
    except RecordNotFoundError:
        return None
    return found


CONTACTS = Entity(
    name="contacts",
    schema=_promise(
        "id list_id",
        texts="contact_id email_address status full_name unique_email_id email_type language"
        " source last_changed timestamp_signup timestamp_opt",
        objects="merge_fields interests",
        wholes="web_id tags_count",
        booleans="vip",
    ),
    page=contacts,
    get=contact,
    key=key_of,
    feed=Feed(page=changed, retention=None, overlap=OVERLAP),
    # Archived ones stay, with that status; what was deleted for good is only missing.
    deletes="sweep",
    hides="archived contacts, which are asked for beside the others",
    volatile=("stats", "member_rating", "last_note"),
)
LISTS = Entity(
    name="lists",
    schema=_promise(
        "id",
        texts="name date_created visibility permission_reminder",
        objects="contact campaign_defaults stats",
        wholes="web_id",
        booleans="double_optin marketing_permissions",
    ),
    page=lists,
    get=one_list,
    deletes="sweep",
    volatile=("stats", "list_rating"),
)
