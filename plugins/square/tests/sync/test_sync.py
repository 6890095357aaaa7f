"""Every entity through the real core: tables and ``verify`` equal what the sandbox has."""

from __future__ import annotations

import pytest

ENTITIES = ("customers", "orders", "catalog", "payments")


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_full_read_has_all_that_the_seller_has(seller, entity):
    shop = seller(customers=320, orders=320, items=90)
    run = shop.sync(entity)
    assert (run.mode, run.state) == ("full", "succeeded")
    assert len(shop.stored(entity)) > 100  # more than a page
    assert shop.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_incremental_read_sees_what_is_new_and_what_changed(seller, entity):
    shop = seller()
    shop.sync(entity)
    before = set(shop.stored(entity))
    shop.pass_time(3600)
    shop.data(entity, create=5, update=20, seed=4)
    shop.pass_time(5)
    run = shop.sync(entity)
    assert (run.mode, run.state, run.reason) == ("incremental", "succeeded", "")
    assert run.counts.created == len(set(shop.truth(entity)) - before) > 0
    assert run.counts.updated > 0
    assert shop.is_in_step(entity)
    shop.pass_time(3600)
    shop.sync(entity)
    shop.pass_time(3600)
    assert shop.sync(entity).counts.seen == 0  # an idle seller costs one request, or a few
