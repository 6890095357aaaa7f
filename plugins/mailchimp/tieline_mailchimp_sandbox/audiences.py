"""The audiences of one account, which the API calls lists, and who is in them.

What is listed may be behind what is read by its id: an index takes ``lag_s``
to notice a change. So each contact keeps its versions for as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tieline_mailchimp_sandbox.contacts import (
    INTERESTS,
    Member,
    iso,
    make_member,
    renamed,
    subscriber_hash,
)
from tieline_mailchimp_sandbox.hooks import Hook
from tieline_mailchimp_sandbox.merge_fields import BLANK
from tieline_mailchimp_sandbox.standing import Standing

__all__ = ["Audience", "Audiences", "Tell"]

_BEGIN = 1_583_000_000  # 2020-02-29T18:13:20Z
_END = 1_793_000_000  # some days before every sandbox's start
_NAMES = ("Newsletter", "<b>Käufer</b> & Friends 🌸", "Press")
_Version = tuple[float, Member | None]
Tell = Callable[["Audience", Member | None, Member | None], None]
"""``(audience, before, after)`` is called for every change of a contact."""


class Audience:
    """One list.

    Attributes:
        document: What the API says of it, but for statistics and links.
        standing: What it remembers of addresses.
        hooks: Its webhooks, by their ids.
    """

    def __init__(
        self, document: dict[str, Any], now: Callable[[], float], lag_s: float, tell: Tell
    ) -> None:
        self.document = document
        self.standing = Standing()
        self.hooks: dict[str, Hook] = {}
        self._tell = tell
        self._now = now
        self._lag_s = lag_s
        self._versions: dict[str, list[_Version]] = {}
        self._by_hash: dict[str, str] = {}
        self._listed: list[Member] | None = None

    @property
    def id(self) -> str:
        """The list's id."""
        return str(self.document["id"])

    def __len__(self) -> int:
        return sum(1 for _ in self.members())

    def members(self) -> Iterator[Member]:
        """Go through all contacts as they are now, archived ones too."""
        return (last for versions in self._versions.values() if (last := versions[-1][1]))

    def listed(self) -> list[Member]:
        """Return all contacts as lists show them, by the time of their last change.

        Of one second they come in an order that means nothing, and stays.
        """
        if self._listed is not None and not self._lag_s:
            return self._listed
        until = self._now() - self._lag_s
        found = [member for one in self._versions.values() if (member := _as_of(one, until))]
        found.sort(key=lambda member: (member["last_changed"], member["web_id"]))
        self._listed = found
        return found

    @property
    def time(self) -> str:
        """The present time, as members have it."""
        return iso(self._now())

    def find(self, name: str, *, by_contact_id: bool = True) -> Member | None:
        """Return whoever has an id, an address or a contact id, as it is now."""
        found = [self._by_hash.get(name, ""), self._by_hash.get(subscriber_hash(name), "")]
        for contact in ([name] if by_contact_id else []) + found:
            if contact in self._versions:
                return self._versions[contact][-1][1]
        return None

    def put(self, member: Member, *, at: float | None = None) -> None:
        """Write a contact, new or known by its contact id."""
        contact = member["contact_id"]
        before = self._versions.get(contact, [(0, None)])[-1][1]
        if before:
            self._by_hash.pop(before["id"], None)
        self._by_hash[member["id"]] = contact
        self._add(contact, member, at)
        self._tell(self, before, member)

    def remove(self, member: Member) -> None:
        """Delete a contact for good."""
        self._by_hash.pop(member["id"], None)
        self.standing.forgotten.add(member["id"])
        self._add(member["contact_id"], None, None)
        self._tell(self, member, None)

    def let_go(self, member: Member, *, is_bounce: bool = False) -> Member:
        """Let a contact leave by itself, or its post come back; the API cannot undo that."""
        self.standing.left.add(member["id"])
        if is_bounce:
            return self.touched(member, status="cleaned")
        reason = "N/A (Unsubscribed by the contact)"
        return self.touched(member, status="unsubscribed", unsubscribe_reason=reason)

    def is_taken(self, contact_id: str) -> bool:
        """Whether a contact has or had this id."""
        return contact_id in self._versions

    def touched(self, member: Member, **changed: Any) -> Member:
        """Change a contact and its time of change; return it."""
        address = changed.pop("email_address", member["email_address"])
        made = renamed({**member, **changed, "last_changed": iso(self._now())}, address)
        self.put(made)
        return made

    def statistics(self) -> dict[str, Any]:
        """Count, as the API does."""
        members = list(self.members())
        states = [member["status"] for member in members]
        changes = [member["last_changed"] for member in members]
        rates = [member["stats"]["avg_open_rate"] for member in members]
        return {
            "member_count": states.count("subscribed"),
            "unsubscribe_count": states.count("unsubscribed"),
            "cleaned_count": states.count("cleaned"),
            "member_count_since_send": states.count("subscribed"),
            "unsubscribe_count_since_send": 0,
            "cleaned_count_since_send": 0,
            "campaign_count": 0,
            "campaign_last_sent": "",
            "merge_field_count": len(BLANK),
            "avg_sub_rate": 0,
            "avg_unsub_rate": 0,
            "target_sub_rate": 0,
            "open_rate": round(sum(rates) / len(rates), 6) if rates else 0,
            "click_rate": 0,
            "last_sub_date": max(changes, default=""),
            "last_unsub_date": "",
        }

    def _add(self, contact: str, member: Member | None, at: float | None) -> None:
        now = self._now() if at is None else at
        versions = self._versions.setdefault(contact, [])
        seen = [number for number, (when, _) in enumerate(versions) if when <= now - self._lag_s]
        del versions[: seen[-1] if seen else 0]
        versions.append((now, member))
        if member is None and not self._lag_s:
            del self._versions[contact]
        self._listed = None


