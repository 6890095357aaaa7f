"""What things are kept in: database, disk, keys, Redis; and whether the clocks agree."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tieline.coordination import report
from tieline.services import keys, setup
from tieline.services.doctor.finding import MOST_NAMED, Finding
from tieline.services.installation import Installation
from tieline.store import trouble
from tieline.store.schema import current_revision, require_current
from tieline.store.tables import SCHEMA_REVISION

__all__ = [
    "look_at_credentials",
    "look_at_database",
    "look_at_disk",
    "look_at_keys",
    "look_at_redis",
]

_OPEN_TO_OTHERS = 0o077
_MOST_OPENED = 200
_SKEW_WARN_S = 2.0
_SKEW_FAIL_S = 30.0
_LITTLE_BYTES = 500_000_000
_NOTHING_BYTES = 100_000_000
_FULL = 0.9
_LEAST_REDIS = (6, 2)


def look_at_database(installation: Installation) -> Iterator[Finding]:
    """Look whether it answers, has the code's schema, takes writes, and knows the time."""
    database = installation.raw_database
    found = current_revision(database)
    is_ours_alone = database.dialect == "sqlite"  # elsewhere processes of before may be at work
    if is_ours_alone and (found is None or found < SCHEMA_REVISION):
        has = "has no tables yet" if found is None else f"has schema {found}"
        yield Finding(
            subject="database",
            level="fail",
            message=f"the database {has}; this Tieline needs schema {SCHEMA_REVISION}",
            fix="tieline db upgrade",
            code="schema-behind",
            repair=lambda: setup.upgrade_database(installation),
        )
        return
    require_current(database)
    trouble.require_writable(database)
    where = setup.describe_database(installation)
    yield Finding.ok("database", f"{where}, schema {SCHEMA_REVISION} (current)")
    if (its_time := trouble.server_time(database)) is not None:
        yield from _skew(installation, its_time, "the database's")


def look_at_disk(installation: Installation) -> Iterator[Finding]:
    """Look how much room there is where this installation writes."""
    places = {installation.settings.home}
    file = _sqlite_file(installation)
    if file is not None:
        places.add(file.parent)
    seen = set()
    for place in sorted(places):
        if not place.is_dir():
            continue
        device, free = place.stat().st_dev, shutil.disk_usage(place).free
        if device in seen:
            continue
        seen.add(device)
        if free < _LITTLE_BYTES:
            yield Finding(
                subject="disk",
                level="fail" if free < _NOTHING_BYTES else "warn",
                message=f"{place} has {free // 1_000_000} MB left: writes will fail",
                fix="make room, or move TIELINE_HOME and TIELINE_DATABASE_URL",
                code="disk-full",
            )
        else:
            yield Finding.ok("disk", f"{free / 1e9:.1f} GB free at {place}")


def _sqlite_file(installation: Installation) -> Path | None:
    url = installation.database_url.reveal()
    name = url.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if url.startswith("sqlite:///") and name else None


def look_at_keys(installation: Installation) -> Iterator[Finding]:
    """Look whether there is a key, and who else can read it."""
    if installation.vault.kind == "kms":
        key_id = keys.present_key(installation)
        yield Finding.ok("keys", f"AWS KMS, {key_id}")
        return
    if installation.settings.key:
        yield Finding.ok("keys", "local key from TIELINE_KEY")
        return
    path = installation.key_path
    mode = path.stat().st_mode & 0o777
    if mode & _OPEN_TO_OTHERS:
        yield Finding(
            subject="keys",
            level="fail",
            message=f"{path} can be read by others (mode {mode:o})",
            fix=f"chmod 600 {path}",
            code="key-open",
            repair=lambda: path.chmod(0o600),
        )
        return
    yield Finding.ok("keys", f"local key, file mode {mode:o}")


