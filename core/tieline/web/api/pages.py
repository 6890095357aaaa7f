"""``/v1/openapi.json``, and the same for people at ``/v1/docs``: no script, no outside file."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tieline.web.api.document import document_of
from tieline.web.api.operation import Operation
from tieline.web.pages import HEADERS

__all__ = ["document_routes"]

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.4 ui-monospace,monospace;background:#8882;padding:.1em .3em}
pre{padding:.7em;overflow:auto;white-space:pre-wrap}
details{border-top:1px solid #8885;padding:.5rem 0}
summary{cursor:pointer}
table{border-collapse:collapse}
td,th{border:1px solid #8885;padding:.2em .5em;text-align:left;vertical-align:top}
h2{margin-top:2.5rem}
:root{color-scheme:light dark}
"""
_POLICY = (
    "default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)


def document_routes(prefix: str, operations: Sequence[Operation]) -> list[Route]:
    """Return the two routes; they take no token, for they tell no more than the source does."""

    @cache
    def document() -> dict[str, Any]:
        return document_of(operations)

    @cache
    def as_json() -> bytes:
        return orjson.dumps(document(), option=orjson.OPT_INDENT_2)

    @cache
    def as_page() -> str:
        return _page(prefix, document())

    def answer(_request: Request) -> Response:
        headers = {**HEADERS, "Cache-Control": "no-cache"}
        return Response(as_json(), headers=headers, media_type="application/json")

    def show(_request: Request) -> Response:
        digest = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
        policy = {"Content-Security-Policy": _POLICY.format(digest=digest)}
        return HTMLResponse(as_page(), headers={**HEADERS, **policy, "Cache-Control": "no-cache"})

    return [
        Route(f"{prefix}/openapi.json", answer, methods=["GET"]),
        Route(f"{prefix}/docs", show, methods=["GET"]),
    ]


def _page(prefix: str, document: dict[str, Any]) -> str:
    tags = [tag["name"] for tag in document["tags"]]
    jumps = " · ".join(f'<a href="#{escape(tag)}">{escape(tag)}</a>' for tag in tags)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<title>Tieline HTTP API</title>",
        f"<style>{_STYLE}</style>",
        f"<h1>Tieline HTTP API {escape(document['info']['version'])}</h1>",
        *(f"<p>{_marked(each)}</p>" for each in document["info"]["description"].split("\n\n")),
        f'<p>As OpenAPI 3.1: <a href="{escape(prefix)}/openapi.json">openapi.json</a></p>',
        f"<p>{jumps}</p>",
    ]
    for tag in tags:
        parts.append(f'<h2 id="{escape(tag)}">{escape(tag)}</h2>')
        for path, methods in document["paths"].items():
            shared = methods.get("parameters", [])
            parts += [
                _operation(prefix, path, method, said, shared, document)
                for method, said in methods.items()
                if method != "parameters" and tag in said["tags"]
            ]
    return "\n".join([*parts, "</html>\n"])


def _operation(
    prefix: str,
    path: str,
    method: str,
    said: dict[str, Any],
    shared: list[dict[str, Any]],
    document: dict[str, Any],
) -> str:
    called = _code(f"{method.upper()} {prefix}{path}")
    parts = [
        f'<details id="{escape(said["operationId"])}">',
        f"<summary>{called} {_marked(said['summary'])}</summary>",
        *(f"<p>{_marked(each)}</p>" for each in said["description"].split("\n\n")),
    ]
    if parameters := [*shared, *said["parameters"]]:
        rows = "".join(_parameter(each) for each in parameters)
        parts.append(f"<table><tr><th>parameter<th>in<th>what</tr>{rows}</table>")
    body = said.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        parts.append(f"<p>Body</p>{_schema(body['schema'], document)}")
        if "example" in body:
            parts.append(f"<p>Example</p><pre>{escape(_pretty(body['example']))}</pre>")
    for status, answer in said["responses"].items():
        content = answer.get("content", {}).get("application/json")
        if content is not None:
            parts.append(f"<p>Answer {escape(status)}</p>{_schema(content['schema'], document)}")
    return "\n".join([*parts, "</details>"])


def _parameter(said: dict[str, Any]) -> str:
    needed = " (required)" if said.get("required") and said["in"] != "path" else ""
    what = f"{_marked(said.get('description', ''))}{needed}"
    kinds = escape(_kind(said.get("schema", {})))
    return f"<tr><td><code>{escape(said['name'])}</code><td>{said['in']}<td>{what} {kinds}</tr>"


def _schema(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """Write a schema as a table; those inside it link to nothing, and name themselves."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found = document["components"]["schemas"].get(name, schema)
    needed = set(found.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(each)}</code><td>{escape(_kind(said))}"
        f"<td>{'' if each in needed else 'optional. '}{_marked(said.get('description', ''))}</tr>"
        for each, said in found.get("properties", {}).items()
    )
    return f"<table><tr><th>{escape(name)}<th>type<th>what</tr>{rows}</table>"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for word in ("anyOf", "allOf", "oneOf"):
        if word in schema:
            return " or ".join(_kind(each) for each in schema[word])
    kind = schema.get("type", "any")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "items" in schema:
        text = f"list of {_kind(schema['items'])}"
    if "enum" in schema:
        text = " | ".join(str(each) for each in schema["enum"])
    return text


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _marked(text: str) -> str:
    """Write text; what stands between backticks is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
