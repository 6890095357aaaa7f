"""What a plugin declares of writing: nonsense is refused where it is written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from marshmallow import EXCLUDE, Schema, fields

from tieline.contract import (
    ConflictError,
    Entity,
    InvalidRecordError,
    NeedsReauthError,
    Outcome,
    OutcomeUnknownError,
    Page,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    RecordSchema,
    RequestRejectedError,
    Write,
)
from tieline.engine.fate import fate_of
from tieline.errors import PluginError


class Name(Schema):
    name = fields.String()


class Loose(Schema):
    class Meta:
        unknown = EXCLUDE


def step(client, operation):
    return Outcome()


def find(client, operation):
    return None


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one of create, update and delete"),
        ({"create": step}, "needs find, or an idempotency key"),
        ({"create": "POST", "find": find}, "Write.create must be a function"),
        ({"schema": Loose(), "update": step}, "unknown = RAISE"),
        ({"schema": Name, "update": step}, "Schema instance"),
        ({"delete": step, "is_deleted": "archived"}, "Write.is_deleted must be a function"),
        ({"update": step, "batch": step}, "go together"),
        ({"update": step, "batch_size": 5}, "go together"),
        ({"update": step, "batch_kinds": frozenset({"upsert"})}, "batch_kinds"),
        ({"create": step, "idempotency": timedelta(0)}, "longer than nothing"),
        ({"update": step, "visible_after": -DAY}, "less than nothing"),
        (
            {"create": step, "idempotency": DAY, "batch": step, "batch_size": 5},
            "remembered however it is sent",
        ),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(given, said):
    with pytest.raises((TypeError, ValueError), match=said):
        Write(**{"schema": Name(), **given})


@pytest.mark.parametrize(
    "given",
    [
        {"create": step, "idempotency": DAY},
        {"create": step, "find": find, "batch": step, "batch_size": 500},
        {
            "create": step,
            "idempotency": DAY,
            "batch": step,
            "batch_size": 30,
            "batch_kinds": frozenset({"update"}),
        },
        {"create": step, "idempotency": DAY, "batch": step, "batch_size": 30,
         "batch_remembers": True},
    ],
)  # fmt: skip
def test_a_create_can_be_settled_in_each_of_these_ways(given):
    assert "create" in Write(schema=Name(), **given).kinds


def test_updates_and_deletes_need_a_way_to_look_again():
    def page(client, params, cursor):
        return Page(records=[], next=None)

    with pytest.raises(ValueError, match="need a get"):
        Entity(name="x", schema=RecordSchema(), page=page, write=Write(schema=Name(), update=step))
    made = Entity(
        name="x",
        schema=RecordSchema(),
        page=page,
        write=Write(schema=Name(), create=step, find=find),
    )
    assert made.directions == ("inbound", "outbound")


def test_an_outcome_says_one_thing():
    with pytest.raises(ValueError, match="one of"):
        Outcome(record={"id": "1"}, is_gone=True)
    with pytest.raises(ValueError, match="one of"):
        Outcome(error=ConflictError("x"), is_gone=True)
    with pytest.raises(ValueError, match="one of"):
        Outcome(record={"id": "1"}, is_undone=True)


@pytest.mark.parametrize(
    ("error", "unsent", "sent"),
    [
        (RateLimitedError("x"), "later", "later"),
        (NeedsReauthError("x"), "stop", "stop"),
        (PermissionDeniedError("x"), "stop", "stop"),
        (ConflictError("x"), "conflict", "conflict"),
        (RecordNotFoundError("x"), "gone", "gone"),
        (InvalidRecordError("x"), "dead", "dead"),
        (RequestRejectedError("x"), "dead", "dead"),
        (ProviderUnavailableError("x"), "later", "unknown"),
        (OutcomeUnknownError("x"), "unknown", "unknown"),
        (PluginError("x"), "dead", "unknown"),
        (KeyError("x"), "stop", "unknown"),
    ],
)
def test_only_a_plain_no_of_the_provider_is_believed(error, unsent, sent):
    assert fate_of(error, was_sent=False) == unsent
    assert fate_of(error, was_sent=True) == sent
