"""``tieline audit``."""

from __future__ import annotations

from datetime import datetime

import click

from tieline import services
from tieline.cli.face import TIME, installation, json_option, note, print_json, print_table

__all__ = ["audit"]


@click.command()
@click.option("--connection", help="Of this connection.")
@click.option("--actor", help="By this one, such as api:warehouse or cli:ada.")
@click.option("--event", help="Such as connection.paused.")
@click.option("--entity", help="Of this entity.")
@click.option("--run", "run_id", help="Of this run.")
@click.option("--since", type=TIME, help="At this time or later.")
@click.option("--until", type=TIME, help="Before this time.")
@click.option("--limit", default=50, type=click.IntRange(1, 1000), help="The most to list.")
@json_option
def audit(
    connection: str | None,
    actor: str | None,
    event: str | None,
    entity: str | None,
    run_id: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Say who asked for what, and what happened, newest first.

    What belongs to no connection, such as tokens that were made, is in it too.
    """
    wanted = services.audit.Wanted(
        connection=connection,
        actor=actor,
        event=event,
        entity=entity,
        run_id=run_id,
        since=since,
        until=until,
    )
    with installation() as opened:
        found = services.audit.list_audit(opened, wanted, limit=limit)
    if as_json:
        print_json({"entries": found})
        return
    if not found:
        note("  nothing was noted")
        return
    print_table(
        ("AT", "BY", "WHAT", "CONNECTION", "ENTITY", "DETAIL"),
        (
            (
                entry["at"],
                entry["actor"],
                entry["event"],
                entry["connection_id"],
                entry["entity"],
                entry["detail"],
            )
            for entry in found
        ),
    )
