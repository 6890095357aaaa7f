"""``tieline push``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

import click

from tieline import services
from tieline.cli.choices import POLICIES
from tieline.cli.commands.outbox import operation_facts, state_words
from tieline.cli.commands.runs import run_facts
from tieline.cli.commands.sync import follow
from tieline.cli.face import actor, installation, json_option, note, print_json, print_table
from tieline.cli.failures import run_exit_code
from tieline.cli.payloads import payload_of
from tieline.contract import OperationKind
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.services.installation import Installation
    from tieline.store.operations import OperationRow
    from tieline.store.rows import RunRow

__all__ = ["push"]

_MOST_LINE_BYTES = 16_000_000
_NAMES = frozenset({"kind", "key", "payload"})


@click.command()
@click.argument("connection")
@click.argument("entity")
@click.option("--create", "creates", multiple=True, metavar="JSON", help="Make a record.")
@click.option(
    "--update", "updates", nargs=2, multiple=True, metavar="KEY JSON", help="Change fields of one."
)
@click.option("--delete", "deletes", multiple=True, metavar="KEY", help="Delete one.")
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help="Changes as JSON lines; - for stdin.",
)
@click.option(
    "--policy",
    default="hold",
    show_default=True,
    type=click.Choice(POLICIES),
    help="What to do if the record is another one at the provider by now.",
)
@click.option("--wait", is_flag=True, help="Wait until they are sent.")
@click.option(
    "--patience",
    default=15.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Seconds to wait without any living worker.",
)
@json_option
@click.pass_context
def push(
    ctx: click.Context,
    connection: str,
    entity: str,
    creates: tuple[str, ...],
    updates: tuple[tuple[str, str], ...],
    deletes: tuple[str, ...],
    file: IO[bytes] | None,
    policy: services.outbox.Policy,
    wait: bool,
    patience: float,
    as_json: bool,
) -> None:
    """Change records of ENTITY at the provider of CONNECTION; a worker sends them.

    Everything is checked before anything is kept, and kept before anything is
    sent. A line of --file is {"kind": "create", "payload": {…}}, {"kind":
    "update", "key": "…", "payload": {…}} or {"kind": "delete", "key": "…"}.
    With `--wait` the exit code says how it ended: 0 all done, 8 some wait for
    a person (`tieline outbox list`), 5 the provider refuses for now.

    Example: `tieline push news contacts --update c_81 '{"name": "Ada"}' --wait`
    """
    if patience != patience:  # noqa: PLR0124 - only NaN differs from itself
        raise click.BadParameter("a number of seconds", param_hint="--patience")
    changes = [
        *(_change("create", "", text, "--create") for text in creates),
        *(_change("update", key, text, "--update") for key, text in updates),
        *(services.changes.Change(kind="delete", key=key, where="--delete") for key in deletes),
        *(_lines(file) if file is not None else ()),
    ]
    if not changes:
        raise click.UsageError("say what to change: --create, --update, --delete or --file")
    with installation() as opened:
        asked = services.outbox.ask_changes(
            opened, connection, entity, changes, policy=policy, actor=actor()
        )
        run = asked.run
        if run is not None and wait:
            run = _follow(opened, asked.ids, run, patience, is_quiet=as_json)
        rows = services.outbox.get_operations(opened, asked.ids)
    if as_json:
        print_json(
            {
                "operations": [operation_facts(row) for row in rows],
                "run": run_facts(run) if run else None,
                "waits_for": asked.waits_for or None,
            }
        )
    else:
        _tell(rows)
        if asked.waits_for:
            note(f"  kept      {asked.waits_for}")
        elif run is not None and not wait:
            note(f"  next      tieline runs show {run.id}")
    if wait:
        ctx.exit(_exit_code(rows, run))


def _follow(
    opened: Installation, ids: Sequence[str], run: RunRow, patience: float, *, is_quiet: bool
) -> RunRow:
    """Wait until the changes were sent; one run more where the first was about to end."""
    run = follow(opened, run, patience_s=patience, total=len(ids), is_quiet=is_quiet)
    if run_exit_code(run.state, run.error_code) not in {0, 8}:
        return run
    more = services.outbox.send_what_is_left(opened, ids, actor=actor())
    if more is None:
        return run
    return follow(opened, more, patience_s=patience, total=len(ids), is_quiet=is_quiet)


def _change(kind: OperationKind, key: str, text: str, where: str) -> services.changes.Change:
    return services.changes.Change(kind=kind, key=key, payload=payload_of(text, where), where=where)


def _lines(file: Iterable[bytes]) -> Iterator[services.changes.Change]:
    for number, line in enumerate(file, 1):
        where = f"line {number}"
        if len(line) > _MOST_LINE_BYTES:
            raise InvalidInputError(f"{where} is longer than {_MOST_LINE_BYTES:,} bytes")
        if line.strip():
            yield _from_line(payload_of(line, where), where)


def _from_line(given: dict[str, Any], where: str) -> services.changes.Change:
    kind, key, payload = given.get("kind"), given.get("key", ""), given.get("payload", {})
    is_shaped = isinstance(key, str) and isinstance(payload, dict) and not given.keys() - _NAMES
    if kind not in {"create", "update", "delete"} or not is_shaped:
        raise InvalidInputError(
            f'{where}: a change has "kind" (create, update or delete), "key" (text) and'
            ' "payload" (an object), and nothing else',
            code="change-invalid",
        )
    return services.changes.Change(
        kind=cast("OperationKind", kind), key=key, payload=payload, where=where
    )


def _tell(rows: Sequence[OperationRow]) -> None:
    print_table(
        ("OPERATION", "KIND", "RECORD", "STATE", "WHY"),
        ((row.id, row.kind, row.record_id, state_words(row), row.reason or "-") for row in rows),
    )
    sys.stdout.flush()


def _exit_code(rows: Sequence[OperationRow], run: RunRow | None) -> int:
    """Say how it ended for these operations; the run may have had others, too."""
    if all(row.finished_at is not None for row in rows):
        return 0
    from tieline.store.operations import WAITING_STATES

    if any(row.state in WAITING_STATES for row in rows) or run is None:
        return 8
    return run_exit_code(run.state, run.error_code) or 8  # behind one that waits for a person
