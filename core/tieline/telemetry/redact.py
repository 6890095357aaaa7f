"""Take secrets out of whatever is about to be shown."""

from __future__ import annotations

from tieline.telemetry.known import Known
from tieline.telemetry.names import SHOWN, is_secret_name, without_named

__all__ = ["is_secret_name", "redact", "remember", "tellable"]

_MOST = 2000
_LONGEST = 500
_known = Known(_MOST)


def remember(text: str) -> None:
    """Keep a secret from being shown by this process from now on.

    Args:
        text: The secret. Shorter than 8 characters it is ignored here, since
            replacing it would spoil ordinary words; fields of a secret's name
            are hidden whatever they hold. Of more than 2,000 secrets the one
            is forgotten that was not remembered for longest.
    """
    _known.add(text)


def redact(text: str, *, by_name: bool = True) -> str:
    """Return a text without any secret.

    Args:
        text: What is about to be shown.
        by_name: Leave out as well what a name says is secret, though this
            process does not know it: ``?code=…`` and ``user:password@`` of
            addresses, fields of forms and JSON, headers.
    """
    for start, end in reversed(_known.find(text)):
        text = f"{text[:start]}{SHOWN}{text[end:]}"
    return without_named(text) if by_name else text


def tellable(text: str) -> str:
    """Return somebody else's words fit to be stored and shown.

    Without secrets, without control characters and lone surrogates, which a
    terminal obeys and PostgreSQL refuses, and no longer than 500 characters.
    """
    plain = "".join(char if char.isprintable() else " " for char in redact(text))
    short = " ".join(plain.split())
    return short if len(short) <= _LONGEST else f"{short[:_LONGEST]}…"
