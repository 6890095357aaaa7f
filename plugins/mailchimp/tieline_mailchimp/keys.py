"""What names a contact: here, in paths, and by its address."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from tieline.contract import RecordNotFoundError, object_of, text_of

__all__ = ["hash_of", "key_of", "names_of"]

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)


def key_of(record: Any) -> str | None:
    """Tell a contact's key; one without a contact id gets a new key with a new address."""
    known = object_of(record)
    audience, name = known.get("list_id"), known.get("contact_id") or known.get("id")
    is_good = all(_ID.fullmatch(text_of(each)) for each in (audience, name))
    return f"{audience}:{name}" if is_good else None


def names_of(key: str, count: int = 2) -> list[str]:
    """Return the names in a key, fit for a path: of a contact the list's and its own.

    Raises:
        RecordNotFoundError: It is no key: nothing has it.
    """
    names = key.split(":")
    if len(names) != count or not all(map(_ID.fullmatch, names)):
        raise RecordNotFoundError("nothing has such a key; a contact's is LIST:CONTACT")
    return names


def hash_of(address: str) -> str:
    """Return a member's ``id``, by which paths take an address: its MD5, in lower case."""
    return hashlib.md5(address.lower().encode(), usedforsecurity=False).hexdigest()
