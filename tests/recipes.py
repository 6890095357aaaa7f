"""The code of the pages for plugins' authors, as it stands there; ``test_recipes.py`` runs it."""

from __future__ import annotations

import syslog

from tieline.contract import Alert, hookimpl


@hookimpl
def tieline_alert(alert: Alert) -> None:
    """Put each alert into the machine's own log, where its monitoring looks."""
    level = syslog.LOG_ERR if alert.severity == "error" else syslog.LOG_WARNING
    syslog.syslog(level, f"tieline {alert.kind} {alert.id}: {alert.message} {alert.hint}")
