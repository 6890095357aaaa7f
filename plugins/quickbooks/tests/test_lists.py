"""One request each: pages of a list, changes since a time, single objects."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tieline.contract import (
    PageParams,
    ProviderUnavailableError,
    RequestRejectedError,
    parse_json,
)
from tieline_quickbooks import errors
from tieline_quickbooks.entities import CUSTOMERS, INVOICES
from tieline_quickbooks.lists import version_of

KINDS = {"customers": "Customer", "invoices": "Invoice"}
ENTITIES = {"customers": CUSTOMERS, "invoices": INVOICES}
FIRST_DAY = datetime(2026, 11, 1, tzinfo=UTC)
QUERY = "*/query"
LISTED = (
    "SELECT * FROM Customer WHERE Active IN (true, false)"
    " ORDERBY MetaData.CreateTime MAXRESULTS 1000"
)


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_list_is_every_object_once_oldest_first(desk, entity):
    here = desk(customers=300, invoices=300)
    found = [each for page in here.pages(entity) for each in page.records]
    assert {each["Id"]: each for each in found} == here.truth(entity)
    times = [each["MetaData"]["CreateTime"] for each in found]
    assert (len(found), times) == (300, sorted(times))


def test_inactive_customers_are_listed_though_queries_hide_them(desk):
    here = desk(customers=90)
    hidden = here.api.query("SELECT COUNT(*) FROM Customer WHERE Active = false")
    assert hidden["QueryResponse"]["totalCount"] == 10
    shown = here.api.query("SELECT COUNT(*) FROM Customer")
    assert shown["QueryResponse"]["totalCount"] == 80
    assert len(here.ids("customers")) == 90


@pytest.mark.parametrize("entity", ENTITIES)
def test_no_rows_are_no_list_at_all_and_no_fault(desk, entity):
    here = desk(customers=0, invoices=0)
    page = here.page(entity)
    assert (page.records, page.next) == ([], None)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_a_thousand_of_one_second_lose_and_repeat_nobody(desk, count):
    here = desk(customers=0)
    here.order("mutate", "customers", create=count)
    found = here.ids("customers")
    assert len(found) == count
    assert set(found) == set(here.truth("customers"))


def test_pages_hold_a_thousand_rows(desk):
    here = desk(customers=2500)
    assert [len(page.records) for page in here.pages("customers")] == [999, 999, 502]


def test_what_is_deleted_between_two_pages_makes_nobody_be_skipped(desk):
    """Counting from the list's start would leave out one record for each."""
    here = desk(customers=0, invoices=2500)
    met: list[str] = []
    for page in here.pages("invoices"):
        met += [each["Id"] for each in page.records]
        if len(met) < 2500:
            here.order("objects", "invoices", delete=met[:5] if len(met) == 1000 else [])
    assert set(met) >= set(here.truth("invoices"))
    assert len(met) == len(set(met))


def test_the_rows_around_a_page_s_end_may_be_gone_when_the_next_is_asked_for(desk):
    here = desk(customers=0, invoices=1500)
    first = here.page("invoices")
    here.order("objects", "invoices", delete=["998", "999", "1000", "1001"])
    rest = here.page("invoices", first.next)
    assert [each["Id"] for each in first.records][-2:] == ["998", "999"]
    assert [each["Id"] for each in rest.records] == list(here.truth("invoices"))[997:]


def test_a_second_that_a_page_cuts_in_two_is_read_whole(desk):
    """Rows of one second come in another order each time."""
    here = desk(customers=0, invoices=990)
    here.order("mutate", "invoices", create=990)
    pages = [[each["Id"] for each in page.records] for page in here.pages("invoices")]
    assert [len(page) for page in pages] == [990, 990]
    assert set(pages[0] + pages[1]) == set(here.truth("invoices"))


@pytest.mark.parametrize("gone", [0, 500, 999])
def test_of_one_second_too_nobody_is_skipped_for_one_that_is_gone(desk, gone):
    here = desk(customers=0, invoices=0)
    here.order("mutate", "invoices", create=2500)
    met: set[str] = set()
    for page in here.pages("invoices"):
        if not met:
            here.order("objects", "invoices", delete=[str(gone + 1)] if page.records else [])
        met |= {each["Id"] for each in page.records}
    assert met >= set(here.truth("invoices"))


def test_what_changes_between_two_pages_stays_where_it_was(desk):
    here = desk(customers=1500)
    met: list[str] = []
    for page in here.pages("customers"):
        met += [each["Id"] for each in page.records]
        here.order("mutate", "customers", update=50)
    assert sorted(met, key=int) == list(here.truth("customers"))


