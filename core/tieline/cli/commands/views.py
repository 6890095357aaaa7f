"""``tieline views``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tieline import services
from tieline.cli.face import ago, installation, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from tieline.services.views import ListedView

__all__ = ["views"]


@click.group()
def views() -> None:
    """Make, list and drop SQL views: an entity's records as typed columns."""


@views.command()
@click.argument("provider", required=False)
@click.argument("entity", required=False)
@click.option(
    "--with-deleted", is_flag=True, help="Make a second view NAME_all, with tombstones, too."
)
@json_option
def create(provider: str | None, entity: str | None, with_deleted: bool, as_json: bool) -> None:
    """Make the views of all providers, of one, or of one entity.

    Views whose schemas changed are made again, the rest stays as it is. Each is
    called PROVIDER_ENTITY and has the columns `connection`, `record_id`, one
    for each field of the schema, `changed_at`, `deleted_at` and `position`.

    Example: `tieline views create stripe`, then `SELECT email FROM stripe_customers`
    """
    with installation() as opened:
        made = services.views.create_views(opened, provider, entity, with_deleted=with_deleted)
    if as_json:
        print_json(
            {
                "views": [{"name": name, "done": done} for name, done in made.done],
                "skipped": [{"provider": name, "reason": why} for name, why in made.skipped],
            }
        )
        return
    for name, done in made.done:
        note(f"  {done:<10}{name}")
    for name, why in made.skipped:
        note(f"  skipped   {name}: {why} (next: tieline providers show {name})")


@views.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the views that were made, and whether each is up to date.

    `stale`: the schema changed, `missing`: somebody dropped it, `taken`: the
    database has something else of that name, `orphaned`: no installed plugin
    has the entity. `tieline views create` makes the first two again.

    Example: `tieline views list --json`
    """
    with installation() as opened:
        found = services.views.list_views(opened)
        now = opened.clock.now()
    if as_json:
        print_json({"views": [_facts(each) for each in found]})
        return
    if not found:
        note("  there is no view yet (next: tieline views create)")
        return
    print_table(
        ("VIEW", "PROVIDER", "ENTITY", "STATE", "TOMBSTONES", "MADE"),
        (
            (
                each.row.name,
                each.row.provider,
                each.row.entity,
                each.state,
                each.row.name_of_all if each.has_all else None,
                ago(each.row.updated_at, now),
            )
            for each in found
        ),
    )
    if any(each.state in {"stale", "missing"} for each in found):
        note("  some are not up to date (next: tieline views create)")


@views.command()
@click.argument("provider", required=False)
@click.argument("entity", required=False)
@json_option
def drop(provider: str | None, entity: str | None, as_json: bool) -> None:
    """Drop the views of all providers, of one, or of one entity; the records stay.

    Example: `tieline views drop stripe customers`
    """
    with installation() as opened:
        dropped = services.views.drop_views(opened, provider, entity)
    if as_json:
        print_json({"dropped": list(dropped)})
        return
    for name in dropped:
        note(f"  dropped   {name}")
    if not dropped:
        note("  there was no view")


def _facts(view: ListedView) -> dict[str, Any]:
    return {
        "name": view.row.name,
        "provider": view.row.provider,
        "entity": view.row.entity,
        "state": view.state,
        "with_deleted": view.row.name_of_all if view.has_all else None,
        "created_at": view.row.created_at,
        "updated_at": view.row.updated_at,
    }
