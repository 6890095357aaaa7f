"""Bodies of deliveries that plugins ship to try things out with.

A plugin's ``Webhooks.fixtures`` names a folder of its package. A file there is
named after the event's type: ``order.created.json``, or ``….form`` for one
that is sent as a form; ``order.created+big.json`` is a further one of that type.

A body holds markers, so that each delivery of it is a new one:

=====================  ======================================================
``{{id}}``             24 letters and digits, the same throughout a body
``{{now}}``            now, as ``2026-11-01T00:00:00Z``
``{{now:epoch}}``      now, in seconds since 1970; in JSON a text that is this
                       marker and nothing else becomes a number
``{{now:epoch_ms}}``   the same in milliseconds
``{{now:%Y-%m-%d}}``   now in UTC, as strftime writes it
=====================  ======================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from urllib.parse import parse_qsl, urlencode

from tieline.errors import PluginError
from tieline.registry.load import Plugin

__all__ = ["Fixture", "list_fixtures"]

_ENDINGS = {".json": False, ".form": True}
_MOST_BYTES = 1_000_000
_MARKER = re.compile(r"\{\{(?:(id)|now(?::([^{}]*))?)\}\}")
_NUMBER = re.compile(r'"(\{\{now:epoch(?:_ms)?\}\})"')
_ANY = re.compile(r"\{\{.{0,40}?\}\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixture:
    """The body of one delivery, with markers.

    Attributes:
        provider: Whose.
        name: Its file's, less the ending.
        type: Of the event, as the provider names it.
        is_form: Whether it is sent as a form; else it is JSON.
        text: As it stands in the file.
    """

    provider: str
    name: str
    type: str
    is_form: bool
    text: str

    @property
    def content_type(self) -> str:
        """How the body is sent."""
        kind = "x-www-form-urlencoded" if self.is_form else "json"
        return f"application/{kind}"

    def fill(self, *, new_id: str, now: datetime) -> bytes:
        """Return the body with every marker filled in.

        Args:
            new_id: For ``{{id}}``.
            now: Aware.

        Raises:
            PluginError: The plugin's file has a marker that is none.
        """
        if self.is_form:
            fields = [(key, self._filled(text, new_id, now)) for key, text in _fields(self.text)]
            return urlencode(fields).encode()
        return self._filled(_NUMBER.sub(r"\1", self.text), new_id, now).encode()

    def _filled(self, text: str, new_id: str, now: datetime) -> str:
        def fill(found: re.Match[str]) -> str:
            form = found[2]
            if found[1]:
                return new_id
            if form == "epoch":
                return str(int(now.timestamp()))
            if form == "epoch_ms":
                return str(int(now.timestamp() * 1000))
            if form is None:
                form = "%Y-%m-%dT%H:%M:%SZ"
            return now.astimezone(UTC).strftime(form) if "%" in form else found[0]

        filled = _MARKER.sub(fill, text)
        if odd := _ANY.search(filled):
            raise PluginError(
                f"the fixture {self.name} of {self.provider} has a marker that is none: {odd[0]}",
                code="fixture-broken",
            )
        return filled


def list_fixtures(plugin: Plugin) -> list[Fixture]:
    """Read the fixtures of a plugin, by name; empty if it ships none.

    Raises:
        PluginError: The folder that it names is not there, or holds what is no fixture.
    """
    folder = plugin.webhooks.fixtures if plugin.webhooks else ""
    return sorted(_read(plugin.name, folder), key=lambda each: each.name) if folder else []


def _read(provider: str, folder: str) -> Iterator[Fixture]:
    try:
        for file in resources.files(folder).iterdir():
            stem, dot, ending = file.name.rpartition(".")
            is_form = _ENDINGS.get(dot + ending)
            if is_form is not None and stem:
                yield Fixture(
                    provider=provider,
                    name=stem,
                    type=stem.partition("+")[0],
                    is_form=is_form,
                    text=_text(file),
                )
    except (ImportError, OSError, UnicodeDecodeError) as error:
        raise PluginError(
            f"the fixtures of {provider}, in {folder}, cannot be read: {type(error).__name__}",
            hint="install its distribution again",
            code="fixture-broken",
        ) from None


def _text(file: Traversable) -> str:
    with file.open("rb") as opened:
        body = opened.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise OSError("it is too large")
    return body.decode().strip()


def _fields(text: str) -> list[tuple[str, str]]:
    """Read a form: in one line, or a field each, for people who read it."""
    joined = "&".join(line.strip().strip("&") for line in text.splitlines() if line.strip())
    return parse_qsl(joined, keep_blank_values=True)
