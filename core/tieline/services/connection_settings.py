"""What single connections set: a shop's name, a region."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from tieline.auth import connection_of
from tieline.errors import InvalidInputError
from tieline.registry.settings import check_settings
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.store import connections as store
from tieline.store import log
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection as Transaction

__all__ = ["change_settings"]


def change_settings(
    installation: Installation,
    name_or_id: str,
    given: Mapping[str, Any],
    *,
    dropped: Collection[str] = (),
    is_whole: bool = False,
    actor: str,
) -> ConnectionRow:
    """Change what a connection sets; what opens it from now on sees that.

    Args:
        installation: Where.
        name_or_id: The connection.
        given: Settings by name; the others stay as they are.
        dropped: Names of settings that the connection is to have no longer.
        is_whole: ``given`` is all that it is to have.
        actor: Who does it, for the sync log, which names settings and not their values.

    Returns:
        The connection as it is now.

    Raises:
        NotFoundError: There is none of that name or id, or its plugin is not installed.
        InvalidInputError: The plugin's schema refuses it; nothing was changed.
        SettingsError: The plugin cannot go by it; nothing was changed.
        PluginError: The plugin failed; nothing was changed.
    """
    if both := sorted(set(given) & set(dropped)):
        raise InvalidInputError(
            f"{both[0]} cannot be set and taken away", code="connection-setting-invalid"
        )
    row = get_connection(installation, name_or_id)
    plugin = installation.registry.get(row.provider)
    now = installation.clock.now()

    def work(transaction: Transaction) -> None:
        known = store.lock_settings(transaction, row.id)
        for name in dropped:
            if name not in known:
                raise InvalidInputError(
                    f"{row.name} sets no {name[:40]!r}", code="connection-setting-unknown"
                )
        kept = {} if is_whole else {n: v for n, v in known.items() if n not in dropped}
        wanted = check_settings(plugin, {**kept, **given})
        # The one hook that may refuse a setting; it uses no network.
        plugin.rate_limits(connection_of(replace(row, settings=wanted), plugin))
        changed = sorted(
            name
            for name in {*known, *wanted}
            if known.get(name) != wanted.get(name) or (name in known) != (name in wanted)
        )
        if not changed:
            return
        store.set_settings(transaction, row.id, wanted, now=now)
        log.add_entry(
            transaction,
            at=now,
            actor=actor,
            event="connection.settings_changed",
            connection_id=row.id,
            detail=f"{row.provider} {row.name}: {', '.join(changed)}",
        )

    installation.database.transact(work)
    return get_connection(installation, row.id)
