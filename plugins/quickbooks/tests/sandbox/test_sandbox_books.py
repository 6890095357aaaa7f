"""The books: what queries, the log of changes and single reads answer, and what orders do."""

from __future__ import annotations

from urllib.parse import urlencode

import orjson
import pytest


class Reader:
    """Reads a sandbox's first company."""

    def __init__(self, caller):
        self.caller = caller
        tokens = caller.connected()
        self.path = f"/v3/company/{tokens['realm']}"
        self.headers = {"authorization": f"Bearer {tokens['access_token']}"}
        caller.order("clock", {"frozen": True})

    def get(self, path, **query):
        text = urlencode(query)
        return self.caller.ask("GET", f"{self.path}/{path}", query=text, headers=self.headers)

    def ask(self, select):
        body = select.encode()
        return self.caller.ask("POST", f"{self.path}/query", body=body, headers=self.headers)

    def rows(self, select):
        reply = self.ask(select)
        assert reply.status == 200, reply.body
        found = reply.json["QueryResponse"]
        return found.get("Customer", found.get("Invoice", []))

    def ids(self, select):
        return [each["Id"] for each in self.rows(select)]

    def count(self, where=""):
        reply = self.ask(f"SELECT COUNT(*) FROM Customer {where}")
        return reply.json["QueryResponse"]["totalCount"]

    def fault(self, select):
        reply = self.ask(select)
        assert reply.status == 400
        return reply.json["Fault"]["Error"][0]["code"]

    def changed(self, entities="Customer", since="2026-11-01T00:00:00Z"):
        reply = self.get("cdc", entities=entities, changedSince=since)
        assert reply.status == 200, reply.body
        return reply.json["CDCResponse"][0]["QueryResponse"]

    def order(self, name, entity="Customer", **given):
        return self.caller.order(name, {"entity": entity} | given)

    def truth(self, entity="Customer"):
        lines = self.caller.get("/_sandbox/truth", entity=entity).body.splitlines()
        return {each["Id"]: each for each in map(orjson.loads, lines)}


@pytest.fixture
def reader(sandbox):
    """Make readers: ``reader(customers=5)``."""
    return lambda **options: Reader(sandbox(accounts=2, **options))


# --- the query language ---------------------------------------------------------------------------


def test_a_hundred_rows_are_answered_unless_more_are_asked_for(reader):
    here = reader(customers=0, invoices=1200)
    assert len(here.rows("select * from invoice")) == 100
    assert len(here.rows("SELECT * FROM Invoice MAXRESULTS 1000")) == 1000
    assert here.fault("SELECT * FROM Invoice MAXRESULTS 1001") == "4001"
    found = here.ask("SELECT * FROM Invoice STARTPOSITION 1199 MAXRESULTS 5").json["QueryResponse"]
    assert (found["startPosition"], found["maxResults"], len(found["Invoice"])) == (1199, 2, 2)


def test_no_rows_are_a_missing_key(reader):
    here = reader()
    reply = here.ask("SELECT * FROM Customer WHERE Id = '9999'")
    assert reply.json["QueryResponse"] == {}
    assert here.count("WHERE Id = '9999'") == 0


def test_inactive_customers_are_hidden_unless_a_query_names_them(reader):
    here = reader(customers=90)
    assert here.count() == 80
    assert here.count("WHERE Active = false") == 10
    assert here.count("WHERE Active IN (true, false)") == 90
    assert here.count("WHERE active in (TRUE,False) AND MetaData.CreateTime > '2020-01-01'") == 90


WHERES = {
    "Id = '7'": ["7"],
    "id in ('7', '8')": ["7", "8"],
    "DisplayName = 'o\\'hara''": None,
    "DisplayName = 'o\\'HARA 1'": ["3"],
    "DisplayName LIKE 'O\\'%'": ["3"],
    "DisplayName LIKE '%back\\\\sl%'": ["4"],
    "DisplayName = 'x\\' AND Active IN (true,false) AND Notes = \\''": [],
    "Balance >= 12.5 AND Balance < 13": ["4"],
    "Balance = 12.5 OR Balance = 13": None,
    "Balance <> 13": None,
    "(Balance = 12.5)": None,
    "Id > '3'": None,
    "Id LIKE '3'": None,
    "Nothing = 'x'": None,
    'DisplayName = "x"': None,
    "DisplayName = 'x": None,
    "MetaData.CreateTime = 'yesterday'": None,
    "MetaData.CreateTime >= '2026-11-01T00:00:00Z' AND Id IN ('3', '4')": ["3", "4"],
    "MetaData.CreateTime >= '2026-10-31T16:00:00-08:00' AND Id IN ('3', '4')": ["3", "4"],
    "MetaData.CreateTime >= '2026-10-31T16:00:00' AND Id IN ('3', '4')": ["3", "4"],
    "MetaData.CreateTime > '2026-11-01T00:00:00Z' AND Id IN ('3', '4')": [],
    "MetaData.CreateTime < '2026-11-01T00:00:00Z' AND Id IN ('3', '4')": [],
}  # fmt: skip


