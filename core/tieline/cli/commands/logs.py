"""``tieline logs``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from tieline import services
from tieline.cli.face import flush, installation, json_option, print_json_line, print_table, when

__all__ = ["logs"]

_POLL_S = 1.0


@click.group()
def logs() -> None:
    """Read the sync log: who did what, what every run came to.

    What processes log for operators goes to their stderr, and is not kept here.
    """


@logs.command()
@click.option("--connection", help="Only of this connection.")
@click.option("--run", "run_id", help="Only of this run.")
@click.option(
    "--level",
    type=click.Choice(("info", "warning", "error")),
    default="info",
    show_default=True,
    help="Only what matters so much: `warning` did not go as it should, `error` needs a person.",
)
@click.option("--limit", default=20, type=click.IntRange(1, 1000), help="The newest so many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@json_option
def tail(
    connection: str | None,
    run_id: str | None,
    level: str,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the newest entries, the oldest of them first; with --json a line each."""
    with installation() as opened:
        read = partial(
            services.journal.read_journal,
            opened,
            connection=connection,
            run_id=run_id,
            level=level,
        )
        found = read(limit=limit)
        _print(found, as_json=as_json)
        try:
            while follow:
                flush()
                opened.clock.sleep(_POLL_S)
                after = max((entry["id"] for entry in found), default=0)
                more = read(limit=1000, after=after)
                _print(more, as_json=as_json, with_head=False)
                found = more or found
        except KeyboardInterrupt:
            return


def _print(found: Sequence[dict[str, Any]], *, as_json: bool, with_head: bool = True) -> None:
    if as_json:
        for entry in found:
            print_json_line(entry)
        return
    head = ("AT", "WHO", "EVENT", "CONNECTION", "ENTITY", "RUN", "WHAT")
    rows = [
        (
            when(entry["at"]),
            entry["actor"],
            entry["event"],
            entry["connection_name"],
            entry["entity"],
            entry["run_id"],
            " ".join(filter(None, (entry["error_code"], entry["detail"]))) or "-",
        )
        for entry in found
    ]
    if with_head:
        print_table(head, rows)
    elif rows:
        print_table(rows[0], rows[1:])
