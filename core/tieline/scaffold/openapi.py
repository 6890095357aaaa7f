"""A schema to begin with, from what a provider's OpenAPI document says of its records.

It is read, never run, and it is for an author to look through: a document says
more than a provider keeps.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tieline.contract import RecordSchema
from tieline.errors import InvalidInputError, NotFoundError, nearest

__all__ = ["write_schema"]

_MOST_REFERENCES = 40
_MOST_PARTS = 20_000
_METHODS = ("get", "post")  # a search is a read, too
_MONEY = re.compile(r"amount|price|total|balance|cost|fee|tax", re.IGNORECASE)
# What a field of that name would hide.
_TAKEN = frozenset({*dir(RecordSchema()), "Number", "RecordSchema", "Whole"})
_FIELDS = {
    "string": "fields.String({})",
    "integer": "Whole({})",
    "number": "Number({})",
    "boolean": "fields.Boolean({})",
    "array": "fields.List(fields.Raw(), {})",
    "object": "fields.Dict({})",
}


def write_schema(
    document: Mapping[str, Any], *, path: str = "", component: str = "", items: str = ""
) -> str:
    """Write a schema class for the records of one list, or for one component.

    Args:
        document: An OpenAPI 3 document, parsed.
        path: Path of a list, as the document writes it.
        component: Name of a schema among its components, in place of ``path``.
        items: Field of the list's answer with the records, dots lead into
            objects; empty: the only list of objects in it.

    Returns:
        Python source that needs nothing more.

    Raises:
        InvalidInputError: It is no OpenAPI 3 document, or what it says there is
            no record; says where.
        NotFoundError: It has no such path, component or field.
    """
    version = str(document.get("openapi", "")) if isinstance(document, Mapping) else ""
    if not version.startswith("3."):
        raise InvalidInputError("this is no OpenAPI 3 document: its field `openapi` says none")
    reader = _Reader(document)
    if component:
        known = reader.object(reader.object(document.get("components")).get("schemas"))
        found = reader.merged(_named(known, component, "component"))
        title = component
    else:
        found, title = reader.record(path, items)
    properties = reader.object(found.get("properties"))
    if not properties:
        raise InvalidInputError(f"{title} is described as nothing that has fields of its own")
    return _source(reader, title, properties, frozenset(found.get("required", ())))


def _named(known: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise NotFoundError(
            f"the document has no {what} {name[:80]!r}", hint=nearest(name, list(known)[:500])
        )
    return known[name]


class _Reader:
    """Reads a document whose parts refer to one another."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._merged = 0

    @staticmethod
    def object(value: Any) -> Mapping[str, Any]:
        return value if isinstance(value, Mapping) else {}

    def resolved(self, value: Any) -> Mapping[str, Any]:
        """Follow references inside the document, as many as there may be in good faith."""
        for _ in range(_MOST_REFERENCES):
            target = self.object(value).get("$ref")
            if not isinstance(target, str):
                return self.object(value)
            if not target.startswith("#/"):
                raise InvalidInputError(
                    f"{target[:200]!r} leads out of the document; bundle it first"
                )
            found: Any = self._document
            for part in target[2:].split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                found = _named(self.object(found), name, f"part for {target[:200]!r}:")
            value = found
        raise InvalidInputError(f"{str(target)[:200]!r} leads back to itself")

    def merged(self, value: Any, depth: int = 0) -> Mapping[str, Any]:
        """Put the parts of an ``allOf`` together, and look past a choice with null."""
        found = dict(self.resolved(value))
        self._merged += 1
        if depth > _MOST_REFERENCES or self._merged > _MOST_PARTS:
            raise InvalidInputError("a schema is made of itself")
        chosen = [self.resolved(each) for key in ("oneOf", "anyOf") for each in found.pop(key, ())]
        real = [each for each in chosen if each.get("type") != "null"]
        parts = list(found.pop("allOf", ()))
        if len(real) == 1:
            parts.append(real[0])
            found["nullable"] = found.get("nullable", False) or len(real) < len(chosen)
        elif real:
            found["is_mixed"] = True
            found["nullable"] = found.get("nullable", False) or len(real) < len(chosen)
        for each in parts:
            part = self.merged(each, depth + 1)
            properties = {**self.object(part.get("properties")), **found.get("properties", {})}
            required = [*part.get("required", ()), *found.get("required", ())]
            found = {**part, **found}
            if properties:
                found |= {"properties": properties, "required": required}
        return found

    def record(self, path: str, items: str) -> tuple[Mapping[str, Any], str]:
        """Find the schema of a list's records, and what to call it."""
        operations = self.object(_named(self.object(self._document.get("paths")), path, "path"))
        operation = next((operations[each] for each in _METHODS if each in operations), None)
        if operation is None:
            raise InvalidInputError(f"{path} can neither be asked by GET nor by POST")
        answer = self.merged(self._answer(path, self.resolved(operation)))
        for name in items.split(".") if items else ():
            answer = self.merged(_named(self.object(answer.get("properties")), name, "field"))
        if items or _kinds(answer) == ["array"]:
            return self.merged(answer.get("items")), path.rstrip("/").rpartition("/")[2]
        lists = {
            name: item
            for name, each in self.object(answer.get("properties")).items()
            if _kinds(part := self.merged(each)) == ["array"]
            and (item := self.merged(part.get("items"))).get("properties")
        }
        if len(lists) != 1:
            said = f"has {', '.join(lists)}" if lists else "has no list of objects"
            raise InvalidInputError(
                f"the answer of {path} {said}",
                hint="say which, with --items, or take a --component",
            )
        return next(iter(lists.values())), path.rstrip("/").rpartition("/")[2]

    def _answer(self, path: str, operation: Mapping[str, Any]) -> Any:
        answers = self.object(operation.get("responses"))
        for status in sorted(answers, key=lambda each: (each == "default", each)):
            if not (str(status).startswith("2") or status == "default"):
                continue
            content = self.object(self.resolved(answers[status]).get("content"))
            for kind, media in content.items():
                if "json" in kind:
                    return self.object(media).get("schema")
        raise InvalidInputError(f"{path} has no answer in JSON")


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    """Return the types that a value may have, null left out."""
    said = schema.get("type") or ("object" if schema.get("properties") else None)
    values = schema.get("enum")
    if not said and isinstance(values, list) and all(isinstance(each, str) for each in values):
        said = "string"
    kinds = said if isinstance(said, list) else [said] if said else []
    return [kind for kind in kinds if kind != "null"]


