"""``tieline db``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tieline import services
from tieline.cli.commands.db_move import move
from tieline.cli.face import installation, json_option, note, print_json, print_table, when
from tieline.contract import SettingsError

__all__ = ["db"]


@click.group()
def db() -> None:
    """Migrate, check, measure and back up the database; move to another."""


db.add_command(move)


@db.command()
@json_option
def upgrade(as_json: bool) -> None:
    """Bring the database's schema up to this Tieline's; harmless to repeat."""
    with installation() as opened:
        was, now = services.setup.upgrade_database(opened)
    if as_json:
        print_json({"was": was, "schema": now})
    else:
        note(f"  schema    {now}" + (" (was there already)" if was == now else ""))


@db.command()
@json_option
def current(as_json: bool) -> None:
    """Show the database's schema and the one that this Tieline needs."""
    with installation() as opened:
        facts = services.setup.schema_facts(opened)
    if as_json:
        print_json(facts)
    else:
        note(f"  schema    {facts['schema'] or 'none'} (needed: {facts['needed']})")


@db.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the database's tables with the code's; exit 7 if they differ."""
    with installation() as opened:
        found = services.setup.schema_drift(opened)
    if as_json:
        print_json({"differences": found})
    for line in found if not as_json else ():
        note(f"  differs   {line}")
    if found:
        raise SettingsError(
            f"the tables differ from the code's in {len(found)} places",
            hint="tieline db upgrade",
            code="schema-drift",
        )
    if not as_json:
        note("  the tables are as they should be")


@db.command()
@json_option
def stats(as_json: bool) -> None:
    """Show each table's rows, size and age, and what was given up; it reads them whole.

    A table's size is with its indexes. OLDEST and NEWEST: when its first and
    its last row was made.
    """
    with installation() as opened:
        found = services.storage.read_stats(opened)
    if as_json:
        print_json(asdict(found))
        return
    print_table(
        ("TABLE", "ROWS", "SIZE", "OLDEST", "NEWEST"),
        (
            (
                each.name,
                each.rows,
                None if each.size_bytes is None else _size(each.size_bytes),
                when(each.oldest_at),
                when(each.newest_at),
            )
            for each in found.tables
        ),
    )
    dead = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.dead.items())
    note(f"  database  {found.database}, {_size(found.size_bytes)}")
    note(f"  given up  {dead}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def backup(file: Path, as_json: bool) -> None:
    """Copy the database into a new FILE, as of one moment, while everything runs.

    SQLite: a database, checked, to be put in the place of the old one.
    PostgreSQL: what `pg_dump` writes, for `pg_restore`. Nothing is written over
    a file that is there. The key that opens credentials is not in it: keep that
    apart. Exit 9: `pg_dump` is missing, and the line has the command.
    """
    with installation() as opened:
        made = services.storage.back_up(opened, file)
    if as_json:
        print_json(asdict(made))
        return
    note(f"  written   {made.path}, {_size(made.size_bytes)}, for you alone to read")
    note("  next      keep it apart from the key (keys/local.key, TIELINE_KEY or KMS)")


def _size(count: int) -> str:
    """Write bytes for people."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
