"""Many members in one call: ``POST /lists/{id}``.

It answers 200 whatever became of each. Source: the official swagger and the
API reference. Found by others: to subscribe who unsubscribed is passed over
and not told (strangerstudios/pmpro-mailchimp #152). Nobody says what becomes
of a new row without ``status``: here it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tieline_mailchimp_sandbox.answers import Answer, Problem, invalid, json_answer
from tieline_mailchimp_sandbox.audiences import Audience
from tieline_mailchimp_sandbox.contacts import Member, subscriber_hash
from tieline_mailchimp_sandbox.listing import Listing, require_audience
from tieline_mailchimp_sandbox.request import Params, Request
from tieline_mailchimp_sandbox.standing import require_real
from tieline_mailchimp_sandbox.world import Account
from tieline_mailchimp_sandbox.writing import enter, overwrite, tagged

__all__ = ["Bulk"]

_MOST = 500
# What the swagger's version 3.0.55 does not have in these rows.
_NEWER = (
    "contact_id", "full_name", "web_id", "unsubscribe_reason", "source",
    "consents_to_one_to_one_messaging", "sms_phone_number", "sms_subscription_status",
    "sms_subscription_last_updated",
)  # fmt: skip


class Bulk:
    """Answers the call.

    Args:
        listing: Shows members.
        short_rows: Rows lack what the swagger of 2026 does not have in them.
    """

    def __init__(self, listing: Listing, *, short_rows: bool) -> None:
        self._listing = listing
        self._left_out = _NEWER if short_rows else ()

    def __call__(self, request: Request, account: Account, list_id: str) -> Answer:
        """Carry out each row that can be."""
        audience, body = require_audience(account, list_id), request.json()
        given = body.get("members")
        if not isinstance(given, list) or not 1 <= len(given) <= _MOST:
            raise invalid(("members", f"Must contain between 1 and {_MOST} members."))
        params = request.params()
        rows = _Rows(account, audience, body, is_lax=_is_true(params, "skip_merge_validation"))
        for row in given:
            rows.take(row, skips_twins=_is_true(params, "skip_duplicate_check"))
        return json_answer(
            {
                "new_members": [self._shown(member, request) for member in rows.new],
                "updated_members": [self._shown(member, request) for member in rows.updated],
                "errors": rows.errors,
                "total_created": len(rows.new),
                "total_updated": len(rows.updated),
                "error_count": len(rows.errors),
                "_links": [],
            }
        )

    def _shown(self, member: Member, request: Request) -> Member:
        shown = self._listing.member(member, request)
        return {name: value for name, value in shown.items() if name not in self._left_out}


class _Rows:
    """What became of the rows of one call.

    Attributes:
        new: Members that were made.
        updated: Members that were there, as they are now.
        errors: What was wrong with the others, but for those that are passed over.
    """

    def __init__(
        self, account: Account, audience: Audience, body: Mapping[str, Any], *, is_lax: bool
    ) -> None:
        self._account, self._audience = account, audience
        self._updates = bool(body.get("update_existing"))
        self._syncs_tags = bool(body.get("sync_tags"))
        self._is_lax = is_lax
        self._seen: set[str] = set()
        self.new: list[Member] = []
        self.updated: list[Member] = []
        self.errors: list[dict[str, str]] = []

    def take(self, given: Any, *, skips_twins: bool) -> None:
        """Carry one row out, or note why it cannot be."""
        row = given if isinstance(given, dict) else {}
        address = str(row.get("email_address", ""))
        name = subscriber_hash(address)
        if name in self._seen:
            if not skips_twins:
                self.errors.append(_error(address, f"{address} is in this request twice."))
            return
        self._seen.add(name)
        try:
            require_real(address)
            member = self._audience.find(address, by_contact_id=False)
            if member is None:
                self._enter(row)
            elif self._updates:
                self._overwrite(member, row)
            else:
                said = (
                    f"{address} is already a list member, do you want to update? please "
                    "provide update_existing:true in the request body"
                )
                self.errors.append(_error(address, said, code="ERROR_CONTACT_EXISTS"))
        except Problem as problem:
            self.errors.append(_refused(address, problem))

    def _enter(self, row: Mapping[str, Any]) -> None:
        if not row.get("status"):
            raise invalid(("status", "This value should not be blank."))
        made = enter(self._account, self._audience, row, row["status"], is_lax=self._is_lax)
        self.new.append(tagged(self._audience, made, row.get("tags", [])))

    def _overwrite(self, member: Member, row: Mapping[str, Any]) -> None:
        if row.get("status") == "subscribed" and member["status"] == "unsubscribed":
            return
        named = {name: value for name, value in row.items() if name != "email_address"}
        changed = overwrite(self._audience, member, named, is_lax=self._is_lax)
        off = [tag["name"] for tag in member["tags"]] if self._syncs_tags else []
        changed = tagged(self._audience, changed, (), off)
        self.updated.append(tagged(self._audience, changed, row.get("tags", [])))


def _is_true(params: Params, name: str) -> bool:
    return params.get(name) == "true"


def _refused(address: str, problem: Problem) -> dict[str, str]:
    if not problem.errors:
        return _error(address, problem.detail)
    first = problem.errors[0]
    return _error(address, first["message"], field=first["field"])


def _error(
    address: str, said: str, *, code: str = "ERROR_GENERIC", field: str = ""
) -> dict[str, str]:
    return {
        "email_address": address,
        "error": said,
        "error_code": code,
        "field": field,
        "field_message": said if field else "",
    }
