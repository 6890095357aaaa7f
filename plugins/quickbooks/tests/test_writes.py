"""One request each: what is sent when a customer is written, and what its answer means."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

import pytest
from marshmallow import ValidationError

from tieline.contract import (
    ConflictError,
    Operation,
    OutcomeUnknownError,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
)
from tieline_quickbooks.entities import CUSTOMERS, SCOPE

WRITE = CUSTOMERS.write
assert WRITE is not None
ADDRESS = dict.fromkeys(("Line1", "Line2", "City", "CountrySubDivisionCode", "PostalCode"))


def operation(kind: Any, key: str = "", token: str | None = None, **payload: Any) -> Operation:
    return Operation(
        id="op_0123456789abcdef",
        kind=kind,
        key=key,
        payload=payload,
        idempotency_key=str(uuid.uuid4()),
        token=token,
    )


def of(record: dict[str, Any], kind: str = "update", **payload: Any) -> Operation:
    return operation(kind, record["Id"], WRITE.token(record), **payload)


class Office:
    """Writes to the first company of a desk, and looks at what was sent."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.sent = desk, []
        transport = desk.api._transport
        send = transport.send

        def note(method: str, url: str, *, headers: Any, content: bytes | None = None) -> Reply:
            self.sent.append((method, url.rpartition("/v3/company/")[2], content))
            return send(method, url, headers=headers, content=content)

        transport.send = note

    def do(self, made: Operation) -> Any:
        return getattr(WRITE, made.kind)(self.desk.api, made)

    def together(self, *made: Operation) -> Any:
        return WRITE.batch(self.desk.api, made)

    def new(self, **fields: Any) -> Any:
        return self.do(operation("create", **fields)).record

    def refused(self, made: Operation) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            self.do(made)
        return caught.value

    def find(self, **payload: Any) -> Any:
        found = WRITE.find(self.desk.api, operation("create", **payload))
        return found and found.record

    @property
    def body(self) -> Any:
        """The last body that was sent."""
        return json.loads(self.sent[-1][2])

    def truth(self) -> dict[str, Any]:
        return self.desk.truth("customers")


@pytest.fixture
def office(desk):
    return Office(desk(customers=0, invoices=0))


# --- single writes --------------------------------------------------------------------------------


def test_a_create_sends_what_it_was_given_and_no_defaults_of_the_sdk(office):
    """The SDK's object would send twenty-four more fields, blanks and zeros."""
    made = operation("create", DisplayName="Ada", Taxable=False, Notes=None)
    outcome = office.do(made)
    assert office.body == {"DisplayName": "Ada", "Taxable": False}
    assert outcome.record == office.truth()["1"]
    assert outcome.as_of is not None


def test_a_single_write_carries_our_key_as_its_request_id(office):
    made = operation("create", DisplayName="Ada")
    first = office.do(made)
    assert f"requestid={made.idempotency_key}" in office.sent[-1][1]
    assert len(made.idempotency_key) <= 50
    assert office.do(made).record == first.record
    assert len(office.truth()) == 1


def test_an_update_is_sparse_with_the_version_and_the_named_fields_alone(office):
    old = office.new(DisplayName="Ada", Notes="keep", GivenName="Ada")
    new = office.do(of(old, FamilyName="Lovelace")).record
    sparse = {"Id": "1", "SyncToken": "0", "sparse": True, "FamilyName": "Lovelace"}
    assert office.body == sparse
    assert new.items() >= {"Notes": "keep", "GivenName": "Ada", "SyncToken": "1"}.items()


def test_null_empties_a_field_as_an_empty_text(office):
    old = office.new(DisplayName="Ada", Notes="n", PrimaryEmailAddr={"Address": "a@example.com"})
    emptied = {"Notes": None, "PrimaryEmailAddr": {"Address": None}}
    new = office.do(of(old, **emptied)).record
    assert office.body["Notes"] == office.body["PrimaryEmailAddr"]["Address"] == ""
    assert not {"Notes", "PrimaryEmailAddr"} & new.keys()
    assert WRITE.matches(emptied, new)
    assert not WRITE.matches(emptied, old)


