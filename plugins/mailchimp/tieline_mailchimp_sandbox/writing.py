"""Changes of contacts through the API: one member at a time.

Source: the official swagger and the API reference. Found by others: a contact
that was archived stays so unless ``status`` is sent (tbar0970/jethro-pmm
#708); fields that are left out stay as they are. Nobody says: whether PUT
takes ``tags`` (here it passes them over), whether an address in other letters
is taken over by PUT (here it is not), whether tags move ``last_changed`` (here
they do not). What no endpoint knows is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline_mailchimp_sandbox.answers import Answer, Problem, invalid
from tieline_mailchimp_sandbox.audiences import Audience
from tieline_mailchimp_sandbox.contacts import Member, renamed, subscriber_hash
from tieline_mailchimp_sandbox.listing import Listing, missing, require_audience
from tieline_mailchimp_sandbox.merge_fields import checked, full_name
from tieline_mailchimp_sandbox.request import Request
from tieline_mailchimp_sandbox.standing import require_real, require_removable, with_status
from tieline_mailchimp_sandbox.world import Account

__all__ = ["Writing", "enter", "overwrite", "tagged"]

_KINDS: dict[str, type] = {"language": str, "vip": bool}


class Writing:
    """Answers what changes one member.

    Args:
        listing: Shows members.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def create(self, request: Request, account: Account, list_id: str) -> Answer:
        """Answer ``POST /lists/{id}/members``."""
        audience, body = require_audience(account, list_id), request.json()
        _require(body, "email_address", "status")
        address = require_real(body["email_address"])
        if audience.find(address, by_contact_id=False):
            raise _exists(address)
        made = enter(account, audience, body, body["status"], is_lax=_is_lax(request))
        return self._listing.shown(tagged(audience, made, body.get("tags", [])), request)

    def upsert(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``PUT /lists/{id}/members/{id, address or contact id}``."""
        audience, body = require_audience(account, list_id), request.json()
        _require(body, "email_address", "status_if_new")
        member = audience.find(name)
        if member is None:
            address = require_real(body["email_address"])
            if audience.find(address, by_contact_id=False):
                raise _exists(address)
            status = body.get("status", body["status_if_new"])
            made = enter(account, audience, body, status, is_lax=_is_lax(request))
            return self._listing.shown(made, request)
        if subscriber_hash(str(body["email_address"])) == member["id"]:
            body.pop("email_address")
        changed = overwrite(audience, member, body, is_lax=_is_lax(request))
        return self._listing.shown(changed, request)

    def update(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``PATCH /lists/{id}/members/{id, address or contact id}``."""
        audience, body = require_audience(account, list_id), request.json()
        member = audience.find(name)
        if member is None:
            raise missing()
        changed = overwrite(audience, member, body, is_lax=_is_lax(request))
        return self._listing.shown(changed, request)

    def archive(self, _request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``DELETE /lists/{id}/members/{id, address or contact id}``."""
        audience = require_audience(account, list_id)
        member = audience.find(name)
        if member is None:
            raise missing()
        require_removable(member)
        audience.touched(member, status="archived")
        return Answer(status=204)

    def erase(self, _request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``POST /lists/{id}/members/{id}/actions/delete-permanent``."""
        audience = require_audience(account, list_id)
        member = audience.find(name)
        if member is None:
            raise missing()
        audience.remove(member)
        return Answer(status=204)

    def tag(self, request: Request, account: Account, list_id: str, name: str) -> Answer:
        """Answer ``POST /lists/{id}/members/{id}/tags``: by id or address alone."""
        audience, body = require_audience(account, list_id), request.json()
        member = audience.find(name, by_contact_id=False)
        if member is None:
            raise missing()
        given = body.get("tags")
        if not isinstance(given, list) or not all(map(_is_tag, given)):
            raise invalid(("tags", "Each tag needs a name, and a status: active or inactive."))
        tagged(audience, member, *_sorted_out(given))
        return Answer(status=204)


def enter(
    account: Account, audience: Audience, body: Mapping[str, Any], status: Any, *, is_lax: bool
) -> Member:
    """Put a new contact into a list.

    Raises:
        Problem: 400.
    """
    address = require_real(body["email_address"])
    audience.standing.require_welcome(address)
    audience.standing.require_compliant(address, str(status))
    blank = account.audiences.blank_member(audience, address)
    named = {"merge_fields": {}, **body}
    made = with_status(_laid_over(audience, blank, named, is_lax=is_lax), status, audience.time)
    audience.put(made)
    return made


def overwrite(
    audience: Audience, member: Member, body: Mapping[str, Any], *, is_lax: bool
) -> Member:
    """Change a contact's named fields; nothing else changes, nor its time if nothing did.

    Raises:
        Problem: 400.
    """
    changed = _laid_over(audience, member, body, is_lax=is_lax)
    if "status" in body:
        audience.standing.require_compliant(member["email_address"], str(body["status"]))
        changed = with_status(changed, body["status"], audience.time)
    if body.get("email_address", member["email_address"]) != member["email_address"]:
        address = require_real(body["email_address"])
        other = audience.find(address, by_contact_id=False)
        if other and other["contact_id"] != member["contact_id"]:
            raise _exists(address)
        audience.standing.require_welcome(address)
        changed = renamed(changed, address)
    if changed != member:
        changed |= {"last_changed": audience.time}
        audience.put(changed)
    return changed


def tagged(audience: Audience, member: Member, on: Any, off: Any = ()) -> Member:
    """Put tags on a contact and take some off; unknown ones are made."""
    tags = {tag["name"].lower(): tag for tag in member["tags"]}
    for name in on:
        known = {"id": int(subscriber_hash(name)[:6], 16), "name": name}
        tags.setdefault(name.lower(), known)
    for name in off:
        tags.pop(name.lower(), None)
    changed = {**member, "tags": list(tags.values())[:50], "tags_count": len(tags)}
    if changed != member:
        audience.put(changed)
    return changed


def _laid_over(
    audience: Audience, member: Member, body: Mapping[str, Any], *, is_lax: bool
) -> Member:
    changed = dict(member)
    for name, kind in _KINDS.items():
        if name in body:
            if not isinstance(body[name], kind):
                raise invalid((name, f"This value should be of type {kind.__name__}."))
            changed[name] = body[name]
    if "email_type" in body:
        if body["email_type"] not in {"html", "text"}:
            raise invalid(("email_type", "Value must be one of html, text."))
        changed["email_type"] = body["email_type"]
    if "merge_fields" in body:
        required = () if is_lax else audience.standing.required
        changed["merge_fields"] = checked(body["merge_fields"], member["merge_fields"], required)
        changed["full_name"] = full_name(changed["merge_fields"])
    if "interests" in body:
        changed["interests"] = _interests(body["interests"], member["interests"])
    return changed


def _interests(given: Any, before: Mapping[str, bool] | None) -> dict[str, bool]:
    known: dict[str, Any] = given if isinstance(given, dict) else {"": None}
    if not all(isinstance(value, bool) for value in known.values()):
        raise invalid(("interests", "Schema describes object of booleans."))
    return dict(before or {}) | known


def _is_tag(given: Any) -> bool:
    known = given if isinstance(given, dict) else {}
    is_named = isinstance(known.get("name"), str) and bool(known["name"])
    return is_named and known.get("status") in {"active", "inactive"}


def _sorted_out(given: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    on = [tag["name"] for tag in given if tag["status"] == "active"]
    return on, [tag["name"] for tag in given if tag["status"] == "inactive"]


def _require(body: Mapping[str, Any], *names: str) -> None:
    if wrong := [(name, "This value should not be blank.") for name in names if not body.get(name)]:
        raise invalid(*wrong)


def _is_lax(request: Request) -> bool:
    """Whether missing merge fields are let through; only a lower-case ``true`` is read."""
    return request.params().get("skip_merge_validation") == "true"


def _exists(address: str) -> Problem:
    said = f"{address} is already a list member. Use PUT to insert or update list members."
    return Problem(400, "Member Exists", said)
