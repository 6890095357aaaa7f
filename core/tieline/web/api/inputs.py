"""Read what a request brings, and refuse what is not exactly as it is declared."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NoReturn

from marshmallow import Schema, ValidationError, fields
from starlette.requests import Request

from tieline.contract import Secret
from tieline.services.tokens import is_token
from tieline.web.api.problems import Problem

__all__ = [
    "bearer_of",
    "instance_of",
    "load_body",
    "load_query",
    "require_acceptable",
    "require_json",
    "require_key",
    "tags_of",
]

_BEARER = re.compile(r"bearer +(\S{1,200})", re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TAG = re.compile(r'"[\x21\x23-\x7e]{0,200}"')
_JSON = "application/json"
_PROBLEM = "application/problem+json"
_DEEPEST = 32
_MOST_ERRORS = 50
_LONGEST_QUERY = 200


@cache
def instance_of(kind: type[Schema]) -> Schema:
    """Return the one instance of a schema: making one takes 0.1 ms."""
    return kind()


def bearer_of(request: Request) -> Secret:
    """Return the token that is shown.

    Raises:
        Problem: None is, or something that can be none.
    """
    shown = request.headers.getlist("authorization")
    if not shown:
        raise Problem(
            401,
            "token-missing",
            "this takes a token, in the header Authorization after the word Bearer",
            hint="tieline tokens create NAME --scope read",
            headers={"WWW-Authenticate": 'Bearer realm="tieline"'},
        )
    found = _BEARER.fullmatch(shown[0].strip()) if len(shown) == 1 else None
    if found is None or not is_token(found[1]):
        raise Problem(
            401,
            "token-invalid",
            "there is no such token, or it is over",
            hint="tieline tokens create NAME --scope read",
            headers={"WWW-Authenticate": 'Bearer realm="tieline", error="invalid_token"'},
        )
    return Secret(found[1])


def require_acceptable(request: Request) -> None:
    """Refuse who wants anything but JSON.

    Raises:
        Problem: They do.
    """
    accept = ",".join(request.headers.getlist("accept")).strip()
    if not accept:
        return
    for each in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in each.split(";"))
        is_refused = any(re.fullmatch(r"q=0(\.0*)?", part) for part in parameters)
        if kind in {_JSON, _PROBLEM, "application/*", "*/*"} and not is_refused:
            return
    raise Problem(406, "not-acceptable", f"answers are {_JSON}", hint=f"Accept: {_JSON}")


def require_json(request: Request, raw: bytes, *, takes_body: bool) -> None:
    """Refuse a body that is not declared as JSON, or that nobody wants.

    Raises:
        Problem: It is so.
    """
    if not raw:
        return
    if not takes_body:
        raise Problem(
            422, "invalid-input", "this takes no body", errors=[{"pointer": "", "detail": "none"}]
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "body-encoded", "bodies are read as they are, not compressed")
    kind, *parameters = request.headers.get("content-type", "").lower().split(";")
    charsets = {part.strip() for part in parameters} - {"charset=utf-8", 'charset="utf-8"', ""}
    if kind.strip() != _JSON or charsets:
        raise Problem(
            415, "body-type", f"a body is {_JSON}, in UTF-8", hint=f"Content-Type: {_JSON}"
        )


def require_key(text: str) -> str:
    """Return an Idempotency-Key.

    Raises:
        Problem: It can be none.
    """
    if not _KEY.fullmatch(text):
        raise Problem(
            422,
            "invalid-input",
            "Idempotency-Key: 1 to 255 visible ASCII characters, such as a UUID",
            errors=[{"header": "Idempotency-Key", "detail": "1 to 255 visible ASCII characters"}],
        )
    return text


def tags_of(text: str | None) -> list[str]:
    """Read the entity tags of a header; a weak one is as good as a strong one to who compares."""
    return _TAG.findall(text or "")


def load_query(schema: Schema | None, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Read a query.

    Raises:
        Problem: It names what the schema does not, or the same twice, or a
            value is wrong.
    """
    known: Mapping[str, Any] = schema.fields if schema else {}
    given: dict[str, Any] = {}
    errors: list[dict[str, str]] = []
    for name, text in pairs[:_LONGEST_QUERY]:
        field = known.get(name)
        if field is None:
            errors.append({"parameter": name[:100], "detail": "is not known here"})
        elif isinstance(field, fields.List):
            given.setdefault(name, []).append(text)
        elif name in given:
            errors.append({"parameter": name, "detail": "came twice"})
        else:
            given[name] = _plain(field, text)
    loaded: dict[str, Any] = {}
    if schema is not None:
        try:
            loaded = dict(schema.load(given))
        except ValidationError as error:
            errors += [
                {"parameter": pointer[1:].split("/")[0], "detail": detail}
                for pointer, detail in _flat(error.normalized_messages())  # type: ignore[no-untyped-call]
            ]
    if errors:
        _refuse(errors)
    return loaded


