"""Addresses that people give: what may be called without showing the network what is sent."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from tieline.errors import InvalidInputError

__all__ = ["is_near", "safe_address"]

_NEAR = frozenset({"localhost", "127.0.0.1", "::1"})


def is_near(parts: SplitResult) -> bool:
    """Say whether an address is on this machine, by its name alone."""
    return parts.hostname in _NEAR


def safe_address(url: str, *, purpose: str, hint: str) -> SplitResult:
    """Read an address: https, or http on this machine, and no password in it.

    Args:
        url: As it was given.
        purpose: Completes "… is no address that …".
        hint: What a good one looks like.

    Raises:
        InvalidInputError: It is none.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_near(parts))
        is_plain = url.isascii() and url.isprintable() and not set(url) & set(" \\")
        is_bare = not (parts.username or parts.password or parts.fragment)
        if is_safe and is_plain and is_bare and parts.hostname:
            return parts
    except ValueError:
        pass
    shown = f"{url[:200]!r} is no address that {purpose}"
    raise InvalidInputError(shown, hint=hint, code="url-invalid")
