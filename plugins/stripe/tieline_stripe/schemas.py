"""What may be relied on: these types, or null. Only the id is always there."""

from __future__ import annotations

from marshmallow import fields

from tieline.contract import RecordSchema, Whole

__all__ = ["ChargeSchema", "CustomerSchema", "ProductSchema", "SubscriptionSchema"]


class _ObjectSchema(RecordSchema):
    id = fields.String(required=True)
    object = fields.String(allow_none=True)
    created = Whole(allow_none=True)
    livemode = fields.Boolean(allow_none=True)
    metadata = fields.Dict(allow_none=True)


class CustomerSchema(_ObjectSchema):
    """Who pays."""

    email = fields.String(allow_none=True)
    name = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)
    description = fields.String(allow_none=True)
    balance = Whole(allow_none=True)
    currency = fields.String(allow_none=True)
    delinquent = fields.Boolean(allow_none=True)
    address = fields.Dict(allow_none=True)


class ProductSchema(_ObjectSchema):
    """What is sold; its prices are objects of their own."""

    updated = Whole(required=True)
    active = fields.Boolean(allow_none=True)
    name = fields.String(allow_none=True)
    description = fields.String(allow_none=True)
    default_price = fields.Raw(allow_none=True)
    unit_label = fields.String(allow_none=True)


class SubscriptionSchema(_ObjectSchema):
    """What is paid again and again; the period in force stands on each item."""

    status = fields.String(allow_none=True)
    customer = fields.Raw(allow_none=True)
    currency = fields.String(allow_none=True)
    items = fields.Dict(allow_none=True)
    start_date = Whole(allow_none=True)
    cancel_at_period_end = fields.Boolean(allow_none=True)
    canceled_at = Whole(allow_none=True)
    ended_at = Whole(allow_none=True)


class ChargeSchema(_ObjectSchema):
    """An attempt to take money, failed ones too."""

    amount = Whole(allow_none=True)
    amount_captured = Whole(allow_none=True)
    amount_refunded = Whole(allow_none=True)
    currency = fields.String(allow_none=True)
    status = fields.String(allow_none=True)
    captured = fields.Boolean(allow_none=True)
    paid = fields.Boolean(allow_none=True)
    refunded = fields.Boolean(allow_none=True)
    disputed = fields.Boolean(allow_none=True)
    customer = fields.Raw(allow_none=True)
    failure_code = fields.String(allow_none=True)
    failure_message = fields.String(allow_none=True)
