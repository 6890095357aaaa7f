"""What follows a commit: the bell is rung at once, and then once for many."""

from __future__ import annotations

import time

from tieline.clock import SystemClock
from tieline.inbox import after as after_module
from tieline.inbox.after import Afterwards
from tieline.inbox.counts import Counts

EVERY_S = after_module._RINGS_EVERY_S


def no_redis():
    raise AssertionError("there was nothing to write")


def wait_until(is_so) -> None:
    until = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_the_first_ring_comes_at_once_and_one_serves_all_commits_of_a_while():
    rung: list[float] = []
    after = Afterwards(
        None, Counts(no_redis), lambda _connection: rung.append(time.monotonic()), SystemClock()
    )
    after.start()
    try:
        after.stored({"con_1": ""}, {}, {})
        wait_until(lambda: rung)
        for _ in range(300):
            after.stored({"con_1": ""}, {}, {})
            time.sleep(0.0005)
        last = time.monotonic()
        wait_until(lambda: rung[-1] >= last or not after._to_ring)
    finally:
        after.close()
    assert rung[-1] >= last - EVERY_S, "the last commit was not rung for"
    assert 2 <= len(rung) <= 3 + (rung[-1] - rung[0]) / EVERY_S
