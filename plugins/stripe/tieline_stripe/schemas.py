"""What may be relied on: these types, or null. Only the id is always there."""

from __future__ import annotations

from marshmallow import fields

from tieline.contract import RecordSchema, Whole

__all__ = ["CHARGE", "CUSTOMER", "PRODUCT", "SUBSCRIPTION"]

_KINDS = {"text": fields.String, "whole": Whole, "flag": fields.Boolean, "hash": fields.Dict}


def _promise(**named: str) -> RecordSchema:
    """Make a schema from field names by kind; ``link`` is an id or the object itself."""
    found = {"id": fields.String(required=True), "object": fields.String(allow_none=True)}
    common = {"whole": "created", "flag": "livemode", "hash": "metadata"}
    for kind, names in (*common.items(), *named.items()):
        found |= {name: _KINDS.get(kind, fields.Raw)(allow_none=True) for name in names.split()}
    return RecordSchema.from_dict(found)()  # type: ignore[return-value, arg-type]


CUSTOMER = _promise(
    text="email name phone description currency",
    whole="balance",
    flag="delinquent",
    hash="address",
)
PRODUCT = _promise(
    text="name description unit_label", whole="updated", flag="active", link="default_price"
)
SUBSCRIPTION = _promise(
    text="status currency",
    whole="start_date canceled_at ended_at",
    flag="cancel_at_period_end",
    hash="items",
    link="customer",
)
CHARGE = _promise(
    text="currency status failure_code failure_message",
    whole="amount amount_captured amount_refunded",
    flag="captured paid refunded disputed",
    link="customer",
)