def test_a_delete_makes_inactive_and_is_known_by_that(office):
    old = office.new(DisplayName="Ada")
    outcome = office.do(of(old, "delete"))
    assert office.body == {"Id": "1", "SyncToken": "0", "sparse": True, "Active": False}
    assert (outcome.is_gone, outcome.record["Active"]) == (False, False)
    assert WRITE.is_deleted(outcome.record)
    assert not WRITE.is_deleted(old)
    assert office.do(of(outcome.record, "delete")).record["Active"] is False


def test_intuit_s_suffix_is_ignored_when_names_are_compared_and_never_written(office):
    gone = office.do(of(office.new(DisplayName="Ada"), "delete")).record
    assert gone["DisplayName"] == "Ada (deleted)"
    assert WRITE.matches({"DisplayName": "Ada"}, gone)
    assert WRITE.matches({"DisplayName": "Ada"}, gone | {"DisplayName": "Ada (deleted 3)"})
    assert not WRITE.matches({"DisplayName": "Ada"}, gone | {"Active": True})
    assert not WRITE.matches({"DisplayName": "Ada", "Active": True}, gone)
    with pytest.raises(ValidationError):
        WRITE.schema.load({"DisplayName": "Ada (deleted)"})


# --- refusals -------------------------------------------------------------------------------------


def test_an_old_version_is_a_conflict_in_intuit_s_words(office):
    old = office.new(DisplayName="Ada")
    office.do(of(old, Notes="1"))
    error = office.refused(of(old, Notes="2"))
    assert type(error) is ConflictError
    assert "code 5010): Stale Object Error: Stale Object Error : You and root" in error.message
    assert "[intuit_tid 1-" in error.message


def test_a_taken_name_is_a_conflict_of_a_create_in_intuit_s_words(office):
    office.new(DisplayName="Ada")
    error = office.refused(operation("create", DisplayName="ADA"))
    assert (type(error), error.slug) == (ConflictError, "duplicate-name")
    assert "Another customer, vendor or employee is already using this name" in error.message
    assert "inactive" in error.hint


def test_a_taken_name_is_no_conflict_of_an_update_which_can_do_nothing_about_it(office):
    office.new(DisplayName="Ada")
    error = office.refused(of(office.new(DisplayName="Bob"), DisplayName="Ada"))
    assert (type(error), error.slug) == (RequestRejectedError, "duplicate-name")


def test_what_is_gone_or_inactive_is_not_found_and_for_a_delete_not_taken_for_gone(office):
    old = office.new(DisplayName="Ada")
    gone = office.do(of(old, "delete")).record
    assert type(office.refused(of(gone, Notes="x"))) is RecordNotFoundError
    missing = {"Id": "99", "SyncToken": "0"}
    assert type(office.refused(of(missing, Notes="x"))) is RecordNotFoundError
    assert type(office.refused(of(missing, "delete"))) is ConflictError


def test_a_rule_of_the_company_is_told_in_intuit_s_words(office):
    office.desk.order("habits", holds_open=True)
    old = office.new(DisplayName="Ada")
    put = [{"Id": "1", "Balance": 5}]
    office.desk.order("objects", "customers", put=put)
    error = office.refused(of(old | {"SyncToken": "1"}, "delete"))
    assert type(error) is RequestRejectedError
    assert "A customer with an open balance stays active" in error.message


def test_a_subscription_that_ended_refuses_for_now(office):
    office.desk.order("oauth", suspended=[0])
    assert type(office.refused(operation("create", DisplayName="A"))) is PermissionDeniedError


