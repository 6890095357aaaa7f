"""Answers that were lost, and workers that died: in the end one contact each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tieline import failpoints
from tieline.failpoints import Crash, set_failpoints
from tieline.services import outbox
from tieline.services.changes import Change

Make = Callable[..., Any]


def create(audience: str, address: str, **fields: Any) -> Change:
    payload = {"list_id": audience, "email_address": address} | fields
    return Change(kind="create", payload=payload)


def key_of(member: Any) -> str:
    return f"{member['list_id']}:{member['contact_id']}"


@pytest.fixture
def news(bench: Make) -> Iterator[Any]:
    made = bench(audiences=1, contacts=6)
    made.sync(mode="full")
    yield made
    set_failpoints("")


def test_a_create_whose_answer_was_lost_is_found_by_its_address(news: Any, in_step: Any) -> None:
    [audience] = news.audiences()
    after = news.answered()
    news.lose("PUT")
    [row] = news.push(create(audience, "ada@example.com", merge_fields={"FNAME": "Ada"}))
    assert row.state == "unknown"
    news.settle()
    assert news.operation(row.id).state == "done"
    assert len(news.written(after)) == 1
    assert news.operation(row.id).record_id == key_of(news.there(audience, "ada@example.com"))
    in_step(news)


def test_a_create_that_never_arrived_is_not_taken_for_done_by_who_was_there(news: Any) -> None:
    [audience] = news.audiences()
    news.plant(audience, "ada@example.com", merge_fields={"FNAME": "A"})
    news.order("faults", [{"kind": "drop", "method": "PUT", "path": "/3.0/lists/*"}])
    [row] = news.push(create(audience, "ada@example.com", merge_fields={"FNAME": "Ada"}))
    assert row.state == "unknown"
    news.settle()
    assert news.operation(row.id).state == "done"
    assert news.there(audience, "ada@example.com")["merge_fields"]["FNAME"] == "Ada"


def test_a_batch_whose_answer_was_lost_is_made_up_for_one_by_one(news: Any, in_step: Any) -> None:
    [audience] = news.audiences()
    news.plant(audience, "n1@example.com", status="unsubscribed", merge_fields={"FNAME": "x"})
    after = news.answered()
    news.lose("POST")
    addresses = [f"n{number}@example.com" for number in range(4)]
    rows = news.push(*(create(audience, each, merge_fields={"FNAME": "N"}) for each in addresses))
    assert {row.state for row in rows} == {"unknown"}
    news.settle()
    assert {news.operation(row.id).state for row in rows} == {"done"}
    # The one that was there already was left undone by the batch, and is changed alone.
    assert [each[0] for each in news.written(after)] == ["POST", "PUT"]
    assert news.there(audience, "n1@example.com")["status"] == "unsubscribed"
    assert len(news.facts("truth", entity="contacts")) == 10
    news.sync()
    in_step(news)


LOST = {
    "update": ("PATCH", {"vip": True, "merge_fields": {"POINTS": "7", "PHONE": None}}),
    "number as text": ("PATCH", {"merge_fields": {"POINTS": "12.5"}}),
    "address": ("PATCH", {"email_address": "king@example.com"}),
    "consent": ("PATCH", {"status": "unsubscribed"}),
    "archive": ("DELETE", {}),
    "tags": (
        "POST",
        {
            "email_address": "ada@example.com",
            "tags": [{"name": "customer", "status": "active"}, {"name": "x", "status": "inactive"}],
        },
    ),
}


@pytest.mark.parametrize("case", LOST)
def test_a_change_whose_answer_was_lost_is_known_by_the_record_and_not_sent_again(
    news: Any, in_step: Any, case: str
) -> None:
    method, payload = LOST[case]
    [audience] = news.audiences()
    member = news.plant(audience, "ada@example.com", tags=[], tags_count=0, vip=False)
    news.sync()
    after = news.answered()
    news.lose(method)
    kind: Any = "update" if payload else "delete"
    [row] = news.push(Change(kind=kind, key=key_of(member), payload=payload))
    assert row.state == "unknown"
    news.settle()
    settled = news.operation(row.id)
    assert (settled.state, settled.reason_code) == ("done", "already-so")
    assert len(news.written(after)) == 1
    in_step(news)


@pytest.mark.parametrize("how_many", [1, 2])
@pytest.mark.parametrize("kind", ["empty", "html200", "status"])
def test_an_answer_that_cannot_be_read_is_an_answer_that_was_lost(
    news: Any, kind: str, how_many: int
) -> None:
    [audience] = news.audiences()
    news.order("faults", [{"kind": kind, "executed": True, "path": "/3.0/lists/*",
                           "method": "PUT" if how_many == 1 else "POST"}])  # fmt: skip
    after = news.answered()
    rows = news.push(*(create(audience, f"n{n}@example.com") for n in range(how_many)))
    assert {row.state for row in rows} == {"unknown"}
    news.settle()
    assert {news.operation(row.id).state for row in rows} == {"done"}
    assert len(news.written(after)) == 1
    assert len(news.facts("truth", entity="contacts")) == 6 + how_many


@pytest.mark.parametrize("body", ["", "<html>"])
@pytest.mark.parametrize("status", [403, 429])
def test_throttling_without_a_problem_document_puts_off_and_does_nothing_twice(
    news: Any, status: int, body: str
) -> None:
    [audience] = news.audiences()
    fault = {"kind": "status", "status": status, "body": body, "method": "PUT"}
    news.order("faults", [fault | {"path": "/3.0/lists/*", "times": 8}])
    [row] = news.push(create(audience, "ada@example.com"))
    assert row.state == "queued"
    news.settle()
    assert news.operation(row.id).state == "done"


POINTS = sorted(name for name in failpoints.NAMES if name.startswith("push."))


@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_anywhere_makes_nothing_twice(
    news: Any, in_step: Any, point: str, passage: int
) -> None:
    [audience] = news.audiences()
    there = news.plant(audience, "there@example.com", status="unsubscribed", vip=False)
    gone = news.plant(audience, "gone@example.com")
    news.sync()
    news.want(
        create(audience, "a@example.com"),
        create(audience, "b@example.com"),
        create(audience, "THERE@example.com", language="de"),
        Change(kind="update", key=key_of(there), payload={"vip": True}),
        Change(kind="delete", key=key_of(gone)),
    )
    set_failpoints(f"{point}=raise@{passage}")
    try:
        news.work()
    except Crash:
        pass
    news.move(news.engine.settings.lease_s + 1)
    news.settle()
    found = news.facts("truth", entity="contacts")
    assert len(found) == 10
    now = news.there(audience, "there@example.com")
    assert (now["status"], now["vip"], now["language"]) == ("unsubscribed", True, "de")
    assert news.there(audience, "gone@example.com")["status"] == "archived"
    assert outbox.list_outbox(news.installation) == []
    news.sync()
    in_step(news)
