"""A queue is held and let go, on either database."""

from __future__ import annotations

import pytest

from kit import make_bench
from tieline.errors import RefusedError
from tieline.services import queues
from tieline.services.audit import Wanted, list_audit


@pytest.fixture
def bench(database_url, redis_url, tmp_path):
    made = make_bench(database_url, tmp_path, redis_url=redis_url)
    yield made
    made.installation.close()


def test_a_queue_is_held_once_and_let_go_once(bench):
    made = bench.installation
    for _ in range(2):
        held = queues.pause_queue(made, "sync", actor="cli:ada")
        assert (held.paused_by, held.paused_at) == ("cli:ada", bench.clock.now())
        with pytest.raises(RefusedError, match="paused already"):
            queues.pause_queue(made, "sync", actor="cli:bob")
        assert queues.resume_queue(made, "sync", actor="cli:ada").paused_at is None
        with pytest.raises(RefusedError, match="not paused"):
            queues.resume_queue(made, "sync", actor="cli:ada")
    told = [each["event"] for each in list_audit(made, Wanted(actor="cli:ada"))]
    assert told == ["queue.resumed", "queue.paused"] * 2
