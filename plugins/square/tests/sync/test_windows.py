"""Windows by time of creation: each record is in exactly one of those that lie side by side."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tieline.contract import PageParams, Window
from tieline.registry import find_plugins, load_plugin

WINDOWED = ("customers", "orders", "payments")


@pytest.fixture(scope="module")
def plugin():
    [found] = [each for each in find_plugins() if each.name == "square"]
    return load_plugin(found)


def read(shop, plugin, entity, window):
    """Read a window's pages as the engine does, one after the other."""
    opened = shop.engine.opener.open(shop.id)
    declared, cursor, met = plugin.entity(entity), None, []
    for _ in range(100):
        page = declared.page(opened.client, PageParams(window=window), cursor)
        met += [each["id"] for each in page.records]
        cursor = page.next
        if cursor is None:
            break
    opened.transport.close()
    assert cursor is None
    return met


@pytest.mark.parametrize("entity", WINDOWED)
def test_windows_side_by_side_have_every_record_once(seller, plugin, entity):
    shop = seller(customers=300, orders=300)
    times = sorted(
        datetime.fromisoformat(each["created_at"]) for each in shop.truth(entity).values()
    )
    # On records, one of them the instant that a hundred share, and between two.
    edges = [times[5], times[60], times[-20] + timedelta(milliseconds=1), times[-5]]
    bounds = [None, *edges, None]
    met = [
        key
        for start, end in pairwise(bounds)
        for key in read(shop, plugin, entity, Window(start=start, end=end))
    ]
    assert len(met) == len(set(met))
    assert set(met) == shop.truth(entity).keys()


@pytest.mark.parametrize("entity", WINDOWED)
def test_a_window_that_a_person_asks_for_is_read_and_nothing_else(seller, entity):
    shop = seller(customers=300, orders=300)
    made = {
        key: datetime.fromisoformat(each["created_at"]) for key, each in shop.truth(entity).items()
    }
    since, until = sorted(made.values())[150], sorted(made.values())[200]
    assert shop.window(entity, since, until).state == "succeeded"
    inside = {key for key, time in made.items() if since <= time < until}
    assert shop.stored(entity).keys() == inside


def test_a_full_read_of_customers_is_cut_up_by_time(plugin):
    windows = plugin.entity("customers").windows
    assert windows.order == "oldest first"
    record = {"created_at": "2026-03-02T10:15:00.123456789+01:00"}
    assert windows.time_of(record).isoformat() == "2026-03-02T09:15:00.123456+00:00"


@pytest.mark.parametrize("entity", ["orders", "payments"])
def test_what_is_read_location_by_location_promises_no_order(plugin, entity):
    """A part that is cut off at a time would be taken for read once one location had passed it."""
    assert plugin.entity(entity).windows.order == ""
