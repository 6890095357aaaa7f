"""What is stored of a whole seller has a meaning, and the meanings name one another."""

from __future__ import annotations

import pytest

from tieline_square import tieline_entities

MEANS = {entity.name: entity.canonical for entity in tieline_entities()}


@pytest.fixture
def meanings(seller):
    shop = seller(locations=2)
    for entity in MEANS:
        shop.sync(entity)
    return {
        entity: {key: mapping(record) for key, record in shop.stored(entity).items()}
        for entity, mapping in MEANS.items()
    }


def test_payments_name_orders_and_all_but_the_rest_of_the_catalog_has_a_meaning(meanings):
    products = {key for key, shape in meanings["catalog"].items() if shape}
    assert products < meanings["catalog"].keys()  # taxes and categories are none
    for entity in ("customers", "orders", "payments"):
        assert len(meanings[entity]) > 10
        assert all(shape.id == key for key, shape in meanings[entity].items())
    paid = {payment.order_id for payment in meanings["payments"].values()}
    assert paid - {None}
    assert paid - {None} <= meanings["orders"].keys()
