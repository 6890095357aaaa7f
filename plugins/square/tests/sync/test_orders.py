"""What is special about reading Square's orders."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kit import START
from tieline.contract import PageParams
from tieline_square.entities import ORDERS


def of_state(orders, state):
    return [key for key, each in orders.items() if each["state"] == state]


@pytest.mark.parametrize("locations", [1, 10, 11, 25])
def test_orders_of_all_locations_are_read_ten_at_a_time_closed_ones_too(seller, locations):
    shop = seller(locations=locations, orders=120)
    shop.sync("orders")
    assert shop.is_in_step("orders")
    assert len({each["location_id"] for each in shop.stored("orders").values()}) == locations
    shop.pass_time(3600)
    shop.data("orders", update=60, create=locations)
    shop.pass_time(5)
    assert shop.sync("orders").mode == "incremental"
    assert shop.is_in_step("orders")


def test_orders_of_every_state_are_read(seller):
    shop = seller()
    shop.sync("orders")
    states = {each["state"] for each in shop.stored("orders").values()}
    assert states == {"OPEN", "COMPLETED", "CANCELED"}


def test_an_order_of_the_point_of_sale_has_no_version_and_its_changes_are_seen(seller):
    shop = seller()
    shop.sync("orders")
    till = [key for key, each in shop.stored("orders").items() if "version" not in each]
    shop.pass_time(3600)
    shop.data("orders", alter={key: {"ticket_name": "Window"} for key in till})
    shop.pass_time(5)
    assert shop.sync("orders").counts.updated == len(till) > 0
    assert shop.is_in_step("orders")


def test_two_changes_of_one_instant_end_with_the_later_one(seller):
    """The time cannot tell them apart: the order is read again by its id."""
    shop = seller()
    shop.sync("orders")
    shop.pass_time(3600)
    key = of_state(shop.stored("orders"), "OPEN")[0]
    shop.data("orders", alter={key: {"ticket_name": "one"}})
    shop.pass_time(5)
    shop.sync("orders")
    one = shop.stored("orders")[key]
    assert one["ticket_name"] == "one"
    shop.data("orders", plant=[one | {"ticket_name": "two", "version": one["version"] + 1}])
    shop.sync("orders")
    assert shop.stored("orders")[key]["ticket_name"] == "two"
    assert any(each["path"] == f"/v2/orders/{key}" for each in shop.asked())
    assert shop.is_in_step("orders")


def test_an_offline_order_that_arrives_days_late_is_not_missed(seller):
    shop = seller()
    shop.sync("orders")
    order = next(iter(shop.truth("orders").values()))
    shop.pass_time(72 * 3600)
    late = START + timedelta(hours=72)
    made = START - timedelta(hours=1)
    # Either reading of the reference: it has the time of the sale, or of its transmission.
    shop.data(
        "orders",
        plant=[
            order | {"id": "LATE1", "created_at": made.isoformat(), "updated_at": late.isoformat()},
            order | {"id": "LATE2", "created_at": late.isoformat(), "updated_at": late.isoformat()},
        ],
    )
    shop.pass_time(5)
    assert shop.sync("orders").counts.created == 2
    assert shop.is_in_step("orders")


def test_returns_keep_their_negative_amounts_and_yen_their_whole_ones(seller):
    shop = seller()
    shop.sync("orders")
    returned = [each for each in shop.stored("orders").values() if "returns" in each]
    assert {each["net_amounts"]["total_money"]["amount"] for each in returned} == {-16_400}
    yen = {"amount": 327, "currency": "JPY"}
    shop.data("orders", plant=[returned[0] | {"id": "YEN", "total_money": yen}])
    shop.pass_time(5)
    shop.sync("orders", "full")
    assert shop.stored("orders")["YEN"]["total_money"] == yen


def test_an_order_that_is_not_listed_any_more_is_never_taken_for_deleted():
    assert ORDERS.deletes == "none"


def test_a_location_that_opened_meanwhile_is_read_too(seller):
    """Locations are read anew by each run: a client that knows them from before is no reason."""
    shop = seller(locations=3)
    shop.sync("orders")
    opened = shop.engine.opener.open(shop.id)
    api = opened.client
    api.location_ids = ("LNOTHING",)
    first = ORDERS.page(api, PageParams(), None)
    assert (first.records, len(api.location_ids)) == ([], 3)
    assert ORDERS.page(api, PageParams(), first.next).records
    opened.transport.close()
