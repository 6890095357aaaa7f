"""SQL views of records: make them, say how they are, drop them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tieline.errors import NotFoundError, PluginError, RefusedError
from tieline.records.columns import columns_of
from tieline.registry import Plugin
from tieline.services.installation import Installation
from tieline.store import views as store
from tieline.store.database import Connection as Transaction
from tieline.store.view_sql import TAKEN
from tieline.store.views import Definition, ViewRow
from tieline.telemetry import get_logger

__all__ = [
    "ListedView",
    "MadeViews",
    "create_views",
    "drop_views",
    "list_views",
    "refresh_views",
]

_log = get_logger(__name__)

State = Literal["current", "stale", "missing", "taken", "orphaned"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeViews:
    """What ``views create`` did.

    Attributes:
        done: Name of each view, and ``created``, ``recreated`` or ``unchanged``.
        skipped: Providers whose plugins are broken, and why.
    """

    done: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedView:
    """A view and how it is.

    Attributes:
        row: What we know of it.
        state: ``current``; ``stale`` when the schema changed since; ``missing``
            from the database; ``taken`` when something else has its name;
            ``orphaned`` when no plugin has the entity any more.
        has_all: Whether there is the second one, with tombstones.
    """

    row: ViewRow
    state: State
    has_all: bool


def create_views(
    installation: Installation,
    provider: str | None = None,
    entity: str | None = None,
    *,
    with_deleted: bool = False,
) -> MadeViews:
    """Make the views of entities, or make those again whose schemas changed.

    All or none: if one cannot be made, the others are as they were.

    Args:
        installation: Where.
        provider: Whose; None for all that are installed and not broken.
        entity: Which; None for all of the provider's.
        with_deleted: Whether each gets a second view ``<name>_all``, with
            tombstones. Once made, it is kept in step without being asked for.

    Raises:
        NotFoundError: No such provider or entity.
        PluginError: The provider's plugin is broken.
        RefusedError: Something that is not ours has the name of a view, or
            depends on one that has to be made anew.
    """
    made = MadeViews()
    wanted = [
        _definition(installation, plugin, name)
        for plugin in _plugins(installation, provider, made)
        for name in ([plugin.entity(entity).name] if entity else plugin.entities)
    ]

    def work(transaction: Transaction) -> list[tuple[str, str]]:
        store.lock_views(transaction)
        now = installation.clock.now()
        return [
            (each.name, store.put_view(transaction, each, with_deleted=with_deleted, now=now))
            for each in wanted
        ]

    made.done.extend(installation.database.transact(work))
    return made


def list_views(installation: Installation) -> list[ListedView]:
    """Return all views that were made, by name, each with how it is now."""
    with installation.database.read() as transaction:
        rows = store.list_views(transaction)
        found = [
            (
                row,
                store.find_relation(transaction, row.name),
                store.find_relation(transaction, row.name_of_all) == "ours",
            )
            for row in rows
        ]
    return [
        ListedView(row=row, state=_state(installation, row, relation), has_all=has_all)
        for row, relation, has_all in found
    ]


def refresh_views(installation: Installation) -> list[str]:
    """Make those views again whose schemas changed; for workers, when they start.

    A view that cannot be made stays as it is, with a line in the log: no sync
    has to wait for it.

    Returns:
        The names of the entities' views that were made again.
    """
    made = []
    for view in list_views(installation):
        if view.state not in {"stale", "missing"}:
            continue
        try:
            create_views(installation, view.row.provider, view.row.entity)
        except RefusedError as error:
            _log.warning(
                "a view is out of date", view=view.row.name, reason=error.message, next=error.hint
            )
        else:
            made.append(view.row.name)
    return made


def drop_views(
    installation: Installation, provider: str | None = None, entity: str | None = None
) -> Sequence[str]:
    """Drop the views of a provider, of one entity, or all; the records stay.

    Returns:
        Their names.

    Raises:
        NotFoundError: There is no view of that provider or entity.
        RefusedError: Something else depends on one.
    """

    def work(transaction: Transaction) -> list[str]:
        store.lock_views(transaction)
        rows = [
            row
            for row in store.list_views(transaction)
            if provider in {None, row.provider} and entity in {None, row.entity}
        ]
        for row in rows:
            store.delete_view(transaction, row)
        return [row.name for row in rows]

    dropped = installation.database.transact(work)
    if not dropped and provider:
        raise NotFoundError(
            f"there is no view of {provider} {entity or ''}".rstrip(),
            hint="tieline views list",
            code="view-unknown",
        )
    return dropped


def _plugins(installation: Installation, provider: str | None, made: MadeViews) -> list[Plugin]:
    registry = installation.registry
    if provider is not None:
        return [registry.get(provider)]
    found = []
    for name in registry.names():
        try:
            found.append(registry.get(name))
        except PluginError as error:
            made.skipped.append((name, error.message))
    return found


def _definition(installation: Installation, plugin: Plugin, entity: str) -> Definition:
    columns = columns_of(plugin.entities[entity].schema, taken=TAKEN)
    return store.define_view(installation.database.dialect, plugin.name, entity, columns)


def _state(installation: Installation, row: ViewRow, relation: str | None) -> State:
    try:
        plugin = installation.registry.get(row.provider)
        wanted = _definition(installation, plugin, plugin.entity(row.entity).name)
    except (NotFoundError, PluginError):
        return "orphaned"
    if relation != "ours":
        return "taken" if relation else "missing"
    is_current = (row.name, row.fingerprint) == (wanted.name, wanted.fingerprint)
    return "current" if is_current else "stale"
