"""Look at everything that can be wrong, and say what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from tieline.auth import reauth_hint
from tieline.contract import TielineError
from tieline.coordination import report
from tieline.services import keys, setup, webhooks
from tieline.services.installation import Installation
from tieline.settings import unknown_names
from tieline.store import connections as connection_store
from tieline.store.schema import require_current

__all__ = ["Finding", "examine"]

_OPEN_TO_OTHERS = 0o077
_MOST_OPENED = 200
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        subject: What was looked at.
        level: ``ok``, ``warn`` (works, but) or ``fail``.
        message: One sentence.
        fix: What to do, as a command where there is one.
    """

    subject: str
    level: Literal["ok", "warn", "fail"]
    message: str
    fix: str = ""


def examine(installation: Installation) -> list[Finding]:
    """Look at everything; one thing that is broken hides no other."""
    findings: list[Finding] = []
    for subject, look in _LOOKS.items():
        try:
            findings += look(installation)
        except TielineError as error:
            findings.append(
                Finding(subject=subject, level="fail", message=error.message, fix=error.hint)
            )
    return findings


def _config(installation: Installation) -> Iterator[Finding]:
    disabled = installation.settings.providers_disabled
    unknown = unknown_names(providers={*installation.registry.names(), *disabled})
    for name, suggestion in unknown.items():
        yield Finding(
            subject="config", level="warn", message=f"{name} means nothing", fix=suggestion
        )
    if installation.settings.failpoints:
        yield Finding(
            subject="config",
            level="fail",
            message="failpoints are armed: this installation breaks on purpose",
            fix="unset TIELINE_FAILPOINTS",
        )
    if not unknown:
        home = installation.settings.home
        yield Finding(
            subject="config", level="ok", message=f"{installation.settings.env}, home {home}"
        )


def _database(installation: Installation) -> Iterator[Finding]:
    require_current(installation.raw_database)
    where = setup.describe_database(installation)
    yield Finding(
        subject="database",
        level="ok",
        message=f"{where}, schema {setup.schema_facts(installation)['schema']} (current)",
    )


def _keys(installation: Installation) -> Iterator[Finding]:
    if installation.vault.kind == "kms":
        key_id = keys.present_key(installation)
        yield Finding(subject="keys", level="ok", message=f"AWS KMS, {key_id}")
        return
    if installation.settings.key:
        yield Finding(subject="keys", level="ok", message="local key from TIELINE_KEY")
        return
    mode = installation.key_path.stat().st_mode & 0o777
    if mode & _OPEN_TO_OTHERS:
        yield Finding(
            subject="keys",
            level="fail",
            message=f"{installation.key_path} can be read by others (mode {mode:o})",
            fix=f"chmod 600 {installation.key_path}",
        )
        return
    yield Finding(subject="keys", level="ok", message=f"local key, file mode {mode:o}")


def _credentials(installation: Installation) -> Iterator[Finding]:
    found = keys.check(installation, most=_MOST_OPENED)
    for broken in found.unopened[:_MOST_NAMED]:
        yield Finding(
            subject="credentials",
            level="fail",
            message=f"{broken.connection_name} {broken.field}: {broken.reason}",
            fix="tieline doctor, in a minute" if broken.is_for_now else "tieline keys check",
        )
    if more := len(found.unopened[_MOST_NAMED:]):
        yield Finding(
            subject="credentials",
            level="fail",
            message=f"{more} more fields do not open",
            fix="tieline keys check",
        )
    counted = "" if found.is_whole else "the first "
    yield Finding(
        subject="credentials", level="ok", message=f"{counted}{found.opened} sealed fields open"
    )


def _redis(installation: Installation) -> Iterator[Finding]:
    if installation.settings.is_embedded_redis and not installation.settings.home.is_dir():
        yield Finding(
            subject="redis",
            level="fail",
            message="there is no home to keep it in",
            fix="tieline init",
        )
        return
    facts = report(installation.redis)
    policy = facts.get("maxmemory_policy")
    if policy not in {"noeviction", None}:
        yield Finding(
            subject="redis",
            level="fail",
            message=f"maxmemory-policy is {policy}: jobs and limits can vanish",
            fix="redis-cli config set maxmemory-policy noeviction",
        )
        return
    where = "embedded " if installation.settings.is_embedded_redis else ""
    yield Finding(
        subject="redis", level="ok", message=f"{where}{facts['server']} {facts['version']}"
    )


def _plugins(installation: Installation) -> Iterator[Finding]:
    listed = installation.registry.list()
    for one in listed:
        if one.error is not None:
            yield Finding(
                subject="plugins",
                level="fail",
                message=one.error.message,
                fix=one.error.hint,
            )
    good = [f"{one.found.name} {one.found.version}" for one in listed if one.plugin]
    if good:
        yield Finding(
            subject="plugins", level="ok", message=f"{len(good)} loaded: {', '.join(good)}"
        )
    elif not listed:
        yield Finding(
            subject="plugins",
            level="warn",
            message="no provider is installed",
            fix="pip install tieline-stripe",
        )


def _connections(installation: Installation) -> Iterator[Finding]:
    with installation.database.read() as transaction:
        rows = connection_store.list_connections(transaction)
    for row in rows:
        if row.state == "needs_reauth":
            yield Finding(
                subject="connections",
                level="fail",
                message=f"{row.name}: {row.trouble or f'{row.provider} refuses its credential'}",
                fix=reauth_hint(row.name),
            )
    good = sum(1 for row in rows if row.state == "ok")
    yield Finding(subject="connections", level="ok", message=f"{good} of {len(rows)} ok")


def _webhooks(installation: Installation) -> Iterator[Finding]:
    found = webhooks.list_endpoints(installation, is_counted=False)
    for each in found:
        row = each.endpoint
        of = row.connection_name or f"the application at {row.provider}"
        if each.is_closed:
            yield Finding(
                subject="webhooks",
                level="fail",
                message=f"{row.id} of {of} has no secret: every delivery is refused",
                fix=f"tieline webhooks secret rotate {row.id} --secret-stdin",
            )
        elif row.scheme_level == "path-secret":
            yield Finding(
                subject="webhooks",
                level="warn",
                message=f"{row.id} of {of} goes by its address alone: nothing is signed",
                fix="make the webhook anew at the provider, signed if it can be, then: tieline"
                f" webhooks secret rotate {row.id} --secret-stdin",
            )
    if found:
        good = sum(not each.is_closed for each in found)
        yield Finding(subject="webhooks", level="ok", message=f"{good} of {len(found)} are open")


def _workers(installation: Installation) -> Iterator[Finding]:
    if installation.settings.is_embedded_redis and not installation.settings.home.is_dir():
        return
    alive = installation.presence.alive()
    if not alive:
        yield Finding(
            subject="workers",
            level="warn",
            message="no worker is alive: runs wait",
            fix="tieline worker (or: tieline up)",
        )
        return
    waiting = installation.doorbell.count_waiting()
    yield Finding(
        subject="workers", level="ok", message=f"{len(alive)} alive, {waiting} jobs waiting"
    )


_LOOKS: dict[str, Callable[[Installation], Iterator[Finding] | Sequence[Finding]]] = {
    "config": _config,
    "database": _database,
    "keys": _keys,
    "credentials": _credentials,
    "redis": _redis,
    "plugins": _plugins,
    "connections": _connections,
    "webhooks": _webhooks,
    "workers": _workers,
}
