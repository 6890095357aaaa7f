"""What may be relied on of HubSpot's records: what its reference promises, and no more.

Sources:
    developers.hubspot.com, API reference 2026-03, "Contacts" and "Companies"; the pages on
    "Properties" and "Search the CRM" list the default properties.
"""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from tieline.contract import RecordSchema

__all__ = ["COMPANY", "CONTACT", "CONTACT_TO_WRITE", "properties_of"]


def _text() -> fields.String:
    return fields.String(allow_none=True)


class ContactProperties(RecordSchema):
    """What is asked for of a contact; HubSpot writes every value as text."""

    email = _text()
    firstname = _text()
    lastname = _text()
    phone = _text()
    company = _text()
    address = _text()
    city = _text()
    state = _text()
    zip = _text()
    country = _text()
    lifecyclestage = _text()
    hs_object_id = fields.String(required=True)
    createdate = _text()
    lastmodifieddate = _text()


class CompanyProperties(RecordSchema):
    """What is asked for of a company."""

    name = _text()
    domain = _text()
    phone = _text()
    address = _text()
    city = _text()
    state = _text()
    zip = _text()
    country = _text()
    industry = _text()
    numberofemployees = _text()
    hs_object_id = fields.String(required=True)
    createdate = _text()
    hs_lastmodifieddate = _text()


class ObjectRecord(RecordSchema):
    """What every object of the CRM has beside its properties; times are ISO 8601."""

    id = fields.String(required=True)
    created_at = fields.String(required=True, data_key="createdAt")
    updated_at = fields.String(required=True, data_key="updatedAt")
    archived = fields.Boolean()


class ContactRecord(ObjectRecord):
    """A contact as it is received."""

    properties = fields.Nested(ContactProperties, required=True)


class CompanyRecord(ObjectRecord):
    """A company as it is received."""

    properties = fields.Nested(CompanyProperties, required=True)


class ContactPropertiesToWrite(Schema):
    """What can be set; the address is a contact's only key of its own, so there must be one."""

    class Meta:
        """A misspelt property is refused."""

        unknown = RAISE

    email = fields.Email(required=True)
    firstname = fields.String(allow_none=True)
    lastname = fields.String(allow_none=True)
    phone = fields.String(allow_none=True)
    company = fields.String(allow_none=True)
    address = fields.String(allow_none=True)
    city = fields.String(allow_none=True)
    state = fields.String(allow_none=True)
    zip = fields.String(allow_none=True)
    country = fields.String(allow_none=True)
    lifecyclestage = fields.String(validate=validate.Length(min=1))


class ContactToWrite(Schema):
    """A payload, in the shape of a record."""

    class Meta:
        """Nothing but properties can be set."""

        unknown = RAISE

    properties = fields.Nested(ContactPropertiesToWrite, required=True)


CONTACT = ContactRecord()
COMPANY = CompanyRecord()
CONTACT_TO_WRITE = ContactToWrite()


def properties_of(schema: RecordSchema) -> str:
    """Return what to ask HubSpot for, so that the schema's promises are kept."""
    nested = schema.fields["properties"]
    assert isinstance(nested, fields.Nested)
    return ",".join(nested.schema.fields)
