"""Lists and their members as the API lists them: filters, order, pages.

Source: the official swagger and the API reference. Not documented, and found
by others: ``since_last_changed`` leaves the second itself out, and whether the
default listing has archived members (sources disagree, so it is an option).
What nobody says: whether ``before_last_changed`` has its second, and
``since_date_created`` has; here both have not.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tieline_mailchimp_sandbox.answers import Answer, Problem, invalid, json_answer
from tieline_mailchimp_sandbox.audiences import Audience
from tieline_mailchimp_sandbox.contacts import STATUSES, Member, iso, with_links
from tieline_mailchimp_sandbox.fields import select
from tieline_mailchimp_sandbox.merge_fields import definitions
from tieline_mailchimp_sandbox.request import Params, Request
from tieline_mailchimp_sandbox.world import Account

__all__ = ["Listing", "missing", "require_audience"]

_SCHEMA = "https://us1.api.mailchimp.com/schema/3.0/Definitions/Lists"
_MEMBER_SORTS = ("timestamp_opt", "timestamp_signup", "last_changed")
_Within = Callable[[str, str], bool]
_TIMES: dict[str, tuple[str, _Within]] = {
    "since_last_changed": ("last_changed", lambda at, edge: at > edge),
    "before_last_changed": ("last_changed", lambda at, edge: at < edge),
    "since_timestamp_opt": ("timestamp_opt", lambda at, edge: at > edge),
    "before_timestamp_opt": ("timestamp_opt", lambda at, edge: at < edge),
    "since_date_created": ("date_created", lambda at, edge: at > edge),
    "before_date_created": ("date_created", lambda at, edge: at < edge),
}


class Listing:
    """Answers ``/lists`` and what is below.

    Args:
        lists_archived: Whether members are listed that are archived, unless asked for.
        contact_ids: Whether members have one.
    """

    def __init__(self, *, lists_archived: bool, contact_ids: bool) -> None:
        self._lists_archived = lists_archived
        self._contact_ids = contact_ids

    def lists(self, request: Request, account: Account) -> Answer:
        """Answer ``GET /lists``."""
        params = request.params()
        found = [one.document for one in account.audiences.all().values()]
        found = _timed(found, params, ("since_date_created", "before_date_created"))
        if address := params.get("email"):
            lists = account.audiences.all()
            found = [document for document in found if lists[document["id"]].find(address)]
        found = _sorted(found, params, ("date_created",))
        show = lambda document: _shown(account, document, request)  # noqa: E731 - one line, used once
        limit = {"may_create": True, "max_instances": 100, "current_total_instances": len(found)}
        return _page("lists", found, show, request, {"constraints": limit})

    def one_list(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``GET /lists/{id}``."""
        document = require_audience(account, list_id).document
        return json_answer(select(_shown(account, document, request), request.params()))

    def members(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``GET /lists/{id}/members``."""
        params = request.params()
        found = require_audience(account, list_id).listed()
        status = _one_of(params, "status", STATUSES)
        if status:
            found = [member for member in found if member["status"] == status]
        elif not self._lists_archived:
            found = [member for member in found if member["status"] != "archived"]
        for name, field in (("unique_email_id", "unique_email_id"), ("email_type", "email_type")):
            if name in params:
                found = [member for member in found if member[field] == params[name]]
        if params.get("vip_only", "false") == "true":
            found = [member for member in found if member["vip"]]
        found = _sorted(_timed(found, params, tuple(_TIMES)[:4]), params, _MEMBER_SORTS)
        show = lambda member: self.member(member, request)  # noqa: E731 - one line, used once
        return _page("members", found, show, request, {"list_id": list_id})

    def one_member(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``GET /lists/{id}/members/{id, address or contact id}``."""
        member = require_audience(account, list_id).find(name)
        if member is None:
            raise missing()
        return json_answer(select(self.member(member, request), request.params()))

    def tags(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``GET /lists/{id}/members/{id}/tags``: by id or address alone."""
        member = require_audience(account, list_id).find(name, by_contact_id=False)
        if member is None:
            raise missing()
        shown = [tag | {"date_added": member["last_changed"]} for tag in member["tags"]]
        links = [_link("self", f"{request.origin}{request.path}", "")]
        return json_answer({"tags": shown, "total_items": len(shown), "_links": links})

    def merge_fields(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``GET /lists/{id}/merge-fields``."""
        audience = require_audience(account, list_id)
        found = definitions(audience.id, audience.standing.required)
        return _page("merge_fields", found, dict, request, {"list_id": list_id})

    def shown(self, member: Member, request: Request) -> Answer:
        """Answer with one contact, as it is after a change."""
        return json_answer(self.member(member, request))

    def truth(self, account: Account, entity: str) -> list[dict[str, Any]]:
        """Return everything as it is now, without links and counts."""
        lists = account.audiences.all().values()
        if entity == "lists":
            return [one.document | {"stats": one.statistics()} for one in lists]
        if entity != "contacts":
            raise ValueError("entity is lists or contacts")
        return [self._whole(member) for one in lists for member in one.members()]

    def _whole(self, member: Member) -> Member:
        left_out = () if self._contact_ids else ("contact_id",)
        return {name: value for name, value in member.items() if name not in left_out}

    def member(self, member: Member, request: Request) -> Member:
        """Return a contact as the API shows it."""
        return with_links(self._whole(member), request.origin)


def missing() -> Problem:
    """Make the refusal of what is not there."""
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def require_audience(account: Account, list_id: str) -> Audience:
    """Return an account's list; Problem, 404, if it has none of that id."""
    found = account.audiences.all().get(list_id)
    if found is None:
        raise missing()
    return found


def _shown(account: Account, document: dict[str, Any], request: Request) -> dict[str, Any]:
    audience = account.audiences.all()[document["id"]]
    statistics = audience.statistics()
    if request.params().get("include_total_contacts") == "true":
        statistics["total_contacts"] = len(audience)
    place = f"{request.origin}/3.0/lists/{audience.id}"
    links = [_link("self", place, ""), _link("members", f"{place}/members", "/Members/Collection")]
    return document | {"stats": statistics, "_links": links}


def _page(
    name: str,
    found: list[dict[str, Any]],
    show: Callable[[dict[str, Any]], dict[str, Any]],
    request: Request,
    also: dict[str, Any],
) -> Answer:
    params = request.params()
    count = _number(params, "count", default=10, most=1000)
    offset = _number(params, "offset", default=0)
    shown = [show(one) for one in found[offset : offset + count]]
    body = {name: shown, "total_items": len(found), **also}
    links = [_link("self", f"{request.origin}{request.path}", "")]
    return json_answer(select(body | {"_links": links}, params))


def _sorted(
    found: list[dict[str, Any]], params: Params, allowed: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Sort; without an order asked for, as they came into the list."""
    field = _one_of(params, "sort_field", allowed)
    direction = _one_of(params, "sort_dir", ("ASC", "DESC"))
    if not field:
        return sorted(found, key=lambda one: one["web_id"])
    if field == "last_changed" and direction != "DESC":
        return found  # they are kept in this order
    return sorted(found, key=lambda one: one[field], reverse=direction == "DESC")


def _timed(
    found: list[dict[str, Any]], params: Params, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    for name in names:
        if name in params:
            field, is_within = _TIMES[name]
            edge = _time(params[name], name)
            found = [one for one in found if one[field] and is_within(one[field], edge)]
    return found


def _time(text: str, name: str) -> str:
    """Read a time; what has no zone is refused, for nobody says which one it would be in."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = datetime.min  # noqa: DTZ901 - refused in the next line
    if at.tzinfo is None:
        raise invalid((name, "This value should be a valid ISO 8601 date with an offset."))
    return iso(at.astimezone(UTC).timestamp())


def _number(params: Params, name: str, *, default: int, most: int | None = None) -> int:
    text = params.get(name, str(default))
    if not text.isdecimal():
        raise invalid((name, "This value should be of type integer."))
    if most is not None and int(text) > most:
        raise invalid((name, f"This value should be less than or equal to {most}."))
    return int(text)


def _one_of(params: Params, name: str, allowed: tuple[str, ...]) -> str:
    value = params.get(name, "")
    if value and value not in allowed:
        raise invalid((name, f"Value must be one of {', '.join(allowed)}."))
    return value


def _link(rel: str, href: str, kind: str) -> dict[str, str]:
    schema = f"{_SCHEMA}{kind}/Response.json"
    return {"rel": rel, "href": href, "method": "GET", "targetSchema": schema}
