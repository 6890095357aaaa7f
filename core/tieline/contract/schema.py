"""The base of the schemas that say what we promise of a record."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema

__all__ = ["RecordSchema"]


class RecordSchema(Schema):
    """A record's promised fields; what is not named stays in the payload.

    Name the fields that people may rely on, with their types, and leave the
    rest out. A record that breaks a promise is quarantined, so promise what
    the provider's reference requires and no more: give ``allow_none=True`` to
    whatever may be null.
    """

    class Meta:
        """Fields that are not named are neither wrong nor lost."""

        unknown = EXCLUDE
