"""``tieline plugin record``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tieline.cli.face import installation, note, write_line
from tieline.cli.pairs import pairs_of
from tieline.cli.secrets import read_pair, read_secret
from tieline.contract import ApiKey, Basic, Secret
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.checks import Case, Subject
    from tieline.checks.record import Account, Recorder
    from tieline.contract import Entity
    from tieline.recording import Taken

__all__ = ["record"]

_MOST_PAGES = 20
_MOST_KB = 10_000


@click.command()
@click.argument("named", metavar="NAME|PATH")
@click.option("--live", "is_live", is_flag=True, help="Ask the provider, not the sandbox.")
@click.option("--connection", default="", help="With --live: by a connection that there is here.")
@click.option("--key-stdin", is_flag=True, help="Read the key, or user:password, from stdin.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="Read the key, or user:password, from a file.",
)
@click.option("--environment", default="", help="The provider's environment, such as `sandbox`.")
@click.option("--base-url", default="", help="Another address of the API.")
@click.option("--set", "given", metavar="NAME=VALUE", multiple=True, help="Set what it may set.")
@click.option("--entity", "entities", multiple=True, help="Only this one; may be repeated.")
@click.option(
    "--pages",
    type=click.IntRange(1, _MOST_PAGES),
    default=2,
    show_default=True,
    help="The most pages of each list.",
)
@click.option(
    "--max-kb",
    type=click.IntRange(1, _MOST_KB),
    default=512,
    show_default=True,
    help="The most that is stored of one entity.",
)
@click.option("--keep", multiple=True, metavar="FIELD", help="Leave a field's values as they are.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where; tests/recorded in the plugin's folder.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Store nothing; say how answers differ.")
def record(
    named: str,
    is_live: bool,
    connection: str,
    key_stdin: bool,
    key_file: Path | None,
    environment: str,
    base_url: str,
    given: tuple[str, ...],
    entities: tuple[str, ...],
    pages: int,
    max_kb: int,
    keep: tuple[str, ...],
    folder: Path | None,
    is_dry: bool,
) -> None:
    """Record what a provider answers to the plugin's own steps, without its people.

    A few pages of each entity, of its log, and one record; nothing is written
    at the provider. Names, addresses, texts, ids and secrets are replaced before
    anything is stored, ids alike everywhere. A key is asked for, or read from
    stdin or a file; it is never an argument. Without --live the plugin's own
    sandbox answers, to try it out. It says as well how the answers differ from
    the schema.

    Example: `tieline plugin record . --live --key-stdin --pages 3 < key`
    """
    from tieline.checks import Case, find_subject
    from tieline.checks.record import at_provider, at_sandbox, store
    from tieline.recording import Bounds
    from tieline.telemetry import configure_logging

    configure_logging("error", "auto")
    by_key = key_stdin or key_file is not None or bool(environment or base_url or given)
    _require_sense(is_live=is_live, by_key=by_key, by_connection=bool(connection))
    subject = find_subject(named)
    where = folder or (Path() if is_dry else _folder_of(subject))
    with Case(subject) as case:
        if connection:
            source = _at_connection(connection, subject)
        elif is_live:
            account = _account(case, key_stdin, key_file, environment, base_url, given)
            source = at_provider(case, account)
        else:
            source = at_sandbox(case)
        with source as recorder:
            plugin = recorder.plugin
            chosen = [plugin.entity(name) for name in entities or plugin.entities]
            for entity in chosen:
                taken = recorder.take(entity, Bounds(pages=pages, size_bytes=max_kb * 1000), keep)
                if not is_dry:
                    write_line(str(store(taken, where)).encode())
                _tell(entity, taken)
    if not is_dry:
        note("  next      read the files before you publish them: what is personal is a guess")


def _require_sense(*, is_live: bool, by_key: bool, by_connection: bool) -> None:
    if (by_connection or by_key) and not is_live:
        raise click.UsageError("the sandbox needs no account: with --live the provider is asked")
    if by_connection and by_key:
        raise click.UsageError("--connection has its own key, address and settings")


def _tell(entity: Entity, taken: Taken) -> None:
    """Say how much was taken, and how it differs from the schema."""
    from tieline.checks.record import drift_of

    count = len(taken.document["exchanges"])
    note(f"  {entity.name}: {count} answers, {taken.replaced} values replaced")
    for line in drift_of(entity, taken):
        note(f"  {entity.name}: {line}")


def _folder_of(subject: Subject) -> Path:
    if subject.folder is None:
        raise InvalidInputError(
            f"the folder of {subject.name} is not here", hint="say where, with --to"
        )
    return subject.folder / "tests" / "recorded"


def _account(
    case: Case,
    key_stdin: bool,
    key_file: Path | None,
    environment: str,
    base_url: str,
    given: tuple[str, ...],
) -> Account:
    from tieline.checks.record import Account

    auth, title = case.plugin.auth, case.plugin.provider.title
    username, secret = "", Secret("")
    if any(isinstance(each, ApiKey) for each in auth):
        secret = read_secret(f"{title} API key", from_stdin=key_stdin, file=key_file)
        secret = Secret(secret.reveal().strip())
    elif any(isinstance(each, Basic) for each in auth):
        username, secret = read_pair(title, from_stdin=key_stdin, file=key_file)
    return Account(
        secret=secret,
        username=username,
        base_url=base_url,
        environment=environment,
        settings=pairs_of(given),
    )


@contextmanager
def _at_connection(name: str, subject: Subject) -> Iterator[Recorder]:
    from tieline.checks.record import at_stored
    from tieline.services.connections import get_connection

    with installation() as opened:
        row = get_connection(opened, name)
        if row.provider != subject.name:
            raise InvalidInputError(f"{name} is an account at {row.provider}, not {subject.name}")
        with at_stored(opened, row.id) as recorder:
            yield recorder
