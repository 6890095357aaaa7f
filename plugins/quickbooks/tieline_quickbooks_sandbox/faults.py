"""Faults on order: which request goes wrong, and how.

A fault counts the requests that match it, and fires from the ``nth`` on,
``times`` times. Several may fire on one request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

from tieline_quickbooks_sandbox.answers import (
    Answer,
    Headers,
    json_answer,
    not_authenticated,
    not_connected,
    page,
    service_fault,
    throttled,
)
from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.request import Request

__all__ = ["KINDS", "Fault", "Faults", "FiredFaults"]

KINDS = {
    "status": "answer `status` with `body` (JSON value, or text sent as HTML or XML) and `headers`",
    "html200": "answer 200 with an HTML page",
    "empty": "answer 200 without a body",
    "drop": "close the connection without an answer",
    "slow": "send the body in `chunks` pieces over `seconds`",
    "delay": "wait for `seconds` before executing",
    "mutate": "first carry out `body`, an order of `/_sandbox/mutate`",
}
"""What can go wrong."""

_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_STATUSES = range(100, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault.

    Args:
        kind: One of :data:`KINDS`.
        path: Exact path, or a prefix that ends in ``*``.
        method: Empty: all methods.
        query: Text that the raw query must contain.
        form: Text that the raw body must contain, such as
            ``grant_type=refresh_token``.
        nth: First matching request that goes wrong, from 1.
        times: How many in a row; 0: all further ones.
        executed: For ``status``, ``html200``, ``empty`` and ``drop``: whether the
            request takes effect although the caller is not told so.
        status: HTTP status for ``status``.
        body: JSON value, or a text that is sent as XML where it begins with
            ``<?xml``, else as HTML; None: what Intuit writes with that status.
        headers: Further headers for ``status``, such as ``Retry-After``.
        seconds: For ``slow`` and ``delay``.
        chunks: For ``slow``.
    """

    kind: str
    path: str = "*"
    method: str = ""
    query: str = ""
    form: str = ""
    nth: int = 1
    times: int = 1
    executed: bool = False
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 1.0
    chunks: int = 20

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

    def matches(self, request: Request) -> bool:
        """Whether a request is counted."""
        if self.method not in {"", request.method}:
            return False
        if self.query not in request.query.decode("latin-1"):
            return False
        if self.form not in request.body.decode("latin-1"):
            return False
        if self.path.endswith("*"):
            return request.path.startswith(self.path[:-1])
        return request.path == self.path

    def fires(self, count: int) -> bool:
        """Whether the fault concerns the count-th matching request."""
        return count >= self.nth and (self.times == 0 or count < self.nth + self.times)

    def instead(self, clock: Clock) -> Answer | None:
        """Return the answer that replaces the true one; None: the true one goes out."""
        if self.kind == "status":
            return self._status_answer(clock)
        if self.kind == "html200":
            return page(_HTML.format("Welcome"))
        return Answer(body=b"") if self.kind == "empty" else None

    def _status_answer(self, clock: Clock) -> Answer:
        headers = tuple(
            (name.lower().encode(), text.encode()) for name, text in self.headers.items()
        )
        if isinstance(self.body, str):
            kind = b"application/xml" if self.body.startswith("<?xml") else b"text/html"
            text = self.body or _HTML.format(self.status)
            return _answer(self.status, text.encode(), kind, headers)
        if self.body is None:
            usual = _usual(self.status, clock)
            return _answer(self.status, usual.body, usual.content_type, headers)
        return json_answer(self.body, status=self.status, headers=headers)


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

    def fire(self, request: Request) -> FiredFaults:
        """Count a request and return the faults that concern it."""
        fired: FiredFaults = {}
        for place, fault in enumerate(self._script):
            if fault.matches(request):
                self._counts[place] += 1
                if fault.fires(self._counts[place]):
                    fired.setdefault(fault.kind, fault)
        return fired


def _usual(status: int, clock: Clock) -> Answer:
    """Return what Intuit writes with a status that nobody gave a body for."""
    gateway = {401: not_authenticated, 403: not_connected, 429: throttled}
    if status in gateway:
        return gateway[status](clock.now()).answer
    message = "An application error has occurred while processing your request"
    detail = "System Failure Error"
    return service_fault(
        status, "SystemFault", "10000", message, detail, clock.company_time()
    ).answer


def _answer(status: int, body: bytes, kind: bytes, headers: Headers) -> Answer:
    return Answer(status=status, body=body, content_type=kind, headers=headers)


def _is_a(value: object, expected: Any) -> bool:
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    plain = getattr(expected, "__origin__", expected)
    return isinstance(value, plain) and (plain is bool or not isinstance(value, bool))
