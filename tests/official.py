"""A server that is held to a provider's official description of its API, and nothing else.

It refuses what the description does not know: paths, parameters, their types
and values, fields of bodies. What it answers is taken from the description's
own examples, or made of its schemas: any value of the type that they name.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from jsonschema import Draft202012Validator

from kit import START


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        method: In lower case.
        path: Of the address, decoded no further.
        query: Parameters; one that comes twice has its last value.
        body: JSON, the text if it is none, or None.
        template: The description's path, such as ``/lists/{list_id}``.
        schema: Name of the schema that a good answer has.
    """

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    template: str = ""
    schema: str = ""


class Document:
    """An OpenAPI 3 or Swagger 2 description."""

    def __init__(self, path: Path) -> None:
        given = json.loads(path.read_text("utf-8"))
        self.base = given.get("basePath", "")
        self.paths: dict[str, Any] = given["paths"]
        self._place = "components" if "components" in given else "definitions"
        self._types = {self._place: _without_nullable(given[self._place])}
        self._closed = {self._place: _closed(self._types[self._place])}

    def read(self, request: Request) -> tuple[Request, list[str]]:
        """Return the request with what the description calls it, and what is wrong with it."""
        template, operation = self._find(request)
        if operation is None:
            return request, [f"there is no {request.method} {request.path}"]
        answer = operation["responses"]["200"]
        schema = answer.get("schema") or answer["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        known = Request(request.method, request.path, request.query, request.body, template, name)
        return known, [*self._wrong_query(known, operation), *self._wrong_body(known, operation)]

    def errors(self, schema: str, value: Any) -> list[str]:
        """Say what is wrong with a value of a schema."""
        return self._errors(self._ref(schema), value, self._types)

    def make(self, schema: str) -> Any:
        """Make a value that has every field, numbered so that no two texts are the same."""
        return _made(self._ref(schema), self._types, [0], depth=0)

    def _find(self, request: Request) -> tuple[str, Any]:
        found = [
            template
            for template, operations in self.paths.items()
            if request.method in operations
            and re.fullmatch(
                re.sub(r"\\{\w+\\}", "[^/]+", re.escape(self.base + template)), request.path
            )
        ]
        if not found:
            return "", None
        template = min(found, key=lambda each: each.count("{"))
        return template, self.paths[template][request.method]

    def _wrong_query(self, request: Request, operation: Any) -> Iterator[str]:
        known = {each["name"]: each for each in operation.get("parameters", ())}
        asked = {name: each for name, each in known.items() if each["in"] == "query"}
        for name, text in request.query.items():
            if name not in asked:
                yield f"{request.path} has no parameter {name!r}"
                continue
            schema = asked[name].get("schema", asked[name])
            facts = {key: schema[key] for key in _FACTS & schema.keys()}
            for error in self._errors(facts | _ref_of(schema), _typed(text, schema), self._types):
                yield f"{request.path}?{name}={text}: {error}"
        missing = {name for name, each in asked.items() if each.get("required")}
        for name in missing - request.query.keys():
            yield f"{request.path} needs {name!r}"

    def _wrong_body(self, request: Request, operation: Any) -> Iterator[str]:
        schema: Any = None
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
        for each in operation.get("parameters", ()):
            schema = each["schema"] if each["in"] == "body" else schema
        if schema is None:
            if request.body is not None:
                yield f"{request.method} {request.path} has no body"
            return
        for error in self._errors(schema, request.body, self._closed):
            yield f"{request.method} {request.path}: {error}"

    def _ref(self, name: str) -> dict[str, Any]:
        folder = "components/schemas" if self._place == "components" else "definitions"
        return {"$ref": f"#/{folder}/{name}"}

    def _errors(self, schema: Any, value: Any, types: Mapping[str, Any]) -> list[str]:
        found = Draft202012Validator({**schema, **types}).iter_errors(value)
        return [f"{each.json_path}: {each.message}" for each in found]


@dataclass
class Official:
    """The server.

    Attributes:
        document: What requests are held to; None: nothing is.
        answer: Gives status and body of a request's answer.
        url: Where it is.
        asked: Every request.
        complaints: What was wrong with them.
    """

    document: Document | None
    answer: Callable[[Request], tuple[int, Any]]
    url: str = ""
    asked: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, request: Request) -> tuple[int, Any]:
        with self.lock:
            wrong: list[str] = []
            if self.document:
                request, wrong = self.document.read(request)
            self.asked.append(request)
            self.complaints += wrong
            if wrong:
                return 400, {"complaints": wrong}
            return self.answer(request)


