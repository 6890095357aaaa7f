"""``tieline connections``."""

from __future__ import annotations

import sys

import rich_click as click

from tieline.cli.commands.connect import row_facts
from tieline.cli.face import (
    actor,
    ago,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
)
from tieline.errors import RefusedError
from tieline.services import connect as service

__all__ = ["connections"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def connections(ctx: click.Context, as_json: bool) -> None:
    """List connections; `show` and `remove` take one by its name or id."""
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@connections.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all connections."""
    _list(as_json=as_json)


@connections.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one connection and how far each entity is."""
    with installation() as opened:
        row = service.get_connection(opened, name)
        states = service.connection_states(opened, row)
        now = opened.clock.now()
    if as_json:
        entities = [
            {
                "name": state.entity,
                "position": state.position,
                "synced_until": state.synced_until,
                "last_success_at": state.last_success_at,
            }
            for state in states
        ]
        print_json({"connection": {**row_facts(row), "entities": entities}})
        return
    for label, value in (
        ("name", row.name),
        ("id", row.id),
        ("provider", f"{row.provider} ({row.environment}) at {row.base_url}"),
        ("account", f"{row.account_name or '-'} {row.account_id or ''}"),
        ("state", row.state),
        ("connected", when(row.created_at)),
    ):
        print_table((label, value), [])
    for state in states:
        print_table(
            (state.entity, f"position {state.position}, in step {ago(state.last_success_at, now)}"),
            [],
        )


@connections.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove(name: str, yes: bool, as_json: bool) -> None:
    """Remove a connection with its credential, its runs and all its records."""
    with installation() as opened:
        row = service.get_connection(opened, name)
        if not yes:
            if not sys.stdin.isatty():
                raise RefusedError(
                    f"removing {row.name} takes its credential, runs and records with it",
                    hint=f"tieline connections remove {row.name} --yes",
                )
            typed = click.prompt(
                f"This removes {row.name} with its credential, runs and records."
                " Type its name to go on",
                err=True,
            )
            if typed != row.name:
                raise click.Abort
        service.remove_connection(opened, row.id, actor=actor())
    if as_json:
        print_json({"removed": row_facts(row)})
    else:
        note(f"  removed  {row.name}   {row.id}")


def _list(*, as_json: bool) -> None:
    with installation() as opened:
        rows = service.list_connections(opened)
    if as_json:
        print_json({"connections": [row_facts(row) for row in rows]})
        return
    if not rows:
        note("  there is no connection yet (next: tieline connect stripe --name shop)")
        return
    print_table(
        ("NAME", "PROVIDER", "ENVIRONMENT", "STATE", "ACCOUNT", "ID"),
        (
            (
                row.name,
                row.provider,
                row.environment,
                row.state,
                row.account_name or row.account_id,
                row.id,
            )
            for row in rows
        ),
    )
