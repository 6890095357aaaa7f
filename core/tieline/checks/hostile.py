"""Checks of what nobody expects in a record: hostile text, huge numbers, new fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from marshmallow import Schema, fields

from tieline.checks.case import Case
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.reading import require_success
from tieline.checks.site import Site
from tieline.contract import Entity
from tieline.records import restore

__all__: list[str] = []

_TEXTS = (
    *("plain", "", " ", "null", "NaN", "1e999", "𐍈😀 é", "e\u0301" * 50, "x" * 100_000),
    *("\u202eright to left", "\u2028\u2029", "\ufffe\uffff", "line\r\nbreak"),
    *("\x00 zero", "\ud800 half a pair", "\udfff\ud800", "back\\slash\\u0000"),
    *(
        '"quoted"',
        "'; DROP TABLE records; --",
        "%s%n{0}{{x}}",
        "=cmd()",
        "<script>alert(1)</script>",
    ),
)
_BIG = 12345678901234567890123
_MEANT = re.compile(r"_at$|date|time|url|id$|email|currency|status|state|type", re.IGNORECASE)


def _text_field(
    entity: Entity, there: Mapping[str, Mapping[str, Any]], left_out: str
) -> tuple[str, ...]:
    """Choose a promised text that nothing depends on, inside of an object if need be."""
    paths = [
        path
        for path, field in _promised(entity.schema)
        if type(field) is fields.String
        and f"{{{path[-1]}}}" not in left_out
        and not field.validators
        and not _MEANT.search(path[-1])
        and any(isinstance(_at(thing, path), str) for thing in there.values())
    ]
    paths = [path for path in paths if len(path) == 1] or paths
    paths = [path for path in paths if not _is_required(entity.schema, path)] or paths
    speaking = (path for path in paths if re.search("name|note|text|desc", path[-1], re.IGNORECASE))
    return next(speaking, paths[0] if paths else ())


def _is_required(schema: Schema, path: tuple[str, ...]) -> bool:
    return any(field.required for where, field in _promised(schema) if where == path)


def _promised(
    schema: Schema, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], fields.Field[Any]]]:
    """Yield every field of a schema with the names that lead to it."""
    for name, field in schema.fields.items():
        path = (*above, field.data_key or name)
        yield path, field
        if isinstance(field, fields.Nested) and not field.many:
            yield from _promised(field.schema, path)


def _at(record: Any, path: Sequence[str]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record


def _rewriting(site: Site, entity: Entity, change: Callable[[dict[str, Any], int], None]) -> None:
    """Change every record of an entity in the answers of the sandbox."""
    order = {key: place for place, key in enumerate(sorted(site.truth(entity)))}
    about = site.about(entity)

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                walk(each)
        elif isinstance(value, dict):
            with suppress(KeyError, ValueError):
                key = about.key_of(value)
                if key in order and len(value) > 2:
                    change(value, order[key])
                    return
            for each in value.values():
                walk(each)

    def rewrite(body: bytes) -> bytes:
        try:
            said = json.loads(body)
        except ValueError:
            return body
        walk(said)
        return json.dumps(said).encode()

    site.stand.rewrite = rewrite


@check(
    "hostile-text-costs-nothing",
    "silver",
    "Text of any kind in one record costs no other record, and is stored as it came or kept in"
    " quarantine.",
    do="parse bodies by parse_json, and do nothing with texts in a step",
)
def _hostile(case: Case) -> None:
    for database_url in ("", *filter(None, [case.database_url])):
        given = {"database_url": database_url} if database_url else {}
        with case.site(**given) as site:
            looked = 0
            for entity in case.entities:
                there = site.truth(entity)
                path = _text_field(entity, there, site.about(entity).key)
                if not path:
                    continue
                looked += 1
                _try_texts(case, site, entity, path, len(there))
            if not looked:
                raise DoesNotApplyError(
                    "no entity promises a text of free words (fields.String) that the sandbox has"
                )


def _try_texts(case: Case, site: Site, entity: Entity, path: tuple[str, ...], count: int) -> None:
    name = ".".join(path)

    def change(record: dict[str, Any], place: int) -> None:
        if isinstance(_at(record, path), str):
            _at(record, path[:-1])[path[-1]] = _TEXTS[place % len(_TEXTS)]

    _rewriting(site, entity, change)
    try:
        run = site.sync(entity)
    finally:
        site.stand.rewrite = None
    require_success(case, entity, run, "with hostile texts")
    rows = site.rows(entity)
    bad = len(site.quarantined(entity))
    if len(rows) + bad != count:
        raise WrongError(
            f"of {count} {entity.name} with hostile {name}, {len(rows)} are stored and {bad} in"
            " quarantine",
            where=case.place(entity),
        )
    sent = set(_TEXTS)
    for row in rows:
        text = _at(json.loads(restore(row.payload, is_escaped=row.is_escaped)), path)
        if isinstance(text, str) and text not in sent:
            raise WrongError(
                f"a hostile {name} of {entity.name} became {text[:40]!r}", where=case.place(entity)
            )


def _with_fields(case: Case, given: Mapping[str, Any], wrong: str) -> None:
    with case.site() as site:
        for entity in case.entities:
            _rewriting(site, entity, lambda record, _place: record.update(given))
            try:
                run = site.sync(entity)
            finally:
                site.stand.rewrite = None
            require_success(case, entity, run, "with new fields")
            stored = site.stored(entity)
            for key, record in stored.items():
                for name, value in given.items():
                    if record.get(name) != value:
                        raise WrongError(
                            f"{wrong}: {value!r} of {entity.name} {key} became"
                            f" {record.get(name)!r}",
                            where=case.place(entity),
                        )


@check(
    "numbers-stay-exact",
    "silver",
    "A whole number of any size is stored as it came.",
    do="parse bodies by parse_json: other readers make floats of integers beyond 64 bits",
)
def _exact(case: Case) -> None:
    _with_fields(case, {"tieline_check_big": _BIG}, "a number is not exact")


@check(
    "unknown-fields-are-kept",
    "gold",
    "A field that the schema does not name is stored, and counted as drift.",
    do="return records whole: what is not promised stays in the payload",
)
def _unknown(case: Case) -> None:
    _with_fields(case, {"tieline_check_new": {"deep": [1, "two"]}}, "a field is lost")
