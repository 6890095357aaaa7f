"""What a change of a contact is told as: types of events, and their forms.

Source: Mailchimp's guide "Sync Audience Data with Webhooks" for the fields of
``subscribe`` and ``unsubscribe``; those of the others as third parties show
them. ``data[id]`` is the ``unique_email_id``. Nobody says, and here it is so:
who is put in or moved without being subscribed is told of by nothing; an
archived contact is told of as a deleted one is; tags and statistics make no
event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tieline_mailchimp_sandbox.contacts import INTERESTS, Member

__all__ = ["News", "campaign", "news_of"]

_PROFILE = ("merge_fields", "interests", "email_type", "full_name", "language", "vip")
_GROUPS = dict(zip(INTERESTS, ("Coffee", "Tea & Biscuits"), strict=True))
_CAMPAIGN = "4fjk2ma9xd"


class News(NamedTuple):
    """One event.

    Attributes:
        type: As Mailchimp names it.
        data: What stands in ``data[…]``, nested.
        is_own: It is the contact's own doing.
    """

    type: str
    data: Mapping[str, Any]
    is_own: bool = False

    def form(self, fired_at: str) -> bytes:
        """Write it as it is sent, with the time as ``YYYY-MM-DD HH:MM:SS``."""
        pairs = [("type", self.type), ("fired_at", fired_at), *_flat("data", self.data)]
        return urlencode(pairs).encode()


def news_of(before: Member | None, after: Member | None) -> list[News]:
    """Say what is told of a change, in order.

    Args:
        before: The contact; None: there was none.
        after: The same; None: it was deleted for good.
    """
    if after is None:
        return [] if before is None else [_left(before, "delete")]
    told = []
    was, status = before["status"] if before else "", after["status"]
    if status != was and status in _BY_STATUS:
        told.append(_BY_STATUS[status](after))
    if before and before["email_address"] != after["email_address"]:
        told.append(_moved(before, after))
        told.append(News("profile", _profile(after)))
    elif before and any(before[name] != after[name] for name in _PROFILE):
        told.append(News("profile", _profile(after)))
    return told


def campaign(list_id: str, given: Mapping[str, str]) -> News:
    """Tell of a campaign; what is not given is as in Mailchimp's example."""
    data = {
        "id": "5aa2102003",
        "subject": "Test Campaign Subject",
        "status": "sent",
        "reason": "",
        "list_id": list_id,
    }
    return News("campaign", data | dict(given))


def _left(member: Member, action: str) -> News:
    is_own = "by the contact" in member.get("unsubscribe_reason", "") and action == "unsub"
    cause = {"action": action, "reason": "manual"} | ({"campaign_id": _CAMPAIGN} if is_own else {})
    return News("unsubscribe", cause | _profile(member), is_own)


def _joined(member: Member) -> News:
    return News("subscribe", _profile(member) | {"ip_signup": member["ip_signup"]})


def _bounced(member: Member) -> News:
    data = {"list_id": member["list_id"], "campaign_id": _CAMPAIGN, "reason": "hard"}
    return News("cleaned", data | {"email": member["email_address"]})


def _moved(before: Member, after: Member) -> News:
    data = {
        "list_id": after["list_id"],
        "new_id": after["unique_email_id"],
        "new_email": after["email_address"],
        "old_email": before["email_address"],
    }
    return News("upemail", data)


_BY_STATUS = {
    "subscribed": _joined,
    "unsubscribed": lambda member: _left(member, "unsub"),
    "archived": lambda member: _left(member, "delete"),
    "cleaned": _bounced,
}


def _profile(member: Member) -> dict[str, Any]:
    wanted = [name for name, is_wanted in (member["interests"] or {}).items() if is_wanted]
    groups = ", ".join(_GROUPS.get(name, name) for name in wanted)
    merges = {"EMAIL": member["email_address"], **(member["merge_fields"] or {})}
    return {
        "id": member["unique_email_id"],
        "email": member["email_address"],
        "email_type": member["email_type"],
        "ip_opt": member["ip_opt"],
        "web_id": member["web_id"],
        "merges": merges | {"INTERESTS": groups},
        "list_id": member["list_id"],
    }


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}[{key}]", inner)
    else:
        yield name, str(value)
