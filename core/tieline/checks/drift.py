"""Compare records with what a schema promises of them, field by field and without a value."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from marshmallow import Schema, fields

from tieline.checks.subject import Subject
from tieline.contract import Entity, InvalidRecordError
from tieline.recording import is_field_name
from tieline.records import canonical, record_key
from tieline.records.check import RecordCheck, types_of

__all__ = ["Compared", "Drift", "compare_records", "said_types"]

Kind = Literal["unknown", "missing", "wrong", "refused"]

_ITSELF = "(the record)"
_DATA = "{}"
_NULL = type(None)
_WORDS = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    _NULL: "null",
}
_WRITTEN = {
    dict: "fields.Dict({})",
    list: "fields.List(fields.Raw(), {})",
    str: "fields.String({})",
    bool: "fields.Boolean({})",
    int: "Whole({})",
    float: "Number({})",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """How one field of some records differs from what is promised of it.

    Attributes:
        field: Its name; ``address.city`` and ``lines[].price`` lead into objects and
            lists, ``{}`` stands where a name is data itself.
        kind: ``unknown``: it comes and the schema does not name it; ``missing``: it is
            named and does not come; ``wrong``: it comes in another type; ``refused``:
            its type is right, and the schema refuses its value.
        promised: What the schema says of it, in words; empty for nothing.
        found: What came, in words; empty for nothing.
        count: How many have what is found, or lack it if it is missing: records, or
            objects within them.
        of: How many there are of these.
        quarantined: How many records would be quarantined for it.
        where: ``file:line`` of the field, else of its schema.
        do: What to do.
    """

    field: str
    kind: Kind
    promised: str
    found: str
    count: int
    of: int
    quarantined: int
    where: str
    do: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(kw_only=True, slots=True)
class _Met:
    """What came at one place."""

    schema: Schema
    name: str
    promised: fields.Field[Any] | None
    of: int = 0
    types: Counter[type] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return self.types.total()

    @property
    def odd(self) -> set[type]:
        """Types that came and are not promised."""
        promised = None if self.promised is None else types_of(self.promised)
        if promised is None or self.promised is None:
            return set()
        return {*self.types} - promised - ({_NULL} if self.promised.allow_none else set())


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """How some records differ from what is promised.

    Attributes:
        count: How many records there are.
        quarantined: How many of them would be quarantined.
        drift: The fields that differ, those of the schema first.
        where: ``file:line`` of the schema.
    """

    count: int
    quarantined: int
    drift: Sequence[Drift]
    where: str


def compare_records(subject: Subject, entity: Entity, records: Sequence[Any]) -> Compared:
    """Compare records with what an entity promises.

    Args:
        subject: Whose entity it is; importable.
        entity: It, and its schema.
        records: As a step returned them.
    """
    met: dict[str, _Met] = {}
    _meet(met, entity.schema, [one for one in records if isinstance(one, Mapping)], "")
    refused: dict[str, dict[str, set[int]]] = {}
    check = RecordCheck(entity.schema)
    for number, record in enumerate(records):
        for place, reason in _faults(entity, check, record):
            refused.setdefault(place, {}).setdefault(reason, set()).add(number)
            met.setdefault(place, _Met(schema=entity.schema, name="", promised=None))
    return Compared(
        count=len(records),
        quarantined=len(set().union(*(n for each in refused.values() for n in each.values()))),
        drift=[
            drift
            for place, at in met.items()
            if (drift := _judged(subject, place, at, refused.get(place, {}), len(records)))
        ],
        where=_place_of_schema(subject, entity.schema),
    )


def said_types(types: Iterable[type]) -> str:
    """Write types of JSON in words."""
    chosen = set(types)
    if float in chosen:  # which says whole ones, too
        chosen.discard(int)
    known = [words for each, words in _WORDS.items() if each in chosen]
    return " or ".join([*known, *sorted(each.__name__ for each in chosen - _WORDS.keys())])


# --- what came ------------------------------------------------------------------------------------


def _meet(
    met: dict[str, _Met], schema: Schema, objects: Sequence[Mapping[str, Any]], prefix: str
) -> None:
    """Note what came in the fields of some objects, and of the objects in them."""
    named = {one.data_key or name: one for name, one in schema.load_fields.items()}
    others = {name for each in objects for name in each if name not in named}
    for name in [*named, *sorted(others)]:
        place = f"{prefix}{name if name in named or is_field_name(name) else _DATA}"
        at = met.setdefault(place, _Met(schema=schema, name=name, promised=named.get(name)))
        at.of = max(at.of, len(objects))
        values = [each[name] for each in objects if name in each]
        at.types.update(_type_of(value, at.promised) for value in values)
        if at.promised is not None:
            _meet_inner(met, at.promised, values, place)


def _meet_inner(
    met: dict[str, _Met], promised: fields.Field[Any], values: Sequence[Any], place: str
) -> None:
    is_many = isinstance(promised, fields.List)
    inner = promised.inner if isinstance(promised, fields.List) else promised
    if not isinstance(inner, fields.Nested):
        return
    if is_many or inner.many:
        place = f"{place}[]"
        values = [each for value in values if isinstance(value, list) for each in value]
    if objects := [each for each in values if isinstance(each, Mapping)]:
        _meet(met, inner.schema, objects, f"{place}.")


def _type_of(value: Any, promised: fields.Field[Any] | None) -> type:
    """Return the type of a value; 7.0 is a whole number where one is promised."""
    if isinstance(value, float) and value.is_integer() and isinstance(promised, fields.Integer):
        return int
    return type(value)


# --- what is refused ------------------------------------------------------------------------------


def _faults(entity: Entity, check: RecordCheck, record: Any) -> Iterator[tuple[str, str]]:
    """Yield ``(place, reason)`` for all that would have a record quarantined."""
    try:
        record_key(record, entity.key)
        canonical(record, tuple(entity.volatile))
    except InvalidRecordError as error:
        yield _ITSELF, error.message
        if not isinstance(record, Mapping):
            return
    try:
        yield from _spots(entity.schema, check.wrong(record), "")
    except InvalidRecordError as error:
        yield _ITSELF, error.message


def _spots(thing: Any, said: Any, at: str) -> Iterator[tuple[str, str]]:
    """Walk through what marshmallow says; ``thing`` is the schema or field that it is said of."""
    if not isinstance(said, Mapping):
        reasons = said if isinstance(said, list) else [said]
        yield at or _ITSELF, " ".join(map(str, reasons))
        return
    inner = thing.schema if isinstance(thing, fields.Nested) else thing
    for key, more in said.items():
        if isinstance(key, int):
            of = inner.inner if isinstance(inner, fields.List) else inner
            yield from _spots(of, more, f"{at}[]")
        elif isinstance(inner, fields.Mapping):  # its names are data, and may be anybody's
            for part in more.values() if isinstance(more, Mapping) else [more]:
                yield from _spots(inner.value_field, part, f"{at}{_DATA}")
        elif key == "_schema":
            yield from _spots(None, more, at)
        else:
            name = key if is_field_name(str(key)) else _DATA
            yield from _spots(_field(inner, key), more, f"{at}.{name}" if at else name)


def _field(schema: Any, key: str) -> Any:
    known = schema.load_fields if isinstance(schema, Schema) else {}
    return next((one for name, one in known.items() if (one.data_key or name) == key), None)


# --- what it comes to -----------------------------------------------------------------------------


def _judged(
    subject: Subject, place: str, at: _Met, refused: Mapping[str, set[int]], total: int
) -> Drift | None:
    """Say how a place differs; None if it does not."""
    promised = at.promised
    quarantined = len(set().union(*refused.values()))
    is_lacking = promised is not None and at.count < at.of
    is_required = promised is not None and promised.required
    found, count = said_types(at.types), at.count
    kind: Kind
    if promised is None and at.types:
        kind, do = "unknown", _unknown(at, is_refused=bool(refused))
    elif at.odd:
        kind, do = "wrong", f"promise what is sent: {_declared(at)}"
    elif is_lacking and (is_required or not at.count):
        kind, found, count = "missing", "", at.of - at.count
        do = _missing(is_required=is_required)
    elif refused:
        kind, count = "refused", quarantined
        found = ": ".join(filter(None, (found, "; ".join(sorted(refused)))))
        do = "promise no more than the provider's reference does"
    else:
        return None
    return Drift(
        field=place,
        kind=kind,
        promised="" if promised is None else _promise(promised),
        found=found,
        count=count,
        of=max(at.of or total, count),  # names that are data may come often in one
        quarantined=quarantined,
        where=_place_of(subject, at),
        do=do,
    )


def _promise(one: fields.Field[Any]) -> str:
    types = types_of(one)
    words = type(one).__name__ if types is None else said_types(types)
    if isinstance(one, fields.Raw):
        words = "anything"
    return f"{words}{' or null' if one.allow_none else ''}{', required' if one.required else ''}"


def _unknown(at: _Met, *, is_refused: bool) -> str:
    if is_refused:
        return "let others pass: class …(RecordSchema), or Meta.unknown = EXCLUDE"
    return f"nothing is lost; promise it if the reference does: {_declared(at)}"


def _missing(*, is_required: bool) -> str:
    if is_required:
        return "take required=True away, or let the page step ask for it"
    return "look whether it is spelt as it is sent; promise nothing that never comes"


def _declared(at: _Met) -> str:
    """Write the declaration that what came would fit."""
    types = {*at.types} - {_NULL}
    kind = next(iter(types)) if len(types) == 1 else float if types == {int, float} else None
    given = ["required=True"] if at.promised is not None and at.promised.required else []
    given += ["allow_none=True"] if _NULL in at.types or not types else []
    written = _WRITTEN.get(kind, "fields.Raw({})") if kind else "fields.Raw({})"
    name = at.name if is_field_name(at.name) else "…"
    return f"{name} = {written.format(', '.join(given)).replace(', )', ')')}"


def _place_of(subject: Subject, at: _Met) -> str:
    """Return the line of a field, else that of its schema."""
    name = re.escape(at.name)
    line = re.compile(rf"\s+{name}\s*[:=]|.*data_key\s*=\s*[\"']{name}[\"']")
    for kind in type(at.schema).__mro__ if at.promised is not None else ():
        if not (first := subject.place_of(kind)):
            continue
        file, _, start = first.rpartition(":")
        for number, text in enumerate(inspect.getsourcelines(kind)[0], int(start)):
            if line.match(text):
                return f"{file}:{number}"
    return _place_of_schema(subject, at.schema)


def _place_of_schema(subject: Subject, schema: Schema) -> str:
    kind = type(schema)
    return subject.place_of(kind) or subject.find(rf"class {kind.__name__}\b")
