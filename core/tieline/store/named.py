"""Records by their keys: in each database the way that it cannot plan wrongly.

In its first hours a table has no statistics. PostgreSQL then takes a list of
keys for half of all records, and reads the whole table for each page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

__all__ = ["FROM_NAMED", "named"]

# One look-up of the whole key after the other; the limit keeps it from becoming another join.
_POSTGRESQL = """
FROM (SELECT feed_id AS id FROM entity_states WHERE connection_id = %s AND entity = %s) AS feed
CROSS JOIN unnest(%s::text[]) AS wanted(key)
CROSS JOIN LATERAL (
  SELECT * FROM records WHERE record_id = wanted.key AND feed_id = feed.id LIMIT 1
) AS r
"""
_SQLITE = """
FROM records AS r WHERE connection_id = ? AND entity = ?
AND record_id IN (SELECT value FROM json_each(?))
"""
FROM_NAMED = {"postgresql": _POSTGRESQL, "sqlite": _SQLITE}
"""The end of a statement of the driver's, which reads named records as ``r``, by dialect."""


def named(
    dialect: str, connection_id: str, entity: str, keys: Sequence[str]
) -> tuple[str, str, Any]:
    """Return the values that :data:`FROM_NAMED` asks for; each key is to be there once."""
    wanted = list(keys) if dialect == "postgresql" else orjson.dumps(keys).decode()
    return connection_id, entity, wanted
