"""Checks of what nobody expects in a record: hostile text, huge numbers, new fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from marshmallow import fields

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


def _text_field(entity: Entity, there: Mapping[str, Mapping[str, Any]], left_out: str) -> str:
    """Choose a promised text that nothing depends on."""
    names = [
        name
        for name, field in entity.schema.fields.items()
        if type(field) is fields.String
        and not field.required
        and f"{{{name}}}" not in left_out
        and not field.validators
        and not _MEANT.search(name)
        and any(isinstance(thing.get(name), str) for thing in there.values())
    ]
    return next((name for name in names if re.search("name|note|text|desc", name, re.IGNORECASE)),
                names[0] if names else "")  # fmt: skip


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
                name = _text_field(entity, there, site.about(entity).key)
                if not name:
                    continue
                looked += 1
                _try_texts(case, site, entity, name, len(there))
            if not looked:
                raise DoesNotApplyError("no entity promises a plain text")


def _try_texts(case: Case, site: Site, entity: Entity, name: str, count: int) -> None:
    def change(record: dict[str, Any], place: int) -> None:
        if isinstance(record.get(name), str):
            record[name] = _TEXTS[place % len(_TEXTS)]

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
        text = json.loads(restore(row.payload, is_escaped=row.is_escaped)).get(name)
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
