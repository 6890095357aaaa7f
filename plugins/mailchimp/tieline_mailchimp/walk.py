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
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from tieline.contract import (
    ANSWER_TOO_SLOW,
    Page,
    PageParams,
    ProviderUnavailableError,
    RecordNotFoundError,
    RequestRejectedError,
    object_of,
    text_of,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.errors import malformed
from tieline_mailchimp.pages import Place, Sorted, earlier, read_after, read_one

__all__ = ["OVERLAP", "take_step"]

OVERLAP = timedelta(minutes=5)
"""How late a change may still show in a list (lag of its index, and of clocks)."""
_EXCLUSIVE = timedelta(seconds=2)  # ``since`` leaves its second out, and ours has fractions
_AUDIENCES = Sorted("lists", "date_created", 60)  # the cursor has to hold them all
_MEMBERS = Sorted("members", "last_changed", 1000)
_LEFT_OUT = ["_links", "members._links"]  # half of the page, and the same for ever
_LISTED, _ARCHIVED, _CATCH_UP = range(3)
_MOST_REFUSED = 30
_SMALLEST = 100
_NAME = re.compile(r"[0-9A-Za-z]{1,20}", re.ASCII)


class _Walk(NamedTuple):
    """What the cursor holds; places are as JSON has them.

    Attributes:
        size: Contacts on a page; half as many after each that was too slow.
        lists: Where the next audiences are; None: there are no more.
        queue: Audiences to read; the first is in work.
        border: Audiences that may come once more at ``lists``.
        part: Which of the passes through the audience.
        place: Where in it; None: at its start.
        began: When the first pass began, by Mailchimp's clock.
        refused: Audiences that answered 404.
        second: The one of them that is there, and is read once more.
    """

    size: int
    lists: Sequence[Any] | None = Place()
    queue: Sequence[str] = ()
    border: Sequence[str] = ()
    part: int = _LISTED
    place: Sequence[Any] | None = None
    began: str = ""
    refused: Sequence[str] = ()
    second: str = ""

    @classmethod
    def read(cls, cursor: str | None) -> _Walk:
        return cls(*json.loads(cursor)) if cursor else cls(_MEMBERS.size)

    def page(self, rows: Any = (), as_of: datetime | None = None) -> Page:
        """Make the page after which this is how things stand."""
        is_over = not (self.queue or self.lists or self.refused)
        cursor = None if is_over else json.dumps(self, separators=(",", ":"))
        return Page(records=list(rows), next=cursor, as_of=as_of)

    def past(self) -> _Walk:
        """Leave the audience in work behind."""
        return self._replace(queue=self.queue[1:], part=_LISTED, place=None, began="")


def take_step(api: MailchimpApi, params: PageParams, cursor: str | None, *, is_whole: bool) -> Page:
    """Make the next request.

    Args:
        api: The account.
        params: Since when contacts changed that are wanted; without that, all.
        cursor: From the step before.
        is_whole: What is not met will be taken for deleted, so nothing may be missed.

    Returns:
        Contacts, or none: of some requests only the cursor comes.
    """
    walk = _Walk.read(cursor)
    if walk.queue:
        last = _CATCH_UP if is_whole else _ARCHIVED
        return _read_contacts(api, walk, params.window.start, last)
    return _find_audiences(api, walk) if walk.lists else _ask_about_refused(api, walk)


def _find_audiences(api: MailchimpApi, walk: _Walk) -> Page:
    wanted, at = ["lists.id", "lists.date_created", "total_items"], Place(*walk.lists or ())
    read = read_after(api, api.lists.get_all_lists, of=_AUDIENCES, at=at, fields=wanted)
    found = [text_of(object_of(row).get("id")) for row in read.rows]
    if not all(map(_NAME.fullmatch, found)):
        raise malformed("an audience has no id")  # it must not be passed over
    queue = [name for name in found if name not in walk.border]
    border = found if read.place else []
    return walk._replace(queue=queue, lists=read.place, border=border).page(as_of=read.as_of)


def _read_contacts(api: MailchimpApi, walk: _Walk, since: datetime | None, last: int) -> Page:
    is_late = walk.part == _CATCH_UP
    start = earlier(walk.began, OVERLAP) if is_late else earlier(since, _EXCLUSIVE)
    at = Place(*walk.place) if walk.place else Place(start)
    asked: dict[str, Any] = {"status": "archived"} if walk.part == _ARCHIVED else {}
    asked |= {"of": _MEMBERS._replace(size=walk.size), "at": at, "exclude_fields": _LEFT_OUT}
    try:
        read = read_after(api, api.lists.get_list_members_info, walk.queue[0], **asked)
    except RecordNotFoundError as error:
        return _pass_over(walk, error)
    except ProviderUnavailableError as error:
        if error.slug != ANSWER_TOO_SLOW or walk.size <= _SMALLEST:
            raise
        return walk._replace(size=walk.size // 2).page()
    walk = walk._replace(place=read.place, began=walk.began or read.as_of.isoformat())
    if read.place is None:
        walk = walk._replace(part=walk.part + 1) if walk.part < last else walk.past()
    return walk.page(read.rows, read.as_of)


def _pass_over(walk: _Walk, error: RecordNotFoundError) -> Page:
    audience = walk.queue[0]
    if audience == walk.second or len(walk.refused) >= _MOST_REFUSED:
        said = f"the audience {audience} is there, and its contacts are refused: {error.message};"
        kept = "what was read of the others is kept, and nothing was deleted"
        raise RequestRejectedError(f"{said} {kept}") from error
    return walk.past()._replace(refused=[*walk.refused, audience]).page()


def _ask_about_refused(api: MailchimpApi, walk: _Walk) -> Page:
    audience, *rest = walk.refused
    walk = walk._replace(refused=rest)
    if read_one(api, api.lists.get_list, audience, parts=1) is None:
        return walk.page()  # it was deleted meanwhile, and its contacts with it
    return walk._replace(queue=[audience], second=audience).page()
