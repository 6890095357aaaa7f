"""What is asked of events at every look goes by an index, however many were handled before."""

from __future__ import annotations

import pytest
from sqlalchemy import event

from kit import make_bench
from tieline.store import drains, events
from tieline.store.events import EventsWanted

PENDING, HANDLED, DEAD = (f"ix_webhook_events_{name}" for name in ("pending", "handled", "dead"))
QUESTIONS = {
    "is any due": (PENDING, lambda c, b: drains.is_any_due(c, b.connection_id, b.clock.now())),
    "which come next": (
        PENDING,
        lambda c, b: drains.pending_events(c, b.connection_id, b.clock.now(), limit=5),
    ),
    "whose are due": (PENDING, lambda c, b: drains.undrained(c, b.clock.now())),
    "when is the next": (PENDING, lambda c, b: drains.next_due_at(c)),
    "how many wait": (
        PENDING,
        lambda c, b: events.count_events(c, EventsWanted(states=["pending"])),
    ),
    "how long": (PENDING, lambda c, b: events.oldest_pending_at(c)),
    "how many are dead": (DEAD, lambda c, b: events.count_events(c, EventsWanted(states=["dead"]))),
    "what may go": (HANDLED, lambda c, b: events.drop_handled(c, b.clock.now(), limit=5)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_goes_by_the_index_of_what_is_left(sqlite_url, tmp_path, question):
    """On SQLite, which finds no partial index by a bound value."""
    bench = make_bench(sqlite_url, tmp_path, provider="ledger")
    asked = []
    event.listen(
        bench.database.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, given, *_: asked.append((statement, given)),
    )
    index, ask = QUESTIONS[question]
    with bench.database.write() as connection:
        asked.clear()
        ask(connection, bench)
        statement, given = asked[0]
        driver = connection.connection.driver_connection
        plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
    steps = [step for step in plan if " webhook_events" in step]
    assert steps != []
    assert all(f"USING INDEX {index}" in step for step in steps), plan
    bench.installation.close()
