"""The plugin, as it is, on Mailchimp's own description of its API.

The description that Mailchimp publishes has no example answers, so these are
made of its schemas: every field that it knows, and a contact of every status.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from official import Document, Official, Request, opened
from provider_kit import Bench, make_bench

DOCUMENT = Document(Path(__file__).parent / "data" / "mailchimp-api.swagger2.json")
KEY = "0123456789abcdef0123456789abcdef-us6"


class Account:
    """Two audiences with a contact of each status; the archived ones are listed when asked for."""

    def __init__(self) -> None:
        self.root = DOCUMENT.make("Root")
        page = DOCUMENT.make("ListsPage")
        self.lists = [page["lists"][0], DOCUMENT.make("List") | {"id": "other"}]
        self.members = {
            each["id"]: [row | {"list_id": each["id"]} for row in _members(number)]
            for number, each in enumerate(self.lists)
        }

    def answer(self, request: Request) -> tuple[int, Any]:
        offset, count = (int(request.query.get(name, 0)) for name in ("offset", "count"))
        if request.schema == "Root":
            return 200, self.root
        if request.schema == "ListsPage":
            return 200, _page(request.schema, "lists", self.lists, offset, count)
        name = request.path.split("/")[3]
        rows = self.members[name]
        if request.schema == "MembersPage":
            wanted = request.query.get("status")
            is_shown = [
                row for row in rows if (row["status"] == "archived") == (wanted == "archived")
            ]
            return 200, _page(request.schema, "members", is_shown, offset, count)
        raise AssertionError(request)

    def contacts(self) -> dict[str, Any]:
        return {
            f"{key}:{row['contact_id']}": row for key in self.members for row in self.members[key]
        }


def _members(number: int) -> list[Any]:
    made = DOCUMENT.make("MembersPage")["members"]
    return [row | {"contact_id": f"{number}x{row['contact_id']}"} for row in made]


def _page(schema: str, items: str, rows: list[Any], offset: int, count: int) -> Any:
    shown = rows[offset : offset + count]
    return DOCUMENT.make(schema) | {items: shown, "total_items": len(rows)}


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def mailchimp(account: Account) -> Iterator[Official]:
    with opened(DOCUMENT, account.answer) as server:
        yield server


@pytest.fixture
def bench(mailchimp: Official, tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(
        "mailchimp", "tieline_mailchimp", mailchimp.url, tmp_path, KEY, is_sandbox=False
    )
    yield made
    made.installation.close()


def test_what_is_made_is_as_the_document_says(account: Account) -> None:
    assert DOCUMENT.errors("Root", account.root) == []
    for row in account.lists:
        assert DOCUMENT.errors("List", row) == []
    found = account.contacts()
    assert {row["status"] for row in found.values()} > {"subscribed", "cleaned", "archived"}
    assert len(found) == 12
    for row in found.values():
        assert DOCUMENT.errors("Member", row) == []


def test_contacts_of_every_status_are_read_and_kept_as_they_are(
    mailchimp: Official, bench: Bench, account: Account
) -> None:
    run = bench.sync("contacts")
    assert mailchimp.complaints == []
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    assert bench.stored("contacts") == account.contacts()


def test_lists_are_read_and_kept_as_they_are(
    mailchimp: Official, bench: Bench, account: Account
) -> None:
    run = bench.sync("lists")
    assert mailchimp.complaints == []
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    assert bench.stored("lists") == {row["id"]: row for row in account.lists}


def test_changes_are_asked_for_as_the_document_says(mailchimp: Official, bench: Bench) -> None:
    bench.sync("contacts")
    bench.pass_time(3600)
    mailchimp.asked.clear()
    run = bench.sync("contacts")
    assert mailchimp.complaints == []
    assert (run.mode, run.state, run.counts.updated) == ("incremental", "succeeded", 0)
    asked = [each for each in mailchimp.asked if each.schema == "MembersPage"]
    assert all("since_last_changed" in each.query for each in asked)


def test_the_account_is_that_of_the_root(bench: Bench, account: Account) -> None:
    from tieline.services.connections import list_connections

    [row] = list_connections(bench.installation)
    assert row.account_id == account.root["account_id"]
