"""Contacts written: one by one, or up to 500 new ones of one list in a request.

Consent is Mailchimp's: ``status`` is sent by an update that names it, and by
nothing else. Who is there already is changed by ``create`` too, which is PUT
with ``status_if_new``; that says nothing of them, and who was archived stays
so. In a batch there is no such field: a row's ``status`` would move the
consent of whoever is there. So a batch only adds, and who is there already is
left undone by it and changed alone.

Tags have an endpoint of their own, which knows a contact by its address alone:
they are changed by themselves, and the address stands beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from tieline.contract import (
    Operation,
    Outcome,
    OutcomeUnknownError,
    Record,
    Reply,
    Write,
    as_of,
    object_of,
    page_of,
    utc,
)
from tieline_mailchimp.client import MailchimpApi
from tieline_mailchimp.errors import malformed, rejection
from tieline_mailchimp.keys import hash_of, key_of, names_of
from tieline_mailchimp.pages import read_one, record_of

__all__ = ["WRITE"]

_STATUSES = ("subscribed", "unsubscribed", "pending", "transactional")
_UNASKED = "transactional"  # known, and never asked whether it wants mail
_ONLY_WRITTEN = {"status_if_new", "skip_merge_validation"}
_WHOLE = {"contact_id", "full_name", "web_id", "source"}  # by the swagger, rows lack them
_flag = partial(fields.Boolean, truthy={True}, falsy={False})


class Tag(Schema):
    """One tag, put on or taken off."""

    name = fields.String(required=True, validate=validate.Length(1, 100))
    status = fields.String(required=True, validate=validate.OneOf(("active", "inactive")))


class ContactToWrite(Schema):
    """What may be written of a contact, under the API's own names."""

    list_id = fields.String(required=True, validate=validate.Regexp(r"[0-9A-Za-z]{1,20}\Z"))
    email_address = fields.Email(required=True)
    status_if_new = fields.String(validate=validate.OneOf(_STATUSES))
    status = fields.String(validate=validate.OneOf(_STATUSES[:3]))
    merge_fields = fields.Dict(keys=fields.String(validate=validate.Length(1, 10)))
    interests = fields.Dict(
        keys=fields.String(), values=fields.Boolean(truthy={True}, falsy={False})
    )
    email_type = fields.String(validate=validate.OneOf(("html", "text")))
    language = fields.String()
    vip = _flag()
    tags = fields.List(fields.Nested(Tag()), validate=validate.Length(1, 100))
    skip_merge_validation = _flag()

    @validates_schema
    def check_kind(self, data: Mapping[str, Any], **how: Any) -> None:
        """Refuse what belongs to the other kind of change; an update is ``partial``."""
        odd = {"list_id", "status_if_new"} if how["partial"] else {"status", "tags"}
        reason = {
            "list_id": "a contact stays in its list",
            "status_if_new": "for a new contact only; the status of one that is there is status",
            "status": "for an update only; a new contact's is status_if_new",
            "tags": "for an update only",
        }
        if wrong := {name: [reason[name]] for name in odd & data.keys()}:
            raise ValidationError(wrong)
        if "tags" in data and data.keys() != {"tags", "email_address"}:
            raise ValidationError("go with the contact's email_address, and nothing else", "tags")


def create(api: MailchimpApi, operation: Operation) -> Outcome:
    """Add a contact, or change the named fields of one that is there, but not its consent."""
    asked = _Asked.of(operation)
    body = {"status_if_new": _UNASKED} | asked.body
    call = api.lists.set_list_member
    return _made(api.ask(call, asked.audience, asked.name, body, **asked.how))


def update(api: MailchimpApi, operation: Operation) -> Outcome:
    """Change the named fields of a contact, or its tags."""
    asked, (audience, name) = _Asked.of(operation), names_of(operation.key)
    if "tags" in asked.body:
        tags = {"tags": asked.body["tags"], "is_syncing": True}  # else their automations run
        api.ask(api.lists.update_list_member_tags, audience, asked.name, tags)
        return Outcome()
    return _made(api.ask(api.lists.update_list_member, audience, name, asked.body, **asked.how))


def archive(api: MailchimpApi, operation: Operation) -> Outcome:
    """Archive a contact: what was deleted for good could never be added again."""
    api.ask(api.lists.delete_list_member, *names_of(operation.key))
    return Outcome()


