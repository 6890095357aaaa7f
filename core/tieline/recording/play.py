"""Read recordings, and answer from them as the provider did."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tieline.contract import Reply, RequestRejectedError
from tieline.errors import InvalidInputError
from tieline.recording.kinds import hides
from tieline.recording.mask import HIDDEN

__all__ = ["VERSION", "Recording", "body_sent", "read_recording", "read_recordings"]

VERSION = 1
"""Of the form of the files."""

_FIELD = re.compile(r"[\w.\[\]-]{1,100}")
_STEPS = frozenset({"page", "feed", "get"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """The answers of one entity; it is a :class:`~tieline.contract.Transport`.

    Attributes:
        path: Its file.
        entity: What was read.
        source: ``live``, or ``sandbox`` for answers that prove nothing of the provider.
        exchanges: ``{"step", "request", "reply"}`` each, in the order in which they came.
        account: What stands for the account's id, and for what else says whose it is.
        feed_since: From when on the log of changes was read; None: there is none.
        asked: Places in ``exchanges`` of what was asked so far.
    """

    path: Path
    entity: str
    source: str
    exchanges: Sequence[Mapping[str, Any]]
    account: Mapping[str, str]
    feed_since: str | None = None
    asked: list[int] = field(default_factory=list)

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],  # noqa: ARG002 - the contract's
        content: bytes | None = None,
    ) -> Reply:
        """Answer as the provider did; see the contract's ``Transport``.

        Raises:
            RequestRejectedError: Nobody asked that when it was recorded.
        """
        wanted = _form_of(method, url, content)
        for place, each in enumerate(self.exchanges):
            request = each["request"]
            path = str(request["path"])
            known = (request["method"], *_queried(request["query"]), request.get("body"))
            if wanted[1].endswith(path) and (wanted[0], *wanted[2:]) == known:
                self.asked.append(place)
                return _reply_of(each["reply"])
        raise RequestRejectedError(
            f"{self.path.name} has no answer to {method} {wanted[1]} with"
            f" {dict(wanted[2]) or 'no query'}",
            hint="record it again: the plugin asks for something else now",
            code="recording-lacks-it",
        )

    def bodies(self, *steps: str) -> list[Any]:
        """Return the bodies that were answered to some steps."""
        return [each["reply"]["body"] for each in self.exchanges if each["step"] in steps]


def read_recording(path: Path) -> Recording:
    """Read one file.

    Raises:
        InvalidInputError: It is no recording of this version.
    """
    try:
        return _checked(path, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InvalidInputError(
            f"{path} is no recording of version {VERSION}: {type(error).__name__} {error}",
            hint="record it again: tieline plugin record",
            code="recording-unreadable",
        ) from None


def _checked(path: Path, said: Any) -> Recording:
    if said["version"] != VERSION:
        raise ValueError(f"version {said['version']}")
    for each in said["exchanges"]:
        _ = each["reply"]["status"], each["reply"]["headers"], each["reply"]["body"]
        _ = each["request"]["method"], each["request"]["path"], each["request"]["query"]
        if each["step"] not in _STEPS:
            raise ValueError(f"step {each['step']}")
    return Recording(
        path=path,
        entity=said["entity"],
        source=said["source"],
        exchanges=said["exchanges"],
        account=said["account"],
        feed_since=said.get("feed_since"),
    )


def read_recordings(folder: Path) -> list[Recording]:
    """Read all recordings of a folder; none if it is not there.

    Raises:
        InvalidInputError: One cannot be read.
    """
    return [read_recording(path) for path in sorted(folder.glob("*.json"))]


def _form_of(method: str, url: str, content: bytes | None) -> tuple[Any, ...]:
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    body = body_sent(content) if content else None
    return method.upper(), unquote(parts.path), *_queried(query), body


def body_sent(content: bytes) -> Any:
    """Return the body of a request as it is stored: JSON, a form's fields, or a text."""
    try:
        return json.loads(content)
    except ValueError:
        text = content.decode("utf-8", "replace")
    form = dict(parse_qsl(text, keep_blank_values=True))
    return form if form and all(map(_FIELD.fullmatch, form)) else text


def _queried(pairs: Sequence[Sequence[str]]) -> tuple[Any, ...]:
    """Return a query to be compared: in any order, without secrets."""
    hidden = ((name, HIDDEN if hides(name) else text) for name, text in pairs)
    return (sorted(hidden),)


def _reply_of(said: Mapping[str, Any]) -> Reply:
    body = b"" if said["body"] is None else json.dumps(said["body"]).encode()
    seconds = said.get("seconds", 0.0)  # which the first recordings do not have
    return Reply(status=said["status"], headers=said["headers"], content=body, seconds=seconds)
