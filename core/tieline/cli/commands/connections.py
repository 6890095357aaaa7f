"""``tieline connections``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tieline import services
from tieline.cli.commands.connect import row_facts, show_connected
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
from tieline.cli.pairs import pairs_of
from tieline.cli.secrets import read_pair, read_secret
from tieline.contract import RateLimitPolicy
from tieline.errors import InvalidInputError, RefusedError

if TYPE_CHECKING:
    from tieline.services.installation import Installation
    from tieline.store.connections import ConnectionRow
    from tieline.store.grants import GrantRow

__all__ = ["connections"]

F = TypeVar("F", bound=Callable[..., Any])


def _key_options(command: F) -> F:
    """Take a secret from stdin or from a file; by default it is asked for."""
    stdin = click.option(
        "--key-stdin", is_flag=True, help="Read the key, or user:password, from stdin."
    )
    path = click.Path(path_type=Path)
    file = click.option(
        "--key-file", type=path, help="Read the key, or user:password, from a file."
    )
    return stdin(file(command))


@click.group(invoke_without_command=True)
@click.pass_context
@json_option
def connections(ctx: click.Context, as_json: bool) -> None:
    """List connections, test them, renew them, let them rest, take them away.

    Every command takes a connection by its name or its id.
    """
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
    """Show one connection, how its tokens are, and how far each entity is."""
    with installation() as opened:
        row = services.connections.get_connection(opened, name)
        states = services.connections.connection_states(opened, row)
        grant = services.connections.get_grant(opened, row)
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
        facts = {**row_facts(row), "grant": _grant_facts(grant), "entities": entities}
        print_json({"connection": facts})
        return
    lines = [
        ("name", row.name),
        ("id", row.id),
        ("provider", f"{row.provider} ({row.environment}) at {row.base_url}"),
        ("account", f"{row.account_name or '-'} {row.account_id or ''}"),
        ("connected", f"{when(row.created_at)} by {row.auth_kind}"),
        ("state", _state(row)),
        *([("paused", f"since {when(row.paused_at)}")] if row.paused_at else []),
        *([("because", f"{row.trouble} ({when(row.trouble_at)})")] if row.trouble else []),
        *(_grant_lines(grant) if grant else []),
        *((f"set {name}", str(value)) for name, value in sorted(row.settings.items())),
    ]
    lines += [
        (state.entity, f"position {state.position}, in step {ago(state.last_success_at, now)}")
        for state in states
    ]
    for label, value in lines:
        print_table((label, value), [])
    if row.state != "ok":
        note(f"  next  tieline connections reauth {row.name}")
    elif row.paused_at:
        note(f"  next  tieline connections resume {row.name}")


@connections.command()
@click.argument("name")
@json_option
def test(name: str, as_json: bool) -> None:
    """Ask the provider whose account it is, what may be read, and how fast.

    Takes three seconds at most. Renews tokens if that is due.
    """
    with installation() as opened:
        tested = services.connections.test_connection(opened, name, actor=actor())
    row, account = tested.row, tested.account
    if as_json:
        print_json(
            {
                "connection": row_facts(row),
                "account": {"id": account.id, "name": account.name},
                "scopes": list(tested.scopes),
                "limits": _limits(tested.limits),
                "access_expires_at": tested.access_expires_at,
                "refresh_expires_at": tested.refresh_expires_at,
                "seconds": round(tested.seconds, 3),
            }
        )
        return
    for label, value in (
        ("account", f"{account.name or '-'} {account.id or ''}"),
        ("environment", f"{row.environment} at {row.base_url}"),
        ("rights", " ".join(tested.scopes) or "the provider does not say"),
        ("limits", "; ".join(_limits(tested.limits)) or "none declared"),
        ("tokens", _ends(tested.access_expires_at, "renewed before")),
        ("consent", _ends(tested.refresh_expires_at, "to be given again before")),
    ):
        print_table((label, value), [])
    note(f"  ok  {row.provider} · {row.name} in {tested.seconds:.1f} s")


@connections.command()
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Let a connection rest: its schedules and runs wait until it is resumed."""
    with installation() as opened:
        row = services.connections.pause_connection(opened, name, actor=actor())
    _tell(row, f"  paused  {row.name} (next: tieline connections resume {row.name})", as_json)