def create_many(api: MailchimpApi, operations: Sequence[Operation]) -> list[Outcome]:
    """Add contacts to one list; whoever is there already is left for :func:`create`.

    So is the second of one address: twice in a request it would be an error.
    """
    asked = [_Asked.of(operation) for operation in operations]
    audience, how = asked[0].audience, asked[0].how
    rows: dict[str, Any] = {}
    for each in asked:
        rows.setdefault(each.name, {"status": each.body.pop("status_if_new", _UNASKED)} | each.body)
    given = {"members": list(rows.values()), "update_existing": False}
    reply = api.ask(api.lists.batch_list_members, audience, given, **how)
    answer, made = page_of(reply, "new_members")
    silence = OutcomeUnknownError("Mailchimp did not say what became of this one")
    became = dict.fromkeys(rows, Outcome(error=silence))
    became |= {hash_of(row["email_address"]): _added(reply, row, audience) for row in made}
    became |= {hash_of(row["email_address"]): _left(row) for row in answer.get("errors") or ()}
    return [became.pop(each.name, Outcome(is_undone=True)) for each in asked]


def find(api: MailchimpApi, operation: Operation) -> Outcome | None:
    """Look whether a create was done: its contact is there, as it was wanted."""
    asked = _Asked.of(operation)
    record = read_one(api, api.lists.get_list_member, f"{asked.audience}:{asked.name}")
    del asked.body["email_address"]  # it has led there, and its letters may be in another case
    return Outcome(record=record) if record and matches(asked.body, record) else None


def matches(payload: Mapping[str, Any], record: Record) -> bool:
    """Say whether a contact is as a payload wants it."""
    return all(
        _has_tags(wanted, record) if name == "tags" else _is_same(wanted, record.get(name))
        for name, wanted in payload.items()
        if name not in _ONLY_WRITTEN
    )


def _is_same(wanted: Any, present: Any) -> bool:
    """Compare as Mailchimp writes: nothing is an empty text, a number in a text is a number."""
    if isinstance(wanted, Mapping):
        known = object_of(present)
        return all(_is_same(value, known.get(name)) for name, value in wanted.items())
    return _plain(wanted) == _plain(present)


def _plain(value: Any) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return "" if value is None else str(int(value) if is_whole else value)


def _has_tags(wanted: Sequence[Mapping[str, str]], record: Record) -> bool:
    """Compare tags; a record shows the first 50, so of others nobody knows."""
    on = {tag["name"] for tag in wanted if tag["status"] == "active"}
    off = {tag["name"].casefold() for tag in wanted if tag["status"] != "active"}
    shown = {tag["name"] for tag in record.get("tags") or ()}
    is_all = record.get("tags_count") == len(shown)
    # Whether names are told apart by case is not told.
    is_off = is_all and off.isdisjoint(name.casefold() for name in shown)
    return on <= shown and (is_off or not off)


class _Asked(NamedTuple):
    """What is asked for, as the API takes it.

    Attributes:
        audience: Of a new contact; else empty.
        name: By which a path takes the address.
        body: The fields.
        how: Parameters of the query.
    """

    audience: str
    name: str
    body: dict[str, Any]
    how: dict[str, bool]

    @classmethod
    def of(cls, operation: Operation) -> _Asked:
        body = dict(operation.payload)
        audience, name = body.pop("list_id", ""), hash_of(body.get("email_address", ""))
        is_lax = body.pop("skip_merge_validation", False)
        return cls(audience, name, body, {"skip_merge_validation": True} if is_lax else {})


def _made(reply: Reply, record: Record | None = None) -> Outcome:
    found = dict(record or record_of(reply))
    found.pop("_links", None)  # lists are asked for records without them
    if key_of(found) is None:
        raise malformed("it is no contact")
    return Outcome(record=found, as_of=as_of(reply))


def _added(reply: Reply, row: Record, audience: str) -> Outcome:
    """Take the record from a row, or its key if the row is less than a record."""
    is_whole = row.keys() >= _WHOLE
    return _made(reply, row) if is_whole else Outcome(key=f"{audience}:{row['id']}")


def _left(row: Mapping[str, str]) -> Outcome:
    """Say why a row was not carried out."""
    if row.get("error_code") == "ERROR_CONTACT_EXISTS":
        return Outcome(is_undone=True)
    words = ": ".join(filter(None, (row.get("field"), row.get("error"))))
    return Outcome(error=rejection(f"Mailchimp refused it: {words}"))


def _together(operation: Operation) -> str:
    """Only those of one list, and of one mind about required merge fields, share a request."""
    asked = _Asked.of(operation)
    return f"{asked.audience} {asked.how}"


WRITE = Write(
    schema=ContactToWrite(),
    create=create,
    update=update,
    delete=archive,
    batch=create_many,
    batch_size=500,
    batch_kinds=frozenset({"create"}),
    batch_by=_together,
    find=find,
    matches=matches,
    is_deleted=lambda record: record.get("status") == "archived",
    changed_at=lambda record: utc(record.get("last_changed")),
)
