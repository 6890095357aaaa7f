"""Lists, which Mailchimp's pages call audiences: ``GET /lists``, all of them each time.

There is no time of change, neither as a field nor as a filter.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from marshmallow import fields

from tieline.contract import (
    Entity,
    Page,
    PageParams,
    Record,
    RecordNotFoundError,
    RecordSchema,
    Whole,
    as_of,
    parse_json,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.keyset import Place, read_after

__all__ = ["LISTS"]

_COUNT = 250
_LEFT_OUT = ["_links", "lists._links"]  # half of the page, and the same for ever


class ListSchema(RecordSchema):
    """What may be relied on: these types, or null; dates that never were are empty texts."""

    id = fields.String(required=True)
    name = fields.String(allow_none=True)
    web_id = Whole(allow_none=True)
    date_created = fields.String(allow_none=True)
    visibility = fields.String(allow_none=True)
    permission_reminder = fields.String(allow_none=True)
    double_optin = fields.Boolean(allow_none=True)
    marketing_permissions = fields.Boolean(allow_none=True)
    contact = fields.Dict(allow_none=True)
    campaign_defaults = fields.Dict(allow_none=True)
    stats = fields.Dict(allow_none=True)


def page(api: MailchimpApi, _params: PageParams, cursor: str | None) -> Page:
    """Read one page of lists."""
    read = read_after(
        api,
        api.lists.get_all_lists,
        items="lists",
        by="date_created",
        count=_COUNT,
        place=Place(**json.loads(cursor)) if cursor else Place(),
        exclude_fields=_LEFT_OUT,
    )
    following = json.dumps(asdict(read.place)) if read.place else None
    return Page(records=read.rows, next=following, as_of=as_of(read.reply))


def get(api: MailchimpApi, key: str) -> Record | None:
    """Read one list."""
    try:
        reply = api.ask(api.lists.get_list, key, exclude_fields=["_links"])
    except RecordNotFoundError:
        return None
    found: Record = parse_json(reply.content)
    return found


LISTS = Entity(
    name="lists",
    schema=ListSchema(),
    page=page,
    get=get,
    deletes="sweep",
    volatile=("stats", "list_rating"),
)
