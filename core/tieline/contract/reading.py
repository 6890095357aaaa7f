"""Read parts of what a provider sent without trusting that they are what they should be.

None of these fails on odd input but :func:`delivery_of`: what is not there, or
is something else, reads as empty, and the caller decides what that means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tieline.contract.errors import InvalidRecordError, ProviderUnavailableError
from tieline.contract.jsontext import parse_json
from tieline.contract.shapes import utc

__all__ = ["delivery_of", "list_of", "object_of", "text_of", "time_of"]


def text_of(value: object) -> str:
    """Return a text as it is; empty for anything else, a number too: that is ``str(value)``."""
    return value if isinstance(value, str) else ""


def object_of(value: object) -> Mapping[str, Any]:
    """Return a JSON object as it is; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> Sequence[Any]:
    """Return a JSON list as it is; an empty one for anything else."""
    return value if isinstance(value, list) else ()


def time_of(value: object) -> datetime | None:
    """Read an ISO 8601 text with its offset, of any precision.

    Returns:
        Aware UTC, whole microseconds; None for anything else.
    """
    try:
        return utc(text_of(value))
    except ValueError:
        return None


def delivery_of(body: bytes) -> Any:
    """Parse the body of a delivery that is JSON.

    Args:
        body: The whole body, verified.

    Raises:
        InvalidRecordError: It is not JSON; the delivery is answered with 400.
    """
    try:
        return parse_json(body)
    except ProviderUnavailableError as error:
        raise InvalidRecordError(error.message, code="delivery-malformed") from None
