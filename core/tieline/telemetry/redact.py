"""Take secrets out of whatever is about to be shown."""

from __future__ import annotations

import json
import re
import threading
from urllib.parse import quote

__all__ = ["is_secret_name", "redact", "remember", "tellable"]

_SHOWN = "[redacted]"
_LEAST = 8
_MOST = 4096
_LONGEST = 500
_NAMES = re.compile(
    r"secret|password|passwd|token|authorization|api[_-]?key|credential|signature|cookie",
    re.IGNORECASE,
)
_lock = threading.Lock()
_known: dict[str, None] = {}


def remember(text: str) -> None:
    """Keep a secret from being shown by this process from now on.

    Args:
        text: The secret. Shorter than 8 characters it is ignored here, since
            replacing it would spoil ordinary words; fields of a secret's name
            are hidden whatever they hold.
    """
    if len(text) < _LEAST:
        return
    with _lock:
        for form in _forms(text):
            _known.pop(form, None)
            _known[form] = None
        while len(_known) > _MOST:
            _known.pop(next(iter(_known)))


def _forms(text: str) -> set[str]:
    """Write a secret in every way in which a log line may hold it."""
    lines = [line for line in text.splitlines() if len(line) >= _LEAST]
    plain = {text, *lines, quote(text.encode("utf-8", "replace"), safe="")}
    shown = {form for part in plain for form in (repr(part)[1:-1], repr(part.encode(*_ANY))[2:-1])}
    return {form for part in plain | shown for form in (part, *_in_json(part))}


_ANY = ("utf-8", "replace")


def _in_json(text: str) -> tuple[str, str]:
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]


def redact(text: str) -> str:
    """Return a text without any secret that this process knows."""
    with _lock:
        secrets = sorted(_known, key=len, reverse=True)
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, _SHOWN)
    return text


def tellable(text: str) -> str:
    """Return somebody else's words fit to be stored and shown.

    Without secrets that this process knows, without control characters and
    lone surrogates, which a terminal obeys and PostgreSQL refuses, and no
    longer than 500 characters.
    """
    plain = "".join(char if char.isprintable() else " " for char in redact(text))
    short = " ".join(plain.split())
    return short if len(short) <= _LONGEST else f"{short[:_LONGEST]}…"


def is_secret_name(name: str) -> bool:
    """Say whether a field of this name is never shown."""
    return bool(_NAMES.search(name))
