"""``tieline alerts``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import ago, installation, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from tieline.store.alerts import AlertRow

__all__ = ["alerts"]


@click.command()
@click.option("--connection", help="Only of this connection.")
@click.option("--all", "with_closed", is_flag=True, help="Those that are over, too.")
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 1000), help="The most."
)
@json_option
def alerts(connection: str | None, with_closed: bool, limit: int, as_json: bool) -> None:
    """List what somebody should look at, the newest first.

    An alert is raised and told once, and is over by itself when its cause is.
    Where they are told beside the log: TIELINE_ALERT_WEBHOOK_URL.
    """
    with installation() as opened:
        found = services.alerts.list_alerts(
            opened, connection=connection, with_closed=with_closed, limit=limit
        )
        now = opened.clock.now()
    if as_json:
        print_json({"alerts": [_facts(alert) for alert in found]})
        return
    if not found:
        note("  nothing needs you")
        return
    print_table(
        ("ALERT", "KIND", "CONNECTION", "STATE", "SINCE", "TIMES", "TOLD", "WHAT"),
        (
            (
                alert.id,
                alert.kind,
                alert.connection_name,
                alert.state,
                ago(alert.since, now),
                alert.times,
                _told(alert),
                f"{alert.message} (next: {alert.hint})" if alert.hint else alert.message,
            )
            for alert in found
        ),
    )


def _told(alert: AlertRow) -> str:
    if alert.delivered_at is not None:
        return "yes"
    if alert.trouble is None:
        return "not yet"
    return f"{'retrying' if alert.due_at else 'given up'}: {alert.trouble}"


def _facts(alert: AlertRow) -> dict[str, Any]:
    return {
        "id": alert.id,
        "kind": alert.kind,
        "severity": alert.severity,
        "state": alert.state,
        "subject": alert.subject,
        "provider": alert.provider,
        "connection": alert.connection_name,
        "connection_id": alert.connection_id,
        "message": alert.message,
        "hint": alert.hint,
        "facts": alert.facts,
        "since": alert.since,
        "seen_at": alert.seen_at,
        "times": alert.times,
        "closed_at": alert.closed_at,
        "told": alert.told,
        "attempts": alert.attempts,
        "delivered_at": alert.delivered_at,
        "due_at": alert.due_at,
        "trouble": alert.trouble,
    }
