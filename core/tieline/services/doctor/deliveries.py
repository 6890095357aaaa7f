"""Webhook endpoints: whether they are open, heard of, and signed with the present secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from tieline.errors import DependencyError
from tieline.inbox import read_old_secrets
from tieline.services import webhooks
from tieline.services.doctor.finding import Finding
from tieline.services.installation import Installation
from tieline.services.webhooks import Listed
from tieline.store import silence

__all__ = ["look_at_webhooks"]

_UNSERVED = timedelta(minutes=5)
_QUIET = timedelta(hours=1)


def look_at_webhooks(installation: Installation) -> Iterator[Finding]:
    """Look at every endpoint."""
    found = webhooks.list_endpoints(installation, is_counted=False)
    if not found:
        return
    now = installation.clock.now()
    with installation.database.read() as transaction:
        silent = [e for e in silence.watched_endpoints(transaction) if e.is_silent(now)]
        unserved = {e.id for e in silence.unserved_since(transaction, now - _UNSERVED)}
    names = {each.endpoint.id: _named(each) for each in found}
    old = _old_secrets(installation) if any(map(_is_rotating, found)) else {}
    for each in found:
        if each.endpoint.state == "active":
            yield from _endpoint(each, names, unserved, old, now)
    for quiet in silent:
        yield Finding(
            subject="webhooks",
            level="warn",
            message=f"{names.get(quiet.id, quiet.id)} has heard nothing since"
            f" {quiet.heard_at:%Y-%m-%d %H:%M} UTC, longer than is usual",
            fix=f"see whether the provider still has the address: tieline webhooks show {quiet.id}",
            code="webhooks-silent",
        )
    good = sum(not each.is_closed for each in found)
    yield Finding.ok("webhooks", f"{good} of {len(found)} are open")


def _endpoint(
    each: Listed,
    names: Mapping[str, str],
    unserved: set[str],
    old: Mapping[str, datetime],
    now: datetime,
) -> Iterator[Finding]:
    row = each.endpoint
    of = names[row.id]
    if each.is_closed:
        yield Finding(
            subject="webhooks",
            level="fail",
            message=f"{of} has no secret: every delivery is refused",
            fix=f"tieline webhooks secret rotate {row.id} --secret-stdin",
            code="webhook-secret-missing",
        )
    elif row.scheme_level == "path-secret":
        yield Finding(
            subject="webhooks",
            level="warn",
            message=f"{of} goes by its address alone: nothing is signed",
            fix="make the webhook anew at the provider, signed if it can be, then: tieline"
            f" webhooks secret rotate {row.id} --secret-stdin",
            code="webhook-unsigned",
        )
    if row.id in unserved:
        yield Finding(
            subject="webhooks",
            level="fail",
            message=f"no server is there for {of}: deliveries are refused or lost",
            fix="tieline serve (or: tieline up)",
            code="webhooks-unserved",
        )
    if _is_rotating(each):
        yield from _rotation(each, of, old.get(row.id), now)


def _rotation(each: Listed, of: str, last_old: datetime | None, now: datetime) -> Iterator[Finding]:
    """Say whether the rotation under way may be finished."""
    ends_at = max(secret.retires_at for secret in each.secrets if secret.retires_at)
    began_at = max(secret.made_at for secret in each.secrets)
    if ends_at <= now:
        return
    finish = f"tieline webhooks secret finish {each.endpoint.id}"
    if last_old is not None and last_old >= began_at and now - last_old < _QUIET:
        yield Finding(
            subject="webhooks",
            level="warn",
            message=f"deliveries to {of} still use the old secret, last"
            f" {last_old:%Y-%m-%d %H:%M} UTC; it ends {ends_at:%Y-%m-%d %H:%M} UTC",
            fix="give the provider the new secret",
            code="webhook-secret-old",
        )
    elif now - began_at >= _QUIET:
        yield Finding.ok(
            "webhooks", f"no delivery to {of} used the old secret for an hour: {finish}"
        )


def _is_rotating(each: Listed) -> bool:
    return any(secret.retires_at for secret in each.secrets)


def _named(each: Listed) -> str:
    row = each.endpoint
    return f"{row.id} of {row.connection_name or f'the application at {row.provider}'}"


def _old_secrets(installation: Installation) -> dict[str, datetime]:
    try:
        found = read_old_secrets(installation.redis)
    except DependencyError:
        return {}  # it is told of as Redis's own trouble
    return {name: datetime.fromtimestamp(at, UTC) for name, at in found.items()}
