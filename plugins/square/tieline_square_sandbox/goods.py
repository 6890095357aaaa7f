"""The catalog: items with their variations nested, and all that belongs to them.

A variation is an object of its own and stands inside its item too; so do
modifiers in their list. What changes inside changes what it is in.

Shapes: Square API reference, "CatalogObject". A version is the time of the
change in milliseconds, as in all of Square's examples.
"""

from __future__ import annotations

from collections.abc import Iterator

from tieline_square_sandbox.shelf import Object
from tieline_square_sandbox.times import write_time

__all__ = [
    "NESTED",
    "TYPES",
    "alter_good",
    "bury_good",
    "make_goods",
    "make_item",
    "nested_in",
    "parent_of",
]

NESTED = {
    "ITEM": ("item_data", "variations"),
    "MODIFIER_LIST": ("modifier_list_data", "modifiers"),
}
"""Which types hold others, and where."""

_PARENTS = {
    "ITEM_VARIATION": ("item_variation_data", "item_id"),
    "MODIFIER": ("modifier_data", "modifier_list_id"),
}

TYPES = frozenset(
    {
        *("ITEM", "IMAGE", "CATEGORY", "ITEM_VARIATION", "TAX", "DISCOUNT", "MODIFIER_LIST"),
        *("MODIFIER", "PRICING_RULE", "PRODUCT_SET", "TIME_PERIOD", "MEASUREMENT_UNIT"),
        *("SUBSCRIPTION_PLAN_VARIATION", "ITEM_OPTION", "ITEM_OPTION_VAL", "SUBSCRIPTION_PLAN"),
        *("CUSTOM_ATTRIBUTE_DEFINITION", "QUICK_AMOUNTS_SETTINGS", "AVAILABILITY_PERIOD"),
    }
)
"""All types ("CatalogObjectType")."""


def make_goods(prefix: str, currency: str, time: int) -> Iterator[Object]:
    """Make what all items share: category, tax, discount, picture, list of modifiers."""
    yield _object("CATEGORY", f"{prefix}CATEGORY", time, {"category_data": {"name": "Drinks"}})
    tax = {
        "name": "Sales tax",
        "calculation_phase": "TAX_SUBTOTAL_PHASE",
        "inclusion_type": "ADDITIVE",
        "percentage": "9",
        "enabled": True,
    }
    yield _object("TAX", f"{prefix}TAX", time, {"tax_data": tax})
    discount = {"name": "Half off", "discount_type": "FIXED_PERCENTAGE", "percentage": "50"}
    yield _object("DISCOUNT", f"{prefix}DISCOUNT", time, {"discount_data": discount})
    image = {"name": "Tea", "url": "https://example.com/tea.png"}
    yield _object("IMAGE", f"{prefix}IMAGE", time, {"image_data": image})
    modifier = {
        "name": "Milk",
        "price_money": {"amount": 20, "currency": currency},
        "ordinal": 0,
        "modifier_list_id": f"{prefix}MODIFIERS",
    }
    milk = _object("MODIFIER", f"{prefix}MODIFIER", time, {"modifier_data": modifier})
    listed = {"name": "Extras", "selection_type": "MULTIPLE", "modifiers": [milk]}
    yield _object("MODIFIER_LIST", f"{prefix}MODIFIERS", time, {"modifier_list_data": listed})
    yield milk


def make_item(prefix: str, number: int, currency: str, time: int) -> list[Object]:
    """Make an item and its variations, two of them for every third.

    Every fifth is archived, which is not deleted; every seventh is sold at some
    locations only.
    """
    name = f"{prefix}ITEM{number:06}"
    variations = [
        _object(
            "ITEM_VARIATION",
            f"{prefix}VARIATION{number:06}{place}",
            time,
            {
                "item_variation_data": {
                    "item_id": name,
                    "name": ("Regular", "Large")[place],
                    "sku": f"TEA-{number}-{place}",
                    "ordinal": place,
                    "pricing_type": "FIXED_PRICING",
                    "price_money": {"amount": 150 + place * 50, "currency": currency},
                }
            },
        )
        for place in range(1 + (number % 3 == 0))
    ]
    data = {
        "name": f"Tea {number}",
        "description": "Black tea ☕",
        "variations": variations,
        "product_type": "REGULAR",
        "categories": [{"id": f"{prefix}CATEGORY", "ordinal": 0}],
        "tax_ids": [f"{prefix}TAX"],
        "is_archived": number % 5 == 4,
    }
    item = _object("ITEM", name, time, {"item_data": data})
    if number % 7 == 3:
        item |= {"present_at_all_locations": False, "absent_at_location_ids": ["LTIECLOSED001"]}
    return [item, *variations]


def alter_good(value: Object, fields: Object, now: int) -> Object:
    """Change an object; fields of its data are merged into it."""
    merged = {
        name: value[name] | field if isinstance(field, dict) and name in value else field
        for name, field in fields.items()
    }
    return value | merged | _changed(now)


def bury_good(value: Object, now: int) -> Object:
    """Make the tombstone: the data is gone, the time is that of the deletion."""
    kept = {name: value[name] for name in ("type", "id", "present_at_all_locations")}
    return kept | _changed(now) | {"is_deleted": True}


def nested_in(value: Object) -> list[Object]:
    """Return the objects that stand inside another."""
    data, name = NESTED.get(value["type"], ("", ""))
    found: list[Object] = value.get(data, {}).get(name, [])
    return found


def parent_of(value: Object) -> str:
    """Return the id of the object that another stands in; empty if it stands alone."""
    data, name = _PARENTS.get(value["type"], ("", ""))
    return str(value.get(data, {}).get(name, ""))


def _object(kind: str, name: str, time: int, data: Object) -> Object:
    head = {"type": kind, "id": name, "is_deleted": False, "present_at_all_locations": True}
    return head | _changed(time) | data


def _changed(now: int) -> Object:
    return {"updated_at": write_time(now, now // 1000 % 4), "version": now // 1000}
