"""``tieline db move``."""

from __future__ import annotations

import shlex
import sys
from urllib.parse import urlsplit

import click

from tieline.cli.face import installation, json_option, note, print_json
from tieline.contract import Secret
from tieline.errors import InvalidInputError, RefusedError

__all__ = ["move"]

_LONGEST = 65_536
_EVERY = 20_000


@click.command()
@click.option(
    "--to",
    "target",
    metavar="URL",
    help="PostgreSQL to move to; - reads the address from stdin, as one with a password has to be.",
)
@click.option("--undo", is_flag=True, help="Go on with the SQLite file after all.")
@json_option
def move(target: str | None, undo: bool, as_json: bool) -> None:
    """Move everything from SQLite to an empty PostgreSQL.

    Stop workers, schedulers and servers first. All rows are copied in one
    transaction, counted and hashed on both sides; then the SQLite file is
    closed to every Tieline. Killed at any moment, it can be called again.
    """
    from tieline.services.move import move_database, undo_move

    if undo == bool(target):
        raise InvalidInputError(
            "say where to move, or --undo", hint="echo ADDRESS | tieline db move --to -"
        )
    with installation() as opened:
        if undo:
            if not undo_move(opened):
                raise RefusedError(
                    "the SQLite file was not moved", hint="tieline db current", code="move-none"
                )
            if as_json:
                print_json({"undone": True})
            else:
                note("  undone    the SQLite file is used again, as it was when it was moved")
            return
        url = _address(target or "")
        done = move_database(opened, url, tell=_ignore if as_json else _Told())
    if as_json:
        tables = [
            {"name": each.name, "rows": each.rows, "digest": each.digest} for each in done.tables
        ]
        print_json(
            {
                "source": done.source,
                "target": done.target,
                "copied": done.is_copied,
                "rows": done.rows,
                "tables": tables,
                "views": list(done.views),
            }
        )
        return
    how = "moved" if done.is_copied else "there already"
    note(f"  {how:<9} {done.rows} rows of {len(done.tables)} tables, to {done.target}")
    note("  compared  counts and hashes of every table are equal")
    for name in done.views:
        note(f"  view      {name}")
    note(f"  kept      {done.source}, for a backup; no Tieline uses it any more")
    address = "THE_ADDRESS_YOU_GAVE" if target == "-" else shlex.quote(url.reveal())
    note(f"  next      export TIELINE_DATABASE_URL={address}; tieline doctor")


class _Told:
    """Prints each table once, and long ones as they grow."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def __call__(self, name: str, rows: int) -> None:
        if rows >= self._next.get(name, _EVERY):
            self._next[name] = rows + _EVERY
            note(f"  copied    {name}: {rows} rows")


def _ignore(_name: str, _rows: int) -> None:
    pass


def _address(given: str) -> Secret:
    if given == "-":
        return Secret(sys.stdin.read(_LONGEST).strip())
    if urlsplit(given).password or "password=" in given:
        raise InvalidInputError(
            "a password on a command line can be read by every user of this machine",
            hint="pipe the address in, echo ADDRESS | tieline db move --to -, or leave the password"
            " to PGPASSFILE",
            code="secret-in-argument",
        )
    return Secret(given)
