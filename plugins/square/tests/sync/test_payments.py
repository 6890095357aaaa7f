"""What is special about reading Square's payments."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import parse_qs

import pytest

from kit import START
from tieline_square.entities import PAYMENTS


@pytest.mark.parametrize("locations", [1, 2, 12])
def test_payments_of_every_location_are_read_not_of_the_main_one_alone(seller, locations):
    shop = seller(locations=locations)
    shop.sync("payments")
    assert len({each["location_id"] for each in shop.stored("payments").values()}) == locations
    assert shop.is_in_step("payments")


def test_payments_of_more_than_a_year_ago_are_read(seller):
    shop = seller()
    shop.sync("payments")
    made = [datetime.fromisoformat(each["created_at"]) for each in shop.stored("payments").values()]
    assert min(made) < START - timedelta(days=700)
    assert shop.is_in_step("payments")


def test_a_refund_of_a_payment_of_years_ago_is_seen(seller):
    """Square may bound a read by time of change to the creations of one year."""
    shop = seller()
    shop.sync("payments")
    made = shop.truth("payments")
    old = min(made, key=lambda key: datetime.fromisoformat(made[key]["created_at"]))
    shop.pass_time(3600)
    refund = {"refunded_money": {"amount": 164, "currency": "USD"}, "refund_ids": [f"{old}_R1"]}
    shop.data("payments", alter={old: refund})
    shop.pass_time(5)
    assert shop.sync("payments").counts.updated == 1
    assert shop.is_in_step("payments")


def test_every_request_names_its_beginning_its_order_and_its_location(seller):
    shop = seller()
    for _ in range(2):
        shop.sync("payments")
        shop.pass_time(3600)
    asked = [parse_qs(each["query"]) for each in shop.asked("/v2/payments")]
    assert {each["sort_field"][0] for each in asked} == {"CREATED_AT", "UPDATED_AT"}
    for each in asked:
        assert each["begin_time"] == ["2009-01-01T00:00:00Z"]
        assert each["sort_order"] == ["ASC"]
        assert each["limit"] == ["100"]
        assert each["location_id"]
        is_changes = each["sort_field"] == ["UPDATED_AT"]
        assert ("updated_at_begin_time" in each and "updated_at_end_time" in each) is is_changes


def test_failed_and_offline_payments_are_kept(seller):
    shop = seller()
    shop.sync("payments")
    stored = shop.stored("payments").values()
    assert {each["status"] for each in stored} == {"COMPLETED", "FAILED"}
    offline = [each for each in stored if each.get("is_offline_payment")]
    assert all(each["offline_payment_details"]["client_created_at"] for each in offline)
    assert offline


def test_payments_that_show_up_some_seconds_late_are_not_missed(seller):
    shop = seller(index_delay_s=45)
    shop.sync("payments")
    shop.pass_time(3600)
    shop.data("payments", create=4, update=10, seed=6)
    shop.pass_time(30)
    assert shop.sync("payments").counts.seen == 0
    shop.pass_time(30)
    run = shop.sync("payments")
    assert (run.mode, run.counts.created) == ("incremental", 4)
    assert shop.is_in_step("payments")


def test_a_customer_that_is_filled_in_later_is_seen(seller):
    shop = seller()
    shop.sync("payments")
    key = next(key for key, each in shop.stored("payments").items() if "customer_id" not in each)
    shop.pass_time(3600)
    shop.data("payments", alter={key: {"customer_id": "C1"}})
    shop.pass_time(5)
    shop.sync("payments")
    assert shop.stored("payments")[key]["customer_id"] == "C1"


def test_copies_are_ordered_by_time_of_change_in_any_form_of_it():
    texts = (
        "2026-03-02T09:15:00Z",
        "2026-03-02T10:15:00.001+01:00",
        "2026-03-02T09:15:00.002000000Z",
        "2026-03-02T09:15:00.3Z",
    )
    versions = [PAYMENTS.version({"updated_at": text}) for text in texts]
    assert versions == sorted(set(versions))
    assert PAYMENTS.deletes == "none"
