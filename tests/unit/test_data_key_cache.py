"""Data keys serve for five minutes, where they belong, and are not kept without end."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tieline.clock import ManualClock
from tieline.vault import Context
from tieline.vault.cache import KEEP_S, DataKeyCache, place_of

HERE = Context(connection_id="con_a", field="api_key")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 1, tzinfo=UTC))


@pytest.fixture
def cache(clock) -> DataKeyCache:
    return DataKeyCache(clock.monotonic)


def test_a_key_serves_until_its_time_is_over(cache, clock):
    cache.put(b"a", b"key")
    clock.move(KEEP_S - 1)
    assert cache.get(b"a") == b"key"
    assert cache.get(b"b") is None
    clock.move(1)
    assert cache.get(b"a") is None


def test_use_does_not_make_a_key_younger_and_a_fresh_answer_does(cache, clock):
    cache.put(b"a", b"key")
    for _ in range(10):
        clock.move(KEEP_S / 20)
        assert cache.get(b"a") == b"key"
    assert cache.get(b"a", younger_than_s=60) is None
    cache.put(b"a", b"key")
    clock.move(KEEP_S - 1)
    assert cache.get(b"a") == b"key"


def test_a_thousand_are_kept_and_the_oldest_go(cache, clock):
    for number in range(1500):
        cache.put(b"%d" % number, b"key")
        clock.move(0.01)
    assert [number for number in range(1500) if cache.get(b"%d" % number)] == list(range(500, 1500))


def test_keys_whose_time_is_over_leave_the_memory(cache, clock):
    cache.put(b"a", b"key")
    cache.put(b"b", b"key")
    clock.move(KEEP_S)
    assert cache.get(b"a") is None
    assert list(cache._kept) == [b"b"]
    cache.put(b"c", b"key")
    assert list(cache._kept) == [b"c"]


PLACES = {
    "the same": (("arn", b"wrapped", HERE), True),
    "another key": (("arm", b"wrapped", HERE), False),
    "another wrapped key": (("arn", b"wrappee", HERE), False),
    "another connection": (("arn", b"wrapped", Context(connection_id="b", field="api_key")), False),
    "another field": (("arn", b"wrapped", Context(connection_id="con_a", field="b")), False),
    "parts that run together": (("arnw", b"rapped", HERE), False),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_key_is_found_only_where_all_is_the_same(case):
    given, is_same = PLACES[case]
    assert (place_of(*given) == place_of("arn", b"wrapped", HERE)) is is_same
