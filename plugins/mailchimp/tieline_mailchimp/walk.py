"""The way through all audiences of an account, one request a step.

Each audience is read three times: as it is listed; what is archived, because
sources disagree on whether the default listing has it (brandonseydel/
MailChimp.Net #417, #529); and what changed since the reading began, because a
contact that comes back from the archive meanwhile is in neither.

An audience that answers 404 is passed over, so that the others are read, and
asked about at the end. If it is gone, so are its contacts; if it is there, it
is read once more, and then the run fails: nothing is taken for deleted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from tieline.contract import (
    ProviderUnavailableError,
    Record,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    Window,
    as_of,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.keyset import Place, earlier, read_after

__all__ = ["OVERLAP", "Step", "take_step"]

OVERLAP = timedelta(minutes=5)
"""How late a change may still show in a list (lag of its index, and of clocks)."""
_EXCLUSIVE = timedelta(seconds=2)  # ``since`` leaves its second out, and ours has fractions
_COUNT = 1000
_AUDIENCES = 60  # the cursor has to hold them all
_MOST_REFUSED = 30
_NAME = re.compile(r"[0-9A-Za-z]{1,20}", re.ASCII)
_LEFT_OUT = ["_links", "members._links"]  # half of the page, and the same for ever
_PASSES: tuple[Mapping[str, str], ...] = ({}, {"status": "archived"}, {})
_CATCH_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """What the cursor holds.

    Attributes:
        lists: Where the next audiences are; None: there are no more.
        queue: Audiences to read; the first is in work.
        border: Audiences that may come once more there.
        part: Which of the passes through the audience.
        place: Where in it; None: at its start.
        began: When the first pass began, by Mailchimp's clock; empty: unknown.
        refused: Audiences that answered 404.
        second: The one of them that is there, and is read once more.
    """

    lists: Place | None
    queue: tuple[str, ...] = ()
    border: tuple[str, ...] = ()
    part: int = 0
    place: Place | None = None
    began: str = ""
    refused: tuple[str, ...] = ()
    second: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> _Walk:
        if cursor is None:
            return cls(lists=Place())
        given: dict[str, Any] = json.loads(cursor)
        for name in ("lists", "place"):
            given[name] = Place(**given[name]) if given[name] else None
        texts = {name: tuple(given[name]) for name in ("queue", "border", "refused")}
        return cls(**given | texts)

    def cursor(self) -> str | None:
        if not (self.queue or self.lists or self.refused):
            return None
        return json.dumps(asdict(self), separators=(",", ":"))

    def past(self) -> _Walk:
        """Leave the audience in work behind."""
        return replace(self, queue=self.queue[1:], part=0, place=None, began="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one request brought: contacts, the next cursor, the answer if it was good."""

    rows: list[Record]
    next: str | None
    reply: Reply | None


def take_step(api: MailchimpApi, window: Window, cursor: str | None, *, is_whole: bool) -> Step:
    """Make the next request.

    Args:
        api: The account.
        window: Contacts that changed since its start.
        cursor: From the step before.
        is_whole: What is not met will be taken for deleted, so nothing may be missed.
    """
    walk = _Walk.read(cursor)
    if walk.queue:
        return _read_contacts(api, walk, window, last=_CATCH_UP if is_whole else _CATCH_UP - 1)
    return _find_audiences(api, walk, walk.lists) if walk.lists else _ask_about_refused(api, walk)


def _find_audiences(api: MailchimpApi, walk: _Walk, place: Place) -> Step:
    read = read_after(
        api,
        api.lists.get_all_lists,
        items="lists",
        by="date_created",
        count=_AUDIENCES,
        place=place,
        fields=["lists.id", "lists.date_created", "total_items"],
    )
    found = [_name_of(row) for row in read.rows]
    new = tuple(name for name in found if name not in walk.border)
    border = tuple(found) if read.place else ()
    walk = replace(walk, queue=new, lists=read.place, border=border)
    return Step(rows=[], next=walk.cursor(), reply=read.reply)


def _name_of(row: Any) -> str:
    """Read an audience's id; one that cannot be read must not be passed over."""
    name = row.get("id") if isinstance(row, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProviderUnavailableError("an audience has no id", code="answer-malformed")
    return name


def _read_contacts(api: MailchimpApi, walk: _Walk, window: Window, *, last: int) -> Step:
    audience = walk.queue[0]
    start = earlier(window.start, _EXCLUSIVE)
    if walk.part == _CATCH_UP:
        start = earlier(walk.began, OVERLAP)
    try:
        read = read_after(
            api,
            api.lists.get_list_members_info,
            audience,
            items="members",
            by="last_changed",
            count=_COUNT,
            place=walk.place or Place(since=start),
            exclude_fields=_LEFT_OUT,
            **_PASSES[walk.part],
        )
    except RecordNotFoundError as error:
        return _pass_over(walk, error)
    began = walk.began or earlier(as_of(read.reply), timedelta(0))
    if read.place:
        walk = replace(walk, place=read.place, began=began)
    elif walk.part < last:
        walk = replace(walk, place=None, began=began, part=walk.part + 1)
    else:
        walk = walk.past()
    return Step(rows=read.rows, next=walk.cursor(), reply=read.reply)


def _pass_over(walk: _Walk, error: RecordNotFoundError) -> Step:
    audience = walk.queue[0]
    if audience == walk.second or len(walk.refused) >= _MOST_REFUSED:
        raise RequestRejectedError(
            f"the audience {audience} is there, and its contacts are refused: {error.message};"
            " what was read of the others is kept, and nothing was deleted"
        ) from error
    walk = replace(walk.past(), refused=(*walk.refused, audience))
    return Step(rows=[], next=walk.cursor(), reply=None)


def _ask_about_refused(api: MailchimpApi, walk: _Walk) -> Step:
    audience, *rest = walk.refused
    walk = replace(walk, refused=tuple(rest))
    reply = None
    try:
        reply = api.ask(api.lists.get_list, audience, fields=["id"])
    except RecordNotFoundError:
        pass  # it was deleted meanwhile, and its contacts with it
    else:
        walk = replace(walk, queue=(audience,), second=audience)
    return Step(rows=[], next=walk.cursor(), reply=reply)
