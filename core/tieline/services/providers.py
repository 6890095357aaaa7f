"""What is installed, what each provider can do, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from tieline.contract import Entity
from tieline.registry import Listed
from tieline.registry.settings import setting_names
from tieline.services.installation import Installation

__all__ = ["describe_provider", "list_providers"]


def list_providers(installation: Installation) -> list[dict[str, Any]]:
    """Return every installed plugin, the broken ones with their cause."""
    return [describe_provider(listed) for listed in installation.registry.list()]


def describe_provider(listed: Listed) -> dict[str, Any]:
    """Return one plugin as plain values: what it declares, or why it is broken."""
    said: dict[str, Any] = {
        "name": listed.found.name,
        "distribution": listed.found.distribution,
        "version": listed.found.version,
        "level": listed.found.level or None,
        "contract": None,
        "state": "disabled" if listed.is_disabled else "ok" if listed.plugin else "broken",
        "cause": None,
        "auth": [],
        "entities": [],
    }
    if listed.error is not None:
        said["cause"] = {
            "code": listed.error.slug,
            "message": listed.error.message,
            "hint": listed.error.hint,
        }
    if (plugin := listed.plugin) is not None:
        said |= {
            "title": plugin.provider.title,
            "contract": plugin.provider.contract,
            "api_version": plugin.provider.api_version,
            "environments": dict(plugin.provider.environments),
            "settings": dict(setting_names(plugin)),
            "auth": [auth.kind for auth in plugin.auth],
            "webhooks": plugin.webhooks is not None,
            "entities": [
                {
                    "name": entity.name,
                    "directions": list(entity.directions),
                    "deletes": entity.deletes,
                    "windows": entity.windows.field if entity.windows else None,
                    "feed": entity.feed is not None,
                    "incremental": _incremental(entity),
                    "order": "version" if entity.version else "time",
                    "canonical": list(entity.shapes),
                    "scope": entity.scope,
                    "hides": entity.hides,
                }
                for entity in plugin.entities.values()
            ],
        }
    return said


def _incremental(entity: Entity) -> dict[str, Any]:
    """Say how a run finds what changed since the last one."""
    feed = entity.feed
    if feed is None:
        return {"by": "full read", "retention_days": None, "overlap_s": None}
    return {
        "by": "log of changes" if feed.retention else "list by time of change",
        "retention_days": feed.retention.days if feed.retention else None,
        "overlap_s": feed.overlap.total_seconds(),
    }
