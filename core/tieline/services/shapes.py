"""What stored records mean in the shapes that providers share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from tieline.contract import parse_json
from tieline.errors import RefusedError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store.records import StoredRecord

__all__ = ["Meaning", "meanings_of"]


class Meaning(NamedTuple):
    """What one record means.

    Attributes:
        text: The shape as JSON with its name in ``shape``, times RFC 3339 UTC;
            None: the record has none.
        problem: Why the plugin could not say; None if it could.
    """

    text: str | None
    problem: str | None = None


def meanings_of(
    installation: Installation, connection: str, entity: str
) -> Callable[[StoredRecord], Meaning]:
    """Return what says of an entity's records, as people see them, what they mean.

    Raises:
        NotFoundError: No such connection or entity.
        RefusedError: Its plugin does not say what the entity's records mean.
    """
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    mapping = declared.canonical
    if mapping is None:
        raise RefusedError(
            f"{row.provider} does not say what {entity} mean in a shape that providers share",
            hint="leave --canonical away",
            code="no-canonical",
        )

    def meaning(record: StoredRecord) -> Meaning:
        try:
            shape = mapping(parse_json(record.payload.encode()))
        except Exception as error:  # noqa: BLE001 - the plugin's own code, on any payload
            return Meaning(None, f"{type(error).__name__}: {error}")
        if shape is None:
            return Meaning(None)
        facts = {"shape": type(shape).__name__, **asdict(shape)}
        return Meaning(json.dumps(facts, default=_plain))

    return meaning


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)
