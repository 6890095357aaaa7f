"""A client of the HTTP API, for programs: ``from tieline.client import Client``.

It needs nothing of Tieline but this package, and httpx.
"""

from tieline.client.client import Client
from tieline.client.errors import (
    AccessRefusedError,
    ApiError,
    ChangedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ProviderRefusedError,
    TooManyCallsError,
    UnavailableError,
    UnreachableError,
)
from tieline.client.types import (
    Alert,
    Change,
    Changes,
    Connection,
    Consumer,
    DeadLetter,
    LogEntry,
    MadeToken,
    Operation,
    Record,
    Run,
    Schedule,
    Token,
    WebhookEvent,
)

__all__ = [
    "AccessRefusedError",
    "Alert",
    "ApiError",
    "Change",
    "ChangedError",
    "Changes",
    "Client",
    "ConflictError",
    "Connection",
    "Consumer",
    "DeadLetter",
    "InvalidRequestError",
    "LogEntry",
    "MadeToken",
    "NotFoundError",
    "Operation",
    "ProviderRefusedError",
    "Record",
    "Run",
    "Schedule",
    "Token",
    "TooManyCallsError",
    "UnavailableError",
    "UnreachableError",
    "WebhookEvent",
]
