"""``tieline tokens``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.choices import SCOPES
from tieline.cli.face import (
    actor,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    when,
    write_line,
)

if TYPE_CHECKING:
    from tieline.services.installation import Installation
    from tieline.services.tokens import Scope, TokenRow

__all__ = ["tokens"]


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def tokens(ctx: click.Context, as_json: bool) -> None:
    """List, make and revoke the tokens of the HTTP API."""
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


@tokens.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all tokens: who has one, what for, and when it was used."""
    _list(as_json=as_json)


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    required=True,
    help="read; operate: ask, cancel, retry too; admin: everything.",
)
@click.option(
    "--connection", "connections", multiple=True, help="All that it may see; repeat it for more."
)
@click.option("--expires", metavar="90d", help="Until when it is good: s, m, h or d from now.")
@json_option
def create(
    name: str, scope: Scope, connections: tuple[str, ...], expires: str | None, as_json: bool
) -> None:
    """Make a token and print it; it is not shown again.

    NAME is what the sync log calls who shows it. Example: `tieline tokens
    create warehouse --scope read --connection shop --expires 90d`
    """
    with installation() as opened:
        made = services.tokens.create_token(
            opened,
            name,
            scope=scope,
            connections=connections,
            expires_in=expires,
            actor=actor(),
        )
        facts = _facts(opened, made.row)
    text = made.token.reveal()
    if as_json:
        print_json({"token": {**facts, "token": text}})
        return
    seen = ", ".join(facts["connections"] or ["all connections"])
    end = made.row.expires_at
    note(f"  made      {name}: {scope}, {seen}, until {when(end) if end else 'it is revoked'}")
    note("  keep it: it is not shown again")
    write_line(text.encode())


@tokens.command()
@click.argument("name")
@json_option
def revoke(name: str, as_json: bool) -> None:
    """End a token; whoever shows it is refused from this moment on."""
    with installation() as opened:
        row = services.tokens.revoke_token(opened, name, actor=actor())
        facts = _facts(opened, row)
    if as_json:
        print_json({"token": facts})
    else:
        note(f"  revoked   {row.name}")


def _list(*, as_json: bool) -> None:
    with installation() as opened:
        rows = services.tokens.list_tokens(opened)
        told = [_facts(opened, row) for row in rows]
        now = opened.clock.now()
    if as_json:
        print_json({"tokens": told})
        return
    if not rows:
        note("  there is no token (next: tieline tokens create NAME --scope read)")
        return
    print_table(
        ("NAME", "SCOPE", "CONNECTIONS", "STATE", "EXPIRES", "LAST USED"),
        (
            (
                row.name,
                row.scope,
                "all" if facts["connections"] is None else ", ".join(facts["connections"]),
                "good" if row.is_good(now) else "revoked" if row.revoked_at else "over",
                when(row.expires_at),
                when(row.last_used_at),
            )
            for row, facts in zip(rows, told, strict=True)
        ),
    )


def _facts(opened: Installation, row: TokenRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "scope": row.scope,
        "connections": services.tokens.names_of(opened, row),
        "created_by": row.created_by,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "last_used_at": row.last_used_at,
        "revoked_at": row.revoked_at,
    }
