"""What goes to PostgreSQL in its own binary form, because it goes there once a page."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["JsonTexts", "take_json_texts"]

_JSONB, _JSONB_ARRAY = 3802, 3807  # PostgreSQL, pg_type.dat
_HEAD = struct.Struct("!iiiii").pack
_ITEM = struct.Struct("!iB").pack
_VERSION = 1


class JsonTexts(tuple[bytes, ...]):
    """JSON texts in UTF-8, which PostgreSQL gets as a ``jsonb[]``.

    One array of JSON in one text would be parsed as a whole first, and taken
    apart then: a third more of the server's time for a page.
    """

    __slots__ = ()


def take_json_texts(connection: Any) -> None:
    """Teach a connection of psycopg's to send :class:`JsonTexts`."""
    from psycopg.adapt import Dumper  # noqa: PLC0415 - an extra
    from psycopg.pq import Format  # noqa: PLC0415

    class _Dumper(Dumper):
        format = Format.BINARY
        oid = _JSONB_ARRAY

        def dump(self, obj: JsonTexts) -> bytes:
            # Dimensions, no nulls, what is in it; how many, counted from 1.
            parts = [_HEAD(1, 0, _JSONB, len(obj), 1)]
            for text in obj:
                parts += (_ITEM(len(text) + 1, _VERSION), text)
            return b"".join(parts)

    connection.adapters.register_dumper(JsonTexts, _Dumper)