@pytest.mark.parametrize("where", WHERES)
def test_a_condition_is_understood_or_refused(reader, where):
    here = reader(customers=0, invoices=0)
    put = [
        {"Id": str(number), "DisplayName": f"c{number}", "Active": True} for number in range(5, 9)
    ]
    odd = [
        {"Id": "3", "DisplayName": "O'Hara 1", "Active": True},
        {"Id": "4", "DisplayName": "Back\\slash", "Balance": 12.5, "Active": True},
    ]
    here.order("objects", put=put + odd)
    select = f"SELECT * FROM Customer WHERE {where}"
    if WHERES[where] is None:
        assert here.fault(select) in {"4000", "4001"}
    else:
        assert sorted(here.ids(select)) == WHERES[where]


@pytest.mark.parametrize(
    "select",
    [
        "",
        "SELECT",
        "SELECT Id FROM Customer",
        "SELECT * FROM Customer, Invoice",
        "SELECT * FROM Nobody",
        "SELECT * FROM Customer WHERE",
        "SELECT * FROM Customer ORDERBY",
        "SELECT * FROM Customer ORDER Id",
        "SELECT * FROM Customer GROUP BY Id",
        "SELECT * FROM Customer STARTPOSITION 0",
        "SELECT * FROM Customer MAXRESULTS x",
        "SELECT * FROM Customer MAXRESULTS 5 STARTPOSITION 1",
        "SELECT * FROM Customer; DROP",
    ],
)
def test_what_is_no_query_is_refused(reader, select):
    assert reader(customers=1).fault(select) in {"4000", "4001"}


def test_rows_are_sorted_as_asked(reader):
    here = reader(customers=0, invoices=60)
    every = "SELECT * FROM Invoice ORDERBY"
    assert here.ids(f"{every} Id DESC")[:3] == ["60", "59", "58"]
    totals = [each["TotalAmt"] for each in here.rows(f"{every} TotalAmt desc, Id")]
    assert totals == sorted(totals, reverse=True)
    assert here.ids("SELECT * FROM Invoice ORDER BY MetaData.CreateTime ASC, Id") == [
        str(number) for number in range(1, 61)
    ]


def test_rows_of_one_time_come_in_any_order_unless_more_is_asked_for(reader):
    here = reader(customers=0, invoices=0)
    here.order("mutate", "Invoice", create=50)
    loose = "SELECT * FROM Invoice ORDERBY MetaData.CreateTime"
    answers = {tuple(here.ids(loose)) for _ in range(5)}
    assert len(answers) == 5
    assert len({tuple(here.ids(f"{loose}, Id")) for _ in range(5)}) == 1


def test_a_query_may_stand_in_the_address(reader):
    here = reader(customers=3)
    assert len(here.get("query", query="SELECT * FROM Customer").json["QueryResponse"]) == 3


# --- changes --------------------------------------------------------------------------------------


def test_nothing_changed_is_one_empty_group(reader):
    assert reader().changed("Customer,Invoice", "2026-11-01T00:00:01Z") == [{}]


def test_changes_come_group_by_group_and_deletions_last(reader):
    here = reader()
    gone = here.order("mutate", "Invoice", delete=2)["delete"]
    updated = here.order("mutate", "Invoice", update=3)["update"]
    [only] = here.changed("Customer,Invoice")
    found = only["Invoice"]
    assert {each["Id"] for each in found[:-2]} == set(updated)
    assert sorted(each["Id"] for each in found[-2:]) == sorted(gone)
    assert [each.get("status") for each in found[-2:]] == ["Deleted", "Deleted"]
    here.order("mutate", update=1)
    assert [min(group) for group in here.changed("Customer,Invoice")] == [
        "Customer",
        "Invoice",
    ]


def test_a_thousand_changes_are_told_and_deletions_are_what_is_cut_off(reader):
    here = reader(customers=700, invoices=700)
    here.order("mutate", "Invoice", delete=3)
    for entity, count in (("Customer", 600), ("Invoice", 500)):
        here.order("mutate", entity, create=count)
    groups = here.changed("Customer,Invoice")
    assert [len(groups[0]["Customer"]), len(groups[1]["Invoice"])] == [600, 400]
    here.order("mutate", "Invoice", create=500)
    [only] = here.changed("Invoice")
    assert len(only["Invoice"]) == 1000
    assert not any("status" in each for each in only["Invoice"])


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"entities": "Customer"}, "2020"),
        ({"changedSince": "2026-11-01T00:00:00Z"}, "2020"),
        ({"entities": "Nobody", "changedSince": "2026-11-01T00:00:00Z"}, "2170"),
        ({"entities": "Customer", "changedSince": "soon"}, "2170"),
        ({"entities": "Customer", "changedSince": "2026-09-30T00:00:00Z"}, "2170"),
    ],
)
def test_a_log_that_cannot_be_told_is_refused(reader, query, code):
    reply = reader().get("cdc", **query)
    assert (reply.status, reply.json["Fault"]["Error"][0]["code"]) == (400, code)


