"""One archive that says how an installation is: for whoever is asked for help.

It holds no record, no payload, no credential and no webhook body; and what it
holds has gone through the same sieve as logs.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from tieline import __version__
from tieline.contract import CONTRACT_VERSION, TielineError
from tieline.errors import RefusedError
from tieline.services import setup
from tieline.services.doctor import examine
from tieline.services.installation import Installation
from tieline.services.overview import look_over
from tieline.settings import given_settings
from tieline.store import alerts, dead_letters, endpoints, log, runs, schedules, trouble
from tieline.telemetry import redact

__all__ = ["write_bundle"]

_MOST = 200
_LOG_BYTES = 64_000
_NAMED = ("click", "httpx", "limits", "pluggy", "redis", "rq", "sqlalchemy", "starlette")
# What may hold a record's content, or is an address with a secret at its end.
_LEFT_OUT = frozenset({"facts", "payload", "settings", "account_name", "checkpoint"})


def write_bundle(installation: Installation, path: Path) -> list[str]:
    """Write a ``.tar.gz`` that this user alone can read; what cannot be asked says why not.

    Args:
        installation: Of which.
        path: Where; it must not be there.

    Returns:
        The names of what is in it.

    Raises:
        RefusedError: There is such a file, or none can be made there.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise RefusedError(
            f"{path} is there already", hint="--output NAME.tar.gz", code="bundle-exists"
        ) from None
    except OSError as error:
        raise RefusedError(f"{path} cannot be written: {error.strerror}", code="output") from None
    names = []
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in _parts(installation):
            data = redact(content).encode("utf-8", "backslashreplace")
            member = tarfile.TarInfo(f"tieline-bundle/{name}")
            member.size, member.mode = len(data), 0o600
            member.mtime = int(installation.clock.now().timestamp())
            archive.addfile(member, io.BytesIO(data))
            names.append(name)
    return names


def _parts(installation: Installation) -> Iterator[tuple[str, str]]:
    for name, read in _READERS.items():
        try:
            found = read(installation)
        except TielineError as error:
            found = {"error": {"code": error.slug, "message": error.message}}
        yield f"{name}.json", json.dumps(found, indent=2, default=str) + "\n"
    if (tail := _log_tail(installation)) is not None:
        yield "valkey.log", tail


def _about(_installation: Installation) -> dict[str, Any]:
    return {
        "bundle": 1,
        "tieline": __version__,
        "contract": CONTRACT_VERSION,
        "python": sys.version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: version_of(name) for name in _NAMED},
    }


def _settings(_installation: Installation) -> list[dict[str, Any]]:
    return [asdict(each) for each in given_settings() if each.origin != "default"]


def _findings(installation: Installation) -> list[dict[str, Any]]:
    return [
        {name: getattr(each, name) for name in ("subject", "level", "code", "message", "fix")}
        for each in examine(installation)
    ]


def _overview(installation: Installation) -> dict[str, Any]:
    found = asdict(look_over(installation))
    found["lines"] = [_lean(line) for line in found["lines"]]
    return found


def _plugins(installation: Installation) -> list[dict[str, Any]]:
    return [
        {
            "name": each.found.name,
            "distribution": each.found.distribution,
            "version": each.found.version,
            "error": each.error.message if each.error else None,
        }
        for each in installation.registry.list()
    ]


def _database(installation: Installation) -> dict[str, Any]:
    with installation.database.read() as transaction:
        counted = trouble.count_by_connection(transaction)
        rows = trouble.count_rows(transaction)
    return {"waiting": counted, "rows": rows, **setup.schema_facts(installation)}


def _rows(read: Callable[[Any], Any]) -> Callable[[Installation], list[dict[str, Any]]]:
    def reader(installation: Installation) -> list[dict[str, Any]]:
        with installation.database.read() as transaction:
            found = read(transaction)
        return [_lean(each if isinstance(each, dict) else asdict(each)) for each in found]

    return reader


def _lean(row: dict[str, Any]) -> dict[str, Any]:
    """Leave out what may hold somebody's data."""
    return {
        name: _lean(value) if isinstance(value, dict) else value
        for name, value in row.items()
        if name not in _LEFT_OUT
    }


def _log_tail(installation: Installation) -> str | None:
    if not installation.settings.is_embedded_redis:
        return None
    try:
        data = installation.embedded.log_path.read_bytes()
    except OSError:
        return None
    return data[-_LOG_BYTES:].decode("utf-8", "replace")


_READERS: dict[str, Callable[[Installation], Any]] = {
    "about": _about,
    "settings": _settings,
    "doctor": _findings,
    "status": _overview,
    "plugins": _plugins,
    "database": _database,
    "runs": _rows(lambda transaction: runs.list_runs(transaction, limit=_MOST)),
    "schedules": _rows(schedules.list_schedules),
    "alerts": _rows(lambda t: alerts.list_alerts(t, with_closed=True, limit=_MOST)),
    "dead-letters": _rows(
        lambda t: dead_letters.list_dead_letters(t, with_settled=True, limit=_MOST)
    ),
    "endpoints": _rows(endpoints.list_endpoints),
    "sync-log": _rows(lambda transaction: log.list_entries(transaction, limit=_MOST)),
}
