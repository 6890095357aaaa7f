"""The plugin, as it is, on documented answers of QuickBooks Online.

Intuit publishes no description that a program can read, and no examples under
a licence: these answers were written from its pages of reference, for the
plugin and for others alike. They are served as they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import grants_kit
from kit import START
from official import Official, Request, opened
from provider_kit import Bench
from tieline.clock import ManualClock

DATA = Path(__file__).parents[2] / "plugins/quickbooks/tests/data"
EXAMPLES = json.loads((DATA / "quickbooks-examples.json").read_text("utf-8"))
REALM = "9341450000000001"
KINDS = {"customers": "Customer", "invoices": "Invoice"}
COMPANY = {"CompanyInfo": {"CompanyName": "Example Co", "Id": "1"}, "time": "2026-03-02T01:20:00Z"}


def example(schema: str, *, of: str = "", note: str = "") -> Any:
    """Return the first example answer of a schema that speaks of a kind of object."""
    found = [each["value"] for each in EXAMPLES if each["schema"] == schema]
    noted = [each["value"] for each in EXAMPLES if note and note in str(each)]
    return next(each for each in (noted or found) if not of or f"'{of}'" in str(each))


def answer(request: Request) -> tuple[int, Any]:
    if request.path == "/_sandbox/":
        return 200, {"accounts": [{"id": REALM}]}
    if request.path == "/_sandbox/oauth":
        return 200, example("oauthToken")
    call = request.path.removeprefix(f"/v3/company/{REALM}/")
    if request.path.startswith("/oauth2/"):
        return 200, example("oauthToken")
    assert request.query["minorversion"] == "75"
    if call.startswith("companyinfo/"):
        return 200, COMPANY
    if call == "query":
        [kind] = re.findall(r"FROM (\w+) ", request.body)
        return 200, example("queryResponse", of=kind)
    if call == "cdc":
        kind = request.query["entities"]
        is_shown = kind == "Customer"
        return 200, example("cdcResponse", of=kind) if is_shown else example(
            "cdcResponse", note="no change"
        )
    kind, _, key = call.partition("/")
    shown = example(f"single{kind.title()}")
    if shown[kind.title()]["Id"] == key:
        return 200, shown
    return 400, example("fault", of="Object Not Found")


@pytest.fixture
def quickbooks() -> Iterator[Official]:
    with opened(None, answer) as server:
        yield server


@pytest.fixture
def bench(quickbooks: Official, tmp_path: Path) -> Iterator[Bench]:
    clock = ManualClock(START)
    made = grants_kit.installed(
        f"sqlite:///{tmp_path / 'tieline.db'}",
        tmp_path,
        clock=clock,
        **grants_kit.application("quickbooks"),
    )
    row = grants_kit.connect_grant(made, "quickbooks", quickbooks.url, name="books")
    yield Bench(made, made.engine, clock, "quickbooks", quickbooks.url, row.id, is_sandbox=False)
    made.close()


def rows_of(answered: Any, kind: str) -> dict[str, Any]:
    found = answered.get("QueryResponse") or answered["CDCResponse"][0]["QueryResponse"][0]
    return {each["Id"]: each for each in found[kind]}


@pytest.mark.parametrize("entity", KINDS)
def test_the_documented_answers_are_read_and_kept_as_they_are(bench: Bench, entity: str) -> None:
    run = bench.sync(entity)
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    expected = rows_of(example("queryResponse", of=KINDS[entity]), KINDS[entity])
    assert expected
    assert bench.stored(entity) == expected


def test_the_documented_changes_and_tombstones_are_understood(bench: Bench) -> None:
    bench.sync("customers")
    bench.pass_time(3600)
    run = bench.sync("customers")
    assert (run.mode, run.state, run.counts.quarantined) == ("incremental", "succeeded", 0)
    told = rows_of(example("cdcResponse", of="Customer"), "Customer")
    gone = {key for key, each in told.items() if each.get("status") == "Deleted"}
    stored = bench.stored("customers")
    assert not gone & stored.keys()
    for key in told.keys() - gone:
        assert stored[key] == told[key]


def test_an_answer_without_changes_is_none(bench: Bench) -> None:
    bench.sync("invoices")
    bench.pass_time(3600)
    run = bench.sync("invoices")
    counts = (run.counts.created, run.counts.updated, run.counts.deleted)
    assert (run.mode, run.state, counts) == ("incremental", "succeeded", (0, 0, 0))
