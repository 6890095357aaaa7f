"""Judge a text of a provider's answer: may it stay, and if not, what is it?

The rule is to give away nothing: what is not known to be harmless goes. Harmless
are times, small numbers, and single words at names that tell a kind, such as
``status``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import Schema, fields, validate

from tieline.telemetry.redact import is_secret_name

__all__ = ["Judge", "Kind", "hides", "is_field_name", "is_time"]

Kind = Literal["kept", "id", "email", "url", "text", "secret"]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|/[A-Za-z]\S*")
_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|UTC|[+-]\d{2}:?\d{2}))?)?"
)
_NUMBER = re.compile(r"-?(\d{1,5}|\d{1,15}\.\d{1,6})")
_WORD = re.compile(r"[a-z][a-z0-9_.:-]{0,39}|[A-Z][A-Z0-9_]{0,39}|[A-Z][A-Za-z]{1,30}")
_PLACE_CODE = re.compile(
    r"[a-z]{2,3}([-_][A-Za-z0-9]{2,8}){1,2}|[A-Z][A-Za-z_]{1,20}(/[A-Z][A-Za-z_]{1,20}){1,2}"
)
_LOOKS_LIKE_ID = re.compile(r"(?=.*\d)[A-Za-z0-9_:+/=.-]{6,}")
_IS_ID = re.compile(
    r"(^|_)(u?u?ids?|guids?|key|cursor|after|before|next)$|[a-z](Ids?|ID|Key|Cursor)$"
)
_IS_KIND = re.compile(
    r"(status|state|type|kind|object|currency|locale|lang(uage)?|mode|interval|method|brand|source"
    r"|category|version|level|role|format|unit|event|action|scope|country|channel|reason|code|time_?zone)s?$",
    re.IGNORECASE,
)
_IS_PERSONAL = re.compile(
    r"name|mail|phone|mobile|fax|street|line_?\d|address|city|town|zip|post(al|_?code)|birth|dob"
    r"|gender|ssn|tax_?id|vat|iban|bic|card|last_?4|(^|_)lat(itude)?$|(^|_)(lng|lon(gitude)?)$|note"
    r"|comment|description|memo|message|subject|title|company|organi[sz]ation|(^|_)ip(_|$)|avatar"
    r"|photo|salary",
    re.IGNORECASE,
)
_HOLDS_PEOPLE = re.compile(
    r"(addr(ess(es)?)?|phones?|birth\w*|bank\w*|card|geo|coordinates?)$", re.IGNORECASE
)
_COUNTRY = re.compile(r"[A-Z]{2,3}")
_IS_PAGE_TOKEN = re.compile(r"page|next|sync|continuation|cursor", re.IGNORECASE)
_FIELD = re.compile(r"@?[A-Za-z_$][A-Za-z0-9_$.:-]{0,99}")
_SMALL = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """Judges by what a value looks like, by its name, and by what the schema says of it.

    Attributes:
        schema: Of the entity; None: there is none.
        key: The field that holds the record's key; empty for none.
        keep: Names of fields whose values stay, whatever they are.
    """

    schema: Schema | None = None
    key: str = ""
    keep: Collection[str] = ()
    _plain: Mapping[str, frozenset[Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plain", _choices(self.schema))

    def text(self, name: str, value: str, *, is_personal: bool) -> Kind:
        """Judge a text at a name; ``is_personal``: it stands within something personal."""
        if name in self.keep or not value:
            return "kept"
        if hides(name):
            return "secret"
        if value in self._plain.get(name, ()):
            return "kept"
        if _EMAIL.fullmatch(value):
            return "email"
        if _URL.fullmatch(value):
            return "url"
        if name == self.key or _IS_ID.search(name) or _IS_PAGE_TOKEN.search(name):
            return "id"
        if is_personal and name.lower().startswith("country") and _COUNTRY.fullmatch(value):
            return "kept"
        is_personal = is_personal or self._is_personal(name)
        if not is_personal and self._is_harmless(name, value):
            return "kept"
        return "id" if not is_personal and _LOOKS_LIKE_ID.fullmatch(value) else "text"

    def number(self, name: str, value: float, *, is_personal: bool) -> Kind:
        """Judge a number at a name; a small one tells nothing, whoever counts by it."""
        if name in self.keep:
            return "kept"
        if name == self.key or _IS_ID.search(name):
            return "id" if self.is_id(name, value) else "kept"
        return "text" if is_personal or self._is_personal(name) else "kept"

    def is_id(self, name: str, value: float) -> bool:
        """Say whether a number at a name is an id that tells something."""
        is_asked = name not in self.keep and (name == self.key or bool(_IS_ID.search(name)))
        return is_asked and type(value) is int and abs(value) >= _SMALL

    def holds_people(self, name: str) -> bool:
        """Say whether all that stands within a field of this name is somebody's own."""
        return name not in self.keep and bool(_HOLDS_PEOPLE.search(name))

    def _is_personal(self, name: str) -> bool:
        return bool(_IS_PERSONAL.search(name)) and not name.lower().endswith(("type", "status"))

    def _is_harmless(self, name: str, value: str) -> bool:
        if is_time(value) or _NUMBER.fullmatch(value) or value in {"true", "false"}:
            return True
        is_word = _WORD.fullmatch(value) or _PLACE_CODE.fullmatch(value)
        return bool(is_word and _IS_KIND.search(name))


def hides(name: str) -> bool:
    """Say whether nothing of a field of this name is shown: a secret, and no page's token."""
    return is_secret_name(name) and not _IS_PAGE_TOKEN.search(name)


def is_field_name(name: str) -> bool:
    """Say whether a name can be that of a field; others are somebody's: ids, addresses."""
    return bool(_FIELD.fullmatch(name))


def is_time(text: str) -> bool:
    """Say whether a text is a day, or a time with or without a zone."""
    return bool(_TIME.fullmatch(text))


def _choices(schema: Schema | None) -> Mapping[str, frozenset[Any]]:
    """Return what the schema itself names as values of its fields."""
    found: dict[str, frozenset[Any]] = {}
    for name, one in (schema.fields if schema else {}).items():
        if isinstance(one, fields.String):
            for rule in one.validators:
                if isinstance(rule, validate.OneOf):
                    found[one.data_key or name] = frozenset(rule.choices)
    return found
