"""What is kept in step: customers and invoices."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from tieline.contract import Entity, Number, RecordSchema
from tieline_quickbooks.lists import CREATED, feed_of, pages_of, reader_of, version_of
from tieline_quickbooks.mappings import contact, invoice
from tieline_quickbooks.webhooks import EVENTS
from tieline_quickbooks.writes import customer_write

__all__ = ["CUSTOMERS", "INVOICES", "SCOPE"]

SCOPE = "com.intuit.quickbooks.accounting"


class CustomerSchema(RecordSchema):
    """What may be relied on: these types, or null. Id, token and times are always there."""

    Id = fields.String(required=True)
    SyncToken = fields.String(required=True)
    MetaData = fields.Dict(required=True)
    DisplayName = fields.String(allow_none=True)
    FullyQualifiedName = fields.String(allow_none=True)
    CompanyName = fields.String(allow_none=True)
    GivenName = fields.String(allow_none=True)
    FamilyName = fields.String(allow_none=True)
    Active = fields.Boolean(allow_none=True)
    Balance = Number(allow_none=True)
    BalanceWithJobs = Number(allow_none=True)
    CurrencyRef = fields.Dict(allow_none=True)
    ParentRef = fields.Dict(allow_none=True)
    PrimaryEmailAddr = fields.Dict(allow_none=True)
    PrimaryPhone = fields.Dict(allow_none=True)
    BillAddr = fields.Dict(allow_none=True)


class InvoiceSchema(RecordSchema):
    """What may be relied on, as for customers. Paid is a ``Balance`` of 0 with a ``TotalAmt``."""

    Id = fields.String(required=True)
    SyncToken = fields.String(required=True)
    MetaData = fields.Dict(required=True)
    DocNumber = fields.String(allow_none=True)
    TxnDate = fields.String(allow_none=True)
    DueDate = fields.String(allow_none=True)
    CustomerRef = fields.Dict(allow_none=True)
    CurrencyRef = fields.Dict(allow_none=True)
    TotalAmt = Number(allow_none=True)
    Balance = Number(allow_none=True)
    Deposit = Number(allow_none=True)
    EmailStatus = fields.String(allow_none=True)
    PrintStatus = fields.String(allow_none=True)
    PrivateNote = fields.String(allow_none=True)
    BillEmail = fields.Dict(allow_none=True)
    TxnTaxDetail = fields.Dict(allow_none=True)


def _entity(
    name: str, kind: str, schema: Schema, *, where: str = "", is_sure: bool = True, **more: Any
) -> Entity:
    return Entity(
        name=name,
        key="Id",
        schema=schema,
        page=pages_of(kind, where),
        get=reader_of(kind),
        version=version_of,
        windows=CREATED,
        feed=feed_of(kind, is_sure=is_sure),
        events=EVENTS[name],
        deletes="feed",
        scope=SCOPE,
        **more,
    )


CUSTOMERS = _entity(
    "customers",
    "Customer",
    CustomerSchema(),
    canonical=contact,
    where="Active IN (true, false)",
    hides="customers who were made inactive, unless a query names them",
    is_sure=False,
    write=customer_write(SCOPE),
)
INVOICES = _entity("invoices", "Invoice", InvoiceSchema(), canonical=invoice)
