"""The catalog: items, variations, categories, taxes and the rest, as one list."""

from __future__ import annotations

from datetime import timedelta

from tieline.contract import Entity, Feed
from tieline_square.client import Answer, SquareApi
from tieline_square.mappings import product
from tieline_square.schema import promise
from tieline_square.walk import Query, Walk, reader, rfc3339
from tieline_square.webhooks import EVENTS

__all__ = ["CATALOG", "TYPES"]

TYPES = (
    *("ITEM", "IMAGE", "CATEGORY", "ITEM_VARIATION", "TAX", "DISCOUNT", "MODIFIER_LIST"),
    *("MODIFIER", "PRICING_RULE", "PRODUCT_SET", "TIME_PERIOD", "MEASUREMENT_UNIT"),
    *("SUBSCRIPTION_PLAN_VARIATION", "ITEM_OPTION", "ITEM_OPTION_VAL", "SUBSCRIPTION_PLAN"),
    *("CUSTOM_ATTRIBUTE_DEFINITION", "QUICK_AMOUNTS_SETTINGS", "AVAILABILITY_PERIOD"),
)
"""All types, by name: which come without one changes from version to version of the
API, and those that are nested in others never do."""


def _ask(api: SquareApi, query: Query) -> Answer:
    """Ask for a page: of what there is, or of what was changed or deleted since a time."""
    if not query.is_changes:
        listed = {"types": ",".join(TYPES), **query.place}
        return api.ask("GET", "/v2/catalog/list", query=listed)
    body = {"object_types": TYPES, "include_deleted_objects": True, "limit": 1000, **query.place}
    if query.since:  # which itself is not part of the answer
        body["begin_time"] = rfc3339(query.since - timedelta(milliseconds=1))
    return api.ask("POST", "/v2/catalog/search", body=body)


_WALK = Walk(ask=_ask, items="objects", sorts=(False, False))

CATALOG = Entity(
    name="catalog",
    schema=promise(
        required="id type",
        texts="updated_at",
        objects="item_data item_variation_data category_data tax_data discount_data"
        " modifier_list_data modifier_data image_data",
        numbers="version",
        flags="is_deleted present_at_all_locations",
    ),
    page=_WALK.page,
    get=reader("/v2/catalog/object", "object"),
    version=lambda record: record.get("version", 0),
    # No list can be bounded by time on both sides, so there are no windows.
    feed=Feed(page=_WALK.changes, retention=None, overlap=timedelta(minutes=5)),
    events=EVENTS["catalog"],
    deletes="feed",
    canonical=product,
    scope="ITEMS_READ",
    hides="types that are not named, and deleted objects",
)
