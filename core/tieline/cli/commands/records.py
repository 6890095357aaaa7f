"""``tieline records``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from tieline import services
from tieline.cli.choices import FORMATS
from tieline.cli.commands.explain import drift, explain
from tieline.cli.commands.feed import consumers, follow
from tieline.cli.commands.quarantine import quarantine
from tieline.cli.face import (
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    write_line,
)

if TYPE_CHECKING:
    from tieline.services.shapes import Meaning
    from tieline.store.records import StoredRecord

__all__ = ["records"]


_canonical_option = click.option(
    "--canonical",
    is_flag=True,
    help="Say too what records mean in a shape that providers share.",
)


def _facts(record: StoredRecord, meaning: Meaning | None = None) -> dict[str, Any]:
    facts = {
        "id": record.record_id,
        "payload": orjson.Fragment(record.payload),
        "changed_at": record.changed_at,
        "deleted_at": record.deleted_at,
        "position": record.position,
        "revision": record.revision,
        "first_seen_at": record.first_seen_at,
    }
    if meaning is not None:
        facts["canonical"] = orjson.Fragment(meaning.text) if meaning.text else None
        facts["canonical_problem"] = meaning.problem
    return facts


@click.group()
def records() -> None:
    """List, show, export and explain records; follow their changes."""


@records.command("list")
@click.argument("connection")
@click.argument("entity")
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The most to list.")
@click.option(
    "--after", default=0, type=click.IntRange(0, 2**63 - 1), help="Position to begin after."
)
@click.option("--live", is_flag=True, help="Leave tombstones out.")
@_canonical_option
@json_option
def list_(
    connection: str,
    entity: str,
    limit: int,
    after: int,
    live: bool,
    canonical: bool,
    as_json: bool,
) -> None:
    """List records in the order of their last change.

    With --canonical each is shown as the `Contact`, `Product`, `Order`,
    `Payment` or `Invoice` that it is: money in minor units of ISO 4217, times
    in UTC. The payload stays beside it in --json.
    """
    with installation() as opened:
        meaning = services.shapes.meanings_of(opened, connection, entity) if canonical else None
        found = services.records.list_records(
            opened, connection, entity, after=after, limit=limit, with_deleted=not live
        )
        now = opened.clock.now()
    meant = [meaning(record) if meaning else None for record in found]
    if as_json:
        print_json({"records": [_facts(*pair) for pair in zip(found, meant, strict=True)]})
        return
    if not found:
        note(f"  no record yet (next: tieline sync run {connection} {entity} --wait)")
        return
    print_table(
        ("POSITION", "ID", "CHANGED", "DELETED", "CANONICAL" if canonical else "PAYLOAD"),
        (
            (
                record.position,
                record.record_id,
                ago(record.changed_at, now),
                "yes" if record.deleted_at else None,
                _shortened(record.payload if said is None else said.text or said.problem or "—"),
            )
            for record, said in zip(found, meant, strict=True)
        ),
    )


def _shortened(text: str) -> str:
    return text[:60] + ("…" if len(text) > 60 else "")


@records.command()
@click.argument("connection")
@click.argument("entity")
@click.argument("record_id")
@_canonical_option
@json_option
def show(connection: str, entity: str, record_id: str, canonical: bool, as_json: bool) -> None:
    """Show one record with its whole payload, as JSON."""
    with installation() as opened:
        found = services.records.get_record(opened, connection, entity, record_id)
        meaning = (
            services.shapes.meanings_of(opened, connection, entity)(found) if canonical else None
        )
        print_json({"record": _facts(found, meaning)})


@records.command()
@click.argument("connection")
@click.argument("entity")
@click.option(
    "--format",
    "format_",
    default="jsonl",
    show_default=True,
    type=click.Choice(FORMATS),
    help="What to write.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write there, not to stdout; the file appears when it is whole.",
)
@click.option("--live", is_flag=True, help="Leave tombstones out.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="With --output: print one JSON document of what was done.",
)
def export(
    connection: str,
    entity: str,
    format_: services.exports.Format,
    output: Path | None,
    live: bool,
    as_json: bool,
) -> None:
    """Write all records, tombstones too, as they are at this moment.

    `jsonl` has one JSON object a line: `id`, `payload` (as the provider sent
    it), `changed_at`, `deleted_at`, `position`. `csv` has a column for each
    field of the entity's schema, values as received. `parquet` has them typed,
    what does not fit in `_raw`, and needs `pip install 'tieline[parquet]'` and
    --output. Memory stays small however many there are.

    Example: `tieline records export shop customers --format csv > customers.csv`
    """
    with_deleted = not live
    if output is None:
        if format_ == "parquet":
            raise click.UsageError("parquet is written to a file: --output FILE")
        with installation() as opened:
            if format_ == "csv":
                for line in services.exports.csv_lines(
                    opened, connection, entity, with_deleted=with_deleted
                ):
                    sys.stdout.buffer.write(line)
            else:
                for line in services.records.export_records(
                    opened, connection, entity, with_deleted=with_deleted
                ):
                    write_line(line)
        return
    with installation() as opened:
        count = services.exports.export_file(
            opened, connection, entity, output, form=format_, with_deleted=with_deleted
        )
    if as_json:
        print_json({"exported": {"records": count, "format": format_, "output": str(output)}})
    else:
        note(f"  exported  {count} records to {output}")


records.add_command(follow)
records.add_command(consumers)
records.add_command(quarantine)
records.add_command(drift)
records.add_command(explain)
