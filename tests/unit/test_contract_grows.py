"""What version 1 of the contract has, it keeps: fields and hooks may only be added."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields

import pytest

from tieline import contract
from tieline.contract import hookspecs

HOOKS = {
    "tieline_provider": (),
    "tieline_auth": (),
    "tieline_client": ("connection", "credential", "transport"),
    "tieline_entities": (),
    "tieline_webhooks": (),
    "tieline_rate_limits": ("connection",),
    "tieline_observe": ("reply",),
    "tieline_classify": ("error",),
    "tieline_alert": ("alert",),
}
# Those without a default come first, up to the bar; whoever makes one gives them.
FIELDS = {
    "Alert": "id kind severity subject message since"
    " | hint provider connection connection_id facts",
    "Money": "amount_minor currency |",
    "Contact": "id | email name given_name family_name company phone address accepts_email"
    " is_active created_at updated_at",
    "Product": "id | name description sku price is_active created_at updated_at",
    "Order": "id state | number contact_id total lines created_at updated_at closed_at",
    "Payment": "id amount state | refunded contact_id order_id invoice_id method failure"
    " created_at updated_at",
    "Invoice": "id state | number contact_id total balance issued_on due_on lines"
    " created_at updated_at",
}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_keeps_its_arguments(name):
    present = tuple(inspect.signature(getattr(hookspecs, name)).parameters)
    assert present[: len(HOOKS[name])] == HOOKS[name]


def test_no_hook_is_missing_from_this_table():
    assert {*contract.REQUIRED, *contract.OPTIONAL, *contract.OBSERVERS} == set(HOOKS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_keeps_its_fields_and_a_new_one_has_a_default(name):
    required, optional = (part.split() for part in FIELDS[name].split("|"))
    present = {field.name: field for field in fields(getattr(contract, name))}
    assert set(present) >= {*required, *optional}
    needed = {
        name
        for name, field in present.items()
        if field.default is MISSING and field.default_factory is MISSING
    }
    assert needed == set(required)
