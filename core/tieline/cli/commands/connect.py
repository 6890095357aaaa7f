"""``tieline connect``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO

import rich_click as click

from tieline.cli.face import actor, installation, json_option, note, print_json
from tieline.contract import Secret
from tieline.errors import InvalidInputError
from tieline.services import connect as service
from tieline.store.connections import ConnectionRow

__all__ = ["connect"]

_LONGEST = 65_536


@click.command()
@click.argument("provider")
@click.option("--name", required=True, help="What to call the connection, such as `shop`.")
@click.option("--key-stdin", is_flag=True, help="Read the API key from stdin.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="Read the API key from a file.",
)
@click.option("--base-url", default="", help="Another address of the API: a sandbox, a proxy.")
@click.option("--replace", "is_replacing", is_flag=True, help="Give a connection a new key.")
@click.option("--no-check", "is_unchecked", is_flag=True, help="Do not ask the provider.")
@json_option
def connect(
    provider: str,
    name: str,
    key_stdin: bool,
    key_file: Path | None,
    base_url: str,
    is_replacing: bool,
    is_unchecked: bool,
    as_json: bool,
) -> None:
    """Connect an account at PROVIDER by its API key.

    The key is asked for, or read from stdin or a file; it is never an
    argument, where other users of this machine could see it. The provider is
    asked whether it is good; only then anything is stored.

    Examples: `tieline connect stripe --name shop`,
    `tieline connect stripe --name test --key-stdin --base-url http://127.0.0.1:12111 < key`
    """
    with installation() as opened:
        opened.registry.get(provider)
        key = _read_key(provider, key_stdin=key_stdin, key_file=key_file)
        row = service.connect_api_key(
            opened,
            provider,
            name=name,
            key=key,
            base_url=base_url,
            actor=actor(),
            is_checked=not is_unchecked,
            is_replacing=is_replacing,
        )
        entities = list(opened.registry.get(provider).entities)
    if as_json:
        print_json({"connection": {**row_facts(row), "entities": entities}})
        return
    account = row.account_name or row.account_id or "account not named by the provider"
    note(f"  connected  {row.provider} · {row.name} · {row.environment} · {account}   {row.id}")
    note(f"  next       tieline sync run {row.name} {entities[0]} --wait")


def row_facts(row: ConnectionRow) -> dict[str, object]:
    """Return what is shown of a connection."""
    return {
        "id": row.id,
        "name": row.name,
        "provider": row.provider,
        "environment": row.environment,
        "base_url": row.base_url,
        "auth": row.auth_kind,
        "account": {"id": row.account_id, "name": row.account_name},
        "state": row.state,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _read_key(provider: str, *, key_stdin: bool, key_file: Path | None) -> Secret:
    if key_stdin and key_file:
        raise InvalidInputError("--key-stdin and --key-file cannot both be given")
    if key_stdin:
        return _decode(sys.stdin.buffer, "stdin")
    if key_file:
        try:
            with key_file.open("rb") as file:
                return _decode(file, str(key_file))
        except OSError as error:
            raise InvalidInputError(
                f"the key file {key_file} cannot be read: {error.strerror}"
            ) from None
    if not sys.stdin.isatty():
        raise InvalidInputError(
            "there is no terminal to ask for the key",
            hint="pipe it in with --key-stdin, or name a file with --key-file",
        )
    return Secret(click.prompt(f"{provider} API key", hide_input=True, err=True))


def _decode(file: IO[bytes], where: str) -> Secret:
    try:
        return Secret(file.read(_LONGEST).decode())
    except UnicodeDecodeError:
        raise InvalidInputError(f"the key from {where} is no text", code="key-invalid") from None
