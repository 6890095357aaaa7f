"""Plugins, connections, and how those stand with their providers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from tieline.auth import reauth_hint
from tieline.services.doctor.finding import MOST_NAMED, Finding, listed
from tieline.services.installation import Installation
from tieline.services.limits import show_limits
from tieline.store import connections as connection_store
from tieline.store import grants

__all__ = ["look_at_connections", "look_at_limits", "look_at_plugins"]

_SOON = timedelta(days=7)
_MOST_GRANTS = 1000


def look_at_plugins(installation: Installation) -> Iterator[Finding]:
    """Look whether every plugin loads."""
    found = installation.registry.list()
    for one in found:
        if one.error is not None:
            yield Finding.of("plugins", one.error)
    good = [f"{one.found.name} {one.found.version}" for one in found if one.plugin]
    if good:
        yield Finding.ok("plugins", f"{len(good)} loaded: {', '.join(good)}")
    elif not found:
        yield Finding(
            subject="plugins",
            level="warn",
            message="no provider is installed",
            fix="pip install tieline-stripe",
            code="plugin-none",
        )


def look_at_connections(installation: Installation) -> Iterator[Finding]:
    """Look whether each is authorised, for how long, and has a plugin."""
    now = installation.clock.now()
    with installation.database.read() as transaction:
        rows = connection_store.list_connections(transaction)
        held = grants.list_grants(transaction, after="", limit=_MOST_GRANTS)
    known = set(installation.registry.installed())
    disabled = installation.settings.providers_disabled
    for row in rows:
        if row.state == "needs_reauth":
            yield Finding(
                subject="connections",
                level="fail",
                message=f"{row.name}: {row.trouble or f'{row.provider} refuses its credential'}",
                fix=reauth_hint(row.name),
                code="needs-reauth",
            )
        elif row.state == "ok" and row.provider not in known:
            yield Finding(
                subject="connections",
                level="fail",
                message=f"{row.name}: no plugin for {row.provider} is installed, nothing is synced",
                fix=f"pip install tieline-{row.provider}",
                code="provider-unknown",
            )
        elif row.state == "ok" and row.provider in disabled and row.paused_at is None:
            yield Finding(
                subject="connections",
                level="warn",
                message=f"{row.name}: {row.provider} is switched off, nothing is synced",
                fix="take it out of TIELINE_PROVIDERS_DISABLED, or: tieline connections pause"
                f" {row.name}",
                code="provider-disabled",
            )
    for row, grant in held:
        ends_at = grant.refresh_expires_at
        if ends_at is not None and ends_at - now < _SOON:
            yield Finding(
                subject="connections",
                level="warn",
                message=f"{row.name}: the consent ends {ends_at:%Y-%m-%d %H:%M} UTC",
                fix=reauth_hint(row.name),
                code="consent-ending",
            )
    good = sum(1 for row in rows if row.state == "ok")
    yield Finding.ok("connections", f"{good} of {len(rows)} ok")


def look_at_limits(installation: Installation) -> Iterator[Finding]:
    """Look for breakers that are open, and for accounts that were refused too often."""
    with installation.database.read() as transaction:
        if not connection_store.connection_names(transaction):
            return
    found = show_limits(installation)
    troubles = []
    for account in found:
        name, standing = account.accounts[0].row.name, account.standing
        opened = [each for each in standing.breakers if each.state != "closed"]
        troubles += [
            Finding(
                subject="limits",
                level="warn",
                message=f"{account.names}: calls to {each.host} are held back after"
                f" {each.failures} failures in a row",
                fix=f"wait until it answers, or: tieline limits reset-breaker {name}",
                code="breaker-open",
            )
            for each in opened
        ]
        if standing.share < 1:
            troubles.append(
                Finding(
                    subject="limits",
                    level="warn",
                    message=f"{account.names}: the provider refused calls below its limits; slowed"
                    f" to {standing.share:.0%} for now",
                    fix=f"tieline limits show {name}",
                    code="rate-limited",
                )
            )
    yield from troubles[:MOST_NAMED]
    if len(troubles) > MOST_NAMED:
        yield Finding(
            subject="limits",
            level="warn",
            message=f"{len(troubles) - MOST_NAMED} more breakers are open or accounts slowed",
            fix="tieline limits show",
            code="breaker-open",
        )
    if not troubles:
        yield Finding.ok("limits", f"no breaker is open: {listed([a.names for a in found])}")
