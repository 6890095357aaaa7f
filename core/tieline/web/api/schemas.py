"""What requests and answers are made of: strict ones come in, whole ones go out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from tieline.contract import Secret

__all__ = [
    "Answer",
    "Choice",
    "ConnectionRef",
    "Flag",
    "Given",
    "Json",
    "Nested",
    "PageQuery",
    "Payload",
    "SecretText",
    "Several",
    "Text",
    "Time",
    "Told",
    "listed",
    "whole",
]

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What a connection's name or id looks like."""

_LONGEST = 200
_MOST_OF_A_PAGE = 200


def _metadata(doc: str, given: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(given.pop("metadata", {}))
    if doc:
        metadata["description"] = doc
    return metadata


def _fits(pattern: str) -> Any:
    """Make a check; ``$`` of a regular expression would let a line end pass."""
    compiled = re.compile(pattern)

    def check(text: str) -> None:
        if not compiled.fullmatch(text):
            raise ValidationError("does not look like one")

    return check


class Given(Schema):
    """A query or a body: a field that it does not name is refused."""

    class Meta:  # noqa: D106
        unknown = RAISE


class Answer(Schema):
    """An answer: every field is there, if only as null.

    It reads the attributes of a value, or the keys of a mapping, which may
    hold any name: ``items`` too.
    """

    class Meta:  # noqa: D106
        unknown = RAISE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:  # noqa: ARG002
        """Promise each field."""
        field_obj.required = True

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        """Read one value."""
        if isinstance(obj, Mapping):
            return obj.get(attr, default)
        return super().get_attribute(obj, attr, default)


class Text(fields.String):
    """Text that every database can keep, of a bounded length.

    Args:
        doc: What it is.
        most: The most characters.
        least: The least.
        pattern: A regular expression that all of it has to fit.
        **given: As for every field.
    """

    def __init__(
        self,
        doc: str = "",
        *,
        most: int = _LONGEST,
        least: int = 0,
        pattern: str | None = None,
        **given: Any,
    ) -> None:
        checks: list[Any] = [validate.Length(min=least or None, max=most)]
        if pattern is not None:
            checks.append(_fits(pattern))
            given["metadata"] = {**given.get("metadata", {}), "pattern": f"^{pattern}$"}
        metadata = _metadata(doc, given)
        super().__init__(validate=checks, metadata=metadata, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text:
            raise ValidationError("must not hold a NUL character")
        return text


class ConnectionRef(Text):
    """Name or id of a connection; one that the caller may not see is as good as none."""

    def __init__(self, doc: str = "Name or id of a connection.", **given: Any) -> None:
        super().__init__(doc, most=64, pattern=NAME, **given)


class SecretText(Text):
    """A secret that comes in: loaded as one, and never shown again."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(doc, load_only=True, metadata={"format": "password"}, **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return Secret(super()._deserialize(value, attr, data, **kwargs))

    def _validate(self, value: Secret) -> None:
        super()._validate(value.reveal())


class Told(fields.String):
    """A secret that goes out, once."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(metadata=_metadata(doc, given), **given)

    def _serialize(self, value: Any, *_given: Any, **_named: Any) -> Any:
        return value.reveal() if isinstance(value, Secret) else value


class Several(fields.List[Any]):
    """A list that comes in, counted before its parts are looked at: each takes its time."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, list):
            for check in self.validators:
                check(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Choice(fields.String):
    """One of a few words."""

    def __init__(self, *words: str, doc: str = "", **given: Any) -> None:
        super().__init__(validate=validate.OneOf(words), metadata=_metadata(doc, given), **given)


class Flag(fields.Boolean):
    """``true`` or ``false``, and nothing that merely looks like one."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(metadata=_metadata(doc, given), **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return super()._deserialize(value, attr, data, **kwargs)


class Time(fields.AwareDateTime):
    """A moment: RFC 3339 with a zone; answers have UTC."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(format="iso", metadata=_metadata(doc, given), **given)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        read = super()._deserialize(value, attr, data, **kwargs)
        try:
            return read.astimezone(UTC)
        except OverflowError:
            raise ValidationError("is out of range") from None

    def _serialize(self, value: Any, *_given: Any, **_named: Any) -> Any:
        return value.astimezone(UTC) if isinstance(value, datetime) else None


class Json(fields.Raw):
    """Any JSON; an ``orjson.Fragment`` goes out as it is."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(metadata=_metadata(doc, given), **given)


class Payload(fields.Dict):
    """A JSON object of whatever names; who gets it looks what is in it."""

    def __init__(self, doc: str = "", **given: Any) -> None:
        super().__init__(keys=fields.String(), metadata=_metadata(doc, given), **given)


def whole(doc: str = "", *, least: int | None = None, most: int | None = None, **given: Any) -> Any:
    """Make a field of a whole number; ``true``, ``1.0`` and ``"1"`` are none in a body."""
    checks = [validate.Range(min=least, max=most)] if (least, most) != (None, None) else []
    return fields.Integer(strict=True, validate=checks, metadata=_metadata(doc, given), **given)


def Nested(schema: Any, doc: str = "", **given: Any) -> Any:  # noqa: N802 - it stands for a class
    """Make a field that holds another schema; with ``many`` a list of it."""
    return fields.Nested(schema, metadata=_metadata(doc, given), **given)


class PageQuery(Given):
    """What every list takes."""

    limit = whole("The most to return.", least=1, most=_MOST_OF_A_PAGE, load_default=50)
    cursor = Text("`next` of the page before; leave it out for the first.", most=600)


def listed(of: type[Answer], *, doc: str = "") -> type[Answer]:
    """Make the schema of a page of answers."""
    name = f"{of.__name__}Page"
    made = Answer.from_dict(
        {
            "data": fields.List(fields.Nested(of), metadata={"description": doc or "The page."}),
            "next": fields.String(
                allow_none=True,
                metadata={"description": "`cursor` of the next page; null: this is the last."},
            ),
        },
        name=name,
    )
    made.__name__ = name
    return made  # type: ignore[return-value]
