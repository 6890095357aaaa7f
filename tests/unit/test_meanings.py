"""A mapping's own failure is told, and costs nothing but the shape."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tieline.contract import Invoice, Line, money
from tieline.errors import RefusedError
from tieline.services import shapes


@pytest.fixture
def meaning_of(monkeypatch):
    """Make the meaning of a payload under a mapping."""

    def make(mapping, payload):
        entity = SimpleNamespace(canonical=mapping)
        plugin = SimpleNamespace(entity=lambda name: entity)
        installation = SimpleNamespace(registry=SimpleNamespace(get=lambda provider: plugin))
        row = SimpleNamespace(provider="depot")
        monkeypatch.setattr(shapes, "get_connection", lambda *given: row)
        said = shapes.meanings_of(installation, "shop", "bills")
        return said(SimpleNamespace(payload=json.dumps(payload)))

    return make


def test_money_times_dates_and_quantities_are_plain_json(meaning_of):
    def bill(record):
        return Invoice(
            id=record["id"],
            state="open",
            total=money("1.234", "KWD", unit="major"),
            due_on=date(2026, 11, 30),
            created_at=datetime(2026, 11, 1, 12, tzinfo=UTC),
            lines=(Line(quantity=Decimal("0.5"), description="half \ud83d"),),
        )

    found = json.loads(meaning_of(bill, {"id": "1"}).text)
    assert found["shape"] == "Invoice"
    assert found["total"] == {"amount_minor": 1234, "currency": "KWD"}
    assert (found["due_on"], found["created_at"]) == ("2026-11-30", "2026-11-01T12:00:00Z")
    assert (found["lines"][0]["quantity"], found["lines"][0]["description"]) == (
        "0.5",
        "half \ud83d",
    )


def test_a_record_may_have_no_shape(meaning_of):
    assert meaning_of(lambda record: None, {}) == (None, None)


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        (lambda record: record["amount"], "KeyError: 'amount'"),
        (lambda record: money(1, "XXX"), "ValueError: 'XXX' is no currency"),
    ],
)
def test_what_cannot_be_mapped_says_why(meaning_of, mapping, problem):
    found = meaning_of(mapping, {"id": "1"})
    assert found.text is None
    assert found.problem.startswith(problem)


def test_an_entity_that_says_nothing_is_refused(meaning_of):
    with pytest.raises(RefusedError, match="depot does not say what bills mean"):
        meaning_of(None, {})
