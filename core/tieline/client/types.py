"""What answers hold, as the document says; times are text in RFC 3339, UTC."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "Account",
    "Alert",
    "Change",
    "Changes",
    "Connection",
    "Consumer",
    "DeadLetter",
    "EventError",
    "LogEntry",
    "MadeToken",
    "Operation",
    "Reason",
    "Record",
    "Run",
    "RunCounts",
    "RunError",
    "RunWindow",
    "Schedule",
    "Token",
    "WebhookEvent",
]


class Change(TypedDict):
    """A change of one record that is wanted."""

    kind: Literal["create", "update", "delete"]
    key: NotRequired[str]
    payload: NotRequired[dict[str, Any]]


class Account(TypedDict):
    """Part of one: see ``AccountOf`` in the API's document."""

    id: str | None
    name: str


class RunCounts(TypedDict):
    """Part of one: see ``RunCounts`` in the API's document."""

    seen: int
    created: int
    updated: int
    unchanged: int
    deleted: int
    quarantined: int


class RunError(TypedDict):
    """Part of one: see ``RunError`` in the API's document."""

    code: str
    message: str | None
    hint: str | None


class RunWindow(TypedDict):
    """Part of one: see ``RunWindow`` in the API's document."""

    since: str | None
    until: str | None


class Reason(TypedDict):
    """Part of one: see ``Reason`` in the API's document."""

    code: str
    message: str | None


class EventError(TypedDict):
    """Part of one: see ``EventError`` in the API's document."""

    code: str
    message: str | None
    fault: str | None


class Connection(TypedDict):
    """One: see ``Connection`` in the API's document."""

    id: str
    name: str
    provider: str
    environment: str
    base_url: str
    settings: dict[str, object]
    auth: str
    account: Account
    state: str
    trouble: str | None
    trouble_at: str | None
    paused_at: str | None
    created_at: str
    updated_at: str


class Run(TypedDict):
    """One: see ``Run`` in the API's document."""

    id: str
    connection: str
    connection_id: str
    provider: str
    entity: str
    direction: str
    mode: str
    reason: str
    state: str
    window: RunWindow
    counts: RunCounts
    requests: int
    seconds: float | None
    attempt: int
    asked_by: str
    error: RunError | None
    due_at: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    cancel_requested_at: str | None


class Schedule(TypedDict):
    """One: see ``ScheduleFacts`` in the API's document."""

    id: str
    connection: str
    connection_id: str
    entity: str
    rule: str
    zone: str
    jitter_s: int
    full_every_s: int | None
    state: str
    reason: str
    hint: str
    next_at: str | None
    last_tick_at: str | None
    last_run_id: str | None
    ticks: int
    paused_at: str | None
    created_at: str
    updated_at: str


class Record(TypedDict):
    """One: see ``Record`` in the API's document."""

    id: str
    payload: Any
    changed_at: str
    deleted_at: str | None
    position: int
    revision: int
    first_seen_at: str


class Changes(TypedDict):
    """One: see ``Changes`` in the API's document."""

    data: list[Record]
    after: int
    next: int
    end: int


class Consumer(TypedDict):
    """One: see ``ConsumerFacts`` in the API's document."""

    name: str
    position: int
    behind: int
    created_at: str
    updated_at: str


class Operation(TypedDict):
    """One: see ``OutboxOperation`` in the API's document."""

    id: str
    connection: str
    connection_id: str
    provider: str
    entity: str
    kind: str
    record_id: str | None
    payload: Any
    policy: str
    state: str
    attempts: int
    reason: Reason | None
    run_id: str | None
    asked_by: str
    due_at: str | None
    created_at: str
    updated_at: str
    finished_at: str | None


class DeadLetter(TypedDict):
    """One: see ``DeadLetter`` in the API's document."""

    id: str
    kind: str
    connection: str
    connection_id: str
    provider: str
    entity: str | None
    run_id: str | None
    reason_code: str
    reason: str
    facts: Any
    created_at: str
    settled_at: str | None
    settled_how: str | None


class WebhookEvent(TypedDict):
    """One: see ``WebhookEvent`` in the API's document."""

    id: str
    event_key: str
    endpoint: str
    connection: str
    connection_id: str
    provider: str
    type: str
    entity: str | None
    record_id: str | None
    occurred_at: str | None
    received_at: str
    delivery: str
    state: str
    attempts: int
    due_at: str | None
    error: EventError | None
    handled_at: str | None
    replays: int
    verified_with: str | None


class LogEntry(TypedDict):
    """One: see ``LogEntry`` in the API's document."""

    id: int
    at: str
    actor: str
    event: str
    connection_id: str | None
    entity: str | None
    run_id: str | None
    counts: Any
    error_code: str | None
    detail: str


class Alert(TypedDict):
    """One: see ``AlertFacts`` in the API's document."""

    id: str
    kind: str
    severity: str
    state: str
    subject: str
    provider: str | None
    connection: str | None
    connection_id: str | None
    message: str
    hint: str
    facts: Any
    since: str
    seen_at: str
    times: int
    closed_at: str | None
    told: list[str]
    attempts: int
    delivered_at: str | None
    due_at: str | None
    trouble: str | None


class Token(TypedDict):
    """One: see ``Token`` in the API's document."""

    id: str
    name: str
    scope: str
    connections: list[str] | None
    created_by: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None


class MadeToken(TypedDict):
    """One: see ``MadeToken`` in the API's document."""

    id: str
    name: str
    scope: str
    connections: list[str] | None
    created_by: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    revoked_at: str | None
    token: str
