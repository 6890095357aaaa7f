"""The base of the schemas that say what we promise of a record."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields

__all__ = ["Number", "RecordSchema", "Whole"]


class Whole(fields.Integer):
    """A whole number, written ``7`` or ``7.0``; text and fractions are refused."""

    def _validated(self, value: object) -> int:
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole:
            raise self.make_error("invalid")
        return int(value)  # type: ignore[call-overload, no-any-return]


class Number(fields.Float):
    """A number, whole or not, as it came; text is refused."""

    def _validated(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.make_error("invalid")
        return value


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
