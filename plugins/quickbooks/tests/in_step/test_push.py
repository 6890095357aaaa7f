"""Customers pushed to a company by the real core over HTTP: one object for each change."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random
from typing import Any

import pytest

import grants_kit
from tieline import failpoints
from tieline.engine import help_run, sweep
from tieline.failpoints import Crash, set_failpoints
from tieline.services import alerts, outbox, syncs
from tieline.services.changes import Change
from tieline.store.operations import OperationRow

CUSTOMER, BATCH = "*/customer", "*/batch"


class Office:
    """One company, its customers, and our outbox."""

    def __init__(self, site: Any) -> None:
        self.site, self.made = site, site.made

    def ask(self, *changes: Change, policy: Any = "hold") -> list[str]:
        asked = outbox.ask_changes(
            self.made, "books", "customers", changes, policy=policy, actor="test"
        )
        return list(asked.ids)

    def push(self, *changes: Change, policy: Any = "hold") -> list[OperationRow]:
        ids = self.ask(*changes, policy=policy)
        self.work()
        return self.rows(ids)

    def rows(self, ids: list[str]) -> list[OperationRow]:
        return outbox.get_operations(self.made, ids)

    def work(self) -> None:
        sweep(self.made.engine)
        for run in syncs.list_runs(self.made, limit=5):
            if run.direction == "outbound" and not run.is_over:
                help_run(self.made.engine, run.id, threading.Event())

    def settle(self) -> None:
        """Let time go by until nothing is left that can be sent."""
        for _ in range(60):
            self.work()
            if not outbox.list_outbox(self.made, states=("queued", "sending", "unknown")):
                return
            self.site.move(self.made.settings.lease_s + 1)
        raise AssertionError("the outbox does not get empty")

    def put(self, number: str, **fields: Any) -> None:
        """Change a customer as somebody else does, a little later."""
        self.site.move(5)
        self.site.order("objects", "customers", put=[{"Id": number} | fields])
        self.site.move(5)

    def truth(self) -> dict[str, Any]:
        return self.site.truth("customers")

    def named(self, name: str) -> list[Any]:
        return [each for each in self.truth().values() if each["DisplayName"] == name]

    def sent(self) -> list[str]:
        """Return which kinds of writes were asked for so far."""
        paths = [path.partition("/")[2] for path in self.site.asked()]
        return [path for path in paths if path in {"customer", "batch"}]

    def is_in_step(self) -> bool:
        return bool(self.site.is_in_step("customers"))

    def lose(self, path: str = CUSTOMER, *, how: str = "drop", **more: Any) -> None:
        """Let the next write take effect, and its answer be lost."""
        realm = self.site.row.account_id
        where = path.replace("*", f"/v3/company/{realm}")
        self.site.script({"kind": how, "path": where, "executed": True} | more)

    def lost(self) -> int:
        """Return how many answers were."""
        [script] = grants_kit.told(self.site.base, "faults")
        return min(1, script["matched"])


@pytest.fixture
def office(site):
    made = Office(site(customers=20, invoices=0))
    made.site.sync("customers")
    yield made
    set_failpoints("")


def create(name: str, **fields: Any) -> Change:
    return Change(kind="create", payload={"DisplayName": name, **fields})


def update(key: str, **fields: Any) -> Change:
    return Change(kind="update", key=key, payload=fields)


def delete(key: str) -> Change:
    return Change(kind="delete", key=key)


def words(rows):
    return [(row.state, row.reason_code) for row in rows]


# --- the plain way --------------------------------------------------------------------------------


def test_one_change_is_one_request_and_both_sides_are_alike_at_once(office):
    [made] = office.push(create("Ada", Notes="n"))
    assert office.named("Ada")[0]["Id"] == made.record_id
    assert office.is_in_step()
    [row] = office.push(update("3", GivenName="New"))
    assert (row.state, office.truth()["3"]["GivenName"]) == ("done", "New")
    assert office.is_in_step()
    [row] = office.push(delete("4"))
    assert (row.state, office.truth()["4"]["Active"]) == ("done", False)
    assert office.site.stored("customers")["4"]["Active"] is False
    assert office.is_in_step()
    assert office.sent() == ["customer"] * 3


def test_thirty_changes_are_one_request(office):
    changes = [
        *(create(f"new {place}") for place in range(20)),
        *(update(str(place), Notes="pushed") for place in range(1, 6)),
        *(delete(str(place)) for place in range(10, 15)),
    ]
    rows = office.push(*changes)
    assert words(rows) == [("done", None)] * 30
    assert office.sent() == ["batch"]
    assert len(office.named("new 7")) == 1
    assert [office.truth()[str(place)]["Active"] for place in range(10, 15)] == [False] * 5
    assert office.is_in_step()
    office.push(*(create(f"more {place}") for place in range(65)))
    assert office.sent() == ["batch"] * 4
    assert office.is_in_step()


def test_the_echo_of_our_own_writes_changes_nothing(office):
    office.push(create("Ada"))
    office.push(create("Bob"), update("3", Notes="x"), delete("4"))
    for mode in ("incremental", "full", "incremental"):
        office.site.move(60)
        run = office.site.sync("customers", mode)
        assert (run.mode, run.state) == (mode, "succeeded")
        assert (run.counts.created, run.counts.updated, run.counts.deleted) == (0, 0, 0)


@pytest.mark.parametrize("told", ["record", "deleted"])
def test_a_customer_made_inactive_by_us_stays_however_the_log_tells_it(office, told):
    office.site.order("habits", inactive_as=told)
    office.push(delete("4"), delete("5"))
    run = office.site.sync("customers")
    assert (run.counts.updated, run.counts.deleted) == (0, 0)
    assert office.is_in_step()


def test_changes_of_one_customer_are_sent_in_order(office):
    rows = office.push(
        update("3", Notes="1"), update("3", Notes="2", Suffix="y"), update("3", Suffix="z"),
        delete("3"),
    )  # fmt: skip
    assert words(rows) == [("done", None)] * 4
    there = office.truth()["3"]
    assert (there["Notes"], there["Suffix"], there["Active"]) == ("2", "z", False)
    [row] = office.push(update("3", Active=True))
    assert (row.state, office.truth()["3"]["Active"]) == ("done", True)
    assert office.is_in_step()


def test_an_update_writes_what_it_names_and_no_more(office):
    before = office.truth()["3"]
    office.push(update("3", FamilyName=None))
    after = office.truth()["3"]
    assert {name for name in before if before[name] != after.get(name)} == {
        "SyncToken", "MetaData", "FamilyName"
    }  # fmt: skip
    assert after.keys() == before.keys() - {"FamilyName"}


# --- refusals -------------------------------------------------------------------------------------


def test_of_a_batch_the_good_are_kept_and_the_bad_are_named_exactly(office):
    office.push(create("Taken"))
    office.put("5", Notes="theirs")
    changes = {
        "new": create("New"),
        "taken": create("Taken"),
        "employee": create("Ada Payroll"),
        "stale": update("5", Notes="ours"),
        "beside": update("6", GivenName="ours"),
        "taken by an update": update("7", DisplayName="Taken"),
        "parent": update("8", ParentRef={"value": "999"}),
        "deactivated": delete("10"),
        "parent of a new one": create("Child", ParentRef={"value": "999"}),
    }
    ids = dict(zip(changes, office.ask(*changes.values()), strict=True))
    office.put("6", Notes="theirs")
    office.put("5", Notes="theirs again")
    office.work()
    found = {name: office.rows([one])[0] for name, one in ids.items()}
    assert {name: (row.state, row.reason_code) for name, row in found.items()} == {
        "new": ("done", None),
        "taken": ("held", "conflict"),
        "employee": ("held", "conflict"),
        "stale": ("held", "conflict"),
        "beside": ("done", None),
        "taken by an update": ("dead", "duplicate-name"),
        "parent": ("held", "conflict"),
        "deactivated": ("done", None),
        "parent of a new one": ("dead", "record-not-found"),
    }
    assert "Another customer, vendor or employee" in found["taken"].reason
    assert "Stale Object Error" in found["stale"].reason
    assert "made inactive" in found["parent"].reason
    assert office.truth()["6"]["Notes"] == "theirs"
    assert office.truth()["6"]["GivenName"] == "ours"
    assert len(office.named("Taken")) == len(office.named("New")) == 1
    assert office.sent().count("batch") == 1
    [run] = [run for run in syncs.list_runs(office.made) if run.counts.quarantined]
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 6)
    assert office.is_in_step()


@pytest.mark.parametrize(("policy", "state"), [("hold", "held"), ("provider_wins", "dropped")])
def test_a_create_whose_name_is_taken_makes_nothing_and_can_be_given_another(office, policy, state):
    name = office.truth()["3"]["DisplayName"]
    [row] = office.push(create(name), policy=policy)
    assert row.state == state
    assert "Another customer, vendor or employee" in row.reason
    if state == "held":
        payload = {"DisplayName": f"{name} (2)"}
        outbox.retry_operation(office.made, row.id, payload=payload, actor="test")
        office.work()
        assert office.rows([row.id])[0].state == "done"
    assert len(office.truth()) == 20 + (state == "held")


def test_what_intuit_refuses_is_dead_with_its_words_and_an_alert(office):
    office.site.order("habits", holds_open=True)
    office.put("3", Balance=10)
    office.site.sync("customers")
    [row] = office.push(delete("3"))
    assert (row.state, row.reason_code) == ("dead", "request-rejected")
    assert "open balance stays active" in row.reason
    assert [alert.kind for alert in alerts.list_alerts(office.made)] == ["operations-wait"]


def test_a_subscription_that_ended_keeps_the_changes(office):
    office.site.order("oauth", suspended=[0])
    rows = office.push(create("Ada"), create("Bob"))
    [run] = [run for run in syncs.list_runs(office.made) if run.direction == "outbound"]
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert {row.state for row in rows} == {"queued"}
    office.site.order("oauth", suspended=[])
    office.site.move(16 * 60)
    office.settle()
    assert {row.state for row in office.rows([row.id for row in rows])} == {"done"}


def test_a_throttled_write_is_put_off_and_done_once(office):
    office.lose(BATCH, how="status", status=429, executed=False)
    office.ask(create("Ada"), create("Bob"))
    office.settle()
    assert len(office.named("Ada")) == len(office.named("Bob")) == 1


def test_one_item_of_a_batch_that_was_throttled_is_sent_again(office):
    error = {"Message": "ThrottleExceeded", "Detail": "", "code": "3001"}
    body = {"BatchItemResponse": [
        {"bId": each, "Fault": {"Error": [error], "type": "SERVICE"}} for each in ("0", "1")
    ]}  # fmt: skip
    office.lose(BATCH, how="status", status=200, body=body, executed=False)
    office.ask(create("Ada"), create("Bob"))
    office.settle()
    assert len(office.named("Ada")) == len(office.named("Bob")) == 1
    assert office.is_in_step()


# --- conflicts ------------------------------------------------------------------------------------

POLICIES = {
    "hold": ("held", "theirs"),
    "provider_wins": ("dropped", "theirs"),
    "local_wins": ("done", "ours"),
    "newest_wins": ("dropped", "theirs"),
}


@pytest.mark.parametrize("count", [1, 3], ids=["alone", "in a batch"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_stale_version_overwrites_nothing_unless_the_policy_says_so(office, policy, count):
    keys = ["3", "4", "5"][:count]
    ids = office.ask(*(update(key, Notes="ours") for key in keys), policy=policy)
    office.put("3", Notes="theirs")
    office.work()
    state, note = POLICIES[policy]
    first, *others = office.rows(ids)
    assert (first.state, office.truth()["3"]["Notes"]) == (state, note)
    assert [row.state for row in others] == ["done"] * (count - 1)
    if state == "held":
        assert "Stale Object Error" in first.reason
    assert office.is_in_step()


def test_newest_wins_takes_ours_where_ours_is_newer(office):
    office.put("3", Notes="theirs")
    [row] = office.push(update("3", Notes="ours"), policy="newest_wins")
    assert (row.state, office.truth()["3"]["Notes"]) == ("done", "ours")


def test_what_somebody_changed_beside_it_is_no_conflict(office):
    [one] = office.ask(update("3", GivenName="ours"))
    office.put("3", Notes="theirs")
    office.work()
    assert office.rows([one])[0].state == "done"
    new = office.truth()["3"]
    assert (new["GivenName"], new["Notes"]) == ("ours", "theirs")
    assert office.is_in_step()


def test_a_new_balance_is_no_conflict_for_it_brings_no_new_version(office):
    [one] = office.ask(update("3", Notes="ours"))
    office.site.order("mutate", "customers", rebalance=20)
    office.work()
    assert office.rows([one])[0].state == "done"
    office.site.sync("customers")
    assert office.is_in_step()


@pytest.mark.parametrize(
    ("policy", "state", "active"),
    [("hold", "held", True), ("provider_wins", "dropped", True), ("local_wins", "done", False)],
)
def test_a_delete_of_a_customer_that_changed_is_a_conflict(office, policy, state, active):
    [one] = office.ask(delete("3"), policy=policy)
    office.put("3", Notes="theirs")
    office.work()
    assert (office.rows([one])[0].state, office.truth()["3"]["Active"]) == (state, active)
    assert office.is_in_step()


def test_a_delete_of_what_somebody_made_inactive_is_done_and_it_stays(office):
    [one] = office.ask(delete("3"))
    office.put("3", Active=False)
    office.work()
    assert words(office.rows([one])) == [("done", "already-so")]
    assert office.is_in_step()


def test_a_delete_of_what_was_merged_away_is_done_and_a_tombstone(office):
    [one, other] = office.ask(delete("3"), update("4", Notes="x"))
    office.site.order("objects", "customers", delete=["3", "4"])
    office.work()
    assert [row.state for row in office.rows([one, other])] == ["done", "held"]
    assert "3" not in office.site.stored("customers")
    assert office.is_in_step()


def test_an_update_of_an_inactive_customer_is_held_in_intuit_s_words(office):
    office.push(delete("3"))
    [row] = office.push(update("3", Notes="x"))
    assert (row.state, row.reason_code) == ("held", "conflict")
    assert "made inactive" in row.reason
    assert office.is_in_step()


# --- lost answers ---------------------------------------------------------------------------------

LOST = {
    "cut off": {"how": "drop"},
    "status 500": {"how": "status", "status": 500},
    "html": {"how": "html200"},
    "nothing": {"how": "empty"},
    "no JSON": {"how": "status", "status": 200, "body": '{"Customer": {"Id"'},
    "no customer": {"how": "status", "status": 200, "body": {"time": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("executed", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "in a batch"])
def test_a_lost_answer_makes_each_change_once(site, count, executed):
    """However it is lost, of whatever kind the change is."""
    office = Office(site(customers=60, invoices=0))
    office.site.sync("customers")
    old = office.truth()
    active = iter([key for key, each in old.items() if each["Active"]])
    for lost, how in LOST.items():
        some = [[next(active) for _ in range(count)] for _ in range(2)]
        names = [f"{lost} {place}" for place in range(count)]
        for changes in (
            [create(name, Notes="n") for name in names],
            [update(key, Notes="ours") for key in some[0]],
            [delete(key) for key in some[1]],
        ):
            office.lose(BATCH if count > 1 else CUSTOMER, executed=executed, **how)
            ids = office.ask(*changes)
            office.settle()
            assert office.lost() == 1
            assert [row.state for row in office.rows(ids)] == ["done"] * count, (lost, changes)
        new = office.truth()
        assert [len(office.named(name)) for name in names] == [1] * count
        assert {(new[key]["Notes"], new[key]["Active"]) for key in some[0]} == {("ours", True)}
        assert {new[key]["Active"] for key in some[1]} == {False}
        for key in (*some[0], *some[1]):
            assert int(new[key]["SyncToken"]) == int(old[key]["SyncToken"]) + 1, lost
    assert len(office.truth()) == 60 + count * len(LOST)
    assert office.is_in_step()


@pytest.mark.parametrize("executed", [True, False], ids=["done", "not done"])
@pytest.mark.parametrize("remembers_s", [86400, 0])
@pytest.mark.parametrize("lag_s", [0, 600])
@pytest.mark.parametrize("path", [CUSTOMER, BATCH], ids=["alone", "in a batch"])
def test_a_lost_create_is_one_object_whatever_is_remembered_or_shown(
    office, path, lag_s, remembers_s, executed
):
    """Only where neither request id nor query tells of it, a person has to look."""
    office.site.order("habits", lag_s=lag_s, remembers_s=remembers_s)
    office.lose(path, executed=executed)
    ids = office.ask(*(create(f"Ada {place}") for place in range(1 if path == CUSTOMER else 2)))
    office.settle()
    assert office.lost() == 1
    is_told = not executed or not lag_s or (path == CUSTOMER and remembers_s)
    for row in office.rows(ids):
        assert len(office.named(row.payload["DisplayName"])) == 1
        assert row.state == ("done" if is_told else "held")
        if not is_told:
            assert "Another customer, vendor or employee" in row.reason
    office.site.order("habits", lag_s=0)
    office.site.move(700)
    office.site.sync("customers")
    assert office.is_in_step()


def test_a_lost_create_that_somebody_changed_before_it_was_looked_for_is_not_made_again(office):
    office.lose()
    [one] = office.ask(create("Ada", Notes="n"))
    office.work()
    [made] = office.named("Ada")
    office.put(made["Id"], Notes="theirs")
    office.settle()
    assert office.rows([one])[0].state == "done"  # the request id was still known
    office.site.sync("customers")
    assert office.named("Ada")[0]["Notes"] == "theirs"
    assert office.is_in_step()


def test_a_lost_create_is_not_taken_for_somebody_else_s_of_that_name(office):
    """What was refused, and not heard of: the name was taken all along."""
    name = office.truth()["3"]["DisplayName"]
    office.lose()
    [one] = office.ask(create(name, Notes="another person"))
    office.settle()
    assert words(office.rows([one])) == [("held", "conflict")]
    assert len(office.named(name)) == 1
    assert office.is_in_step()


def test_a_lost_answer_is_looked_for_only_when_intuit_has_ended_the_call(office):
    office.lose()
    [one] = office.ask(create("Ada"))
    office.work()
    [row] = office.rows([one])
    assert row.state == "unknown"
    assert (row.due_at - office.made.clock.now()).total_seconds() > 115


POINTS = sorted(name for name in failpoints.NAMES if name.startswith("push."))


@pytest.mark.parametrize("passage", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_anywhere_makes_each_change_once(office, point, passage):
    old = office.truth()
    changes = [
        create("A"),
        update("3", Notes="x"),
        create("B"),
        delete("4"),
        update("3", Suffix="y"),
    ]
    ids = office.ask(*changes)
    set_failpoints(f"{point}=raise@{passage}")
    try:
        office.work()
    except Crash:
        pass
    set_failpoints("")
    office.site.move(office.made.settings.lease_s + 1)
    office.settle()
    assert [row.state for row in office.rows(ids)] == ["done"] * 5
    new = office.truth()
    assert len(new) == len(old) + 2
    grown = Counter({key: int(new[key]["SyncToken"]) - int(old[key]["SyncToken"]) for key in old})
    assert {key: count for key, count in grown.items() if count} == {"3": 2, "4": 1}
    assert office.is_in_step()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_wrong_each_change_is_made_once_or_waits_for_a_person(office, seed):
    chance = Random(seed)
    realm = office.site.row.account_id
    made: dict[str, str] = {}
    for turn in range(8):
        fault = chance.choice([*LOST.values(), {"how": "status", "status": 429}])
        kind = fault["how"]
        script = {name: each for name, each in fault.items() if name != "how"}
        script |= {"kind": kind, "executed": chance.random() < 0.5 and script.get("status") != 429}
        path = f"/v3/company/{realm}/{chance.choice(('customer', 'batch'))}"
        office.site.script(script | {"path": path, "nth": chance.randint(1, 2)})
        active = [key for key, each in office.truth().items() if each["Active"]]
        changes = [create(f"t{turn}n{place}") for place in range(chance.randint(0, 5))]
        changes += [update(key, Notes=f"t{turn}") for key in chance.sample(active, 3)]
        changes += [delete(key) for key in chance.sample(active, 1)]
        policy = chance.choice(("hold", "local_wins"))
        ids = office.ask(*changes, policy=policy)
        if chance.random() < 0.5:
            office.put(chance.choice(active), Notes="theirs")
        office.settle()
        for row in office.rows(ids):
            assert row.state in {"done", "held", "dead"}, row
            if row.kind == "create":
                made[row.payload["DisplayName"]] = row.state
            if row.state != "done":
                outbox.drop_operation(office.made, row.id, actor="test")
    office.site.script()
    names = Counter(each["DisplayName"].removesuffix(" (deleted)") for each in
                    office.truth().values())  # fmt: skip
    assert {name: names[name] for name in made} == dict.fromkeys(made, 1)
    assert set(made.values()) == {"done"}
    office.site.sync("customers")
    assert office.is_in_step()