@pytest.mark.parametrize("body", [{}, {"Customer": None}, {"Customer": [1]}, {"time": "x"}])
def test_an_answer_without_the_customer_leaves_it_open(office, body):
    office.desk.answer(body)
    outcome = office.do(operation("create", DisplayName="Ada"))
    assert type(outcome.error) is OutcomeUnknownError


# --- batches --------------------------------------------------------------------------------------


def test_thirty_operations_are_one_request_with_one_result_each(office):
    old = [office.new(DisplayName=f"old{place}") for place in range(20)]
    made = [
        *(operation("create", DisplayName=f"new{place}") for place in range(10)),
        *(of(each, Notes=f"note{each['Id']}") for each in old[:10]),
        *(of(each, "delete") for each in old[10:]),
    ]
    sent = len(office.sent)
    outcomes = office.together(*made)
    [(method, path, _)] = office.sent[sent:]
    assert (method, "/batch?" in path, len(made)) == ("POST", True, WRITE.batch_size)
    truth = office.truth()
    for place, (each, outcome) in enumerate(zip(made, outcomes, strict=True)):
        record = outcome.record
        assert record == truth[record["Id"]]
        assert outcome.as_of is not None
        if each.kind == "create":
            assert record["DisplayName"] == f"new{place}"
        else:
            assert record["Id"] == each.key
        assert record["Active"] is (each.kind != "delete")
    items = office.body["BatchItemRequest"]
    assert {item["operation"] for item in items} == {"create", "update"}
    assert all(len(item["bId"]) <= 10 for item in items)


def test_of_a_batch_each_refusal_is_its_own_operation_s(office):
    ada, bob, eve = (office.new(DisplayName=name) for name in ("Ada", "Bob", "Eve"))
    stale = office.do(of(bob, Notes="1")).record and bob
    gone = office.do(of(eve, "delete")).record
    outcomes = office.together(
        operation("create", DisplayName="Ada"),
        of(stale, Notes="2"),
        operation("create", DisplayName="New"),
        of(ada, DisplayName="Bob"),
        of(gone, Notes="x"),
        operation("create", DisplayName="a:b"),
        of(ada, Notes="done"),
        of({"Id": "99", "SyncToken": "0"}, "delete"),
    )
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [
        ConflictError, ConflictError, type(None), RequestRejectedError, RecordNotFoundError,
        RequestRejectedError, type(None), ConflictError,
    ]  # fmt: skip
    assert outcomes[0].error.slug == outcomes[3].error.slug == "duplicate-name"
    assert "Stale Object Error" in outcomes[1].error.message
    assert (outcomes[2].record["DisplayName"], outcomes[6].record["Notes"]) == ("New", "done")


def test_a_batch_carries_no_request_id(office):
    """What it remembered would be its refusals too; it is never sent twice."""
    office.together(operation("create", DisplayName="A"), operation("create", DisplayName="B"))
    assert "requestid" not in office.sent[-1][1]


def fault(code: str, kind: str = "ValidationFault") -> dict[str, Any]:
    return {"Fault": {"Error": [{"Message": "no", "Detail": "d", "code": code}], "type": kind}}


def test_an_answer_of_a_batch_that_leaves_something_out_leaves_that_open(office):
    there = {"Id": "7", "SyncToken": "0"}
    answers = [
        {"bId": "3"} | fault("10000", "SystemFault"),
        {"bId": "9", "Customer": there},
        7,
        {"bId": "2", "Customer": None},
        {"bId": "4"} | fault("3001", "SERVICE"),
        {"bId": "0", "Customer": there},
        {"bId": "5"} | fault("", ""),
    ]
    office.desk.answer({"BatchItemResponse": answers})
    outcomes = office.together(*(operation("create", DisplayName=f"n{n}") for n in range(6)))
    assert outcomes[0].record == there
    assert [type(outcome.error) for outcome in outcomes[1:]] == [
        OutcomeUnknownError, OutcomeUnknownError, ProviderUnavailableError, RateLimitedError,
        ProviderUnavailableError,
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"BatchItemResponse": None}, {"BatchItemResponse": {}}])
def test_an_answer_that_is_none_of_a_batch_leaves_all_open(office, body):
    office.desk.answer(body)
    made = (operation("create", DisplayName="A"), operation("create", DisplayName="B"))
    kinds = [type(outcome.error) for outcome in office.together(*made)]
    assert kinds == [OutcomeUnknownError] * 2