def test_windows_meet_and_do_not_overlap(desk):
    here = desk(customers=300)
    whole = here.ids("customers")
    cut = datetime(2025, 8, 1, tzinfo=UTC)
    [shared] = {
        each["MetaData"]["CreateTime"] for page in here.pages("customers") for each in page.records
        if each["Id"] == "50"
    }  # fmt: skip
    for at in (cut, datetime.fromisoformat(shared)):  # the second: where 50 were imported at once
        early, late = here.ids("customers", end=at), here.ids("customers", start=at)
        assert sorted(early + late) == sorted(whole)
        assert early
        assert late


def test_a_window_is_told_in_utc_whatever_zone_the_company_has(desk):
    here = desk(customers=0)
    here.order("objects", "customers", put=[{"DisplayName": "New", "Active": True}])
    assert here.ids("customers", start=FIRST_DAY, end=FIRST_DAY + timedelta(seconds=1)) == ["1"]
    assert here.ids("customers", start=FIRST_DAY + timedelta(seconds=1)) == []
    assert here.ids("customers", end=FIRST_DAY) == []


def test_a_row_without_a_time_costs_no_page(desk):
    here = desk(customers=1200)
    for number in ("1000", "999", "400"):
        spoilt = here.truth("customers")[number]
        spoilt["MetaData"] = {"CreateTime": "soon", "LastUpdatedTime": "soon"}
        rows = here.api.query(LISTED)["QueryResponse"]["Customer"]
        rows[int(number) - 1] = spoilt
        here.answer({"QueryResponse": {"Customer": rows}, "time": "now"}, QUERY)
        page = here.page("customers")
        assert (spoilt in page.records) is (number != "1000")  # that one comes with the next
        rest = here.page("customers", page.next)
        assert {each["Id"] for each in page.records + rest.records} == set(here.truth("customers"))


