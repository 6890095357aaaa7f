"""The HTTP API ``/v1``: thin; services do what it is asked for.

To add a resource: a module in ``resources`` with ``OPERATIONS``, and its name
below. What a path's parameter names is in ``subjects``.
"""

from __future__ import annotations

from tieline.web.api.answering import PREFIX, Api
from tieline.web.api.document import document_of
from tieline.web.api.operation import Operation
from tieline.web.api.pages import document_routes
from tieline.web.api.resources import (
    audit,
    connections,
    database,
    dead_letters,
    endpoints,
    events,
    feed,
    keys,
    limits,
    oauth,
    outbox,
    plans,
    providers,
    quarantine,
    queues,
    records,
    runs,
    schedules,
    states,
    tokens,
)

__all__ = ["OPERATIONS", "PREFIX", "Api", "document_of", "document_routes"]

OPERATIONS: tuple[Operation, ...] = (
    *providers.OPERATIONS,
    *connections.OPERATIONS,
    *states.OPERATIONS,
    *oauth.OPERATIONS,
    *runs.OPERATIONS,
    *plans.OPERATIONS,
    *schedules.OPERATIONS,
    *records.OPERATIONS,
    *feed.OPERATIONS,
    *quarantine.OPERATIONS,
    *outbox.OPERATIONS,
    *endpoints.OPERATIONS,
    *events.OPERATIONS,
    *dead_letters.OPERATIONS,
    *limits.OPERATIONS,
    *queues.OPERATIONS,
    *audit.OPERATIONS,
    *keys.OPERATIONS,
    *database.OPERATIONS,
    *tokens.OPERATIONS,
)
