"""When more is done at once: only where pages are waited for."""

from __future__ import annotations

from random import Random

import pytest

from tieline.engine.waiting import Waiting

PAGE_S = 0.005


def after(*pages: tuple[float, float]) -> Waiting:
    waiting = Waiting()
    for page in pages:
        waiting.add(*page)
    return waiting


def test_nothing_is_known_before_a_page():
    assert not Waiting().is_long


def test_one_slow_page_is_enough_and_one_quick_one_is_not():
    assert after((0.12, 0.1)).is_long
    assert not after((PAGE_S, PAGE_S)).is_long
    assert after(*[(PAGE_S, PAGE_S)] * 8).is_long


@pytest.mark.parametrize("seed", range(20))
def test_a_clock_that_lags_by_a_page_does_not_look_like_waiting(seed):
    chance, waiting, before = Random(seed), Waiting(), 0.0
    for _ in range(2_000):
        lag = chance.uniform(0, 0.004)
        waiting.add(PAGE_S, 0.15 * PAGE_S + lag - before)
        before = lag
        assert not waiting.is_long


def test_what_becomes_slow_is_seen_within_some_pages():
    quick = [(PAGE_S, 0.0)] * 500
    assert after(*quick, *[(0.1, 0.1)] * 10).is_long
    assert not after(*[(0.1, 0.1)] * 10, *quick).is_long