def test_queries_and_the_log_learn_late_and_single_reads_at_once(reader):
    here = reader(customers=5)
    here.caller.order("habits", {"lag_s": 60})
    [number] = here.order("objects", put=[{"Id": "3", "Notes": "new"}])["put"]
    [fresh] = here.order("mutate", create=1)["create"]
    here.order("objects", delete=["4"])
    every = "SELECT * FROM Customer WHERE Active IN (true, false)"
    before = {each["Id"]: each.get("Notes") for each in here.rows(every)}
    assert (before["3"] == "new", "4" in before, fresh in before) == (False, True, False)
    assert here.changed() == [{}]
    assert here.get(f"customer/{number}").json["Customer"]["Notes"] == "new"
    assert here.get("customer/4").status == 400
    here.caller.pass_time(61)
    after = {each["Id"]: each.get("Notes") for each in here.rows(every)}
    assert (after["3"], "4" in after, fresh in after) == ("new", False, True)
    assert len(here.changed()[0]["Customer"]) == 3


# --- single reads, and who may read ---------------------------------------------------------------


def test_one_object_is_read_as_it_is(reader):
    here = reader()
    for entity in ("Customer", "Invoice"):
        here.order("mutate", entity, update=5)
        for number, value in list(here.truth(entity).items())[:20]:
            assert here.get(f"{entity.lower()}/{number}").json[entity] == value


@pytest.mark.parametrize("path", ["customer/9999", "customer/x", "invoice/-1", "customer/1/2"])
def test_what_is_not_there_is_told_by_its_code(reader, path):
    reply = reader().get(path)
    assert (reply.status, reply.json["Fault"]["Error"][0]["code"]) == (400, "610")


@pytest.mark.parametrize("path", ["query", "cdc", "customer/1"])
def test_books_are_for_those_who_were_let_in(reader, path):
    here = reader()
    here.headers = {"authorization": "Bearer x"}
    assert here.get(path).status == 401


def test_each_company_has_books_of_its_own(reader):
    here = reader(customers=3)
    here.order("mutate", create=1)
    other = here.caller.get("/_sandbox/truth", entity="Customer", account=1).body.splitlines()
    assert (len(here.truth()), len(other)) == (4, 3)
    assert orjson.loads(other[0]) != here.truth()["1"]


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entity", "verb"),
    [
        *(("Customer", verb) for verb in ("update", "rebalance", "deactivate", "silent")),
        *(("Invoice", verb) for verb in ("update", "pay", "void", "silent")),
    ],
)
def test_a_change_shows_in_token_and_time_as_it_should(reader, entity, verb):
    here = reader()
    before = here.truth(entity)
    [number] = here.order("mutate", entity, **{verb: 1})[verb]
    old, new = before[number], here.truth(entity)[number]
    assert old != new
    has_token = verb not in {"rebalance", "silent"}
    assert int(new["SyncToken"]) - int(old["SyncToken"]) == has_token
    moved = old["MetaData"]["LastUpdatedTime"] != new["MetaData"]["LastUpdatedTime"]
    assert moved is (verb != "silent")
    assert old["MetaData"]["CreateTime"] == new["MetaData"]["CreateTime"]


def test_a_void_invoice_is_all_zeros_and_says_so(reader):
    here = reader()
    [number] = here.order("mutate", "Invoice", void=1)["void"]
    value = here.truth("Invoice")[number]
    assert (value["TotalAmt"], value["Balance"], value["PrivateNote"][:6]) == (0, 0, "Voided")
    assert {line["Amount"] for line in value["Line"]} == {0}


def test_a_number_is_never_used_twice(reader):
    here = reader(customers=3)
    here.order("objects", delete=["3"])
    assert here.order("mutate", create=1)["create"] == ["4"]


def test_books_can_be_changed_while_a_request_is_under_way(reader):
    here = reader(customers=3)
    order = {"entity": "Customer", "create": 2}
    here.caller.order("faults", [{"kind": "mutate", "form": "FROM Customer", "body": order}])
    every = "SELECT * FROM Customer WHERE Active IN (true, false)"
    assert [len(here.rows(every)), len(here.rows(every))] == [5, 5]


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("mutate", {"entity": "Nobody", "create": 1}),
        ("mutate", {"entity": "Customer", "void": 1}),
        ("mutate", {"entity": "Customer", "create": -1}),
        ("mutate", {"entity": "Customer", "account": 9}),
        ("mutate", []),
        ("objects", {"entity": "Customer", "plant": [{"DisplayName": "x"}]}),
        ("objects", {"entity": "Customer", "delete": ["77777"]}),
        ("objects", {"entity": "Customer", "change": []}),
        ("habits", {"inactive_as": "ghost"}),
        ("habits", {"mood": 1}),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(reader, name, given):
    reply = reader().caller.ask("POST", f"/_sandbox/{name}", body=orjson.dumps(given))
    assert (reply.status, list(reply.json)) == (400, ["error"])