class Audiences:
    """All lists of one account; made when they are first asked for.

    Args:
        seed: Chooses everything.
        account: Index of the account.
        audiences: How many lists.
        contacts: How many contacts, over all of them.
        now: Seconds since the epoch.
        lag_s: How long an index takes to notice a change.
        tell: Is told of every change of a contact.
    """

    def __init__(
        self,
        *,
        seed: int,
        account: int,
        audiences: int,
        contacts: int,
        now: Callable[[], float],
        lag_s: float,
        tell: Tell,
    ) -> None:
        self._tell = tell
        self._chance = Random(f"{seed}/{account}")  # noqa: S311 - test data, nothing to guess
        self._sizes = (audiences, contacts)
        self._now = now
        self._lag_s = lag_s
        self._lists: dict[str, Audience] | None = None
        self._made = 0

    def all(self) -> dict[str, Audience]:
        """Return the lists by their ids, in the order in which they were made."""
        if self._lists is None:
            self._lists = {}
            self._fill(*self._sizes)
        return self._lists

    def add(self, *, created: float | None = None, **given: Any) -> Audience:
        """Make a list without contacts."""
        lists, number = self.all(), len(self.all())
        name = _NAMES[number] if number < len(_NAMES) else f"List {number + 1}"
        made = self._now() if created is None else created
        document = _blank(self._chance, name, iso(made)) | given
        lists[document["id"]] = Audience(document, self._now, self._lag_s, self._tell)
        return lists[document["id"]]

    def add_member(
        self, audience: Audience, *, changed: float | None = None, **given: Any
    ) -> Member:
        """Make a contact; the same person may be in several lists."""
        self._made += 1
        person = given.pop("person", self._made)
        address = given.pop("email_address", f"Person.{person}@Example.com")
        contact_id = _contact_id(audience, address)
        at = self._now() if changed is None else changed
        made = make_member(
            self._chance, list_id=audience.id, address=address, contact_id=contact_id, changed=at
        )
        made |= given
        if made["status"] == "cleaned":
            audience.standing.left.add(made["id"])
        audience.put(made, at=0.0 if changed is not None else None)
        return made

    def blank_member(self, audience: Audience, address: str) -> Member:
        """Make a contact of whom nothing is known but the address; it is not in the list yet."""
        contact_id = _contact_id(audience, address)
        made = make_member(
            self._chance,
            list_id=audience.id,
            address=address,
            contact_id=contact_id,
            changed=self._now(),
        )
        made.pop("unsubscribe_reason", None)
        nothing = {"avg_open_rate": 0, "avg_click_rate": 0}
        return made | {
            "full_name": "",
            "email_type": "html",
            "status": "",
            "merge_fields": dict(BLANK),
            "interests": dict.fromkeys(INTERESTS, False),
            "stats": made["stats"] | nothing,
            "ip_opt": "",
            "timestamp_opt": "",
            "member_rating": 2,
            "language": "",
            "vip": False,
            "source": "API - Generic",
            "tags_count": 0,
            "tags": [],
        }

    def _fill(self, audiences: int, contacts: int) -> None:
        # The second and third were made in the same second.
        for number in range(audiences):
            self.add(created=_BEGIN + min(number, 1) * 1000 + max(0, number - 2))
        lists = list(self.all().values())
        for number in range(contacts if lists else 0):
            # A quarter was imported: all in one second.
            changed = _END if number % 4 == 0 else _BEGIN + 100_000 + number * 7_000 % 200_000_000
            person = number // len(lists)
            self.add_member(lists[number % len(lists)], changed=changed, person=person)


def _contact_id(audience: Audience, address: str) -> str:
    """Make an id; nobody says that it differs between lists, so here it does not.

    Unless somebody of this list had the address before, and the id with it.
    """
    number, found = 0, subscriber_hash(f"contact of {address}")
    while audience.is_taken(found):
        number += 1
        found = subscriber_hash(f"contact {number} of {address}")
    return found


def _as_of(versions: list[_Version], until: float) -> Member | None:
    found = None
    for at, member in versions:
        if at <= until:
            found = member
    return found


def _blank(chance: Random, name: str, created: str) -> dict[str, Any]:
    list_id = f"{chance.getrandbits(40):010x}"
    return {
        "id": list_id,
        "web_id": chance.randrange(1, 1 << 24),
        "name": name,
        "contact": {
            "company": "Tieline Coffee Roasters",
            "address1": "1 Grand Canal St",
            "address2": "",
            "city": "Dublin",
            "state": "",
            "zip": "D02",
            "country": "IE",
            "phone": "",
        },
        "permission_reminder": "You signed up on our site.",
        "use_archive_bar": True,
        "campaign_defaults": {
            "from_name": "Tieline Coffee",
            "from_email": "news@example.com",
            "subject": "",
            "language": "en",
        },
        "notify_on_subscribe": "",
        "notify_on_unsubscribe": "",
        "date_created": created,
        "list_rating": 0,
        "email_type_option": False,
        "subscribe_url_short": f"https://example.com/s/{list_id}",
        "subscribe_url_long": f"https://example.com/subscribe?u=1&id={list_id}",
        "beamer_address": f"us6-0000000000-{list_id}@inbound.example.com",
        "visibility": "prv",
        "double_optin": False,
        "has_welcome": False,
        "marketing_permissions": False,
        "modules": [],
    }
