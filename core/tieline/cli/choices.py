"""The words that options take, where they are defined too far down for help to ask.

The engine and the store take seconds to import on a small machine; help does
not. A test compares these with what is defined there.
"""

from __future__ import annotations

__all__ = [
    "FAULTS",
    "FORMATS",
    "OPERATION_STATES",
    "POLICIES",
    "QUEUE",
    "ROLES",
    "RUN_FIELDS",
    "SCOPES",
]

FAULTS = ("throttle", "slow", "down", "cut", "garbage", "denied", "revoked")
FORMATS = ("jsonl", "csv", "parquet")
OPERATION_STATES = ("queued", "sending", "unknown", "held", "dead", "done", "dropped")
POLICIES = ("hold", "provider_wins", "local_wins", "newest_wins")
QUEUE = "sync"
ROLES = ("worker", "scheduler")
RUN_FIELDS = ("connection", "provider", "entity", "state", "code", "mode", "direction")
SCOPES = ("read", "operate", "admin")