def _plain(field: Any, text: str) -> Any:
    """Read numbers and truths, which a query has as text; what is none is left to the field."""
    if isinstance(field, fields.Integer) and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if isinstance(field, fields.Boolean) and text in {"true", "false"}:
        return text == "true"
    return text


def load_body(schema: Schema | None, raw: bytes) -> dict[str, Any]:
    """Read a body; none at all is an empty one.

    Raises:
        Problem: It is no JSON (400), or a value is wrong (422).
    """
    if schema is None:
        return {}
    value = _parsed(raw) if raw else {}
    if not isinstance(value, dict):
        _refuse([{"pointer": "", "detail": "must be an object"}])
    try:
        return dict(schema.load(value))
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        _refuse([{"pointer": at, "detail": detail} for at, detail in _flat(messages)])


def _parsed(raw: bytes) -> Any:
    """Parse JSON; whole numbers stay exact, whatever their size."""
    try:
        value = json.loads(
            raw.decode(),
            parse_constant=_no_number,
            parse_float=_finite,
            object_pairs_hook=_once,
        )
        _require_shallow(value)
    except (ValueError, RecursionError) as error:
        known = str(error) if isinstance(error, _Refused) else "this is no JSON in UTF-8"
        raise Problem(
            400, "body-malformed", f"the body: {known}", errors=[{"pointer": "", "detail": known}]
        ) from None
    return value


class _Refused(ValueError):  # noqa: N818 - the parser's own protocol
    """It is JSON, and refused all the same."""


def _no_number(_name: str) -> NoReturn:
    raise _Refused("NaN and Infinity are no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # written again it would be null, or no JSON at all
        raise _Refused("a number is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a name comes twice in one object")
    return found


def _require_shallow(value: Any) -> None:
    """Refuse what nests deeply, and text that cannot be written as UTF-8."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise _Refused(f"it nests more than {_DEEPEST} deep")
        below: list[Any] = []
        for each in level:
            if isinstance(each, str):
                each.encode()  # a lone surrogate raises ValueError
            elif isinstance(each, dict):
                below += [*each, *each.values()]
            elif isinstance(each, list):
                below += each
        level = below


def _flat(messages: Any, at: str = "") -> list[tuple[str, str]]:
    """Return marshmallow's messages as JSON pointers with one sentence each."""
    if isinstance(messages, dict):
        return [
            pair
            for name, inner in messages.items()
            for pair in _flat(inner, at if name == "_schema" else f"{at}/{_escaped(name)}")
        ]
    if isinstance(messages, list):
        return [pair for each in messages for pair in _flat(each, at)]
    return [(at, _said(str(messages)))]


def _said(message: str) -> str:
    """Write a message as ours are: small, without a full stop."""
    text = message.rstrip(".")
    return "is not known here" if text == "Unknown field" else text[:1].lower() + text[1:]


def _escaped(name: Any) -> str:
    return str(name)[:100].replace("~", "~0").replace("/", "~1")


def _refuse(errors: Sequence[Mapping[str, str]]) -> NoReturn:
    first = errors[0]
    where = first.get("pointer") or first.get("parameter") or "the body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    raise Problem(
        422,
        "invalid-input",
        f"{where}: {first['detail']}{more}",
        hint="GET /v1/openapi.json says what is known",
        errors=errors[:_MOST_ERRORS],
    )