@connections.command()
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let a paused connection go on; its runs continue where they were."""
    with installation() as opened:
        row = services.connections.resume_connection(opened, name, actor=actor())
    _tell(row, f"  resumed  {row.name}", as_json)


@connections.command("set")
@click.argument("name")
@click.argument("given", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--unset", "dropped", metavar="NAME", multiple=True, help="Set this no longer.")
@json_option
def set_(name: str, given: tuple[str, ...], dropped: tuple[str, ...], as_json: bool) -> None:
    """Change what a connection sets: a shop's name, a region.

    What the plugin's schema refuses changes nothing. A run under way goes on
    as it began; what opens the connection after that goes by the new values.
    `tieline providers show PROVIDER` says what may be set. Secrets have no
    place here: settings are shown.

    Example: `tieline connections set shop region=eu`
    """
    pairs = pairs_of(given)
    if not pairs and not dropped:
        raise InvalidInputError(
            "nothing is to be set", hint=f"tieline connections set {name} NAME=VALUE"
        )
    with installation() as opened:
        row = services.connection_settings.change_settings(
            opened, name, pairs, dropped=dropped, actor=actor()
        )
    told = " ".join(f"{name}={value}" for name, value in sorted(row.settings.items()))
    _tell(row, f"  set  {row.name}   {told or 'nothing'}", as_json)


@connections.command()
@click.argument("name")
@click.option("--link", "is_link", is_flag=True, help="Print an address to send to the owner.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@_key_options
@json_option
def reauth(
    name: str,
    is_link: bool,
    no_browser: bool,
    key_stdin: bool,
    key_file: Path | None,
    as_json: bool,
) -> None:
    """Connect an account again; runs that waited for it go on by themselves.

    Whoever signed in at the provider does so again; a connection by key or
    password is given a new one, as by `rotate-key`.
    """
    with installation() as opened:
        row = services.connections.get_connection(opened, name)
        if row.auth_kind != "oauth2":
            if is_link:
                raise InvalidInputError(
                    f"{row.name} was connected by a key, which no link can give", code="auth-kind"
                )
            row = _with_new_secret(opened, row, key_stdin=key_stdin, key_file=key_file)
            show_connected(opened, row, as_json=as_json)
            return
        if key_stdin or key_file:
            raise InvalidInputError(f"{row.name} was connected by signing in", code="auth-kind")
        intent = services.oauth.intend_again(opened, row.id, actor=actor())
        from tieline.cli import consent

        if is_link:
            consent.print_link(opened, intent, as_json=as_json)
            return
        connected = consent.ask_consent(opened, intent, opens_browser=not no_browser)
        show_connected(opened, connected.row, as_json=as_json)
        if connected.resumed and not as_json:
            note(f"  resumed    {len(connected.resumed)} runs")


@connections.command("rotate-key")
@click.argument("name")
@_key_options
@click.option("--no-check", "is_unchecked", is_flag=True, help="Do not ask the provider.")
@json_option
def rotate_key(
    name: str, key_stdin: bool, key_file: Path | None, is_unchecked: bool, as_json: bool
) -> None:
    """Give a connection a new key of the same account; runs under way go on with it."""
    with installation() as opened:
        row = services.connections.get_connection(opened, name)
        if row.auth_kind == "oauth2":
            raise InvalidInputError(
                f"{row.name} was connected by signing in, and has no key",
                hint=f"tieline connections reauth {row.name}",
                code="auth-kind",
            )
        row = _with_new_secret(
            opened, row, key_stdin=key_stdin, key_file=key_file, is_checked=not is_unchecked
        )
        show_connected(opened, row, as_json=as_json)


def _with_new_secret(
    opened: Installation,
    row: ConnectionRow,
    *,
    key_stdin: bool,
    key_file: Path | None,
    is_checked: bool = True,
) -> ConnectionRow:
    title = opened.registry.get(row.provider).provider.title
    same: dict[str, Any] = {
        "name": row.name,
        "environment": row.environment,
        "actor": actor(),
        "is_checked": is_checked,
        "is_replacing": True,
    }
    if row.auth_kind == "basic":
        username, password = read_pair(title, from_stdin=key_stdin, file=key_file)
        return services.connect.connect_basic(
            opened, row.provider, username=username, password=password, **same
        )
    key = read_secret(f"new {title} API key", from_stdin=key_stdin, file=key_file)
    return services.connect.connect_api_key(opened, row.provider, key=key, **same)


@connections.command()
@click.argument("name")
@yes_option
@click.option("--keep-records", is_flag=True, help="Keep the records, to be read.")
@click.option("--force", is_flag=True, help="Go on if the provider cannot be told.")
@json_option
def remove(name: str, yes: bool, keep_records: bool, force: bool, as_json: bool) -> None:
    """Disconnect an account: give access back, destroy the credential, remove the records.

    With --keep-records the records stay to be read, and the connection can be
    made anew by `tieline connections reauth`.
    """
    with installation() as opened:
        row = services.connections.get_connection(opened, name)
        if not yes:
            _confirm(row, keep_records=keep_records)
        removed = services.connections.remove_connection(
            opened, row.id, actor=actor(), keeps_records=keep_records, is_forced=force
        )
        title = opened.registry.title_of(row.provider)
    row, access = removed.row, removed.access
    if as_json:
        print_json({"removed": row_facts(row), "access": access, "keeps_records": keep_records})
        return
    note(f"  {'disconnected' if keep_records else 'removed'}  {row.name}   {row.id}")
    note(f"  {title} {_ACCESS[access]}")


_ACCESS = {
    "revoked": "has ended the access",
    "shared": "was not told: another connection lives by the same access",
    "untold": "was not told: end the access there too, if that is what you want",
}


def _confirm(row: ConnectionRow, *, keep_records: bool) -> None:
    takes = "credential and schedules" if keep_records else "credential, runs and records"
    if not can_ask():
        raise RefusedError(
            f"removing {row.name} takes its {takes} with it",
            hint=f"tieline connections remove {row.name} --yes",
            code="interactive-needed",
        )
    typed = click.prompt(
        f"This removes {row.name} with its {takes}. Type its name to go on", err=True
    )
    if typed != row.name:
        raise RefusedError(f"{typed[:80]!r} is not its name: nothing was removed")


def _tell(row: ConnectionRow, line: str, as_json: bool) -> None:
    if as_json:
        print_json({"connection": row_facts(row)})
    else:
        note(line)


def _list(*, as_json: bool) -> None:
    with installation() as opened:
        rows = services.connections.list_connections(opened)
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
                _state(row),
                row.account_name or row.account_id,
                row.id,
            )
            for row in rows
        ),
    )


def _state(row: ConnectionRow) -> str:
    return "paused" if row.state == "ok" and row.paused_at else row.state


def _limits(policy: RateLimitPolicy) -> list[str]:
    rates = [f"{rate.limit} by {rate.scope}" for rate in policy.rates]
    return rates + ([f"{policy.concurrency} at once"] if policy.concurrency else [])


def _grant_facts(grant: GrantRow | None) -> dict[str, object] | None:
    if grant is None:
        return None
    return {
        "generation": grant.generation,
        "scopes": grant.scopes,
        "refreshed_at": grant.refreshed_at,
        "access_expires_at": grant.access_expires_at,
        "refresh_expires_at": grant.refresh_expires_at,
        "retry_at": grant.retry_at,
    }


def _grant_lines(grant: GrantRow) -> list[tuple[str, str]]:
    return [
        ("rights", " ".join(grant.scopes or ()) or "the provider does not say"),
        ("tokens", f"of {when(grant.refreshed_at)}; {_ends(grant.access_expires_at, 'end')}"),
        ("consent", _ends(grant.refresh_expires_at, "to be given again before")),
    ]


def _ends(time: Any, words: str) -> str:
    return f"{words} {when(time)}" if time else "no end"
