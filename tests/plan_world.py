"""An installation that has seen much: twenty thousand rows in each table that grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, text

from kit import Bench
from plan_kit import fill
from tieline.store import tables

ROWS = 20_000
CONNECTIONS = 8
UNFINISHED = 60
ACTIVE_RUNS = CONNECTIONS - 1
QUIET = "con_0001"  # its few rows are the oldest of all
_OLD = 5


def connection_of(number: int) -> str:
    """Deal rows out to the connections; the quiet one had the first few, and no more."""
    return QUIET if number < _OLD else busy_connection(number)


def busy_connection(number: int) -> str:
    """Choose one of those that have a run under way."""
    return f"con_{number % ACTIVE_RUNS + 2:04d}"


def grow(bench: Bench) -> None:
    """Fill the tables, and have the database learn what is in them."""
    made = {
        tables.connections: _connections,
        tables.entity_states: _states,
        tables.runs: _runs,
        tables.partitions: _partitions,
        tables.records: _records,
        tables.quarantine: _quarantine,
        tables.sync_log: _log,
        tables.copies: _copies,
        tables.findings: _findings,
        tables.dead_letters: _letters,
        tables.operations: _operations,
        tables.alerts: _alerts,
        tables.webhook_endpoints: _endpoints,
        tables.webhook_events: _events,
        tables.schedules: _schedules,
    }
    first = {"con_0000": bench.connection_id}
    for table, rows in made.items():
        fill(bench.database, table, _known(rows(bench.clock.now()), first))
    with bench.database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("ANALYZE"))


def _known(rows: Iterator[dict[str, Any]], first: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Write the connection that is there already for the first one."""
    for row in rows:
        given = row.get("connection_id")
        yield row if given is None else {**row, "connection_id": first.get(given, given)}


def at(now: datetime, number: int) -> datetime:
    """Return a time before now; rows of a higher number are newer."""
    return now - timedelta(seconds=60 * (ROWS - number))


def _is_unfinished(number: int) -> bool:
    return number >= ROWS - UNFINISHED


