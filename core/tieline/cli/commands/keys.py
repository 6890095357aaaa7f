"""``tieline keys``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tieline import services
from tieline.cli.face import actor, installation, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from tieline.services.keys import KeysState, Unopened

__all__ = ["keys"]

_MOST_NAMED = 50


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def keys(ctx: click.Context, as_json: bool) -> None:
    """Show the keys that seal credentials; `rotate`, `check` and `forget` them."""
    if ctx.invoked_subcommand is None:
        _status(as_json=as_json)


@keys.command()
@json_option
def status(as_json: bool) -> None:
    """Show which key seals now, and what is sealed under each."""
    _status(as_json=as_json)


@keys.command()
@click.option("--new", is_flag=True, help="Make a fresh local key first, and put it in front.")
@json_option
@click.pass_context
def rotate(ctx: click.Context, new: bool, as_json: bool) -> None:
    """Seal every credential under the present key, while everything goes on.

    May be stopped or killed at any moment, and run again. Exit 7 if a
    credential cannot be opened, 9 if KMS did not give its key.
    """
    with installation() as opened:
        done = services.rotation.rotate(opened, makes_key=new, actor=actor(), on_progress=_tell)
        in_file = [] if opened.settings.key else services.keys.ring_ids(opened)
    if as_json:
        print_json({"rotation": asdict(done)})
    else:
        if done.has_new_key:
            note(f"  new key   {done.key_id}")
        note(f"  sealed    {done.resealed} fields again, under {done.key_id}")
        for key_id, count in done.left.items():
            note(f"  left      {count} fields under {key_id}")
        for key_id in done.emptied:
            how = f" (next: tieline keys forget {key_id})" if key_id in in_file else ""
            note(f"  unused    {key_id} can be removed{how}")
        _tell_unopened(done.unopened)
    ctx.exit(_exit_code(done.unopened))


@keys.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Open every credential; name the fields that do not open.

    Exit 7 if there is one, 9 if it is only that KMS does not give its key.
    """
    with installation() as opened:
        found = services.keys.check(opened)
    if as_json:
        print_json({"check": asdict(found)})
    else:
        note(f"  open      {found.opened} fields")
        _tell_unopened(found.unopened)
    ctx.exit(_exit_code(found.unopened))


@keys.command()
@click.argument("key_id")
@json_option
def forget(key_id: str, as_json: bool) -> None:
    """Take an old key out of the local key file, once nothing is sealed under it.

    Backups of the database that are older than the rotation open no more
    without it.
    """
    with installation() as opened:
        services.keys.forget(opened, key_id, actor=actor())
    if as_json:
        print_json({"forgotten": key_id})
    else:
        note(f"  forgotten {key_id}")


def _tell(done: int, total: int) -> None:
    note(f"  sealing   {done} of {total}")


def _tell_unopened(unopened: Sequence[Unopened]) -> None:
    for each in unopened[:_MOST_NAMED]:
        word = "waits" if each.is_for_now else "broken"
        note(f"  {word:<10}{each.connection_name} {each.field}: {each.reason} [{each.code}]")
    if more := len(unopened[_MOST_NAMED:]):
        note(f"  and       {more} more (all: --json)")
    if not all(each.is_for_now for each in unopened):
        note("  next      bring the key back, or connect the account again with --replace")


def _exit_code(unopened: Sequence[Unopened]) -> int:
    if not unopened:
        return 0
    return 9 if all(each.is_for_now for each in unopened) else 7


def _status(*, as_json: bool) -> None:
    with installation() as opened:
        found = services.keys.state(opened)
    if as_json:
        print_json({"keys": asdict(found)})
        return
    sys.stdout.write(f"  provider  {found.provider} ({found.source})\n")
    sys.stdout.write(f"  seals     {found.key_id or f'nothing now: {found.reason}'}\n")
    print_table(
        ("KEY", "FIELDS", "OPENS", ""),
        (
            (
                use.key_id,
                use.fields,
                {True: "yes", False: "no", None: "-"}[use.can_open],
                "seals now" if use.is_present else use.reason,
            )
            for use in found.keys
        ),
    )
    if (old := _old(found)) and found.key_id:
        note(f"  next      {old} fields are under other keys: tieline keys rotate")


def _old(found: KeysState) -> int:
    return sum(use.fields for use in found.keys if not use.is_present)
