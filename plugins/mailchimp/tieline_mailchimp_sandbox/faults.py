"""Faults on order: which request goes wrong, and how.

A fault counts the requests that match it, and fires from the ``nth`` on,
``times`` times. Several may fire on one request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

import orjson

from tieline_mailchimp_sandbox.answers import PROBLEM, Answer, Headers, Problem, html
from tieline_mailchimp_sandbox.mutation import Mutation

__all__ = ["KINDS", "REPLACING", "Fault", "Faults", "FiredFaults"]

KINDS = {
    "status": 'answer `status` with `body` (JSON value, text as HTML, "" for none) and `headers`',
    "html200": "answer 200 with an HTML page",
    "empty": "answer 200 without a body",
    "drop": "close the connection without an answer",
    "delay": "wait for `seconds` before executing",
    "slow": "send the body in `chunks` pieces over `seconds`",
    "mutate": "run `mutation` before answering",
}
"""What can go wrong."""

REPLACING = ("drop", "status", "html200", "empty")
"""Kinds after which the true answer does not go out."""

_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault.

    Args:
        kind: One of :data:`KINDS`.
        path: Exact path, or a prefix that ends in ``*``.
        method: Empty: all methods.
        query: Text that the raw query must contain.
        nth: First matching request that goes wrong, from 1.
        times: How many in a row; 0: all further ones.
        executed: For ``status``, ``html200``, ``empty`` and ``drop``: whether the
            request takes effect although the caller is not told so.
        status: HTTP status for ``status``.
        body: JSON value, sent as a problem document's type; a text is sent as
            HTML; ``""``: no body and no content type, as Mailchimp answers 429
            and 403 under load; None: a problem document of Mailchimp's.
        headers: Further headers for ``status``, such as ``Retry-After``.
        seconds: For ``slow`` and ``delay``.
        chunks: For ``slow``.
        mutation: For ``mutate``: a
            :class:`~tieline_mailchimp_sandbox.mutation.Mutation`.
    """

    kind: str
    path: str = "*"
    method: str = ""
    query: str = ""
    nth: int = 1
    times: int = 1
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
        if unknown := given.keys() - {one.name for one in fields(cls)}:
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
        if self.nth < 1 or self.times < 0 or self.chunks < 1 or self.seconds < 0:
            raise ValueError("nth and chunks start at 1, times and seconds at 0")
        if not 200 <= self.status < 600:
            raise ValueError("a status is between 200 and 599")
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
        return count >= self.nth and (self.times == 0 or count < self.nth + self.times)

    def instead(self, request_id: str) -> Answer:
        """Return the answer that replaces the true one."""
        if self.kind == "html200":
            return html(_PAGE.format("Welcome"))
        if self.kind != "status" or self.body == "":
            status = self.status if self.kind == "status" else 200
            return Answer(status=status, headers=self._extra())
        if isinstance(self.body, str):
            return html(self.body, status=self.status, headers=self._extra())
        if self.body is None:
            said = Problem(self.status, "Fault", "A fault on order.", self._extra())
            return said.answer(request_id)
        return Answer(
            status=self.status,
            body=orjson.dumps(self.body),
            headers=self._extra(),
            content_type=PROBLEM,
        )

    def _extra(self) -> Headers:
        return tuple((name.lower().encode(), text.encode()) for name, text in self.headers.items())


FiredFaults = dict[str, Fault]
"""The faults that concern one request, by kind."""


class Faults:
    """The script, and how far it has got."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._counts: list[int] = []

    def script(self, faults: list[Fault]) -> None:
        """Replace the script; all counts start anew."""
        self._script = faults
        self._counts = [0] * len(faults)

    def status(self) -> list[dict[str, Any]]:
        """Return the script with the number of matching requests so far."""
        return [
            {"fault": fault, "matched": count}
            for fault, count in zip(self._script, self._counts, strict=True)
        ]

    def fire(self, method: str, path: str, query: str) -> FiredFaults:
        """Count a request and return the faults that concern it."""
        fired: FiredFaults = {}
        for place, fault in enumerate(self._script):
            if fault.matches(method, path, query):
                self._counts[place] += 1
                if fault.fires(self._counts[place]):
                    fired.setdefault(fault.kind, fault)
        return fired


def _is_a(value: object, expected: Any) -> bool:
    if expected in {int, float} and isinstance(value, bool):
        return False
    if expected is float:
        return isinstance(value, int | float)
    return isinstance(value, getattr(expected, "__origin__", expected))
