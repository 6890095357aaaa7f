"""Arguments that name something and say what it is to be."""

from __future__ import annotations

from collections.abc import Iterable

from tieline.errors import InvalidInputError

__all__ = ["pairs_of"]


def pairs_of(texts: Iterable[str]) -> dict[str, str]:
    """Read ``NAME=VALUE``; a value may be empty, and have further ``=``.

    Raises:
        InvalidInputError: One is something else, or a name comes twice. What it
            is, is not repeated: people mistake it for a place for keys.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInputError(
                "a name and a value are wanted: NAME=VALUE", code="connection-setting-invalid"
            )
        if name in found:
            raise InvalidInputError(f"{name[:40]} is set twice", code="connection-setting-invalid")
        found[name] = value
    return found
