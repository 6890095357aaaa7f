"""Square's own SDK reads what sellers have: it is served, and its models take the answers."""

from __future__ import annotations

import httpx
import pytest
from square import Square

from tieline_square_sandbox import API_KEY

ONCE = {"max_retries": 0}

# The SDK uses parts of pydantic that go in version 3, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")


@pytest.fixture
def shop(server):
    """Serve a seller: ``shop(customers=30)`` returns the SDK's client and the sandbox's truth."""
    made = []

    def make(**options):
        base = server(**{"customers": 30, "orders": 30, "items": 5} | options)
        made.append(httpx.Client())
        seller = Square(token=API_KEY, base_url=base, httpx_client=made[-1])

        def truth(entity):
            lines = httpx.get(f"{base}/_sandbox/truth", params={"entity": entity}).text
            return len(lines.splitlines())

        return seller, truth

    yield make
    for each in made:
        each.close()


def test_the_sdk_lists_and_searches_customers(shop):
    seller, truth = shop()
    listed = list(seller.customers.list(limit=10, request_options=ONCE))
    assert len(listed) == truth("customers")
    searched = seller.customers.search(
        query={
            "filter": {"updated_at": {"start_at": "2009-01-01T00:00:00Z"}},
            "sort": {"field": "CREATED_AT", "order": "ASC"},
        },
        request_options=ONCE,
    )
    assert {each.id for each in searched.customers} == {each.id for each in listed}
    one = seller.customers.get(listed[0].id, request_options=ONCE).customer
    assert one == listed[0]


def test_the_sdk_searches_orders(shop):
    seller, truth = shop()
    places = [each.id for each in seller.locations.list(request_options=ONCE).locations]
    found = seller.orders.search(
        location_ids=places,
        query={"sort": {"sort_field": "UPDATED_AT", "sort_order": "ASC"}},
        request_options=ONCE,
    ).orders
    assert len(found) == truth("orders")
    assert all(each.total_money.currency == "USD" for each in found)
    assert seller.orders.get(found[0].id, request_options=ONCE).order == found[0]


def test_the_sdk_lists_and_searches_the_catalog(shop):
    seller, truth = shop()
    types = "ITEM,ITEM_VARIATION,CATEGORY,TAX,DISCOUNT,IMAGE,MODIFIER,MODIFIER_LIST"
    listed = list(seller.catalog.list(types=types, request_options=ONCE))
    assert len(listed) == truth("catalog")
    searched = seller.catalog.search(
        object_types=types.split(","), include_deleted_objects=True, request_options=ONCE
    )
    assert len(searched.objects) == len(listed)
    assert searched.latest_time
    one = seller.catalog.object.get(listed[0].id, request_options=ONCE).object
    assert one == listed[0]


def test_the_sdk_lists_payments(shop):
    seller, truth = shop()
    places = [each.id for each in seller.locations.list(request_options=ONCE).locations]
    found = [
        each
        for place in places
        for each in seller.payments.list(
            location_id=place, begin_time="2009-01-01T00:00:00Z", request_options=ONCE
        )
    ]
    assert len(found) == truth("payments")
    assert seller.payments.get(found[0].id, request_options=ONCE).payment == found[0]


def test_the_sdk_s_own_pager_takes_an_empty_page_for_the_end(shop):
    """It is why the plugin does not use it."""
    seller, truth = shop(odd_pages=2)
    met = list(seller.customers.list(limit=5, request_options=ONCE))
    assert 0 < len(met) < truth("customers")
