"""Merge fields: an audience's own fields of its contacts, and what they take.

Source: Mailchimp's pages on merge fields. An address needs its first line,
town, state and zip; a birthday is ``MM/DD``; what is not there is an empty
text. Not documented: a tag that the audience has not is passed over here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tieline_mailchimp_sandbox.answers import invalid

__all__ = ["BLANK", "checked", "definitions", "full_name"]

_FIELDS = (
    ("FNAME", "First Name", "text"),
    ("LNAME", "Last Name", "text"),
    ("ADDRESS", "Address", "address"),
    ("PHONE", "Phone Number", "phone"),
    ("BIRTHDAY", "Birthday", "birthday"),
    ("POINTS", "Points", "number"),
)
BLANK = {tag: "" for tag, _, _ in _FIELDS}
"""What a contact has of whom nothing is known."""

_WHOLE_ADDRESS = ("addr1", "city", "state", "zip")
_BIRTHDAY = re.compile(r"(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])")


def definitions(list_id: str, required: Collection[str]) -> list[dict[str, Any]]:
    """Return what the API says of an audience's merge fields."""
    return [
        {
            "merge_id": number,
            "tag": tag,
            "name": name,
            "type": kind,
            "required": tag in required,
            "default_value": "",
            "public": False,
            "display_order": number + 1,
            "options": {"size": 25} if kind == "text" else {},
            "help_text": "",
            "list_id": list_id,
        }
        for number, (tag, name, kind) in enumerate(_FIELDS, 1)
    ]


def checked(
    given: Any, before: Mapping[str, Any] | None, required: Collection[str]
) -> dict[str, Any]:
    """Return a contact's merge fields after a change of those that are named.

    Args:
        given: What was sent.
        before: What the contact has; None: nothing.
        required: Tags that must not be blank afterwards.

    Raises:
        Problem: 400, with each field that is wrong.
    """
    if not isinstance(given, dict):
        raise invalid(("merge_fields", "Schema describes object, something else found instead"))
    result, wrong = BLANK | dict(before or {}), []
    for tag, _, kind in _FIELDS:
        if tag not in given:
            continue
        value = "" if given[tag] is None else given[tag]
        try:
            result[tag] = value if value == "" else _KINDS[kind](value)
        except ValueError as error:
            wrong.append((tag, str(error)))
    wrong += [
        (tag, "This value should not be blank.") for tag in sorted(required) if result[tag] == ""
    ]
    if wrong:
        raise invalid(*wrong)
    return result


def full_name(merge_fields: Mapping[str, Any]) -> str:
    """Put the two names together."""
    return f"{merge_fields.get('FNAME', '')} {merge_fields.get('LNAME', '')}".strip()


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("Data did not match any of the schemas described in anyOf.")  # noqa: TRY004
    return str(value)


def _number(value: Any) -> float:
    try:
        found = float(_text(value))
    except ValueError:
        raise ValueError("This value should be a number.") from None
    return int(found) if found.is_integer() else found


def _birthday(value: Any) -> str:
    if not isinstance(value, str) or not _BIRTHDAY.fullmatch(value):
        raise ValueError("Birthday fields must be in the MM/DD format.")
    return value


def _address(value: Any) -> dict[str, str]:
    known = value if isinstance(value, dict) else {}
    if not all(isinstance(known.get(part), str) and known[part] for part in _WHOLE_ADDRESS):
        raise ValueError("Please enter a complete address.")
    blank = {"addr1": "", "addr2": "", "city": "", "state": "", "zip": "", "country": "US"}
    return {part: str(known.get(part) or text) for part, text in blank.items()}


_KINDS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "phone": _text,
    "number": _number,
    "birthday": _birthday,
    "address": _address,
}
