"""``tieline connect``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tieline import services
from tieline.cli.face import actor, installation, json_option, note, print_json
from tieline.cli.pairs import pairs_of
from tieline.cli.secrets import read_pair, read_secret
from tieline.contract import ApiKey, Basic
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.registry import Plugin
    from tieline.services.installation import Installation
    from tieline.store.connections import ConnectionRow

__all__ = ["connect", "row_facts", "show_connected"]


@click.command()
@click.argument("provider")
@click.option(
    "--name", default="", help="What to call the connection; the provider's name if left out."
)
@click.option("--oauth", "is_oauth", is_flag=True, help="Sign in at the provider (OAuth 2).")
@click.option("--link", "is_link", is_flag=True, help="Print an address to send to the owner.")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@click.option("--key-stdin", is_flag=True, help="Read the key, or user:password, from stdin.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="Read the key, or user:password, from a file.",
)
@click.option("--environment", default="", help="The provider's environment, such as `sandbox`.")
@click.option("--base-url", default="", help="Another address of the API: a sandbox, a proxy.")
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, help="Set what it may set.")
@click.option("--sandbox", "is_sandbox", is_flag=True, help="The one that `demo start` started.")
@click.option("--replace", "is_replacing", is_flag=True, help="Give a connection a new key.")
@click.option("--no-check", "is_unchecked", is_flag=True, help="Do not ask the provider.")
@json_option
def connect(
    provider: str,
    name: str,
    is_oauth: bool,
    is_link: bool,
    no_browser: bool,
    key_stdin: bool,
    key_file: Path | None,
    environment: str,
    base_url: str,
    given: tuple[str, ...],
    is_sandbox: bool,
    is_replacing: bool,
    is_unchecked: bool,
    as_json: bool,
) -> None:
    """Connect an account at PROVIDER: by signing in there, or by its API key.

    Signing in (OAuth 2) opens the browser and waits for it on this machine;
    over SSH, open the printed address anywhere and paste the address that you
    end up at. A key is asked for, or read from stdin or a file; it is never
    an argument, where other users of this machine could see it. The provider
    is asked whether all is well; only then anything is stored.
    What a connection may set, `tieline providers show PROVIDER` says.

    Examples: `tieline connect square`, `tieline connect stripe --name shop`,
    `tieline connect stripe --name test --key-stdin --base-url http://127.0.0.1:12111 < key`
    """
    name, settings = name or provider, pairs_of(given)
    with installation() as opened:
        plugin = opened.registry.get(provider)
        has_key = key_stdin or key_file is not None
        if is_sandbox:
            if has_key or is_oauth or is_link or base_url or environment or given or is_unchecked:
                raise click.UsageError("--sandbox: the sandbox says all but the name by itself")
            row = services.demo_sandbox.connect_to_sandbox(
                opened, plugin, name=name, actor=actor(), is_replacing=is_replacing
            )
        elif _signs_in(opened, plugin, is_asked=is_oauth or is_link, has_key=has_key):
            if has_key or is_replacing or is_unchecked:
                raise InvalidInputError(
                    "signing in takes no key",
                    hint=f"renew a connection: tieline connections reauth {name}",
                )
            intent = services.oauth.intend(
                opened,
                provider,
                name=name,
                environment=environment,
                base_url=base_url,
                settings=settings,
                actor=actor(),
            )
            from tieline.cli import consent

            if is_link:
                consent.print_link(opened, intent, as_json=as_json)
                return
            row = consent.ask_consent(opened, intent, opens_browser=not no_browser).row
        else:
            row = _by_secret(
                opened,
                plugin,
                name,
                key_stdin=key_stdin,
                key_file=key_file,
                base_url=base_url,
                environment=environment,
                settings=settings,
                is_checked=not is_unchecked,
                is_replacing=is_replacing,
            )
        show_connected(opened, row, as_json=as_json)


def show_connected(opened: Installation, row: ConnectionRow, *, as_json: bool) -> None:
    """Say what was connected, and what to do next."""
    entities = list(opened.registry.get(row.provider).entities)
    if as_json:
        print_json({"connection": {**row_facts(row), "entities": entities}})
        return
    account = row.account_name or row.account_id or "account not named by the provider"
    note(f"  connected  {row.provider} · {row.name} · {row.environment} · {account}   {row.id}")
    if entities:
        note(f"  next       tieline sync run {row.name} {entities[0]} --wait")


def row_facts(row: ConnectionRow) -> dict[str, object]:
    """Return what is shown of a connection."""
    return {
        "id": row.id,
        "name": row.name,
        "provider": row.provider,
        "environment": row.environment,
        "base_url": row.base_url,
        "settings": dict(row.settings),
        "auth": row.auth_kind,
        "account": {"id": row.account_id, "name": row.account_name},
        "state": row.state,
        "trouble": row.trouble,
        "trouble_at": row.trouble_at,
        "paused_at": row.paused_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _signs_in(opened: Installation, plugin: Plugin, *, is_asked: bool, has_key: bool) -> bool:
    """Choose the way: what was asked for, else what the provider has and is set up here."""
    if not services.oauth.takes_oauth(plugin):
        if is_asked:
            raise InvalidInputError(f"{plugin.provider.title} takes no OAuth 2", code="auth-kind")
        return False
    if is_asked or has_key:
        return is_asked
    if all(auth.kind == "oauth2" for auth in plugin.auth):
        return True
    return plugin.name in opened.settings.applications


def _by_secret(
    opened: Installation,
    plugin: Plugin,
    name: str,
    *,
    key_stdin: bool,
    key_file: Path | None,
    base_url: str,
    environment: str,
    settings: Mapping[str, str],
    is_checked: bool,
    is_replacing: bool,
) -> ConnectionRow:
    title = plugin.provider.title
    takes_key = any(isinstance(auth, ApiKey) for auth in plugin.auth)
    if not takes_key and any(isinstance(auth, Basic) for auth in plugin.auth):
        username, password = read_pair(title, from_stdin=key_stdin, file=key_file)
        return services.connect.connect_basic(
            opened,
            plugin.name,
            name=name,
            username=username,
            password=password,
            base_url=base_url,
            environment=environment,
            settings=settings,
            actor=actor(),
            is_checked=is_checked,
            is_replacing=is_replacing,
        )
    key = read_secret(f"{title} API key", from_stdin=key_stdin, file=key_file)
    return services.connect.connect_api_key(
        opened,
        plugin.name,
        name=name,
        key=key,
        base_url=base_url,
        environment=environment,
        settings=settings,
        actor=actor(),
        is_checked=is_checked,
        is_replacing=is_replacing,
    )
