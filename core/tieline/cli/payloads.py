"""Read the JSON objects that people give to commands."""

from __future__ import annotations

from typing import Any

from tieline.contract import ProviderUnavailableError, parse_json
from tieline.errors import InvalidInputError

__all__ = ["payload_of"]


def payload_of(text: str | bytes, where: str) -> dict[str, Any]:
    """Read a JSON object that somebody gave.

    Raises:
        InvalidInputError: It is none; the message says where, and quotes nothing.
    """
    try:
        value = parse_json(text.encode() if isinstance(text, str) else text)
    except (ProviderUnavailableError, UnicodeError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where}: this is no JSON object", code="payload-invalid")
    return value
