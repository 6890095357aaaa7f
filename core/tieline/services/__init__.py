"""One function per use case; what the CLI and the API both call.

``services.syncs`` and the others are imported at first use: a command names
the one that it calls, and its help, which calls none, comes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tieline.services import (
        alerts,
        audit,
        bundle,
        changes,
        connect,
        connection_settings,
        connections,
        dead_letters,
        demo,
        demo_sandbox,
        development,
        doctor,
        events,
        explain,
        exports,
        feed,
        following,
        journal,
        keys,
        limits,
        oauth,
        outbox,
        overview,
        plans,
        progress,
        providers,
        pulse,
        quarantine,
        queues,
        records,
        rotation,
        runs,
        sandbox,
        sandbox_guide,
        schedules,
        setup,
        shapes,
        states,
        storage,
        syncs,
        tokens,
        verify,
        views,
        webhook_registration,
        webhook_send,
        webhooks,
    )

__all__ = [
    "alerts",
    "audit",
    "bundle",
    "changes",
    "connect",
    "connection_settings",
    "connections",
    "dead_letters",
    "demo",
    "demo_sandbox",
    "development",
    "doctor",
    "events",
    "explain",
    "exports",
    "feed",
    "following",
    "journal",
    "keys",
    "limits",
    "oauth",
    "outbox",
    "overview",
    "plans",
    "progress",
    "providers",
    "pulse",
    "quarantine",
    "queues",
    "records",
    "rotation",
    "runs",
    "sandbox",
    "sandbox_guide",
    "schedules",
    "setup",
    "shapes",
    "states",
    "storage",
    "syncs",
    "tokens",
    "verify",
    "views",
    "webhook_registration",
    "webhook_send",
    "webhooks",
]

if not TYPE_CHECKING:  # a checker that saw it would believe in every name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return import_module(f"{__name__}.{name}")
