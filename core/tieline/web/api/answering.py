"""From a request to an answer: who asks, what for, whether it may, and then the service.

The event loop reads bodies and nothing else; all the rest is done by a few
threads. A call is answered by its deadline, whatever its thread still does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from tieline.contract import RetryLaterError, Secret, TielineError
from tieline.services import repeats, tokens
from tieline.services.installation import Installation
from tieline.services.tokens import TokenRow
from tieline.telemetry import get_logger, span
from tieline.web.api import inputs
from tieline.web.api.admission import admit, count_call
from tieline.web.api.crew import Crew
from tieline.web.api.operation import Call, Operation
from tieline.web.api.problems import Problem, problem_of, respond
from tieline.web.bodies import Body, BodyRefused, Room
from tieline.web.pages import HEADERS

__all__ = ["PREFIX", "Api"]

PREFIX = "/v1"

_log = get_logger(__name__)
_LARGEST_BODY = 1_048_576
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS


class Api:
    """Answers at ``/v1``.

    Args:
        installation: Where.
        operations: All that can be asked for.
    """

    def __init__(self, installation: Installation, operations: Sequence[Operation]) -> None:
        self._installation = installation
        self._operations = operations
        self._room = Room()

    @cached_property
    def _crew(self) -> Crew:
        return Crew("api", self._installation.settings.api_threads)

    @cached_property
    def _asking_crew(self) -> Crew:
        """Works on what asks a provider, so that a slow one keeps nobody from reading."""
        return Crew("api-asking", max(1, self._installation.settings.api_threads // 2))

    def routes(self) -> list[Route]:
        """Return a route for each path: what else is asked of it is answered by 405."""
        by_path: dict[str, dict[str, Operation]] = {}
        for operation in self._operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
        return [
            Route(
                PREFIX + path.replace("{record}", "{record:path}"),
                self._endpoint(by_method),
                methods=list(by_method),
            )
            for path, by_method in by_path.items()
        ]

    def _endpoint(
        self, by_method: Mapping[str, Operation]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            return await self._answer(request, by_method[method], by_method.get("GET"))

        return answer

    async def _answer(
        self, request: Request, operation: Operation, reading: Operation | None
    ) -> Response:
        try:
            token = inputs.bearer_of(request)
            inputs.require_acceptable(request)
            body = await self._body(request, operation)
            work = _Work(
                installation=self._installation,
                operation=operation,
                reading=reading,
                token=token,
                path=dict(request.path_params),
                query=request.query_params.multi_items(),
                headers=request.headers,
                body=body,
            )
            crew = self._asking_crew if operation.asks_provider else self._crew
            return await crew.answer(work.do, self._installation.settings.api_deadline_s)
        except Problem as problem:
            return respond(problem)

    async def _body(self, request: Request, operation: Operation) -> bytes:
        body = Body(request, _LARGEST_BODY, self._room)
        try:
            raw = await body.read()
        except BodyRefused as refused:
            headers = {"Connection": "close"} if refused.status != 503 else {"Retry-After": "5"}
            raise Problem(
                refused.status,
                f"body-{refused.reason}",
                f"the body was not read: {refused.reason}",
                hint=f"send at most {_LARGEST_BODY} bytes, at once",
                headers=headers,
            ) from None
        except ClientDisconnect:
            raise Problem(400, "body-cut", "the body ended early") from None
        finally:
            body.release()
        inputs.require_json(request, raw, takes_body=operation.body is not None)
        return raw


class _Work:
    """One call, done in a thread."""

    def __init__(
        self,
        *,
        installation: Installation,
        operation: Operation,
        reading: Operation | None,
        token: Secret,
        path: Mapping[str, str],
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        self._installation = installation
        self._operation = operation
        self._reading = reading
        self._token = token
        self._path = path
        self._query = query
        self._headers = headers
        self._body = body
        self._added: dict[str, str] = {}

    def do(self) -> Response:
        """Answer; every refusal is an answer too."""
        try:
            return self._done()
        except (Problem, TielineError) as refusal:
            return self._refused(refusal)
        except Exception:  # noqa: BLE001 - whatever broke, the answer has our form
            _log.exception("a bug of ours", operation=self._operation.name)
            return respond(Problem(500, "bug", "this is a fault of Tieline's; its log says more"))

    def _done(self) -> Response:
        operation = self._operation
        row = tokens.authenticate(self._installation, self._token.reveal())
        # Whoever asks without a token makes no spans, and has no say in which are kept.
        with span(
            "request",
            kind="server",
            parent=self._headers.get("traceparent", ""),
            operation=operation.name,
            method=operation.method,
        ) as seen:
            try:
                answer = self._answered(row)
            except (Problem, TielineError) as refusal:
                answer = self._refused(refusal)
            seen.note(status=answer.status_code)
            return answer

    def _refused(self, refusal: Problem | TielineError) -> Response:
        problem = refusal if isinstance(refusal, Problem) else problem_of(refusal)
        problem.headers |= self._added
        return respond(problem)

    def _answered(self, row: TokenRow) -> Response:
        operation = self._operation
        self._added |= count_call(self._installation, row, only_reads=operation.method == "GET")
        call = admit(
            self._installation,
            operation,
            row,
            path=self._path,
            query=self._query,
            body=self._body,
        )
        if operation.method == "GET":
            return self._read(operation, call)
        call = self._matched(call)
        key = self._headers.get("idempotency-key")
        if operation.method != "POST" or key is None:
            status, raw = self._written(call)
            return self._respond(status, raw)
        return self._once(call, inputs.require_key(key))

    def _read(self, operation: Operation, call: Call) -> Response:
        value = operation.does(call)
        raw = _dumped(operation, value)
        tag = _tag_of(operation, value, raw)
        self._added["ETag"] = tag
        if tag in inputs.tags_of(self._headers.get("if-none-match")):
            return Response(status_code=304, headers={**HEADERS, **self._added})
        return self._respond(operation.status, raw)

    def _matched(self, call: Call) -> Call:
        """Refuse a change by somebody who had seen something else than there is.

        Raises:
            Problem: It is another one by now.
        """
        given = self._headers.get("if-match")
        if given is None or self._operation.method == "POST":
            return call
        if self._reading is None:
            raise Problem(
                422,
                "precondition",
                "there is nothing to compare If-Match with here",
                errors=[{"header": "If-Match", "detail": "is not understood here"}],
            )
        try:
            value = self._reading.does(call)
        except TielineError as error:
            found = problem_of(error)
            if found.status != HTTPStatus.NOT_FOUND:
                raise
            raise _changed() from None
        tag = _tag_of(self._reading, value, _dumped(self._reading, value))
        if given.strip() != "*" and tag not in inputs.tags_of(given):
            raise _changed()
        return Call(
            installation=call.installation,
            token=call.token,
            path=call.path,
            query=call.query,
            body=call.body,
            seen=value,
        )

    def _written(self, call: Call) -> tuple[int, bytes]:
        value = self._operation.does(call)
        status = self._operation.status
        if self._operation.other_status is not None:
            status, value = value
        return status, _dumped(self._operation, value)

    def _once(self, call: Call, key: str) -> Response:
        """Do what is asked, unless it was asked before with the same key."""
        operation = self._operation
        asked = orjson.dumps([operation.name, sorted(self._path.items()), sorted(self._query)])
        claimed = repeats.claim(
            self._installation,
            call.token.id,
            self._token,
            key,
            request=asked + b"\0" + self._body,
            is_secret=operation.is_secret,
        )
        if isinstance(claimed, repeats.Repeated):
            self._added["Idempotency-Replayed"] = "true"
            return self._respond(claimed.status, claimed.body)
        try:
            status, raw = self._written(call)
        except (Problem, TielineError) as error:
            problem = error if isinstance(error, Problem) else problem_of(error)
            if problem.status < 500 or isinstance(error, RetryLaterError):
                claimed.release()  # it was refused, so nothing was done
            else:
                claimed.give_up()
            raise
        except BaseException:
            claimed.give_up()
            raise
        claimed.settle(status, raw)
        return self._respond(status, raw)

    def _respond(self, status: int, raw: bytes) -> Response:
        headers = {**HEADERS, **self._added}
        if status == HTTPStatus.NO_CONTENT:
            return Response(status_code=status, headers=headers)
        return Response(raw, status_code=status, headers=headers, media_type="application/json")


def _dumped(operation: Operation, value: Any) -> bytes:
    if operation.answer is None:
        return b""
    return orjson.dumps(inputs.instance_of(operation.answer).dump(value), option=_OPTIONS)


def _tag_of(operation: Operation, value: Any, raw: bytes) -> str:
    said = operation.version(value).encode() if operation.version else raw
    return f'"{hashlib.blake2b(said, digest_size=12).hexdigest()}"'


def _changed() -> Problem:
    return Problem(
        412,
        "changed",
        "it is not as you saw it: somebody changed it meanwhile",
        hint="read it again, and decide anew",
    )