class _Requests(BaseHTTPRequestHandler):
    official: Official
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        is_json = "json" in self.headers.get("Content-Type", "")
        body = json.loads(content) if content and is_json else content.decode() or None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        status, said = self.official.reply(Request(self.command.lower(), parts.path, query, body))
        data = json.dumps(said, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002
        """Go by the time at which the installations of the tests begin."""
        return format_datetime(START, usegmt=True)

    def log_message(self, *_args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def opened(
    document: Document | None, answer: Callable[[Request], tuple[int, Any]]
) -> Iterator[Official]:
    """Serve a description for a while."""
    official = Official(document, answer)
    handler = type("Requests", (_Requests,), {"official": official})
    with _Server(("127.0.0.1", 0), handler) as server:
        official.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield official
        finally:
            server.shutdown()
            thread.join()


# --- the dialects of JSON Schema ------------------------------------------------------------------

_FACTS = {"type", "enum", "items", "minimum", "maximum", "minLength", "maxLength", "pattern"}


def _ref_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"$ref": schema["$ref"]} if "$ref" in schema else {}


def _typed(text: str, schema: Mapping[str, Any]) -> Any:
    """Read a parameter's text as its type has it; what it has not stays text."""
    kind = schema.get("type")
    if kind == "array":
        return [_typed(each, schema.get("items", {})) for each in text.split(",")]
    if kind in {"integer", "number"} and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return json.loads(text)
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text


def _without_nullable(schema: Any) -> Any:
    """Write OpenAPI 3.0's ``nullable`` as JSON Schema does."""
    if isinstance(schema, list):
        return [_without_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _without_nullable(each) for name, each in schema.items()}
    if found.pop("nullable", False) is True:
        return {"anyOf": [found, {"type": "null"}]}
    return found


def _closed(schema: Any) -> Any:
    """Refuse fields that a schema does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _closed(each) for name, each in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


_TEXTS = {"date-time": "2026-03-02T09:15:{:02d}+00:00", "date": "2026-03-{:02d}"}


def _made(schema: Any, types: Mapping[str, Any], count: list[int], *, depth: int) -> Any:
    if "$ref" in schema:
        found: Any = types
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _made(found, types, count, depth=depth)
    if "anyOf" in schema:
        return _made(schema["anyOf"][0], types, count, depth=depth)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        named = schema.get("properties", {}) if depth < 8 else {}
        made = {name: _made(each, types, count, depth=depth + 1) for name, each in named.items()}
        more = schema.get("additionalProperties")
        return made | ({"KEY": _made(more, types, count, depth=depth + 1)} if more else {})
    if kind == "array":
        return _rows(schema["items"], types, count, depth)
    count[0] += 1
    if kind in {"integer", "number"}:
        return max(count[0], schema.get("minimum", 0))
    if kind == "boolean":
        return count[0] % 2 == 0
    dated = _TEXTS.get(schema.get("format", ""))
    return dated.format(count[0] % 28 + 1) if dated else f"text{count[0]}"


def _rows(items: Any, types: Mapping[str, Any], count: list[int], depth: int) -> list[Any]:
    """Make a row for every value that a row's ``status`` may have; else one."""
    first = _made(items, types, count, depth=depth + 1)
    resolved = items
    if "$ref" in items:
        resolved = types
        for part in items["$ref"].removeprefix("#/").split("/"):
            resolved = resolved[part]
    states = resolved.get("properties", {}).get("status", {}).get("enum", ())[1:]
    more = [_made(items, types, count, depth=depth + 1) | {"status": each} for each in states]
    return [first, *more]
