"""What Mailchimp remembers of addresses, and which status a contact may get.

Source: Mailchimp's error glossary, and the pages "Add or update list member"
and "Archive list member". That a contact that is bounced, pending or archived
cannot be archived: amro/gibbon #320.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tieline_mailchimp_sandbox.answers import Problem, invalid
from tieline_mailchimp_sandbox.contacts import Member, subscriber_hash

__all__ = ["Standing", "require_real", "require_removable", "with_status"]

_SETTABLE = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
_BY_ADMIN = "N/A (Unsubscribed by admin)"


@dataclass(slots=True)
class Standing:
    """What one audience remembers of addresses, by their hashes.

    Attributes:
        left: They unsubscribed by themselves, or their post came back.
        forgotten: They were deleted for good.
        required: Merge fields that must not be blank.
    """

    left: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)

    def require_welcome(self, address: str) -> None:
        """Refuse an address that was deleted for good.

        Raises:
            Problem: 400.
        """
        if subscriber_hash(address) in self.forgotten:
            raise Problem(
                400,
                "Forgotten Email Not Subscribed",
                f"{address} was permanently deleted and cannot be re-imported. The contact must "
                "re-subscribe to get back on the list.",
            )

    def require_compliant(self, address: str, status: str) -> None:
        """Refuse to subscribe whoever has left; to ask them by mail (pending) is allowed.

        Raises:
            Problem: 400.
        """
        if status == "subscribed" and subscriber_hash(address) in self.left:
            raise Problem(
                400,
                "Member In Compliance State",
                f"{address} is in a compliance state due to unsubscribe, bounce, or compliance "
                "review and cannot be subscribed.",
            )


def require_real(address: Any) -> str:
    """Refuse what is no address, or looks like none that anybody has.

    Raises:
        Problem: 400.
    """
    name, at, domain = address.rpartition("@") if isinstance(address, str) else ("", "", "")
    if not name or not at or "." not in domain or " " in address:
        raise Problem(400, "Invalid Resource", "Please provide a valid email address.")
    if domain.lower() == "example.test":
        said = f"{address} looks fake or invalid, please enter a real email address."
        raise Problem(400, "Invalid Resource", said)
    if name.lower() == "everywhere":
        said = (
            f"{address} has signed up to a lot of lists very recently; we're not allowing more "
            "signups for now."
        )
        raise Problem(400, "Invalid Resource", said)
    return str(address)


def require_removable(member: Member) -> None:
    """Refuse to archive who cannot be.

    Raises:
        Problem: 405.
    """
    if member["status"] in {"cleaned", "pending", "archived"}:
        raise Problem(
            405,
            "Method Not Allowed",
            "This list member cannot be removed. Can not archive a contact that is bounced, "
            "pending or archived.",
        )


def with_status(member: Member, status: Any, now: str) -> Member:
    """Return a contact with another status, and what goes with it.

    Raises:
        Problem: 400 for one that cannot be set.
    """
    if status not in _SETTABLE:
        raise invalid(("status", f"Value must be one of {', '.join(_SETTABLE)}."))
    if status == member["status"]:
        return member
    changed = {name: text for name, text in member.items() if name != "unsubscribe_reason"}
    if status == "subscribed":
        changed["timestamp_opt"] = now
    if status == "unsubscribed":
        changed["unsubscribe_reason"] = _BY_ADMIN
    return changed | {"status": status}
