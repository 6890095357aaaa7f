"""``tieline sync run --dry-run``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from tieline import services
from tieline.cli.face import installation, note, print_json, print_table

if TYPE_CHECKING:
    from tieline.services.tryouts import Tried

__all__ = ["try_out"]

_SHOWN = 100


def try_out(
    connection: str,
    entity: str,
    limit: int,
    window: tuple[datetime | None, datetime | None],
    *,
    as_json: bool,
) -> None:
    """Read some records and print what a run would do with them."""
    with installation() as opened:
        tried = services.tryouts.try_sync(opened, connection, entity, limit=limit, window=window)
    if as_json:
        print_json({"tried": _facts(tried)})
        return
    print_table(
        ("RECORD", "WOULD BE", "WHAT"),
        [
            (each.id, each.outcome, each.reason or (each.payload or "-")[:_SHOWN])
            for each in tried.records
        ],
    )
    counts = tried.counts
    what = "all there are" if tried.is_all else "the first"
    note(
        f"  tried     {counts.seen} records ({what}) in {counts.requests} requests:"
        f" {counts.created} new, {counts.updated} changed, {counts.unchanged} unchanged,"
        f" {counts.quarantined} to quarantine; nothing was stored"
    )
    for words, names in (("unknown", tried.unknown), ("missing", tried.missing)):
        if names:
            note(f"  {words:<9} {', '.join(names)}")


def _facts(tried: Tried) -> dict[str, Any]:
    counts = tried.counts.as_dict()
    return {
        "entity": tried.entity,
        "records": [
            {
                "id": each.id,
                "outcome": each.outcome,
                "payload": None if each.payload is None else orjson.Fragment(each.payload),
                "code": each.code,
                "reason": each.reason,
            }
            for each in tried.records
        ],
        "requests": counts.pop("requests"),
        "counts": counts,
        "is_all": tried.is_all,
        "unknown": tried.unknown,
        "missing": tried.missing,
    }
