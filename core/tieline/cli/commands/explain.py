"""``tieline records explain`` and ``tieline records drift``: why records are as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import ago, installation, json_option, note, print_json, print_table, when

if TYPE_CHECKING:
    from tieline.services.explain import Explained

__all__ = ["drift", "explain"]


@click.command()
@click.argument("connection")
@click.argument("entity")
@click.argument("record_id", metavar="KEY")
@json_option
def explain(connection: str, entity: str, record_id: str, as_json: bool) -> None:
    """Tell where each copy of a record came from, which one stands, and why.

    `rank` orders the copies: the provider's version of the record, or the time
    of which the copy tells. Copies that do not stand are known for 30 days.

    Example: `tieline records explain shop customers cus_4k1x`
    """
    with installation() as opened:
        found = services.explain.explain_record(opened, connection, entity, record_id)
    if as_json:
        print_json({"explained": _facts(found)})
        return
    said = {"live": "live", "deleted": "deleted at the provider", "none": "not stored"}
    print_table((found.record_id, f"{found.connection} · {found.entity}"), [])
    print_table(("state", said[found.state]), [])
    if found.revision is not None:
        text = f"revision {found.revision}, position {found.position}"
        print_table(("stored", f"{text}, first seen {when(found.first_seen_at)}"), [])
    print_table(
        ("COPY", "SOURCE", "RANK", "AT", "RUN", "CONTENT", "WHY"),
        (
            (
                copy.outcome,
                copy.source,
                services.explain.rank_words(copy.rank, is_versioned=found.is_versioned),
                when(copy.at),
                copy.run_id,
                copy.content_hash[:12] if copy.content_hash else "deletion",
                copy.why,
            )
            for copy in found.copies
        ),
    )
    for bad in found.quarantined:
        note(f"  quarantined {bad.id}  {when(bad.seen_at)}  [{bad.reason_code}] {bad.reason}")


@click.command()
@click.argument("connection")
@click.argument("entity", required=False)
@json_option
def drift(connection: str, entity: str | None, as_json: bool) -> None:
    """List fields that the provider sends and no schema names, and those named in vain.

    Nothing is lost: unknown fields are in the payload. `records` counts written
    copies, so a record that changed twice counts twice.

    Example: `tieline records drift shop customers`
    """
    with installation() as opened:
        found = services.records.list_drift(opened, connection, entity)
        now = opened.clock.now()
    if as_json:
        print_json({"drift": found})
        return
    if not found:
        note("  no drift: records have the fields that the schema names, and no others")
        return
    print_table(
        ("ENTITY", "FIELD", "KIND", "RECORDS", "SINCE", "LAST", "RUN"),
        (
            (
                each["entity"],
                each["field"],
                each["kind"],
                each["records"],
                ago(each["first_seen_at"], now),
                ago(each["seen_at"], now),
                each["run_id"],
            )
            for each in found
        ),
    )


def _facts(found: Explained) -> dict[str, Any]:
    return {
        "connection": found.connection,
        "entity": found.entity,
        "record_id": found.record_id,
        "state": found.state,
        "revision": found.revision,
        "position": found.position,
        "first_seen_at": found.first_seen_at,
        "copies": [
            {
                "outcome": copy.outcome,
                "source": copy.source,
                "run_id": copy.run_id,
                "rank": copy.rank,
                "rank_means": services.explain.rank_words(
                    copy.rank, is_versioned=found.is_versioned
                ),
                "content_hash": copy.content_hash,
                "at": copy.at,
                "why": copy.why,
            }
            for copy in found.copies
        ],
        "quarantined": [
            {
                "id": bad.id,
                "reason_code": bad.reason_code,
                "reason": bad.reason,
                "run_id": bad.run_id,
                "seen_at": bad.seen_at,
            }
            for bad in found.quarantined
        ],
    }