BAD_LISTS = {
    "no response": {"time": "x"},
    "null": {"QueryResponse": None},
    "text": {"QueryResponse": "no"},
    "list": {"QueryResponse": []},
    "rows in words": {"QueryResponse": {"Customer": "none"}},
    "rows as an object": {"QueryResponse": {"Customer": {}}},
    "rows without times": {"QueryResponse": {"Customer": [{"Id": "1"}] * 1000}},
    "no rows but words": {"QueryResponse": {"Customer": ["x"] * 1000}},
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_an_answer_that_is_no_list_is_never_the_end(desk, case):
    here = desk(customers=1)
    here.answer(BAD_LISTS[case])
    with pytest.raises(ProviderUnavailableError) as caught:
        here.page("customers")
    assert caught.value.slug == "answer-malformed"


def test_a_list_that_goes_back_in_time_is_never_the_end(desk):
    here = desk(customers=2500)
    first = here.page("customers")
    here.answer({"QueryResponse": {"Customer": [*first.records, first.records[0]]}})
    with pytest.raises(ProviderUnavailableError, match="order"):
        here.page("customers", first.next)
    assert len(here.page("customers", first.next).records) == 999


def test_a_name_that_looks_like_a_fault_is_none(desk):
    here = desk(customers=0)
    here.order("objects", "customers", put=[{"DisplayName": "Fault", "CompanyName": "fault"}])
    assert here.page("customers").records[0]["DisplayName"] == "Fault"


def test_a_page_is_parsed_once_whatever_words_stand_on_it(desk, monkeypatch):
    here = desk(customers=2)
    here.order("objects", "customers", put=[{"DisplayName": "Fault", "CompanyName": "fault"}])
    parsed: list[int] = []

    def parse(body: bytes) -> Any:
        parsed.append(len(body))
        return parse_json(body)

    monkeypatch.setattr(errors, "parse_json", parse)
    monkeypatch.setattr(json, "loads", lambda text, **_: parsed.append(len(text)) or {})
    assert len(here.page("customers").records) == 3
    whole, *rest = sorted(parsed, reverse=True)
    assert whole > 1000
    assert all(size == len("{}") for size in rest)  # that is all that the SDK is shown


def test_a_refused_query_fails_with_intuit_s_words(desk):
    here = desk(customers=1)
    body = {"Fault": {"Error": [{"Message": "Error parsing query", "Detail": "QueryParserError",
            "code": "4000"}], "type": "ValidationFault"}}  # fmt: skip
    here.answer(body)
    with pytest.raises(RequestRejectedError, match="QueryParserError"):
        here.page("customers")


def test_two_threads_on_one_client_do_not_mix_their_answers(desk):
    here = desk(customers=200, invoices=200)
    wrong: list[str] = []

    def read(entity: str) -> None:
        for _ in range(10):
            page = here.page(entity)
            wrong.extend(
                each["Id"] for each in page.records if ("Line" in each) == (entity[0] == "c")
            )

    threads = [threading.Thread(target=read, args=(name,)) for name in [*ENTITIES, *ENTITIES]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []


# --- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("entity", ENTITIES)
def test_nothing_changed_is_an_answer(desk, entity):
    page = desk().changes(entity, FIRST_DAY + timedelta(seconds=1))
    assert (page.changes, page.next) == ([], None)


@pytest.mark.parametrize("entity", ENTITIES)
def test_changes_have_the_whole_record_and_the_time_of_the_change(desk, entity):
    here = desk()
    here.order("clock", advance_s=600)
    done = here.order("mutate", entity, create=2, update=3)
    page = here.changes(entity)
    truth = here.truth(entity)
    assert {change.key: change.record for change in page.changes} == {
        key: truth[key] for key in {*done["create"], *done["update"]}
    }
    assert {change.at for change in page.changes} == {FIRST_DAY + timedelta(minutes=10)}
    assert not any(change.is_deleted for change in page.changes)


def test_a_deleted_invoice_is_no_live_blank_one(desk):
    """The SDK makes an active object without a name of it."""
    here = desk()
    [gone] = here.order("mutate", "invoices", delete=1)["delete"]
    [change] = here.changes("invoices").changes
    assert (change.key, change.is_deleted, change.record) == (gone, True, None)
    assert change.at == FIRST_DAY


def test_a_customer_that_is_told_as_deleted_is_read_again(desk):
    """It may be merged away, or only inactive: Intuit does not say how the latter is told."""
    here = desk()
    here.order("habits", inactive_as="deleted")
    [inactive] = here.order("mutate", "customers", deactivate=1)["deactivate"]
    [change] = here.changes("customers").changes
    assert (change.key, change.is_deleted, change.record) == (inactive, False, None)
    found = CUSTOMERS.get and CUSTOMERS.get(here.api, inactive)
    assert found is not None
    assert (found["Active"], found["DisplayName"][-10:]) == (False, " (deleted)")


def test_a_log_that_is_cut_off_is_refused_not_believed(desk):
    here = desk(customers=1200)
    here.order("clock", advance_s=60)
    here.order("mutate", "customers", create=999)
    assert len(here.changes("customers", FIRST_DAY + timedelta(seconds=30)).changes) == 999
    here.order("mutate", "customers", create=1)
    with pytest.raises(RequestRejectedError) as caught:
        here.changes("customers", FIRST_DAY + timedelta(seconds=30))
    assert caught.value.slug == "log-cut-off"


def test_the_log_reaches_back_thirty_days(desk):
    here = desk()
    assert CUSTOMERS.feed is not None
    assert CUSTOMERS.feed.retention == timedelta(days=30)
    here.changes("customers", FIRST_DAY - timedelta(days=30, seconds=-1))
    with pytest.raises(RequestRejectedError):
        here.changes("customers", FIRST_DAY - timedelta(days=30, seconds=1))


def test_changes_are_told_since_a_time_only(desk):
    assert INVOICES.feed is not None
    with pytest.raises(RequestRejectedError):
        INVOICES.feed.page(desk().api, PageParams(), None)


BAD_LOGS = {
    "no log": {"time": "x"},
    "null": {"CDCResponse": None},
    "text": {"CDCResponse": "no"},
    "parts in words": {"CDCResponse": [{"QueryResponse": ["no"]}]},
    "objects that are none": {"CDCResponse": [{"QueryResponse": [{"Customer": None}]}]},
}


@pytest.mark.parametrize("case", BAD_LOGS)
def test_an_answer_that_is_no_log_is_never_nothing_changed(desk, case):
    here = desk(customers=1)
    here.answer(BAD_LOGS[case])
    with pytest.raises(ProviderUnavailableError) as caught:
        here.changes("customers")
    assert caught.value.slug == "answer-malformed"


def test_an_odd_entry_of_the_log_is_handed_on_for_the_quarantine(desk):
    here = desk(customers=1)
    odd = [7, {"status": "Deleted"}, {"Id": 5, "status": "Deleted"}, {"Id": "6", "MetaData": 1}]
    here.answer({"CDCResponse": [{"QueryResponse": [{"Customer": odd}]}]})
    changes = here.changes("customers").changes
    assert [change.record for change in changes] == odd
    assert not any(change.is_deleted for change in changes)


# --- single objects -------------------------------------------------------------------------------


@pytest.mark.parametrize("entity", ENTITIES)
def test_one_object_is_read_as_the_list_has_it(desk, entity):
    here = desk()
    get = ENTITIES[entity].get
    assert get is not None
    record = here.page(entity).records[3]
    assert get(here.api, record["Id"]) == record


@pytest.mark.parametrize("entity", ENTITIES)
def test_one_that_is_gone_or_never_was_is_none(desk, entity):
    here = desk()
    get = ENTITIES[entity].get
    assert get is not None
    [gone] = here.order("mutate", entity, delete=1)["delete"]
    assert get(here.api, gone) is None
    assert get(here.api, "99999") is None
    here.answer({KINDS[entity]: {"Id": "4", "status": "Deleted"}})
    assert get(here.api, "4") is None


def test_a_key_cannot_leave_its_place_in_the_path(desk):
    here = desk()
    assert CUSTOMERS.get is not None
    for key in ("../invoice/1", "1?minorversion=1", "1/../2", "%2e%2e", "1 2"):
        assert CUSTOMERS.get(here.api, key) is None
    paths = [each["path"] for each in here.look("log")["requests"]]
    assert len(paths) == 5
    assert {path.split("/")[4] for path in paths} == {"customer"}


def test_an_answer_without_the_object_is_not_gone(desk):
    here = desk()
    assert INVOICES.get is not None
    here.answer({"Customer": {"Id": "1"}})
    with pytest.raises(ProviderUnavailableError):
        INVOICES.get(here.api, "1")


def stamped(token: str, second: int, **rest: Any) -> dict[str, Any]:
    time = f"2026-11-01T00:00:{second:02d}-08:00"
    return {"SyncToken": token, "MetaData": {"LastUpdatedTime": time}} | rest


def test_versions_grow_with_the_token_and_within_one_with_the_time():
    """A token is text: "10" comes after "9". A new balance may bring no new token."""
    copies = [stamped("0", 5), stamped("0", 6), stamped("9", 1), stamped("10", 0)]
    versions = [version_of(each) for each in copies]
    assert versions == sorted(set(versions))
    assert 0 <= versions[0] < versions[-1] < 2**63


def test_a_version_knows_no_zone():
    here = {"SyncToken": "1", "MetaData": {"LastUpdatedTime": "2026-11-01T00:00:00-08:00"}}
    there = {"SyncToken": "1", "MetaData": {"LastUpdatedTime": "2026-11-01T08:00:00Z"}}
    assert version_of(here) == version_of(there)


# --- documented examples --------------------------------------------------------------------------

EXAMPLES = parse_json((Path(__file__).parent / "data" / "quickbooks-examples.json").read_bytes())
OBJECTS = [
    (f"{each['schema']}s", each["value"])
    for each in EXAMPLES
    if each["schema"] in {"customer", "invoice"}
]
ANSWERS = [each["value"] for each in EXAMPLES if each["schema"] in {"queryResponse", "cdcResponse"}]


@pytest.mark.parametrize(("entity", "value"), OBJECTS)
def test_a_documented_object_comes_through_unchanged(desk, entity, value):
    here = desk(customers=0, invoices=0)
    declared = ENTITIES[entity]
    here.order("objects", entity, plant=[value])
    assert here.page(entity).records == [value]
    assert declared.get is not None
    assert declared.get(here.api, value["Id"]) == value
    loaded = declared.schema.load(value)
    assert loaded == {name: value[name] for name in declared.schema.fields if name in value}
    assert declared.version is not None
    assert declared.version(value) > 0
    assert declared.windows is not None
    assert declared.windows.time_of(value) is not None


@pytest.mark.parametrize("body", ANSWERS)
@pytest.mark.parametrize("entity", ENTITIES)
def test_a_documented_answer_is_read_whole(desk, entity, body):
    here = desk(customers=0, invoices=0)
    here.answer(body)
    if "QueryResponse" in body:
        assert here.page(entity).records == body["QueryResponse"].get(KINDS[entity], [])
        return
    groups = body["CDCResponse"][0]["QueryResponse"]
    found = [each for group in groups for each in group.get(KINDS[entity], [])]
    changes = here.changes(entity).changes
    assert [change.key for change in changes] == [each["Id"] for each in found]
    assert [change.record for change in changes if not change.is_deleted] == [
        each for each in found if each.get("status") != "Deleted"
    ]
    assert [change.key for change in changes if change.is_deleted] == [
        each["Id"] for each in found if each.get("status") == "Deleted"
    ]
