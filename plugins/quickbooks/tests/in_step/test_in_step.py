"""Customers and invoices of a company, kept in step by the real core over HTTP."""

from __future__ import annotations

import pytest

ENTITIES = ["customers", "invoices"]


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_full_read_stores_everything(site, entity):
    books = site()
    run = books.sync(entity, "full")
    assert (run.state, run.counts.created) == ("succeeded", len(books.truth(entity)))
    assert books.is_in_step(entity)
    again = books.sync(entity, "full")
    assert (again.counts.created, again.counts.updated, again.counts.deleted) == (0, 0, 0)
