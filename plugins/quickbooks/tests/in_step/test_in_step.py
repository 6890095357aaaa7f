"""Customers and invoices of a company, kept in step by the real core over HTTP."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from tieline.store import partitions

ENTITIES = ["customers", "invoices"]
CHANGES = {
    "customers": {"create": 3, "update": 4, "deactivate": 2, "rebalance": 3, "merge": 1},
    "invoices": {"create": 3, "update": 4, "void": 2, "pay": 3, "delete": 2},
}
GONE = {"customers": "merge", "invoices": "delete"}


def counts(run):
    return run.counts.created, run.counts.updated, run.counts.deleted


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_full_read_stores_everything_and_a_second_changes_nothing(site, entity):
    books = site()
    run = books.sync(entity, "full")
    assert (run.state, run.counts.created) == ("succeeded", len(books.truth(entity)))
    assert books.is_in_step(entity)
    assert counts(books.sync(entity, "full")) == (0, 0, 0)


@pytest.mark.parametrize("entity", ENTITIES)
def test_an_incremental_run_sees_every_kind_of_change_in_one_list_call(site, entity):
    books = site()
    books.sync(entity)
    books.order("mutate", entity, **CHANGES[entity])
    books.move(60)
    before = len(books.asked())
    run = books.sync(entity)
    gone = CHANGES[entity][GONE[entity]]
    assert (run.mode, run.state, run.counts.deleted) == ("incremental", "succeeded", gone)
    assert run.counts.created == 3
    asked = [path.partition("/")[2] for path in books.asked()[before:]]
    assert [path for path in asked if path in {"query", "cdc"}] == ["cdc"]
    assert len(asked) == 1 + gone  # what is called deleted is looked at once more
    assert books.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_where_nothing_changed_one_read_is_spent(site, entity):
    books = site()
    books.sync(entity)
    before = len(books.asked())
    assert counts(books.sync(entity)) == (0, 0, 0)
    assert len(books.asked()) == before + 1


@pytest.mark.parametrize("told", ["record", "deleted"])
def test_a_customer_made_inactive_stays_however_the_log_tells_it(site, told):
    books = site(customers=30)
    books.order("habits", inactive_as=told)
    books.sync("customers")
    [number] = books.order("mutate", "customers", deactivate=1)["deactivate"]
    books.move(60)
    run = books.sync("customers")
    assert counts(run) == (0, 1, 0)
    assert books.stored("customers")[number]["Active"] is False
    assert books.is_in_step("customers")


def test_a_customer_made_and_made_inactive_between_two_runs_is_not_taken_for_gone(site):
    books = site(customers=5)
    books.order("habits", inactive_as="deleted")
    books.sync("customers")
    fresh = {"DisplayName": "Short", "Active": False, "FullyQualifiedName": "Short"}
    [number] = books.order("objects", "customers", put=[fresh])["put"]
    books.sync("customers")
    assert books.stored("customers")[number]["Active"] is False


def test_a_merge_moves_the_invoices_over_to_the_customer_who_stays(site):
    books = site(customers=20, invoices=60)
    for entity in ENTITIES:
        books.sync(entity)
    [loser] = books.order("mutate", "customers", merge=1)["merge"]
    books.move(60)
    for entity in ENTITIES:
        books.sync(entity)
        assert books.is_in_step(entity)
    assert loser not in books.stored("customers")
    assert loser in books.stored("customers", with_deleted=True)
    owners = {each["CustomerRef"]["value"] for each in books.stored("invoices").values()}
    assert loser not in owners


def test_a_voided_invoice_stays_with_amounts_of_zero_and_a_deleted_one_goes(site):
    books = site(invoices=30)
    books.sync("invoices")
    [void] = books.order("mutate", "invoices", void=1)["void"]
    books.sync("invoices")
    [gone] = books.order("mutate", "invoices", delete=1)["delete"]
    books.sync("invoices")
    stored = books.stored("invoices")
    assert (gone in stored, gone == void) == (False, False)
    voided = stored[void]
    assert (voided["TotalAmt"], voided["Balance"], voided["PrivateNote"][:6]) == (0, 0, "Voided")


def test_a_new_balance_without_a_new_token_is_seen(site):
    books = site(customers=20)
    books.sync("customers")
    books.order("mutate", "customers", rebalance=5)
    run = books.sync("customers")
    assert run.counts.updated > 0
    assert books.is_in_step("customers")


def test_a_balance_that_moved_without_any_sign_is_found_by_a_full_run(site):
    """Nobody says whether that happens; if so, neither token nor time tell of it."""
    books = site(customers=20)
    books.sync("customers")
    books.order("mutate", "customers", silent=3)
    assert counts(books.sync("customers")) == (0, 0, 0)
    state, found = books.findings("customers")
    assert (state, found["stale"] > 0) == ("succeeded", True)
    books.sync("customers", "full")
    assert books.is_in_step("customers")


@pytest.mark.parametrize("entity", ENTITIES)
def test_thousands_of_one_second_are_all_read(site, entity):
    books = site(customers=0, invoices=0)
    books.order("mutate", entity, create=2500)
    books.move(60)
    run = books.sync(entity)
    assert (run.state, run.counts.created) == ("succeeded", 2500)
    assert books.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_what_moves_while_it_is_read_is_not_lost(site, entity):
    """Between all pages records come, change and go; the log tells of the rest."""
    books = site(customers=2600, invoices=2600)
    about = {"customers": "Customer", "invoices": "Invoice"}[entity]
    change = {"create": 5, "update": 40, "delete": 30}
    books.script({"kind": "mutate", "path": "*", "form": f"FROM {about}", "nth": 2, "times": 0,
                  "body": {"entity": about} | change})  # fmt: skip
    run = books.sync(entity)
    books.script()
    assert run.state == "succeeded"
    never_met = set(books.truth(entity)) - set(books.stored(entity))
    assert len(never_met) <= 15  # made too late to be met, if at all
    assert books.sync(entity).mode == "incremental"
    assert books.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_log_of_more_than_a_thousand_changes_loses_neither_changes_nor_deletions(site, entity):
    books = site(customers=1300, invoices=1300)
    books.sync(entity)
    books.order("mutate", entity, update=2500, create=20, delete=25)
    books.move(400)
    run = books.sync(entity)
    assert (run.mode, run.state, run.counts.deleted) == ("full", "succeeded", 25)
    assert "no more than 1,000 changes" in run.reason
    assert books.is_in_step(entity)
    assert books.sync(entity).mode == "incremental"


@pytest.mark.parametrize("entity", ENTITIES)
def test_after_more_than_thirty_days_everything_is_read(site, entity):
    books = site(customers=40, invoices=40)
    books.sync(entity)
    books.order("mutate", entity, update=5, delete=3)
    books.move(timedelta(days=31).total_seconds())
    run = books.sync(entity)
    assert (run.mode, run.state, run.counts.deleted) == ("full", "succeeded", 3)
    assert books.is_in_step(entity)


@pytest.mark.parametrize("entity", ENTITIES)
def test_a_change_that_the_log_learns_of_late_is_met_by_the_next_run(site, entity):
    books = site(customers=40, invoices=40)
    books.order("habits", lag_s=240)
    books.sync(entity)
    done = books.order("mutate", entity, create=2, update=3)
    books.order("objects", entity, delete=["7"])
    books.move(30)
    assert counts(books.sync(entity)) == (0, 0, 0)
    run = books.sync(entity)
    assert (run.mode, run.counts.created, run.counts.deleted) == ("incremental", 2, 1)
    assert set(done["create"]) <= set(books.stored(entity))
    assert books.is_in_step(entity)


def test_a_record_that_cannot_be_used_goes_to_quarantine_and_the_others_are_stored(site):
    books = site(invoices=30)
    odd = books.truth("invoices")["7"] | {"TotalAmt": "12,50"}
    unversioned = {"Id": "8", "SyncToken": "x", "MetaData": odd["MetaData"]}
    books.order("objects", "invoices", plant=[odd, unversioned])
    run = books.sync("invoices")
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 2)
    assert len(books.stored("invoices")) == 28
    assert books.sync("invoices").state == "succeeded"


@pytest.mark.parametrize("order", [{"lost_rights": [0]}, {"suspended": [0]}], ids=str)
def test_a_right_that_is_lost_deletes_nothing_and_is_no_success(site, order):
    books = site(customers=30)
    books.sync("customers")
    books.order("oauth", **order)
    for mode in ("full", "incremental"):
        run = books.sync("customers", mode)
        assert run.state in {"failed", "needs_reauth"}
        assert len(books.stored("customers")) == 30
        if run.state == "needs_reauth":
            break


def test_a_window_holds_what_was_created_in_it(site):
    books = site(invoices=100)
    since, until = (datetime.fromisoformat(f"2025-{month}-01T00:00:00Z") for month in ("03", "09"))
    run = books.sync("invoices", "window", window=(since, until))
    times = {key: datetime.fromisoformat(each["MetaData"]["CreateTime"])
             for key, each in books.truth("invoices").items()}  # fmt: skip
    inside = {key for key, time in times.items() if since <= time < until}
    assert run.state == "succeeded"
    assert 10 < len(inside) == len(books.stored("invoices"))
    assert set(books.stored("invoices")) == inside


def test_a_throttled_page_is_put_off_and_nothing_is_lost(site):
    books = site(customers=1500)
    books.script({"kind": "status", "status": 429, "form": "STARTPOSITION", "nth": 2})
    run = books.sync("customers")
    assert run.state == "waiting"
    run = books.help(run.id)
    assert run.state == "succeeded"
    assert books.is_in_step("customers")


def test_an_access_token_that_ends_between_two_runs_is_renewed(site):
    books = site(customers=10)
    for _ in range(3):
        assert books.sync("customers").state == "succeeded"
        books.move(5000)


def test_a_long_list_is_cut_up_for_idle_hands_and_put_together_again(site):
    books = site(hands=4, customers=12_000, latency_ms=150)
    run = books.sync("customers")
    with books.made.database.read() as transaction:
        parts = partitions.list_partitions(transaction, run.id)
    assert (run.state, run.counts.created) == ("succeeded", 12_000)
    assert len([part for part in parts if part.counts.seen]) > 1
    assert sum(part.counts.seen for part in parts) == 12_000
    assert books.stored("customers") == books.truth("customers")


FAULTS = {
    "status 500": {"kind": "status", "status": 500},
    "status 503": {"kind": "status", "status": 503, "body": "<html>busy</html>"},
    "fault with 200": {"kind": "status", "status": 200, "body": {"Fault": {"Error": []}}},
    "html with 200": {"kind": "html200"},
    "nothing with 200": {"kind": "empty"},
    "no answer": {"kind": "drop"},
    "cut off": {"kind": "status", "status": 200, "body": '{"QueryResponse": {"Customer": [{"Id'},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_page_that_goes_wrong_is_asked_for_again(site, fault):
    books = site(customers=2100)
    books.script(FAULTS[fault] | {"path": "*", "form": "FROM Customer", "nth": 2, "times": 2})
    run = books.sync("customers")
    assert (run.state, run.counts.created, run.counts.seen) == ("succeeded", 2100, 2100)
    books.script()
    books.order("mutate", "customers", create=3, merge=2)
    # The first answer of the log goes wrong too; an empty log would lose what happened.
    books.script(FAULTS[fault] | {"path": "*", "query": "changedSince"})
    run = books.sync("customers")
    assert (run.mode, run.counts.created, run.counts.deleted) == ("incremental", 3, 2)
    assert books.is_in_step("customers")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("entity", ENTITIES)
def test_whatever_happens_between_and_during_runs_both_sides_end_alike(site, entity, seed):
    chance = Random(f"{entity}:{seed}")
    books = site(customers=1100, invoices=1100, seed=seed + 1)
    about = {"customers": "Customer", "invoices": "Invoice"}[entity]
    verbs = {
        "customers": ("create", "update", "deactivate", "rebalance", "merge"),
        "invoices": ("create", "update", "void", "pay", "delete"),
    }[entity]

    def some() -> dict[str, int]:
        return {verb: chance.randrange(4) for verb in chance.sample(verbs, 3)}

    for _ in range(6):
        books.order("habits", inactive_as=chance.choice(("record", "deleted")),
                    lag_s=chance.choice((0, 0, 120)))  # fmt: skip
        books.order("mutate", entity, **some())
        books.script({"kind": "mutate", "path": "/v3/*", "body": {"entity": about} | some(),
                      "nth": chance.randint(1, 3), "times": chance.randint(1, 2)})  # fmt: skip
        books.move(chance.choice((1, 30, 200, 5000)))
        mode = chance.choice(("incremental", "incremental", "incremental", "full"))
        run = books.help(books.ask(entity, mode))
        assert run.state == "succeeded"
    books.script()
    books.order("habits", lag_s=0)
    books.move(600)
    assert books.sync(entity).state == "succeeded"
    assert books.is_in_step(entity)
