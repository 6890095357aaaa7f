"""Customers are written by Intuit's rules, and whatever is answered is valid."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest
from jsonschema import Draft202012Validator

from tieline_quickbooks_sandbox.writes import OTHER_NAMES

DATA = Path(__file__).parents[1] / "data"
SCHEMA = json.loads((DATA / "quickbooks.schema.json").read_text("utf-8"))
EXAMPLES = json.loads((DATA / "quickbooks-examples.json").read_text("utf-8"))


def check(name, value):
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    wrong = [f"{error.json_path}: {error.message}"
             for error in Draft202012Validator(schema).iter_errors(value)]  # fmt: skip
    assert not wrong, wrong[:3]


class Office:
    """A company that somebody writes to, and checks what comes back."""

    def __init__(self, caller):
        self.caller = caller
        self._tokens = caller.connected()

    def send(self, path, body, **query):
        return self.caller.ask(
            "POST",
            f"/v3/company/{self._tokens['realm']}/{path}",
            query=urlencode(query),
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self._tokens['access_token']}"},
        )

    def write(self, body, **query):
        reply = self.send("customer", body, **query)
        assert reply.status == 200, reply.body
        check("singleCustomer", reply.json)
        return reply.json["Customer"]

    def code(self, body, **query):
        """Return the code that a write is refused with."""
        reply = self.send("customer", body, **query)
        assert reply.status == 400, reply.body
        check("fault", reply.json)
        return reply.json["Fault"]["Error"][0]["code"]

    def change(self, old, **fields):
        header = {"Id": old["Id"], "SyncToken": old["SyncToken"], "sparse": True}
        return header | fields

    def batch(self, *items, **query):
        reply = self.send("batch", {"BatchItemRequest": list(items)}, **query)
        assert reply.status == 200, reply.body
        check("batchResponse", reply.json)
        return reply.json["BatchItemResponse"]

    def truth(self):
        lines = self.caller.get("/_sandbox/truth", entity="Customer").body.splitlines()
        return {each["Id"]: each for each in map(json.loads, lines)}

    def query(self, text):
        found = self.send("query", text.encode()).json["QueryResponse"]
        return found.get("Customer", [])


@pytest.fixture
def office(sandbox):
    return Office(sandbox(accounts=1, customers=0, invoices=0))


ADA = {"DisplayName": "Ada", "PrimaryEmailAddr": {"Address": "ada@example.com"}, "Notes": "n"}


def test_a_new_customer_has_a_number_a_version_and_what_intuit_adds(office):
    made = office.write(ADA)
    assert (made["Id"], made["SyncToken"], made["Active"]) == ("1", "0", True)
    assert made["FullyQualifiedName"] == made["PrintOnCheckName"] == "Ada"
    assert made.items() >= ADA.items()
    assert office.truth() == {"1": made}


def test_a_name_is_made_of_its_parts_where_none_is_given(office):
    parts = {"Suffix": "PhD", "GivenName": "Ada", "Title": "Dr", "FamilyName": "L"}
    assert office.write(parts)["DisplayName"] == "Dr Ada L PhD"
    assert office.code({"CompanyName": "Nameless"}) == "2020"


def test_a_sparse_update_leaves_the_rest_and_a_whole_one_empties_it(office):
    made = office.write(ADA | {"Taxable": False})
    changed = office.write(office.change(made, GivenName="Ada"))
    assert changed == made | {"GivenName": "Ada", "SyncToken": "1", "MetaData": changed["MetaData"]}
    whole = {"Id": "1", "SyncToken": "1", "DisplayName": "Ada"}
    emptied = office.write(whole)
    assert not {"Notes", "PrimaryEmailAddr", "GivenName", "PrintOnCheckName"} & emptied.keys()
    assert (emptied["SyncToken"], emptied["Taxable"]) == ("2", True)


def test_an_empty_text_empties_and_null_says_nothing(office):
    made = office.write(ADA)
    assert office.write(office.change(made, Notes=None)).get("Notes") == "n"
    made = office.write(office.change(office.truth()["1"], Notes=""))
    assert "Notes" not in made
    assert "PrimaryEmailAddr" not in office.write(
        office.change(made, PrimaryEmailAddr={"Address": ""})
    )


def test_an_address_is_put_in_place_of_the_one_before(office):
    made = office.write(ADA | {"BillAddr": {"Line1": "1 A St", "City": "B", "Lat": "1"}})
    assert made["BillAddr"] == {"Line1": "1 A St", "City": "B"}
    assert office.write(office.change(made, BillAddr={"City": "C"}))["BillAddr"] == {"City": "C"}


@pytest.mark.parametrize("token", ["0", "2", "x"])
def test_only_the_present_version_can_be_changed(office, token):
    made = office.write(office.change(office.write(ADA), Notes="1"))
    assert office.code(office.change(made | {"SyncToken": token}, Notes="2")) == "5010"
    assert office.truth() == {"1": made}


def test_a_version_has_to_be_named(office):
    office.write(ADA)
    assert office.code({"Id": "1", "sparse": True, "Notes": "x"}) == "2020"


def test_a_name_is_used_once_by_customers_vendors_and_employees_inactive_ones_too(office):
    made = office.write(ADA)
    other = office.write({"DisplayName": "Bob"})
    assert office.code({"DisplayName": "ADA"}) == "6240"
    assert office.code(office.change(other, DisplayName="Ada")) == "6240"
    for name in OTHER_NAMES:
        assert office.code({"DisplayName": name}) == "6240"
    assert office.write(office.change(made, DisplayName="aDa"))["DisplayName"] == "aDa"
    office.caller.order("objects", {"entity": "Customer", "put": [
        {"Id": other["Id"], "Active": False}]})  # fmt: skip
    assert office.code({"DisplayName": "bob"}) == "6240"


def test_what_is_made_inactive_stays_hidden_with_another_name(office):
    made = office.write(office.change(office.write(ADA), Active=False))
    assert (made["Active"], made["DisplayName"]) == (False, "Ada (deleted)")
    assert office.query("SELECT * FROM Customer") == []
    assert office.query("SELECT * FROM Customer WHERE Active = false") == [made]
    assert office.code(office.change(made, Notes="x")) == "610"
    assert office.write(office.change(made, Active=False))["DisplayName"] == "Ada (deleted)"


def test_names_of_inactive_ones_are_told_apart_and_come_back(office):
    for name in ("Ada (deleted)", "Ada (deleted 1)"):
        made = office.write(office.change(office.write(ADA), Active=False))
        assert made["DisplayName"] == name
    back = office.write(office.change(made, Active=True))
    assert (back["DisplayName"], back["FullyQualifiedName"]) == ("Ada", "Ada")
    [first] = [each for each in office.truth().values() if not each["Active"]]
    assert office.code(office.change(first, Active=True)) == "6240"


def test_an_open_balance_keeps_a_customer_active_where_that_is_ordered(office):
    made = office.write(ADA)
    put = [{"Id": "1", "Balance": 5}]
    office.caller.order("objects", {"entity": "Customer", "put": put})
    office.caller.order("habits", {"holds_open": True})
    change = office.change(made | {"SyncToken": "1"}, Active=False)
    assert office.code(change) == "6000"
    office.caller.order("habits", {"holds_open": False})
    assert office.write(change)["Active"] is False


BAD = {
    "unknown": ({"Foo": 1}, "2010"),
    "unknown in a part": ({"PrimaryPhone": {"Number": "1"}}, "2010"),
    "no text": ({"Notes": 1}, "2010"),
    "no flag": ({"Taxable": "yes"}, "2010"),
    "no part": ({"BillAddr": "here"}, "2010"),
    "no reference": ({"ParentRef": {"name": "x"}}, "2010"),
    "too long": ({"GivenName": "x" * 101}, "2050"),
    "too long inside": ({"PrimaryPhone": {"FreeFormNumber": "5" * 31}}, "2050"),
    "colon": ({"DisplayName": "a:b"}, "2040"),
    "tab": ({"DisplayName": "a\tb"}, "2040"),
    "e-mail": ({"PrimaryEmailAddr": {"Address": "nobody"}}, "2210"),
    "parent": ({"ParentRef": {"value": "99"}}, "610"),
    "currency": ({"CurrencyRef": {"value": "EUR"}}, "6000"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_breaks_a_rule_is_refused_and_nothing_is_done(office, case):
    fields, code = BAD[case]
    made = office.write({"DisplayName": "Ada"})
    if case != "currency":
        assert office.code({"DisplayName": "Bob"} | fields) == code
    assert office.code(office.change(made, **fields)) == code
    assert office.truth() == {"1": made}


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_what_is_no_object_is_refused(office, body):
    assert office.code(body) == "2010"


def test_a_customer_is_never_deleted(office):
    office.write(ADA)
    assert office.code({"Id": "1", "SyncToken": "0"}, operation="delete") == "500"


def test_who_is_under_a_parent_shows_the_path(office):
    names = ["A", "B", "C", "D", "E"]
    parent = {}
    for number, name in enumerate(names, 1):
        made = office.write({"DisplayName": name} | parent)
        parent = {"Job": True, "ParentRef": {"value": str(number)}}
    assert (made["FullyQualifiedName"], made["Level"]) == ("A:B:C:D:E", 4)
    assert office.code({"DisplayName": "F"} | parent) == "6000"
    assert office.code(office.change(made, ParentRef={"value": "5"})) == "610"
    third = office.truth()["3"]
    office.write(office.change(third, Active=False))
    assert office.code({"DisplayName": "G", "ParentRef": {"value": "3"}}) == "610"
    fourth = office.truth()["4"]
    assert office.write(office.change(fourth, Notes="still there"))["Notes"] == "still there"


def test_a_request_id_is_answered_as_before_whatever_the_body_is(office):
    made = office.write(ADA, requestid="r1")
    assert office.write(ADA, requestid="r1") == made
    assert office.write({"DisplayName": "Bob"}, requestid="r1") == made
    assert office.code({"DisplayName": "Ada"}, requestid="r2") == "6240"
    office.write(office.change(made, DisplayName="Eve"))
    assert office.code({"DisplayName": "Ada"}, requestid="r2") == "6240"  # so are refusals
    assert len(office.truth()) == 1


def test_a_request_id_is_forgotten_after_a_while(office):
    office.caller.order("habits", {"remembers_s": 60})
    office.write(ADA, requestid="r1")
    office.caller.pass_time(61)
    assert office.code(ADA, requestid="r1") == "6240"


def test_a_request_id_is_one_company_s_and_not_too_long(sandbox):
    caller = sandbox(customers=0)
    office = Office(caller)
    assert office.code(ADA, requestid="x" * 51) == "2170"
    office.write(ADA, requestid="x" * 50)
    caller.order("oauth", {"login_as": 1})
    assert Office(caller).write({"DisplayName": "Bob"}, requestid="x" * 50)["DisplayName"] == "Bob"


def item(name, **customer):
    operation = "update" if "Id" in customer else "create"
    return {"bId": name, "operation": operation, "Customer": customer}


def test_the_items_of_a_batch_stand_each_for_itself(office):
    made = office.write(ADA)
    answers = office.batch(
        item("a", DisplayName="Bob"),
        item("b", DisplayName="Ada"),
        item("c", **office.change(made, Notes="new")),
        item("d", **office.change(made, Notes="newer")),
        {"bId": "e", "operation": "delete", "Customer": made},
        {"bId": "f", "Query": "select * from Customer"},
        {"bId": "g", "operation": "update", "Customer": {"DisplayName": "x"}},
        {"bId": "h", "operation": "create", "Customer": 7},
    )
    codes = {each["bId"]: each["Fault"]["Error"][0]["code"] for each in answers if "Fault" in each}
    assert codes == {"b": "6240", "d": "5010", "e": "500", "f": "500", "g": "2020", "h": "2010"}
    done = {each["bId"]: each["Customer"] for each in answers if "Customer" in each}
    assert (done["a"]["DisplayName"], done["c"]["Notes"]) == ("Bob", "new")
    assert office.truth() == {"1": done["c"], "2": done["a"]}


def test_the_answers_of_a_batch_come_in_any_order(office):
    names = [f"n{place}" for place in range(30)]
    answers = office.batch(*(item(name, DisplayName=name) for name in names))
    order = [each["bId"] for each in answers]
    assert sorted(order) == sorted(names)
    assert order != names


def test_a_batch_has_thirty_items_with_names_of_their_own(office):
    many = [item(f"n{place}", DisplayName=f"n{place}") for place in range(31)]
    for items in (many, [], [item("a"), item("a")], [item("")], [7], [item("x" * 51)]):
        reply = office.send("batch", {"BatchItemRequest": items})
        assert reply.status == 400, items
        check("fault", reply.json)
    assert office.truth() == {}


def test_a_batch_can_be_repeated_too_and_has_shorter_names_then(office):
    first = office.batch(item("a", DisplayName="Ada"), requestid="r" * 36)
    assert office.batch(item("a", DisplayName="Ada"), requestid="r" * 36) == first
    for items, key in ((item("x" * 11, DisplayName="B"), "s"), (item("a"), "r" * 37)):
        assert office.send("batch", {"BatchItemRequest": [items]}, requestid=key).status == 400
    assert len(office.truth()) == 1


def test_writes_cost_no_reads(office):
    office.write(ADA)
    office.batch(item("a", DisplayName="Bob"))
    [used] = office.caller.get("/_sandbox/limits").json.values()
    assert used["reads"] == 0


@pytest.mark.parametrize("name", ["customer", "customerCreate", "customerSparseUpdate"])
def test_no_documented_field_is_taken_for_an_unknown_one(office, name):
    for field in SCHEMA["$defs"][name]["properties"]:
        if field not in {"Id", "SyncToken"}:
            office.write({field: None} | {"DisplayName": field})


def test_a_documented_body_is_taken(office):
    office.write({"DisplayName": "First"})
    for each in EXAMPLES:
        if each["schema"] in {"customerCreate", "customerSparseUpdate"}:
            check(each["schema"], each["value"])
            office.write(each["value"])
    assert office.truth()["1"]["DisplayName"] == "First (deleted)"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_written_to_whomever_stays_valid(sandbox, seed):
    office, chance = Office(sandbox(accounts=1, seed=seed + 1)), Random(seed)
    pieces = [
        {"Notes": "x"}, {"Notes": ""}, {"GivenName": "Zoë 🌱"}, {"BillAddr": {"City": "Köln"}},
        {"BillAddr": {"City": ""}}, {"Active": True}, {"Active": False}, {"sparse": False},
        {"PrimaryEmailAddr": {"Address": "a@b.cd, e@f.gh"}}, {"Taxable": None},
        {"ParentRef": {"value": "3"}}, {"DisplayName": "Same"},
    ]  # fmt: skip
    refused = 0
    for turn in range(300):
        body = {"DisplayName": f"n{turn}"}
        if chance.random() < 0.8:
            old = chance.choice(list(office.truth().values()))
            body = office.change(old, **chance.choice(({}, body)))
        for _ in range(chance.randint(1, 3)):
            body |= chance.choice(pieces)
        if "Id" not in body:
            body.pop("sparse", None)
        reply = office.send("customer", body)
        refused += reply.status == 400
        check("fault" if reply.status == 400 else "singleCustomer", reply.json)
    for each in office.truth().values():
        check("customer", each)
    names = [each["DisplayName"].casefold() for each in office.truth().values()]
    assert len(names) == len(set(names))
    assert 10 < refused < 250
