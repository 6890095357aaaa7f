"""Change the body of a delivery that is about to be tried out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tieline.errors import InvalidInputError, nearest

__all__ = ["put_text", "set_values"]


def set_values(body: bytes, changes: Mapping[str, str], *, is_form: bool) -> bytes:
    """Return a body in which some values are others.

    Args:
        body: A form, or JSON.
        changes: Place to value. In JSON a place is a path of names, and of
            numbers in lists, with dots between; a value that is JSON is taken
            as such, any other as text. In a form ``data.email`` is the field
            ``data[email]``.
        is_form: Which of the two it is.

    Raises:
        InvalidInputError: There is no such place.
    """
    if not changes:
        return body
    if is_form:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return urlencode(fields | {_field(path): text for path, text in changes.items()}).encode()
    document = json.loads(body)
    for path, text in changes.items():
        _set(document, path, _value(text))
    return json.dumps(document, ensure_ascii=False).encode()


def put_text(body: bytes, old: str, new: str, *, is_form: bool) -> bytes:
    """Return a body in which every value that is exactly a text is another one."""
    if is_form:
        fields = parse_qsl(body.decode(), keep_blank_values=True)
        return urlencode([(key, new if text == old else text) for key, text in fields]).encode()
    document = _mapped(json.loads(body), lambda value: new if value == old else value)
    return json.dumps(document, ensure_ascii=False).encode()


def _field(path: str) -> str:
    first, *rest = path.split(".")
    return first + "".join(f"[{name}]" for name in rest)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set(document: Any, path: str, value: Any) -> None:
    *way, last = path.split(".")
    for name in way:
        key = _key(document, name, path)
        if isinstance(document, dict) and key not in document:
            raise _nowhere(path, name, nearest(name, document))
        document = document[key]
    key = _key(document, last, path)
    document[key] = value


def _key(document: Any, name: str, path: str) -> Any:
    if isinstance(document, dict):
        return name
    if not isinstance(document, list):
        raise _nowhere(path, name, "what stands before it is neither an object nor a list")
    if not (name.isascii() and name.isdigit()) or int(name) >= len(document):
        raise _nowhere(path, name, f"a list is there: 0 to {len(document) - 1}")
    return int(name)


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    return change(value)


def _nowhere(path: str, name: str, hint: str) -> InvalidInputError:
    return InvalidInputError(
        f"--set {path[:80]}: there is no {name[:40]!r} in the body", hint=hint, code="set-path"
    )
