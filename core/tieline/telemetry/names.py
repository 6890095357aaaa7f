"""Take out what a name says is secret, whether the value is known or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["SHOWN", "is_secret_name", "without_named", "without_named_fields"]

SHOWN = "[redacted]"
_DEEPEST = 8
_STEMS = (
    "secret|password|passwd|passphrase|token|authorization|api[_-]?key|private[_-]?key"
    "|credential|signature|cookie|verifier|assertion"
)
_NAMES = re.compile(_STEMS, re.IGNORECASE)
# Ordinary words elsewhere; as a parameter of an address they open something.
_IN_ADDRESSES = frozenset({"auth", "code", "jwt", "key", "session", "sig", "state", "ticket"})

# user:password@ of an address. PASSWORD is what our own hints show.
_USER = re.compile(r"""(://[^\s/?#:@"'<>\\]{0,256}:)(?!PASSWORD@)[^\s/?#"'<>\\]{1,1024}@""")
# name=value: a parameter (its mark before it), a form's field, a driver's option.
_ASSIGNED = re.compile(
    r"""(?P<start>(?P<mark>[?&;\#]|\\u0026|%3F|%26|%23|(?<![\w.%-]))(?P<name>[\w.-]{1,64})"""
    r"""(?:=|%3D)(?P<quote>\\{0,4}["'])?)"""
    r"""(?(quote)(?:(?!(?P=quote))[^\r\n])+|(?:(?!%26|%23)[^\s&;\#"'<>\\])+)""",
    re.IGNORECASE,
)
# "name": "value", as JSON or Python writes it, and once more within a text of JSON.
_QUOTED = (
    re.compile(r"""(?P<start>"(?P<name>[\w.-]{1,64})"\s{0,8}:\s{0,8}b?")(?:[^"\\]|\\.)+(?=")"""),
    re.compile(r"""(?P<start>'(?P<name>[\w.-]{1,64})'\s{0,8}:\s{0,8}b?')(?:[^'\\]|\\.)+(?=')"""),
    re.compile(r"""(?P<start>\\"(?P<name>[\w.-]{1,64})\\"\s{0,8}:\s{0,8}\\")[^"\\]+(?=\\")"""),
)
# A header, as a line or as a pair.
_IS = r"""["']?\s{0,8}[:,]\s{0,8}(?:b(?=["']))?["']?"""
_HEADERS = (
    re.compile(
        rf"""\b(?P<start>(?P<name>authorization){_IS}(?:(?:basic|bearer|digest|token)\s{{1,8}})?)"""
        r"""[^\s"',;<>()\\]+""",
        re.IGNORECASE,
    ),
    re.compile(
        rf"""\b(?P<start>(?P<name>cookie|x-[\w-]{{1,40}}|[\w-]{{1,40}}-signature){_IS})"""
        r"""[^\r\n"'\\]+""",
        re.IGNORECASE,
    ),
)
_SCHEME = re.compile(r"\b((?:basic|bearer)\s)(?=\S{0,400}\d)[\w.~+/=-]{16,}", re.IGNORECASE)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Say whether a field of this name is never shown."""
    return bool(_NAMES.search(name))


def without_named(text: str) -> str:
    """Return a text without what stands at a secret's name.

    In addresses (user and password, parameters), in forms, in JSON and in
    headers; not in sentences.
    """
    if "://" in text and "@" in text:
        text = _USER.sub(rf"\1{SHOWN}@", text)
    if "=" in text or "%3" in text:
        text = _without_values(_ASSIGNED, text)
    if not _mentions(text):
        return text
    for pattern in (*(_QUOTED if '":' in text or "':" in text else ()), *_HEADERS):
        text = _without_values(pattern, text)
    return _SCHEME.sub(rf"\1{SHOWN}", text)


def without_named_fields(value: Any, depth: int = 0) -> Any:
    """Return a value in which fields of a secret's name are hidden, however deep they are."""
    if depth > _DEEPEST:
        return value
    if isinstance(value, Mapping):
        return {
            name: SHOWN if is_secret_name(str(name)) else without_named_fields(its, depth + 1)
            for name, its in value.items()
        }
    if type(value) in {list, tuple}:
        return type(value)(without_named_fields(its, depth + 1) for its in value)
    return value


_WORDS = tuple(word.replace("[_-]?", "") for word in _STEMS.split("|") if "key" not in word)
_MENTIONED = (*_WORDS, "key", "bearer", "basic")


def _mentions(text: str) -> bool:
    """Say whether one of the names may be in a text: cheaper than to look for where."""
    lower = text.lower()
    return any(word in lower for word in _MENTIONED)


def _without_values(pattern: re.Pattern[str], text: str) -> str:
    """Take out the values of secret names; what is no secret's value is looked into."""
    shown, done, at = [], 0, 0
    while found := pattern.search(text, at):
        at = found.end("start")
        if _is_secret(found):
            shown += [text[done:at], SHOWN]
            done = at = found.end()
    return "".join([*shown, text[done:]])


def _is_secret(found: re.Match[str]) -> bool:
    name = found["name"]
    is_parameter = bool(found.groupdict().get("mark"))
    return is_secret_name(name) or (is_parameter and name.lower() in _IN_ADDRESSES)
