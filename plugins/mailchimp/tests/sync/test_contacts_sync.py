"""Contacts, the whole way: every audience, archived ones too, changes, addresses, deletions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def test_a_first_run_reads_every_contact_of_every_audience(bench: Make, in_step: Any) -> None:
    made = bench(audiences=3, contacts=300)
    run = made.sync()
    assert (run.mode, run.state, run.counts.created) == ("full", "succeeded", 300)
    in_step(made)
    stored = made.payloads()
    assert {record["status"] for record in stored.values()} == {
        "subscribed", "unsubscribed", "cleaned", "pending", "transactional", "archived",
    }  # fmt: skip
    assert len({record["list_id"] for record in stored.values()}) == 3
    assert made.found(made.sync(mode="verify")) == {}
