"""Every documented object goes through the plugin unchanged, and the sync keeps it as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tieline.contract import Credential, PageParams, Reply
from tieline_square import tieline_entities
from tieline_square.client import SquareApi

EXAMPLES = json.loads((Path(__file__).parents[1] / "data/square-examples.json").read_text("utf-8"))
ENTITIES = {entity.name: entity for entity in tieline_entities()}
ITEMS = {"customers": "customers", "orders": "orders", "catalog": "objects", "payments": "payments"}
WHOLE = {
    "record_customer": "customers",
    "record_order": "orders",
    "record_catalog_object": "catalog",
    "CatalogObject": "catalog",
    "record_payment": "payments",
}
NAMES = {
    "customer": "customers",
    "order": "orders",
    "object": "catalog",
    "related_objects": "catalog",
    "payment": "payments",
    **{items: entity for entity, items in ITEMS.items()},
}


def objects_in(value, entity=""):
    """Find the records in an answer or an event: ``(entity, object)``."""
    if isinstance(value, list):
        for each in value:
            yield from objects_in(each, entity)
    elif isinstance(value, dict) and entity and "id" in value:
        yield entity, value
    elif isinstance(value, dict):
        for name, inside in value.items():
            yield from objects_in(inside, NAMES.get(name, ""))


def documented():
    for number, example in enumerate(EXAMPLES):
        value, whole = example["value"], WHOLE.get(example["schema"])
        found = [(whole, value)] if whole else objects_in(value)
        for place, (entity, record) in enumerate(found):
            yield pytest.param(entity, record, id=f"{number}.{place} {example['schema']}")


ALL = list(documented())


class Prepared:
    """A transport with one answer."""

    def __init__(self, body):
        self.content = json.dumps(body, ensure_ascii=False).encode()

    def send(self, _method, _url, *, headers, content=None):  # noqa: ARG002 - the contract's
        assert headers["square-version"]
        return Reply(status=200, headers={}, content=self.content, seconds=0.0)


def test_the_examples_are_of_every_entity():
    entities = [each.values[0] for each in ALL]
    assert all(entities.count(entity) >= 8 for entity in ENTITIES)
    assert len(ALL) > 65


@pytest.mark.parametrize(("entity", "record"), ALL)
def test_a_documented_object_goes_through_unchanged(entity, record):
    declared = ENTITIES[entity]
    api = SquareApi(
        "https://connect.squareup.com",
        Credential({"access_token": "EAAA"}),
        Prepared({ITEMS[entity]: [record]}),
    )
    api.location_ids = ("L1",)
    cursor = json.dumps([""] * 5)
    page = declared.page(api, PageParams(), cursor)
    assert page.records == [record]
    [change] = declared.feed.page(api, PageParams(), cursor).changes
    assert (change.record, change.key) == (record, record["id"])
    assert change.is_deleted is (record.get("is_deleted") is True)
    loaded = declared.schema.load(record)
    assert loaded == {name: record[name] for name in loaded}
    assert loaded.keys() == record.keys() & declared.schema.load_fields.keys()
    assert declared.version(record) >= 0


@pytest.mark.parametrize("entity", ENTITIES)
def test_documented_objects_are_synced_as_they_are(seller, entity):
    shop = seller(customers=0, orders=0, items=0)
    place = shop.engine.opener.open(shop.id)
    main = place.client.call("GET", "/v2/merchants/me")["merchant"]["main_location_id"]
    place.transport.close()
    records = {each.values[1]["id"]: each.values[1] for each in ALL if each.values[0] == entity}
    if entity in {"orders", "payments"}:  # the one thing that has to be this seller's
        records = {key: each | {"location_id": main} for key, each in records.items()}
    live = {key: each for key, each in records.items() if not each.get("is_deleted")}
    known = {key: each for key, each in live.items() if each.get("type") != "HOLOGRAM"}
    shop.data(entity, plant=list(records.values()))
    run = shop.sync(entity)
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    assert shop.stored(entity) == known