def _connections(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(1, CONNECTIONS + 1):
        yield {
            "id": f"con_{number:04d}", "name": f"shop{number}", "provider": "shelf",
            "environment": "live", "base_url": "http://127.0.0.1:1", "auth_kind": "api_key",
            "account_id": f"a{number}", "account_name": "shop", "settings": "{}", "state": "ok",
            "created_at": now, "updated_at": now,
        }  # fmt: skip


def _states(_: datetime) -> Iterator[dict[str, Any]]:
    yield {"feed_id": 1, "connection_id": "con_0000", "entity": "items", "position": ROWS}
    for number in range(1, CONNECTIONS + 1):
        yield {
            "feed_id": number + 1, "connection_id": f"con_{number:04d}", "entity": "items",
            "position": 0,
        }  # fmt: skip


def _runs(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        active = number >= ROWS - ACTIVE_RUNS
        yield {
            "id": f"run_{number:05d}",
            "connection_id": busy_connection(number) if active else connection_of(number),
            "entity": "items", "direction": "inbound", "mode": "incremental",
            "state": "queued" if active else "failed" if number % 50 == 0 else "succeeded",
            "asked_by": "schedule:sch_1", "reason": "", "attempt": 1, "due_at": at(now, number),
            "rings": 1, "created_at": at(now, number), "allow_deletes": False, "may_split": True,
            "finished_at": None if active else at(now, number),
            "error_code": None if active or number % 50 else "provider-unavailable",
            **_COUNTS,
        }  # fmt: skip


def _partitions(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        active = number >= ROWS - ACTIVE_RUNS
        yield {
            "id": f"par_{number:05d}", "run_id": f"run_{number:05d}", "number": 0,
            "state": "ready" if active else "done", "source": "list", "pages": 3, "restarts": 0,
            "checkpoint_at": at(now, number), "rescues": 0, "fence": 1,
            "lease_owner": None if active else "worker@1", **_COUNTS,
        }  # fmt: skip


def _records(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(1, ROWS + 1):
        yield {
            "connection_id": "con_0000", "entity": "items", "record_id": f"k{number:05d}",
            "payload": json.dumps({"id": f"k{number:05d}", "name": "n" * 40}),
            "is_escaped": False, "content_hash": "h", "rank": 1, "revision": 1,
            "first_seen_at": now, "changed_at": now, "feed_id": 1, "position": number,
            "run_id": "run_00000", "source": "list",
            "deleted_at": now if number % 1000 == 0 else None,
        }  # fmt: skip


def _quarantine(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        yield {
            "id": f"bad_{number:05d}", "connection_id": connection_of(number), "entity": "items",
            "record_id": f"k{number:05d}" if number % 100 else None, "fingerprint": f"{number:05d}",
            "run_id": f"run_{number:05d}", "reason_code": "record-invalid", "reason": "",
            "raw": b"{}", "rank": 1, "created_at": at(now, number), "seen_at": at(now, number),
        }  # fmt: skip


def _log(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        yield {
            "at": at(now, number), "actor": "worker", "event": "run.finished",
            "connection_id": connection_of(number), "entity": "items",
            "run_id": f"run_{number:05d}", "detail": "",
        }  # fmt: skip


def _copies(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        yield {
            "connection_id": connection_of(number), "entity": "items",
            "record_id": f"k{number:05d}", "outcome": "replaced", "source": "list", "rank": 1,
            "content_hash": "h", "at": at(now, number),
        }  # fmt: skip


def _findings(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        yield {
            "run_id": f"run_{number:05d}", "record_id": "k1", "kind": "missing", "found_at": now,
        }  # fmt: skip


def _letters(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        waits = _is_unfinished(number)
        yield {
            "id": f"dea_{number:05d}", "kind": "run", "connection_id": connection_of(number),
            "entity": f"e{number}", "run_id": f"run_{number:05d}", "reason_code": "worker-lost",
            "reason": "", "facts": "{}", "created_at": at(now, number),
            "settled_at": None if waits else at(now, number),
            "settled_how": None if waits else "retried",
        }  # fmt: skip


def _operations(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        waits = _is_unfinished(number)
        yield {
            "id": f"ope_{number:05d}", "connection_id": connection_of(number), "entity": "items",
            "kind": "update", "record_id": f"k{number:05d}", "payload": "{}",
            "idempotency_key": f"key{number:05d}", "policy": "hold",
            "state": "queued" if waits else "done", "attempts": 0, "turn": 0,
            "due_at": at(now, number), "fence": 0, "asked_by": "test",
            "run_id": f"run_{number:05d}", "created_at": at(now, number),
            "updated_at": at(now, number), "finished_at": None if waits else at(now, number),
        }  # fmt: skip


def _alerts(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        is_open = _is_unfinished(number)
        yield {
            "id": f"ale_{number:05d}", "kind": "run-failed", "subject": f"s{number}",
            "state": "open" if is_open else "closed", "severity": "warning",
            "connection_id": connection_of(number), "message": "", "hint": "", "facts": "{}",
            "since": at(now, number), "seen_at": at(now, number), "times": 1, "told": "[]",
            "closed_at": None if is_open else now - timedelta(days=1), "attempts": 0,
        }  # fmt: skip


def _endpoints(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(1, CONNECTIONS + 1):
        yield {
            "id": f"whe_{number:04d}", "provider": "shelf", "environment": "live",
            "connection_id": f"con_{number:04d}", "address": "/webhooks/x", "state": "live",
            "scheme_level": "signed", "generation": 1, "created_at": now, "updated_at": now,
            "served_at": now,
        }  # fmt: skip


def _events(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS):
        waits = _is_unfinished(number)
        dead = number < UNFINISHED
        yield {
            "id": f"evt_{number:05d}", "endpoint_id": f"whe_{number % 20:04d}",
            "event_key": f"key{number:05d}", "connection_id": connection_of(number),
            "type": "item.changed", "entity": "items", "record_key": f"k{number:05d}",
            "received_at": at(now, number), "delivery_id": f"del_{number:05d}", "body": b"{}",
            "headers": "{}", "state": "pending" if waits else "dead" if dead else "done",
            "attempts": 0, "due_at": at(now, number), "replays": 0, "verified_with": "whs_1",
            "handled_at": None if waits or dead else now - timedelta(hours=1),
        }  # fmt: skip


def _schedules(now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(ROWS // 20):
        yield {
            "id": f"sch_{number:05d}", "connection_id": busy_connection(number),
            "entity": f"e{number:05d}", "rule": "every 1h", "zone": "UTC", "jitter_s": 0,
            "next_at": now + timedelta(minutes=number - 30), "ticks": 0, "created_at": now,
            "updated_at": now,
        }  # fmt: skip


_COUNTS = dict.fromkeys(
    ("requests", "seen", "created", "updated", "unchanged", "deleted", "quarantined"), 1
)
GROWING: tuple[Table, ...] = (
    tables.runs, tables.partitions, tables.records, tables.quarantine, tables.sync_log,
    tables.copies, tables.findings, tables.dead_letters, tables.operations, tables.alerts,
    tables.webhook_events,
)  # fmt: skip
