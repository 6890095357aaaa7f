"""Look after grants that nobody uses: renew them in time, and warn before they end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from tieline.alerts import close_alert, raise_alert
from tieline.auth import auth_of, reauth_hint
from tieline.contract import OAuth2, TielineError
from tieline.engine.kit import Engine, this_worker
from tieline.errors import DependencyError
from tieline.store import grants, log
from tieline.store.connections import ConnectionRow
from tieline.store.database import Connection
from tieline.store.grants import GrantRow
from tieline.telemetry import get_logger

__all__ = ["WARNED_DAYS", "look_after_grants"]

_log = get_logger(__name__)

WARNED_DAYS = (30, 7, 1)
"""How many days before a consent ends people are told, each time once."""

_AT_ONCE = 200
_SLOW_S = 5.0


def look_after_grants(engine: Engine, stop: threading.Event | None = None) -> int:
    """Go through all grants once; any number of processes may.

    A grant is renewed when its provider wants that done now and then, used or
    not; one that ends for good is warned of.

    Args:
        engine: The parts.
        stop: Set when this process has to leave: no further grant is taken up.

    Returns:
        How many were renewed.

    Raises:
        DependencyError: The database does not answer.
    """
    renewed, after = 0, ""
    silent: set[tuple[str, str]] = set()
    while not (stop and stop.is_set()):
        with engine.database.read() as connection:
            found = grants.list_grants(connection, after=after, limit=_AT_ONCE)
        for row, grant in found:
            if stop and stop.is_set():
                break
            after = row.id
            renewed += _look_after(engine, row, grant, silent)
        if len(found) < _AT_ONCE:
            break
    return renewed


def _look_after(
    engine: Engine, row: ConnectionRow, grant: GrantRow, silent: set[tuple[str, str]]
) -> bool:
    """Renew one grant if it is old, else warn of its end; say whether it was renewed.

    Args:
        engine: The parts.
        row: Its connection.
        grant: The grant.
        silent: Where nobody answered in good time: there is no hurry, so the
            others of that provider wait for the next round, and hold up nobody.
    """
    where = (row.provider, row.base_url)
    asked_at = engine.clock.monotonic()
    if where not in silent and _guarded(row, lambda: _renew_if_old(engine, row, grant)):
        return True  # it may end at another time by now
    if engine.clock.monotonic() - asked_at > _SLOW_S:
        silent.add(where)
    _guarded(row, lambda: _warn_if_ending(engine, row, grant))
    return False


def _guarded(row: ConnectionRow, step: Callable[[], bool]) -> bool:
    """Take a step for one grant; whatever is wrong with it, the others have their turn."""
    try:
        return step()
    except DependencyError:
        raise
    except TielineError as error:  # told where it matters
        _log.warning("a grant was passed over", connection=row.name, reason=error.message)
    except Exception:  # noqa: BLE001 - a bug, and no reason to let the others end
        _log.exception("a grant was passed over", connection=row.name)
    return False


def _renew_if_old(engine: Engine, row: ConnectionRow, grant: GrantRow) -> bool:
    auth = auth_of(engine.registry.get(row.provider), row.auth_kind)
    if not isinstance(auth, OAuth2) or auth.refresh_every is None:
        return False
    older_than = engine.clock.now() - auth.refresh_every
    if grant.refreshed_at >= older_than:
        return False
    held = engine.opener.refresher.renew(row.id, older_than=older_than)
    return held.generation != grant.generation


def _warn_if_ending(engine: Engine, row: ConnectionRow, grant: GrantRow) -> bool:
    ends_at = grant.refresh_expires_at
    if ends_at is None:
        return False
    now = engine.clock.now()
    left = ends_at - now
    days = min((days for days in WARNED_DAYS if left <= timedelta(days=days)), default=None)
    if days is None or (grant.warned_days is not None and grant.warned_days <= days):
        return False
    until = f"{ends_at:%Y-%m-%d %H:%M} UTC"
    words = f"the consent ends at {until}, in {max(left.days, 0)} days"

    def warn(connection: Connection) -> bool:
        if not grants.note_warned(connection, row.id, generation=grant.generation, days=days):
            return False
        log.add_entry(
            connection,
            at=now,
            actor=this_worker(),
            event="connection.consent_ends",
            connection_id=row.id,
            detail=f"{words}; {reauth_hint(row.name)}",
        )
        for stretch in WARNED_DAYS:  # the warning before this one is out of date
            close_alert(connection, "consent-ends", f"{row.id}/{stretch}", now=now)
        raise_alert(
            connection,
            "consent-ends",
            f"{row.id}/{days}",
            f"{row.name}: {words}",
            now=now,
            connection_id=row.id,
            hint=reauth_hint(row.name),
            facts={"ends_at": ends_at.isoformat(), "days_left": max(left.days, 0)},
        )
        return True

    return engine.database.transact(warn)