# --- finding what was made ------------------------------------------------------------------------

HOSTILE = [
    "O'Hara", "back\\slash", "\\' AND Active IN (true,false) AND Notes = '", 'quote "', "\\",
    "Zoë 🌱", "50% off", "x' OR 'a' = 'a", "\\\\'", "SELECT * FROM Customer", "Jürgen  Groß",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_was_made_is_found_by_its_name_whatever_that_is(office, name):
    office.new(DisplayName="Somebody")
    assert office.find(DisplayName=name) is None
    made = office.new(DisplayName=name)
    assert office.find(DisplayName=name) == made


def test_a_name_that_intuit_made_is_found_too(office):
    made = office.new(Title="Dr", GivenName="Ada", FamilyName="Lovelace")
    assert made["DisplayName"] == "Dr Ada Lovelace"
    assert office.find(Title="Dr", GivenName="Ada", FamilyName="Lovelace", Suffix=None) == made


def test_somebody_with_the_same_name_is_not_what_we_made(office):
    office.new(DisplayName="Ada", GivenName="Another")
    assert office.find(DisplayName="Ada", GivenName="Ada") is None
    assert office.find(DisplayName="ADA") is None
    assert office.find(DisplayName="Ada Payroll") is None  # an employee


def test_what_was_made_inactive_meanwhile_is_found_still(office):
    gone = office.do(of(office.new(DisplayName="Ada"), "delete")).record
    assert office.find(DisplayName="Ada") == gone
    made = office.new(DisplayName="Ada")
    assert office.find(DisplayName="Ada") == made


# --- what a payload may hold ----------------------------------------------------------------------

GOOD: dict[str, tuple[bool, dict[str, Any]]] = {
    "name": (False, {"DisplayName": "Ada"}),
    "longest name": (False, {"DisplayName": "x" * 500}),
    "a part of a name": (False, {"Suffix": "PhD"}),
    "nothing of a name": (True, {"CompanyName": "A Ltd"}),
    "emptied": (True, {"Notes": None, "PrimaryPhone": {"FreeFormNumber": None}}),
    "several addresses": (True, {"PrimaryEmailAddr": {"Address": "a@b.cd, e@f.gh"}}),
    "address": (True, {"BillAddr": ADDRESS | {"City": "Köln", "Country": "DEU"}}),
    "active again": (True, {"Active": True}),
    "lines": (True, {"Notes": "a\nb\tc: d"}),
    "parent": (False, {"DisplayName": "x", "Job": True, "ParentRef": {"value": "3"}}),
    "currency": (False, {"DisplayName": "x", "CurrencyRef": {"value": "EUR"}}),
}
BAD: dict[str, tuple[bool, dict[str, Any]]] = {
    "no name": (False, {"Notes": "x"}),
    "empty name": (True, {"DisplayName": ""}),
    "name emptied": (True, {"DisplayName": None}),
    "names emptied": (False, {"GivenName": None, "Suffix": ""}),
    "too long": (True, {"DisplayName": "x" * 501}),
    "given name too long": (True, {"GivenName": "x" * 101}),
    "title too long": (True, {"Title": "x" * 17}),
    "colon": (True, {"DisplayName": "a:b"}),
    "tab": (True, {"DisplayName": "a\tb"}),
    "new line at the end": (True, {"DisplayName": "a\n"}),
    "suffix": (True, {"DisplayName": "Ada (deleted)"}),
    "unknown": (True, {"Foo": 1}),
    "unknown inside": (True, {"PrimaryPhone": {"FreeFormNumber": "1", "Area": "2"}}),
    "balance": (True, {"Balance": 5}),
    "version": (True, {"SyncToken": "1"}),
    "id": (True, {"Id": "1"}),
    "path": (True, {"FullyQualifiedName": "a:b"}),
    "sparse": (True, {"sparse": False}),
    "no e-mail": (True, {"PrimaryEmailAddr": {"Address": "nobody"}}),
    "e-mail too long": (True, {"PrimaryEmailAddr": {"Address": f"a@{'b' * 97}.c"}}),
    "e-mail as text": (True, {"PrimaryEmailAddr": "a@b.cd"}),
    "a part of an address": (True, {"BillAddr": {"City": "Köln"}}),
    "two letters of a country": (True, {"BillAddr": ADDRESS | {"Country": "DE"}}),
    "other currency": (True, {"CurrencyRef": {"value": "EUR"}}),
    "made inactive": (False, {"DisplayName": "x", "Active": False}),
    "flag in words": (True, {"Taxable": "yes"}),
    "number for text": (True, {"Notes": 5}),
    "reference without a value": (True, {"ParentRef": {}}),
    "phone without a number": (True, {"Fax": {}}),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_payload_that_makes_sense_is_taken_here_and_there(office, case):
    is_update, payload = GOOD[case]
    WRITE.schema.load(payload, partial=is_update)
    for place in range(3):
        office.new(DisplayName=f"n{place}")
    made = of(office.truth()["2"], **payload) if is_update else operation("create", **payload)
    assert WRITE.matches(payload, office.do(made).record)


@pytest.mark.parametrize("case", BAD)
def test_a_payload_that_makes_none_is_refused_before_it_is_stored(case):
    is_update, payload = BAD[case]
    with pytest.raises(ValidationError):
        WRITE.schema.load(payload, partial=is_update)


def test_what_can_be_written_is_what_the_reference_names(office):
    """Every field of the schema is one that the sandbox, which knows the XSD, takes."""
    known = {
        "PrimaryPhone": {"FreeFormNumber": "1"}, "AlternatePhone": {"FreeFormNumber": "1"},
        "Mobile": {"FreeFormNumber": "1"}, "Fax": {"FreeFormNumber": "1"},
        "PrimaryEmailAddr": {"Address": "a@b.cd"}, "WebAddr": {"URI": "http://a.example"},
        "BillAddr": ADDRESS | {"Country": "USA"}, "ShipAddr": ADDRESS | {"Country": "USA"},
        "ParentRef": {"value": "1"}, "CurrencyRef": {"value": "USD"},
        "SalesTermRef": {"value": "3"}, "PaymentMethodRef": {"value": "3"},
        "PreferredDeliveryMethod": "Email",
        "Active": True, "Taxable": True, "Job": True, "BillWithParent": True,
    }  # fmt: skip
    office.new(DisplayName="parent")
    old = office.new(DisplayName="old")
    payload = {name: known.get(name, "x") for name in WRITE.schema.fields}
    assert WRITE.matches(payload, office.do(of(old, **payload)).record)


# --- the declaration ------------------------------------------------------------------------------


def test_what_is_declared_fits_what_is_known():
    assert WRITE.kinds == ("create", "update", "delete")
    assert WRITE.batch_size == 30
    assert WRITE.scope == SCOPE
    assert WRITE.visible_after.total_seconds() == 120  # so long Intuit may work on a call
    assert not WRITE.batch_remembers
    assert WRITE.idempotency is None  # for how long is not published


def test_when_a_customer_was_changed_is_aware(office):
    made = office.new(DisplayName="Ada")
    told = WRITE.changed_at(made)
    assert told == datetime.fromisoformat(made["MetaData"]["LastUpdatedTime"])
    assert told.utcoffset() is not None