def look_at_credentials(installation: Installation) -> Iterator[Finding]:
    """Look whether what was sealed opens."""
    found = keys.check(installation, most=_MOST_OPENED)
    for broken in found.unopened[:MOST_NAMED]:
        yield Finding(
            subject="credentials",
            level="fail",
            message=f"{broken.connection_name} {broken.field}: {broken.reason}",
            fix="tieline doctor, in a minute" if broken.is_for_now else "tieline keys check",
            code="credential-unopened",
        )
    if more := len(found.unopened[MOST_NAMED:]):
        yield Finding(
            subject="credentials",
            level="fail",
            message=f"{more} more fields do not open",
            fix="tieline keys check",
            code="credential-unopened",
        )
    counted = "" if found.is_whole else "the first "
    yield Finding.ok("credentials", f"{counted}{found.opened} sealed fields open")


def look_at_redis(installation: Installation) -> Iterator[Finding]:
    """Look whether it answers, is new enough, keeps what it is given, and knows the time."""
    if installation.settings.is_embedded_redis and not installation.settings.home.is_dir():
        yield Finding(
            subject="redis",
            level="fail",
            message="there is no home to keep it in",
            fix="tieline init",
            code="not-initialised",
            repair=lambda: setup.initialise(installation),
        )
        return
    facts = report(installation.redis)
    bad = list(_redis_troubles(facts))
    yield from bad
    if not any(finding.level == "fail" for finding in bad):
        where = "embedded " if installation.settings.is_embedded_redis else ""
        yield Finding.ok("redis", f"{where}{facts['server']} {facts['version']}")
    yield from _skew(installation, datetime.fromtimestamp(facts["time"], UTC), "Redis's")


def _redis_troubles(facts: dict[str, Any]) -> Iterator[Finding]:
    policy = facts.get("maxmemory_policy")
    if _version(facts["version"]) < _LEAST_REDIS:
        yield Finding(
            subject="redis",
            level="fail",
            message=f"{facts['server']} {facts['version']} is too old: 6.2 or newer is needed",
            fix="upgrade the server, or leave TIELINE_REDIS_URL empty for the embedded one",
            code="redis-old",
        )
    if policy not in {"noeviction", None}:
        yield Finding(
            subject="redis",
            level="fail",
            message=f"maxmemory-policy is {policy}: jobs and limits can vanish",
            fix="redis-cli config set maxmemory-policy noeviction",
            code="redis-evicts",
        )
    if facts["role"] != "master":
        yield Finding(
            subject="redis",
            level="fail",
            message="it is a replica, and takes no writes",
            fix="let TIELINE_REDIS_URL name the primary",
            code="redis-replica",
        )
    if facts["saves"] is False and not facts["aof_enabled"]:
        yield Finding(
            subject="redis",
            level="warn",
            message="it keeps nothing over a restart: limits that were set, pauses and sign-ins"
            " under way are forgotten then (no record is)",
            fix="redis-cli config set appendonly yes, and the same in its configuration",
            code="redis-volatile",
        )
    most = facts["maxmemory"]
    if most and facts["used_memory"] > _FULL * most:
        yield Finding(
            subject="redis",
            level="warn",
            message=f"{facts['used_memory'] / most:.0%} of its maxmemory is used: it will refuse"
            " what is asked of it",
            fix="raise maxmemory, or see what else lives there: redis-cli --bigkeys",
            code="redis-full",
        )


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")[:2]
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)


def _skew(installation: Installation, its_time: datetime, whose: str) -> Iterator[Finding]:
    off = (installation.clock.now() - its_time).total_seconds()
    if abs(off) < _SKEW_WARN_S:
        return
    yield Finding(
        subject="clock",
        level="fail" if abs(off) >= _SKEW_FAIL_S else "warn",
        message=f"this machine's clock is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'}"
        f" {whose}: leases and windows end at the wrong time",
        fix="set the clocks by NTP: timedatectl set-ntp true",
        code="clock-skew",
    )
