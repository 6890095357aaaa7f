"""The OpenAPI 3.1 document, made from the same declarations that are obeyed."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls
from marshmallow import Schema, fields

from tieline.web.api.operation import Operation
from tieline.web.api.schemas import Told
from tieline.web.api.subjects import SUBJECTS

__all__ = ["VERSION", "document_of"]

VERSION = "1.0.0"
"""Of the API: what a client relies on changes with its first number alone."""

_ABOUT = """\
What the `tieline` command does, for software.

A call shows a token in the header `Authorization`, after the scheme `Bearer`; `tieline tokens
create` makes one, which begins with `tln_`. Its scope is `read`, `operate` or `admin`, each of
which may what those before it may. A token may be limited to some connections: all others, and what
belongs to them, are to it as if there were none.

Refusals are RFC 9457 problem details: `code` is stable, `errors` names every bad field, `hint` says
what to do. Fields that are not named here are refused. Lists come in pages: `next` is the `cursor`
of the page after. A `POST` may carry an `Idempotency-Key`: for 24 hours the same request with the
same key is answered as before, and not done again. An update may carry `If-Match` with the `ETag`
of what was read: if it was changed since, the answer is 412.
"""
_PROBLEMS = {
    400: "The body is no JSON, or ended early.",
    401: "There is no token, or none that is good.",
    403: "The token may not do this.",
    404: "There is no such thing, or the token may not see it.",
    406: "Answers are JSON.",
    408: "The body came too slowly.",
    409: "The present state forbids it.",
    412: "It is not as it was seen.",
    413: "The body is too large.",
    415: "The body is not JSON in UTF-8.",
    422: "A field is wrong; `errors` names each.",
    424: "The provider refused.",
    429: "The token makes too many calls.",
    500: "A fault of Tieline's, or a credential that does not open.",
    503: "A dependency is away, or this took too long; see `Retry-After`.",
}


class BadField(Schema):
    """A field that is wrong; one of the first three says where."""

    pointer = fields.String(metadata={"description": "JSON pointer into the body."})
    parameter = fields.String(metadata={"description": "Name of a parameter of the query."})
    header = fields.String(metadata={"description": "Name of a header."})
    detail = fields.String(required=True)


class ProblemDetails(Schema):
    """RFC 9457 problem details."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    code = fields.String(required=True, metadata={"description": "Stable; programs compare it."})
    detail = fields.String(required=True)
    hint = fields.String(required=True, metadata={"description": "What to do; may be empty."})
    errors = fields.List(fields.Nested(BadField))


def document_of(operations: Sequence[Operation]) -> dict[str, Any]:
    """Make the document."""
    plugin = MarshmallowPlugin(schema_name_resolver=_name_of)
    spec = APISpec(
        title="Tieline",
        version=VERSION,
        openapi_version="3.1.0",
        info={"description": _ABOUT, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        servers=[{"url": "/v1"}],
        plugins=[plugin],
    )
    converter = plugin.converter
    assert converter is not None
    converter.add_attribute_function(_described_secret)  # type: ignore[no-untyped-call]
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    spec.components.schema("ProblemDetails", schema=ProblemDetails)
    for status, words in _PROBLEMS.items():
        spec.components.response(f"Problem{status}", _problem(words))
    for tag in dict.fromkeys(operation.tag for operation in operations):
        spec.tag({"name": tag})
    by_path: dict[str, dict[str, Any]] = {}
    for operation in operations:
        said = _operation(operation)
        by_path.setdefault(operation.path, {})[operation.method.lower()] = said
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # two schemas of one name
        for path, said in by_path.items():
            spec.path(path=path, operations=said, parameters=_path_parameters(path))
    return spec.to_dict()


def _name_of(schema: Any) -> str:
    return str(resolve_schema_cls(schema).__name__)  # type: ignore[union-attr]


def _operation(operation: Operation) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _description(operation),
        "security": [{"bearer": []}],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "x-tieline-scope": operation.scope,
    }
    if operation.body is not None:
        content: dict[str, Any] = {"schema": operation.body}
        if operation.example is not None:
            content["example"] = dict(operation.example)
        is_required = any(field.required for field in operation.body().fields.values())
        said["requestBody"] = {
            "required": is_required,
            "content": {"application/json": content},
        }
    return said


def _description(operation: Operation) -> str:
    parts = [re.sub(r"\s+", " ", (operation.does.__doc__ or "").split("\n\n")[0]).strip()]
    parts.append(f"Takes a token of scope `{operation.scope}`.")
    if operation.is_for_all:
        parts.append("Not for tokens that are limited to some connections.")
    if operation.is_secret:
        parts.append("The answer tells a secret, once.")
    if operation.command:
        parts.append(f"The same as `tieline {operation.command}`.")
    return "\n\n".join(part for part in parts if part)


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": f"The {SUBJECTS[name].title}.",
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": SUBJECTS[name].most,
                "pattern": f"^{SUBJECTS[name].pattern}$",
            },
            "example": SUBJECTS[name].example,
        }
        for name in re.findall(r"{(\w+)}", path)
    ]


def _parameters(operation: Operation) -> list[Any]:
    found: list[Any] = []
    if operation.query is not None:
        found.append({"in": "query", "schema": operation.query})
    if operation.method == "POST":
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same request with the same key is done once in 24 hours.",
                "schema": {"type": "string", "pattern": r"^[!-~]{1,255}$"},
                "example": "7d1f0c52-6a3e-4c0e-9a55-1f7a4a0e3b11",
            }
        )
    return found


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.answer is not None:
        content: dict[str, Any] = {"schema": operation.answer}
        if operation.answers is not None:
            content["example"] = operation.answers
        good["content"] = {"application/json": content}
    statuses = {401, 403, 406, 422, 429, 500, 503}
    if "{" in operation.path or operation.query is not None or operation.body is not None:
        statuses.add(404)
    if operation.method != "GET":
        statuses.add(409)
    if operation.body is not None:
        statuses |= {400, 408, 413, 415}
    if operation.method in {"PUT", "PATCH", "DELETE"}:
        statuses.add(412)
    if operation.asks_provider:
        statuses.add(424)
    if operation.method == "GET":
        statuses.add(409)
    problems = {str(status): f"Problem{status}" for status in sorted(statuses)}
    done = {str(operation.status): good}
    if operation.other_status is not None:
        done[str(operation.other_status)] = good
    return {**done, **problems}


def _problem(words: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/ProblemDetails"}
    return {"description": words, "content": {"application/problem+json": {"schema": reference}}}


def _described_secret(_converter: Any, field: Any, **_given: Any) -> dict[str, Any]:
    """Mark what must not be kept in clear by whoever gets it."""
    return {"x-tieline-secret": True} if isinstance(field, Told) else {}