def _source(
    reader: _Reader, title: str, properties: Mapping[str, Any], required: frozenset[str]
) -> str:
    rows, left = [], []
    for name, value in properties.items():
        if not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
            left.append(name)
        else:
            rows.append(_row(name, reader.merged(value), is_required=name in required))
    text = "\n".join(rows)
    helpers = sorted(word for word in ("Number", "Whole") if f" {word}(" in text)
    words = re.findall(r"[A-Za-z0-9]+", title) or ["Thing"]
    name = "".join(word[0].upper() + word[1:] for word in words)
    name = f"{'' if name[0].isalpha() else 'X'}{name}"
    lines = [
        *(["from marshmallow import fields", ""] if "fields." in text else []),
        f"from tieline.contract import {', '.join(sorted(['RecordSchema', *helpers]))}",
        "",
        "",
        f"class {name}Record(RecordSchema):",
        '    """Made from the provider\'s document: leave out what nobody may rely on."""',
        "",
        *rows,
        *(f"    # Left out, for the name cannot be written here: {each!r}." for each in left),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, schema: Mapping[str, Any], *, is_required: bool) -> str:
    kinds = _kinds(schema)
    is_null = schema.get("nullable") is True or "null" in (schema.get("type") or ())
    given = [*(["required=True"] if is_required else []), *(["allow_none=True"] if is_null else [])]
    plain = len(kinds) == 1 and not schema.get("is_mixed")
    template = _FIELDS.get(kinds[0], "fields.Raw({})") if plain else "fields.Raw({})"
    written = template.format(", ".join(given)).replace(", )", ")")
    remark = "; ".join(_remarks(name, schema, kinds))
    return f"    {name} = {written}" + (f"  # {remark}" if remark else "")


def _remarks(name: str, schema: Mapping[str, Any], kinds: list[str]) -> Iterator[str]:
    if kinds in (["number"], ["integer"]) and _MONEY.search(name):
        yield "money? say in which unit"
    if (form := schema.get("format")) in {"date-time", "date", "unix-time"}:
        yield f"a time, {form}"
    if isinstance(values := schema.get("enum"), list) and values:
        said = ", ".join(str(each) for each in values[:4] if str(each).isprintable())
        yield f"now {said[:60]}{', …' if len(values) > 4 else ''}: further ones may come"
