"""Typed, short, unguessable ids: ``run_3v9k…``."""

from __future__ import annotations

import secrets

__all__ = ["new_id"]

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567"
_LETTER_OF = bytes(_LETTERS[byte & 31] for byte in range(256))  # 5 bits of each byte


def new_id(kind: str) -> str:
    """Make an id of a kind: its short word, ``_`` and 80 random bits."""
    return f"{kind}_{secrets.token_bytes(16).translate(_LETTER_OF).decode()}"
