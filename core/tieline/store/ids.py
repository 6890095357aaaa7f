"""Typed, short, unguessable ids: ``run_3v9k…``."""

from __future__ import annotations

import base64
import secrets

__all__ = ["new_id"]


def new_id(kind: str) -> str:
    """Make an id of a kind: its short word, ``_`` and 80 random bits."""
    return f"{kind}_{base64.b32encode(secrets.token_bytes(10)).decode().lower()}"
