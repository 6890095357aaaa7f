"""``tieline plugin record``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tieline.cli.commands.plugin_account import AskedAccount, account_options
from tieline.cli.commands.plugin_live import lines_of
from tieline.cli.face import note, write_line
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.checks import Subject
    from tieline.contract import Entity
    from tieline.recording import Taken

__all__ = ["record"]

_MOST_PAGES = 20
_MOST_KB = 10_000


@click.command()
@click.argument("named", metavar="NAME|PATH")
@click.option("--live", "is_live", is_flag=True, help="Ask the provider, not the sandbox.")
@account_options
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
    account: AskedAccount,
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
    from tieline.checks.record import store
    from tieline.recording import Bounds
    from tieline.telemetry import configure_logging

    configure_logging("error", "auto")
    subject = find_subject(named)
    where = folder or (Path() if is_dry else _folder_of(subject))
    with Case(subject) as case, account.opened(case) as recorder:
        plugin = recorder.plugin
        chosen = [plugin.entity(name) for name in entities or plugin.entities]
        for entity in chosen:
            taken = recorder.take(entity, Bounds(pages=pages, size_bytes=max_kb * 1000), keep)
            if not is_dry:
                write_line(str(store(taken, where)).encode())
            _tell(subject, entity, taken, title=plugin.provider.title)
    if not is_dry:
        note("  next      read the files before you publish them: what is personal is a guess")


def _tell(subject: Subject, entity: Entity, taken: Taken, *, title: str) -> None:
    """Say how much was taken, and how it differs from the schema."""
    from tieline.checks.drift import compare_records

    count = len(taken.document["exchanges"])
    note(f"  {entity.name}: {count} answers, {taken.replaced} values replaced")
    compared = compare_records(subject, entity, taken.records)
    for line in lines_of(entity.name, compared, title=title):
        note(f"  {line}")


def _folder_of(subject: Subject) -> Path:
    if subject.folder is None:
        raise InvalidInputError(
            f"the folder of {subject.name} is not here", hint="say where, with --to"
        )
    return subject.folder / "tests" / "recorded"
