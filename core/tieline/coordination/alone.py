"""Import redis-py, and nothing for metrics of its own that nobody here reads.

Where OpenTelemetry's SDK is installed it imports that with itself, which takes as
long as the rest of it: every command that needs Redis would pay for traces that
nobody asked for. It comes first wherever redis-py or RQ is imported.
"""

from __future__ import annotations

import sys
from importlib import import_module

__all__ = ["Redis"]

_METRICS = "opentelemetry.sdk.metrics"


def _import_redis() -> None:
    if {_METRICS, "redis"} & set(sys.modules):
        return
    sys.modules[_METRICS] = None  # type: ignore[assignment] # to Python: there is none
    try:
        import_module("redis")
    finally:
        del sys.modules[_METRICS]


_import_redis()

from redis import Redis  # noqa: E402 - see above
