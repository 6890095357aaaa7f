"""Faults on order: which request goes wrong, and how.

A fault counts the requests that match it, and fires from the ``nth`` on,
``times`` times. Several may fire on one request.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, get_type_hints

import orjson

from tieline_square_sandbox.answers import Answer, default_error, page
from tieline_square_sandbox.changes import Order

__all__ = ["KINDS", "Fault", "Faults", "FiredFaults"]

KINDS = {
    "status": "answer `status` with `body` (JSON value, or text sent as HTML) and `headers`",
    "html200": "answer 200 with an HTML page",
    "empty": "answer 200 without a body",
    "drop": "close the connection without an answer",
    "slow": "send the body in `chunks` pieces over `seconds`",
    "delay": "wait for `seconds` before executing",
    "mutate": "carry out `order`, as of POST /_sandbox/data, before executing",
}
"""What can go wrong. Square's own 200 with errors is ``status`` 200 with such a ``body``."""

_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


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
        body: JSON value, or a text that is sent as HTML; None: Square's error.
        headers: Further headers for ``status``, such as ``Retry-After``.
        seconds: For ``slow`` and ``delay``.
        chunks: For ``slow``.
        order: For ``mutate``.
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
    order: dict[str, Any] = field(default_factory=dict)

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
        if self.nth < 1 or self.chunks < 1 or not 100 <= self.status < 600:
            raise ValueError("nth and chunks start at 1, a status is between 100 and 599")
        if not all(isinstance(text, str) for text in self.headers.values()):
            raise ValueError("headers of a fault are texts")
        if self.kind == "mutate":
            Order.read(self.order)

    def matches(self, method: str, path: str, query: str) -> bool:
        """Whether a request is counted."""
        if self.method not in {"", method} or self.query not in query:
            return False
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path

    def fires(self, count: int) -> bool:
        """Whether the fault concerns the count-th matching request."""
        return count >= self.nth and (self.times == 0 or count < self.nth + self.times)

    def instead(self) -> Answer | None:
        """Return the answer that replaces the true one; None: none does."""
        if self.kind == "status":
            return self._status_answer()
        if self.kind == "html200":
            return page(200, _HTML.format("Welcome"))
        return Answer(body=b"") if self.kind == "empty" else None

    def _status_answer(self) -> Answer:
        headers = tuple(
            (name.lower().encode(), text.encode()) for name, text in self.headers.items()
        )
        if isinstance(self.body, str):
            shown = page(self.status, self.body or _HTML.format(self.status))
            return Answer(
                status=self.status,
                body=shown.body,
                headers=headers,
                content_type=shown.content_type,
            )
        known = default_error(self.status).body
        body = known if self.body is None else orjson.dumps(self.body)
        return Answer(status=self.status, body=body, headers=headers)


FiredFaults = dict[str, Fault]
"""The faults that concern one request, by kind."""


class Faults:
    """The script, and how far it has got."""

    def __init__(self) -> None:
        self._script: list[Fault] = []
        self._counts: list[int] = []

    def script(self, faults: list[Fault]) -> None:
        """Replace the script; all counts start anew."""
        self._script, self._counts = faults, [0] * len(faults)

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


def _is_a(value: object, expected: Any) -> bool:
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return type(value) is int
    return isinstance(value, getattr(expected, "__origin__", expected))
