"""Faults on order: which request goes wrong, and how.

A fault counts the requests that match it, and fires from the ``nth`` on,
``times`` times. Several may fire on one request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

import orjson

from tieline_stripe_sandbox.answers import Answer
from tieline_stripe_sandbox.mutation import Mutation

__all__ = ["KINDS", "Fault", "Faults", "FiredFaults"]

KINDS = {
    "status": "answer `status` with `body` (JSON value, or text sent as HTML) and `headers`",
    "html200": "answer 200 with an HTML page",
    "empty": "answer 200 without a body",
    "drop": "close the connection without an answer",
    "truncate": "cut the body in half and close the connection",
    "slow": "send the body in `chunks` pieces over `seconds`",
    "delay": "wait for `seconds` before executing",
    "repeat_page": "send the page before once more",
    "loop": "send this page, with has_more, whatever the cursor",
    "endless": "say has_more, also at the end",
    "mutate": "run `mutation` before answering",
}
"""What can go wrong."""

_ERROR = {"error": {"type": "api_error", "message": "An unknown error occurred"}}
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_STATUSES = range(100, 600)
_FOREVER = frozenset({"loop", "endless"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault.

    Args:
        kind: One of :data:`KINDS`.
        path: Exact path, or a prefix that ends in ``*``.
        method: Empty: all methods.
        query: Text that the raw query must contain.
        nth: First matching request that goes wrong, from 1.
        times: How many in a row; 0: all further ones; None: 1, and all further
            ones for ``loop`` and ``endless``.
        executed: For ``status``, ``html200``, ``empty`` and ``drop``: whether the
            request takes effect although the caller is not told so.
        status: HTTP status for ``status``.
        body: JSON value, or a text that is sent as HTML; None: Stripe's error.
        headers: Further headers for ``status``, such as ``Retry-After``.
        seconds: For ``slow`` and ``delay``.
        chunks: For ``slow``.
        mutation: For ``mutate``.
    """

    kind: str
    path: str = "*"
    method: str = ""
    query: str = ""
    nth: int = 1
    times: int | None = None
    executed: bool = False
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    chunks: int = 20
    mutation: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: object) -> Fault:
        """Read a fault from JSON; ValueError says what is wrong with it."""
        if not isinstance(given, dict) or given.get("kind") not in KINDS:
            raise ValueError(f"a fault is an object whose kind is one of {', '.join(KINDS)}")
        known = {one.name for one in fields(cls)}
        if unknown := given.keys() - known:
            raise ValueError(f"a fault has no {', '.join(sorted(unknown))}")
        fault = cls(**given)
        fault.check()
        return fault

    def check(self) -> None:
        """Raise ValueError for values that would fail only when the fault fires."""
        for name, expected in get_type_hints(Fault).items():
            value = getattr(self, name)
            if expected is not Any and not _is_a(value, expected):
                raise ValueError(f"{name} of a fault cannot be {value!r}")
        if self.nth < 1 or self.chunks < 1 or self.status not in _STATUSES:
            raise ValueError("nth and chunks start at 1, a status is between 100 and 599")
        if not all(isinstance(text, str) for text in self.headers.values()):
            raise ValueError("headers of a fault are texts")
        Mutation.read(self.mutation)

    def matches(self, method: str, path: str, query: str) -> bool:
        """Whether a request is counted."""
        if self.method not in {"", method} or self.query not in query:
            return False
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path

    def fires(self, count: int) -> bool:
        """Whether the fault concerns the count-th matching request."""
        times = self.times if self.times is not None else int(self.kind not in _FOREVER)
        return count >= self.nth and (times == 0 or count < self.nth + times)

    def instead(self) -> Answer | None:
        """Return the answer that replaces the true one; None: the true one goes out."""
        if self.kind == "status":
            return self._status_answer()
        if self.kind == "html200":
            return _html(200, _HTML.format("Welcome"))
        return Answer(body=b"") if self.kind == "empty" else None

    def _status_answer(self) -> Answer:
        headers = tuple(
            (name.lower().encode(), text.encode()) for name, text in self.headers.items()
        )
        if isinstance(self.body, str):
            return _html(self.status, self.body or _HTML.format(self.status), headers)
        body = orjson.dumps(_ERROR if self.body is None else self.body)
        return Answer(status=self.status, body=body, headers=headers)


FiredFaults = dict[str, Fault]
"""The faults that concern one request, by kind."""


class Faults:
    """The script, and how far it has got."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._counts: list[int] = []
        self._last: dict[str, Answer] = {}
        self._looping: dict[int, Answer] = {}

    def script(self, faults: list[Fault]) -> None:
        """Replace the script; all counts start anew."""
        self._script = faults
        self._counts = [0] * len(faults)
        self._last.clear()
        self._looping.clear()

    def status(self) -> list[dict[str, Any]]:
        """Return the script with the number of matching requests so far."""
        return [
            {"fault": fault, "matched": count}
            for fault, count in zip(self._script, self._counts, strict=True)
        ]

    def fire(self, method: str, path: str, query: bytes) -> FiredFaults:
        """Count a request and return the faults that concern it."""
        fired: FiredFaults = {}
        text = query.decode("latin-1")
        for place, fault in enumerate(self._script):
            if fault.matches(method, path, text):
                self._counts[place] += 1
                if fault.fires(self._counts[place]):
                    fired.setdefault(fault.kind, fault)
        return fired

    def distort(self, fired: FiredFaults, path: str, answer: Answer) -> Answer:
        """Return the page that goes out instead of a true one."""
        if not self._script or b'"has_more":' not in answer.body:
            return answer
        before, self._last[path] = self._last.get(path, answer), answer
        if "repeat_page" in fired:
            answer = before
        if "loop" in fired:
            loop = id(fired["loop"])
            answer = self._looping.setdefault(loop, _with_more(answer))
        return _with_more(answer) if "endless" in fired else answer


def _is_a(value: object, expected: Any) -> bool:
    if expected is float:
        return isinstance(value, int | float)
    plain = getattr(expected, "__origin__", expected)
    return isinstance(value, plain)


def _html(status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    return Answer(
        status=status, body=text.encode(), headers=headers, content_type=b"text/html; charset=utf-8"
    )


def _with_more(answer: Answer) -> Answer:
    head, _, tail = answer.body.rpartition(b'"has_more":')
    url = tail.partition(b",")[2]
    return Answer(body=head + b'"has_more":true,' + url, headers=answer.headers)
