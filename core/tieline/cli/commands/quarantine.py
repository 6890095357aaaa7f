"""``tieline records quarantine``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import click

from tieline import services
from tieline.cli.face import (
    actor,
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
    yes_option,
)
from tieline.cli.habits import can_ask
from tieline.errors import RefusedError

if TYPE_CHECKING:
    from tieline.services.quarantine import Tried
    from tieline.store.quarantined import Listed

__all__ = ["quarantine"]

_SHOWN = 20
_WORDS = {
    "recovered": "are records now",
    "same": "are stored already",
    "older": "are older than what is stored",
    "bad": "are still bad",
    "undecided": "need the provider's word",
}


@click.group()
def quarantine() -> None:
    """Look at records that could not be used; try them again, or drop them."""


@quarantine.command("list")
@click.argument("connection")
@click.argument("entity", required=False)
@click.option("--limit", default=50, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def list_(connection: str, entity: str | None, limit: int, as_json: bool) -> None:
    """List records that could not be used, with the reason, the last seen first.

    Example: `tieline records quarantine list shop customers`
    """
    with installation() as opened:
        found = services.quarantine.list_quarantine(opened, connection, entity, limit=limit)
        now = opened.clock.now()
    if as_json:
        print_json({"quarantine": [_facts(row) for row in found]})
        return
    if not found:
        note("  nothing is in quarantine")
        return
    print_table(
        ("ID", "ENTITY", "RECORD", "SEEN", "REASON"),
        ((row.id, row.entity, row.record_id, ago(row.seen_at, now), _why(row)) for row in found),
    )


@quarantine.command()
@click.argument("bad_id")
@json_option
def show(bad_id: str, as_json: bool) -> None:
    """Show one quarantined record: why it is there, and its raw text.

    Example: `tieline records quarantine show bad_4k1x`
    """
    with installation() as opened:
        row = services.quarantine.get_quarantined(opened, bad_id)
    raw = row.raw.decode("ascii", "backslashreplace")
    if as_json:
        from tieline.store.quarantined import Listed

        listed = Listed(
            **{name: getattr(row, name) for name in Listed._fields if name != "size_bytes"},
            size_bytes=len(row.raw),
        )
        print_json({"quarantined": {**_facts(listed), "raw": raw}})
        return
    for label, value in (
        (row.id, f"{row.entity} {row.record_id or '(no key)'}"),
        ("why", f"[{row.reason_code}] {row.reason}"),
        ("first seen", when(row.created_at)),
        ("last seen", f"{when(row.seen_at)} {row.run_id or ''}"),
        ("raw", raw),
    ):
        print_table((label, value), [])


@quarantine.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All of --connection.")
@click.option("--connection", help="With --all: whose.")
@click.option("--entity", help="With --all: only of this entity.")
@json_option
@click.pass_context
def retry(
    ctx: click.Context,
    ids: tuple[str, ...],
    is_all: bool,
    connection: str | None,
    entity: str | None,
    as_json: bool,
) -> None:
    """Judge quarantined records again by the present schema, without asking the provider.

    What is good now becomes a record, unless a newer copy stands, and leaves
    the quarantine. Exit 8 if some stay. Trying twice does no harm.

    Example: `tieline records quarantine retry --all --connection shop`
    """
    _require_choice(ids, is_all=is_all, connection=connection, entity=entity)
    with installation() as opened:
        chosen = services.quarantine.choose(opened, ids=ids, connection=connection, entity=entity)
        tried = services.quarantine.retry(opened, chosen, actor=actor())
    counts = Counter(each.became for each in tried)
    if as_json:
        _print_tried(tried, counts)
    else:
        for each in [each for each in tried if each.reason][:_SHOWN]:
            why = f"[{each.reason_code}] {each.reason}"
            print_table((each.id, each.record_id or "-", why), [])
        said = ", ".join(f"{count} {_WORDS[name]}" for name, count in sorted(counts.items()))
        note(f"  retried   {said or 'nothing is in quarantine'}")
    ctx.exit(8 if counts["bad"] or counts["undecided"] else 0)


@quarantine.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "is_all", is_flag=True, help="All of --connection.")
@click.option("--connection", help="With --all: whose.")
@click.option("--entity", help="With --all: only of this entity.")
@yes_option
@json_option
def drop(
    ids: tuple[str, ...],
    is_all: bool,
    connection: str | None,
    entity: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Forget quarantined records for good; stored records stay as they are.

    Example: `tieline records quarantine drop bad_4k1x --yes`
    """
    _require_choice(ids, is_all=is_all, connection=connection, entity=entity)
    with installation() as opened:
        chosen = services.quarantine.choose(opened, ids=ids, connection=connection, entity=entity)
        if chosen and not yes:
            _confirm(chosen)
        count = services.quarantine.drop(opened, chosen, actor=actor())
    if as_json:
        print_json({"dropped": {"count": count, "ids": [row.id for row in chosen]}})
    else:
        note(f"  dropped   {count} quarantined records")


def _require_choice(
    ids: Sequence[str], *, is_all: bool, connection: str | None, entity: str | None
) -> None:
    if is_all and (ids or not connection):
        raise click.UsageError("--all takes --connection NAME, and no ids")
    if not is_all and (connection or entity):
        raise click.UsageError("--connection and --entity go with --all")
    if not is_all and not ids:
        raise click.UsageError("name ids (bad_…), or --all --connection NAME")


def _confirm(chosen: Sequence[Listed]) -> None:
    """Name what will go, and ask."""
    for row in chosen[:_SHOWN]:
        note(f"  {row.id}  {row.entity} {row.record_id or '(no key)'}  {_why(row)}")
    if len(chosen) > _SHOWN:
        note(f"  … and {len(chosen) - _SHOWN} more")
    if not can_ask():
        raise RefusedError(
            f"dropping forgets the raw text of {len(chosen)} quarantined records for good",
            hint="say it again with --yes",
            code="interactive-needed",
        )
    if not click.confirm(f"Forget these {len(chosen)} quarantined records for good?", err=True):
        raise click.Abort


def _print_tried(tried: Sequence[Tried], counts: Mapping[services.quarantine.Became, int]) -> None:
    names = get_args(services.quarantine.Became)
    print_json(
        {
            "retried": [
                {
                    "id": each.id,
                    "entity": each.entity,
                    "record_id": each.record_id,
                    "became": each.became,
                    "reason_code": each.reason_code or None,
                    "reason": each.reason or None,
                }
                for each in tried
            ],
            "counts": {name: counts.get(name, 0) for name in names},
        }
    )


def _why(row: Listed) -> str:
    return f"[{row.reason_code}] {row.reason}"


def _facts(row: Listed) -> dict[str, Any]:
    return {
        "id": row.id,
        "entity": row.entity,
        "record_id": row.record_id,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "size_bytes": row.size_bytes,
        "run_id": row.run_id,
        "first_seen_at": row.created_at,
        "seen_at": row.seen_at,
    }
