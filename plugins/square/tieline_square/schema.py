"""What Square's records promise: the types of fields, where these are there at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from marshmallow import Schema, fields

from tieline.contract import RecordSchema, Whole, Windows

__all__ = ["BEGINNING", "created_windows", "promise"]

BEGINNING = datetime(2009, 1, 1, tzinfo=UTC)
"""Of Square: nothing is older."""


def promise(
    *, required: str, texts: str, objects: str, numbers: str = "", flags: str = ""
) -> Schema:
    """Make the schema of a record.

    Each argument names fields, with spaces between them. Those of ``required``
    are texts and always there; the others may be missing or null. Lists are left
    out: they are kept as they come.
    """
    kinds: dict[type[fields.Field[Any]], str] = {
        fields.String: texts,
        fields.Dict: objects,
        Whole: numbers,
        fields.Boolean: flags,
    }
    known: dict[str, fields.Field[Any]] = {
        name: kind(allow_none=True) for kind, names in kinds.items() for name in names.split()
    }
    always = {name: fields.String(required=True) for name in required.split()}
    return RecordSchema.from_dict({**always, **known})()


def created_windows(order: Literal["oldest first", ""] = "") -> Windows:
    """Declare that a list can be bounded by ``created_at``, which never changes."""
    step = timedelta(milliseconds=1)
    return Windows(field="created_at", step=step, epoch=False, order=order, earliest=BEGINNING)
