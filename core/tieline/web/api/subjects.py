"""What the parameters of paths name, found before an operation is called.

Whoever may not see a connection gets the same answer for it, and for all that
belongs to it, as for something that there is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema

from tieline.errors import NotFoundError
from tieline.services.connections import get_connection
from tieline.services.dead_letters import get_dead_letter
from tieline.services.events import get_event
from tieline.services.installation import Installation
from tieline.services.outbox import show_operation
from tieline.services.quarantine import get_quarantined
from tieline.services.syncs import get_run
from tieline.services.webhooks import get_endpoint
from tieline.web.api.operation import Call
from tieline.web.api.problems import Problem
from tieline.web.api.schemas import NAME, ConnectionRef

__all__ = ["SUBJECTS", "Subject", "find_named", "find_path"]

Find = Callable[[Installation, str], tuple[Any, str | None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A parameter of a path.

    Attributes:
        title: What it is, in a sentence.
        pattern: What every one looks like.
        example: One.
        most: The most characters.
        find: Returns it and the id of the connection that it belongs to, None
            if that is none; raises NotFoundError. None: it is but a text, which
            the service looks at.
    """

    title: str
    pattern: str
    example: str
    most: int = 64
    find: Find | None = None

    @property
    def code(self) -> str:
        """Name the refusal of one that there is not."""
        return f"{self.title.replace(' ', '-')}-unknown"


def _id(kind: str) -> str:
    return f"{kind}_[a-z0-9]{{1,27}}"


def _connection(installation: Installation, text: str) -> tuple[Any, str | None]:
    row = get_connection(installation, text)
    return row, row.id


def _run(installation: Installation, text: str) -> tuple[Any, str | None]:
    run = get_run(installation, text)
    return run, run.connection_id


def _operation(installation: Installation, text: str) -> tuple[Any, str | None]:
    listed = show_operation(installation, text)
    return listed, listed.row.connection_id


def _endpoint(installation: Installation, text: str) -> tuple[Any, str | None]:
    listed = get_endpoint(installation, text, is_counted=True)
    return listed, listed.endpoint.connection_id


def _event(installation: Installation, text: str) -> tuple[Any, str | None]:
    shown = get_event(installation, text)
    return shown, shown.row.connection_id


def _letter(installation: Installation, text: str) -> tuple[Any, str | None]:
    letter = get_dead_letter(installation, text)
    return letter, letter.connection_id


def _bad(installation: Installation, text: str) -> tuple[Any, str | None]:
    kept = get_quarantined(installation, text)
    return kept, kept.connection_id


_WORD = r"[a-z][a-z0-9_]{0,39}"

SUBJECTS: Mapping[str, Subject] = {
    "provider": Subject(title="provider", pattern=r"[a-z][a-z0-9_-]{0,39}", example="acme"),
    "connection": Subject(title="connection", pattern=NAME, example="shop", find=_connection),
    "entity": Subject(title="entity", pattern=_WORD, example="customers"),
    "record": Subject(title="record", pattern=r"[^\x00\ud800-\udfff]+", example="c_1", most=255),
    "consumer": Subject(title="consumer", pattern=NAME, example="warehouse"),
    "run": Subject(title="run", pattern=_id("run"), example="run_4k7zq2", find=_run),
    "operation": Subject(
        title="operation", pattern=_id("op"), example="op_4k7zq2", find=_operation
    ),
    "endpoint": Subject(
        title="webhook endpoint", pattern=_id("whe"), example="whe_4k7zq2", find=_endpoint
    ),
    "event": Subject(title="webhook event", pattern=_id("evt"), example="evt_4k7zq2", find=_event),
    "letter": Subject(
        title="dead letter", pattern=_id("dead"), example="dead_4k7zq2", find=_letter
    ),
    "bad": Subject(title="quarantined record", pattern=_id("bad"), example="bad_4k7zq2", find=_bad),
    "token": Subject(title="token", pattern=NAME, example="warehouse"),
    "queue": Subject(title="queue", pattern=r"[A-Za-z0-9._-]{1,80}", example="sync", most=80),
    "link": Subject(title="link", pattern=r"[A-Za-z0-9_-]{8,128}", example="Zm9v-YmFy"),
}


def find_path(call: Call, given: Mapping[str, str]) -> dict[str, Any]:
    """Find what the path names, from left to right.

    Raises:
        Problem: There is no such thing, or the caller may not see it.
    """
    return {name: _found(call, SUBJECTS[name], text) for name, text in given.items()}


def _found(call: Call, subject: Subject, text: str) -> Any:
    if len(text) > subject.most or not re.fullmatch(subject.pattern, text):
        raise _unknown(subject, text)
    if subject.find is None:
        return text
    try:
        value, connection_id = subject.find(call.installation, text)
    except NotFoundError:
        raise _unknown(subject, text) from None
    if not call.may_see(connection_id):
        raise _unknown(subject, text)
    return value


def find_named(call: Call, schema: Schema, loaded: dict[str, Any]) -> None:
    """Put the id in the place of each connection that a query or a body names.

    Raises:
        Problem: There is no such connection, or the caller may not see it.
    """
    subject = SUBJECTS["connection"]
    for name, field in schema.fields.items():
        if isinstance(field, ConnectionRef) and loaded.get(name) is not None:
            loaded[name] = _found(call, subject, loaded[name]).id


def _unknown(subject: Subject, text: str) -> Problem:
    return Problem(404, subject.code, f"there is no {subject.title} {text[:80]!r}")
