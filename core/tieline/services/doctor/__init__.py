"""Look at everything that can be wrong, and say what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tieline.contract import TielineError
from tieline.services.doctor.configuration import look_at_config
from tieline.services.doctor.deliveries import look_at_webhooks
from tieline.services.doctor.finding import Finding
from tieline.services.doctor.providers import (
    look_at_connections,
    look_at_limits,
    look_at_plugins,
)
from tieline.services.doctor.storage import (
    look_at_credentials,
    look_at_database,
    look_at_disk,
    look_at_keys,
    look_at_redis,
)
from tieline.services.doctor.work import look_at_alerts, look_at_scheduler, look_at_work
from tieline.services.installation import Installation

__all__ = ["Finding", "examine", "repair"]


def examine(installation: Installation) -> list[Finding]:
    """Look at everything; one thing that is broken hides no other."""
    findings: list[Finding] = []
    for subject, look in _LOOKS.items():
        try:
            findings += look(installation)
        except TielineError as error:
            found = Finding.of(subject, error)
            if not any((f.code, f.message) == (found.code, found.message) for f in findings):
                findings.append(found)  # else it is told of already: what stopped another look, too
    return findings


def repair(findings: Sequence[Finding]) -> list[str]:
    """Do what is safe about what was found, each thing once; say what was done.

    Safe is what changes no record, no credential and nothing at a provider, and
    concerns this machine alone.
    """
    done = {}
    for finding in findings:
        if finding.repair is not None and finding.fix not in done:
            finding.repair()
            done[finding.fix] = f"{finding.subject}: {finding.fix}"
    return list(done.values())


_LOOKS: dict[str, Callable[[Installation], Iterator[Finding]]] = {
    "config": look_at_config,
    "database": look_at_database,
    "disk": look_at_disk,
    "keys": look_at_keys,
    "credentials": look_at_credentials,
    "redis": look_at_redis,
    "plugins": look_at_plugins,
    "connections": look_at_connections,
    "limits": look_at_limits,
    "webhooks": look_at_webhooks,
    "workers": look_at_work,
    "scheduler": look_at_scheduler,
    "alerts": look_at_alerts,
}
