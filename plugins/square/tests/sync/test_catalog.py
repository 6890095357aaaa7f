"""What is special about reading Square's catalog."""

from __future__ import annotations

import typing

from square.types.catalog_object import CatalogObject

from kit import START
from tieline.store import connections
from tieline_square.entities import CATALOG, TYPES


def of_type(objects, kind):
    return [each for each in objects.values() if each["type"] == kind]


def test_nested_types_are_named_and_come(seller):
    shop = seller()
    shop.sync("catalog")
    types = {each["type"] for each in shop.stored("catalog").values()}
    assert types >= {"ITEM", "ITEM_VARIATION", "MODIFIER_LIST", "MODIFIER", "IMAGE", "TAX"}
    assert types <= set(TYPES)


def test_every_type_that_the_sdk_knows_is_asked_for():
    union = typing.get_args(CatalogObject)[0]
    known = {
        typing.get_args(each.model_fields["type"].annotation)[0] for each in typing.get_args(union)
    }
    assert known <= set(TYPES)
    assert len(known) > 15


def test_a_deleted_object_and_what_was_in_it_are_tombstones_by_the_next_read(seller):
    shop = seller()
    shop.sync("catalog")
    item = next(
        each
        for each in of_type(shop.stored("catalog"), "ITEM")
        if len(each["item_data"]["variations"]) == 2
    )
    shop.pass_time(3600)
    shop.data("catalog", remove=[item["id"]])
    shop.pass_time(5)
    run = shop.sync("catalog")
    assert (run.mode, run.counts.deleted) == ("incremental", 3)
    assert shop.is_in_step("catalog")


def test_a_deleted_object_that_was_never_met_does_no_harm(seller):
    shop = seller()
    shop.sync("catalog")
    shop.pass_time(3600)
    made = shop.data("catalog", create=1)["created"]
    shop.data("catalog", remove=[made[0]])
    shop.pass_time(5)
    assert shop.sync("catalog").state == "succeeded"
    assert made[0] not in shop.stored("catalog")
    assert shop.is_in_step("catalog")


def test_a_full_read_buries_what_is_no_longer_listed(seller):
    shop = seller()
    shop.sync("catalog")
    shop.pass_time(3600)
    done = shop.data("catalog", delete=3, seed=2)["deleted"]
    shop.pass_time(5)
    run = shop.sync("catalog", "full")
    assert run.counts.deleted >= len(done) == 3
    assert shop.is_in_step("catalog")


def test_an_archived_item_is_not_deleted(seller):
    shop = seller()
    shop.sync("catalog")
    archived = [
        each
        for each in of_type(shop.stored("catalog"), "ITEM")
        if each["item_data"].get("is_archived")
    ]
    assert archived
    assert shop.is_in_step("catalog")


def test_a_change_at_the_very_time_of_the_last_read_is_seen(seller):
    """``begin_time`` is exclusive: it is sent one millisecond earlier."""
    shop = seller(items=3)
    shop.sync("catalog")
    overlap = CATALOG.feed.overlap.total_seconds()
    shop.pass_time(3600)
    run_at = shop.sync("catalog")
    assert run_at.counts.seen == 0
    with shop.installation.database.read() as transaction:
        until = connections.read_entity_state(transaction, shop.id, "catalog").synced_until
    edge = until.timestamp() - overlap
    key = next(iter(shop.truth("catalog")))
    stamp = int(edge * 1000)
    text = f"{until - CATALOG.feed.overlap:%Y-%m-%dT%H:%M:%S}.000Z"
    changed = shop.truth("catalog")[key] | {"updated_at": text, "version": stamp}
    shop.data("catalog", plant=[changed | {"present_at_all_locations": False}])
    assert shop.sync("catalog").counts.updated == 1
    assert shop.is_in_step("catalog")


def test_a_change_of_a_variation_changes_both_copies_of_it(seller):
    shop = seller(items=5)
    shop.sync("catalog")
    variation = of_type(shop.stored("catalog"), "ITEM_VARIATION")[0]
    shop.pass_time(3600)
    shop.data("catalog", alter={variation["id"]: {"item_variation_data": {"name": "Huge"}}})
    shop.pass_time(5)
    assert shop.sync("catalog").counts.updated == 2
    stored = shop.stored("catalog")
    item = stored[variation["item_variation_data"]["item_id"]]
    assert stored[variation["id"]] in item["item_data"]["variations"]
    assert shop.is_in_step("catalog")


def test_an_object_of_a_type_that_the_sdk_does_not_know_is_kept_as_it_is(server):
    record = {"type": "HOLOGRAM", "id": "H1", "version": 5, "hologram_data": {"name": "new"}}
    assert CATALOG.version(record) == 5
    assert CATALOG.schema.load(record) == {"type": "HOLOGRAM", "id": "H1", "version": 5}


def test_versions_are_larger_than_what_a_float_can_count(seller):
    shop = seller(items=0)
    head = {"type": "TAX", "updated_at": START.isoformat()}
    shop.data("catalog", plant=[head | {"id": "T1", "version": 2**53 + 1}])
    shop.sync("catalog")
    assert shop.stored("catalog")["T1"]["version"] == 2**53 + 1
