"""The words that options take, where they are defined too far down for help to ask.

The engine and the store take seconds to import on a small machine; help does
not. A test compares these with what is defined there.
"""

from __future__ import annotations

__all__ = ["FORMATS", "OPERATION_STATES", "POLICIES", "QUEUE", "SCOPES"]

FORMATS = ("jsonl", "csv", "parquet")
OPERATION_STATES = ("queued", "sending", "unknown", "held", "dead", "done", "dropped")
POLICIES = ("hold", "provider_wins", "local_wins", "newest_wins")
QUEUE = "sync"
SCOPES = ("read", "operate", "admin")
