"""What sending does: to the provider, to the outbox, to the records. On both databases."""

from __future__ import annotations

import threading

import pytest

from market import open_market
from push_kit import create, delete, make_stall, update
from tieline import failpoints
from tieline.engine import help_run
from tieline.failpoints import Crash, set_failpoints
from tieline.services import alerts, connections, outbox, records, syncs
from tieline.services.explain import explain_record

KINDS = ("keyed", "plain", "bulk")


@pytest.fixture
def market():
    with open_market() as opened:
        yield opened


@pytest.fixture
def stall(database_url, tmp_path, market):
    made = make_stall(database_url, tmp_path, market)
    yield made
    set_failpoints("")
    made.made.close()


@pytest.fixture(params=KINDS)
def each(request, stall):
    """A stall for each kind of list."""
    stall.entity = request.param
    return stall


def words(rows):
    return [(row.state, row.reason_code) for row in rows]


# --- the plain way -------------------------------------------------------------------------------


def test_what_is_created_is_at_the_provider_and_here_at_once(each):
    rows = each.push(create("ada"), create("bob"))
    assert words(rows) == [("done", None)] * 2
    assert each.goods.names() == ["ada", "bob"]
    assert each.stored() == each.goods.records
    assert sorted(row.record_id for row in rows) == sorted(each.goods.records)
    [run] = syncs.list_runs(each.made)
    assert (run.mode, run.direction, run.state) == ("push", "outbound", "succeeded")
    assert (run.counts.seen, run.counts.created) == (2, 2)


def test_an_update_and_a_delete_change_what_they_name_and_no_more(each):
    each.goods.put("a", name="ada", email="ada@example.com")
    each.goods.put("b", name="bob")
    each.sync("full")
    rows = each.push(update("a", name="Ada"), delete("b"))
    assert words(rows) == [("done", None)] * 2
    assert each.goods.records["a"]["email"] == "ada@example.com"
    assert each.goods.names() == ["Ada"]
    assert each.stored() == each.goods.records


def test_our_own_write_is_told_from_others_in_the_history(each):
    [row] = each.push(create("ada"))
    explained = explain_record(each.made, "stall", each.entity, row.record_id)
    assert explained.copies[0].source == "write"


def test_nothing_is_kept_of_changes_of_which_one_makes_no_sense(stall):
    with pytest.raises(outbox.InvalidInputError) as caught:
        stall.ask(create("ada"), update("k"), create("bob", email="nonsense"))
    assert "email: Not a valid email address" in caught.value.message
    assert "nonsense" not in caught.value.message
    assert outbox.list_outbox(stall.made) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (create("x", color="red"), "color: Unknown field"),
        (update("", name="x"), "the key to update is missing"),
        (update("k"), "nothing in the payload"),
        (update("k\n", name="x"), "printable"),
        (update("k", name="a\0b"), "NUL"),
        (update("k", address={"n": 2**70}), "64 bits"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused_with_its_reason(stall, change, said):
    with pytest.raises(outbox.InvalidInputError, match=said):
        stall.ask(change)


def test_an_answer_is_not_asked_for_again(stall):
    stall.goods.put("a", name="ada")
    stall.sync("full")
    stall.push(update("a", name="Ada"))
    assert stall.stored()["a"]["name"] == "Ada"
    assert stall.market.calls["/goods/keyed/a"] == 1


def test_what_is_finished_is_forgotten_after_a_month(stall):
    [old] = stall.push(create("ada"))
    stall.made.clock.move(31 * 24 * 3600)
    [new] = stall.push(create("bob"))
    assert all_ids(stall) == [new.id]
    assert old.id != new.id


# --- echoes --------------------------------------------------------------------------------------


def test_the_echo_by_list_or_log_changes_nothing(each):
    each.goods.put("a", name="ada")
    each.sync("full")
    each.push(create("bob"), update("a", name="Ada"))
    before = each.positions()
    each.made.clock.move(60)
    for mode in ("incremental", "full", "incremental"):
        run = each.sync(mode)
        assert run.state == "succeeded"
        assert (run.counts.created, run.counts.updated, run.counts.deleted) == (0, 0, 0)
    assert each.positions() == before


def test_an_echo_that_comes_before_the_answer_is_stored_changes_nothing(each):
    each.sync("full")
    each.ask(create("ada"))
    set_failpoints("push.end.before_commit=raise")
    with pytest.raises(Crash):
        each.work()
    each.sync("incremental")
    before = each.positions()
    assert len(before) == 1
    each.settle()
    assert each.positions() == before
    assert each.goods.names() == ["ada"]


# --- order ---------------------------------------------------------------------------------------


def test_changes_of_one_record_are_sent_in_order(each):
    each.goods.put("a", name="ada")
    each.goods.put("b", name="bob")
    each.sync("full")
    rows = each.push(
        update("a", name="a1"),
        update("b", name="b1"),
        update("a", name="a2", email="a@example.com"),
        update("b", email="b@example.com"),
        update("a", name="a3"),
        delete("b"),
    )
    assert words(rows) == [("done", None)] * 6
    assert each.goods.records["a"]["name"] == "a3"
    assert each.goods.records["a"]["email"] == "a@example.com"
    assert list(each.goods.records) == ["a"]
    told = [name for key, _, record in each.goods.log if key == "a" for name in [record["name"]]]
    assert told == ["ada", "a1", "a2", "a3"]


def test_one_that_waits_for_a_person_holds_up_its_record_and_no_other(each):
    each.goods.put("a", name="ada")
    each.goods.put("b", name="bob")
    each.sync("full")
    first, second, other = each.push(
        update("a", name="ada!"), update("a", name="Ada"), update("b", name="Bob")
    )
    assert (first.state, second.state, other.state) == ("dead", "queued", "done")
    listed = {entry.row.id: entry.blocker for entry in outbox.list_outbox(each.made)}
    assert (listed[second.id].id, listed[second.id].state) == (first.id, "dead")
    outbox.drop_operation(each.made, first.id, actor="test")
    each.work()
    assert each.state(second.id).state == "done"
    assert each.goods.names() == ["Ada", "Bob"]


# --- refusals ------------------------------------------------------------------------------------


def test_what_the_provider_refuses_is_dead_with_its_own_words_and_can_be_edited(each):
    bad, good = each.push(create("ada!"), create("bob"))
    assert (bad.state, bad.reason) == ("dead", "Name: no exclamation marks, please")
    assert (good.state, each.goods.names()) == ("done", ["bob"])
    [run] = syncs.list_runs(each.made)
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 1)
    [alert] = alerts.list_alerts(each.made)
    assert (alert.kind, "exclamation" in alert.message) == ("operations-wait", True)
    outbox.retry_operation(each.made, bad.id, payload={"name": "ada"}, actor="test")
    each.work()
    assert each.state(bad.id).state == "done"
    assert each.goods.names() == ["ada", "bob"]
    assert alerts.list_alerts(each.made) == []


def test_of_a_batch_the_good_are_kept_and_the_bad_are_named_exactly(stall):
    stall.entity = "bulk"
    names = [f"n{number}{'!' * (number in {1, 4, 7})}" for number in range(12)]
    rows = stall.push(*map(create, names))
    assert {row.payload["name"]: row.state for row in rows} == {
        name: "dead" if name.endswith("!") else "done" for name in names
    }
    assert stall.goods.batches == [5, 5, 2]
    assert stall.goods.names() == sorted(name for name in names if not name.endswith("!"))
    assert stall.stored() == stall.goods.records


def test_a_batch_that_is_refused_whole_is_sent_one_by_one(stall):
    stall.entity = "bulk"
    stall.goods.refuse = [(400, {"error": "this batch is no good"})]
    rows = stall.push(create("ada"), create("bob!"), create("eve"))
    assert [row.state for row in rows] == ["done", "dead", "done"]
    assert stall.goods.names() == ["ada", "eve"]


def test_what_a_batch_left_undone_is_sent_by_itself(stall):
    stall.entity = "bulk"
    names = ["ada", "solo", "bob", "solo!", "eve"]
    rows = stall.push(*map(create, names))
    assert [row.state for row in rows] == ["done", "done", "done", "dead", "done"]
    assert stall.goods.batches == [5]
    assert stall.goods.names() == ["ada", "bob", "eve", "solo"]
    assert set(stall.goods.done.values()) == {1}
    assert stall.stored() == stall.goods.records


@pytest.mark.parametrize("point", ["push.send.before", "push.end.before_commit"])
def test_a_death_before_the_second_sending_makes_nothing_twice(stall, point):
    stall.entity = "bulk"
    ids = stall.ask(create("ada"), create("solo"))
    set_failpoints(f"{point}=raise@2")
    with pytest.raises(Crash):
        stall.work()
    stall.made.clock.move(stall.made.settings.lease_s + 1)
    stall.settle()
    assert [stall.state(id_).state for id_ in ids] == ["done", "done"]
    assert stall.goods.done == {("create", "ada"): 1, ("create", "solo"): 1}


def test_a_limit_puts_off_and_loses_nothing(each):
    each.goods.refuse = [(429, {"error": "slow down"})] * 7
    rows = each.push(create("ada"), create("bob"))
    [run] = syncs.list_runs(each.made)
    assert run.state == "waiting"
    assert {row.state for row in rows} == {"queued"}
    each.settle()
    assert each.goods.names() == ["ada", "bob"]
    assert set(each.goods.done.values()) == {1}


def test_a_missing_right_fails_the_run_names_the_right_and_keeps_the_change(each):
    each.goods.refuse = [(403, {"error": "no"})]
    [row] = each.push(create("ada"))
    [run] = syncs.list_runs(each.made)
    assert (run.state, run.error_code) == ("failed", "permission-denied")
    assert "goods:write" in run.error_message
    assert row.state == "queued"
    each.work()  # a sweep does not try again at once
    assert len(syncs.list_runs(each.made)) == 1
    each.made.clock.move(16 * 60)
    each.work()
    assert each.state(row.id).state == "done"


def test_a_refused_credential_parks_the_push(stall):
    stall.market.members.clear()
    [row] = stall.push(create("ada"))
    [run] = syncs.list_runs(stall.made)
    assert (run.state, row.state) == ("needs_reauth", "queued")
    stall.work()
    assert len(syncs.list_runs(stall.made)) == 1


def test_a_paused_connection_keeps_its_changes_until_it_goes_on(stall):
    connections.pause_connection(stall.made, "stall", actor="test")
    [row] = stall.push(create("ada"))
    assert (row.state, stall.goods.names()) == ("queued", [])
    connections.resume_connection(stall.made, "stall", actor="test")
    stall.work()
    assert stall.goods.names() == ["ada"]


def test_what_was_done_while_the_run_was_paused_is_stored_all_the_same(each):
    each.ask(create("ada"), create("bob"))

    def pause(path):
        each.market.before = lambda _path: None
        connections.pause_connection(each.made, "stall", actor="test")

    each.market.before = pause
    each.work()
    done = outbox.list_outbox(each.made, states=("done",))
    assert {entry.row.payload["name"] for entry in done} == set(each.goods.names())
    connections.resume_connection(each.made, "stall", actor="test")
    each.settle()
    assert each.goods.names() == ["ada", "bob"]
    assert set(each.goods.done.values()) == {1}


# --- lost answers --------------------------------------------------------------------------------


def test_a_lost_answer_makes_nothing_twice(each):
    each.goods.put("a", name="ada")
    each.goods.put("b", name="bob")
    each.sync("full")
    each.goods.lose = 2
    each.ask(create("new"), update("a", name="Ada"), delete("b"))
    each.settle()
    assert each.goods.names() == ["Ada", "new"]
    assert set(each.goods.done.values()) == {1}
    assert each.stored() == each.goods.records
    assert outbox.list_outbox(each.made) == []


def test_a_key_that_is_forgotten_by_now_is_not_hoped_for(stall):
    """There is no way to find out: a person has to look."""
    stall.goods.lose = 1
    [row] = stall.push(create("ada"))
    assert row.state == "unknown"
    stall.made.clock.move(24 * 3600)
    stall.work()
    held = stall.state(row.id)
    assert (held.state, held.reason_code) == ("held", "outcome-unknown")
    assert stall.goods.done["create", "ada"] == 1


def test_a_plugin_that_cannot_read_the_answer_makes_nothing_twice(each, monkeypatch):
    import market_plugin

    real, broken = market_plugin.Outcome, [True]

    def outcome(**given):
        if broken.pop() if broken else False:
            raise KeyError("a bug")
        return real(**given)

    monkeypatch.setattr(market_plugin, "Outcome", outcome)
    [row] = each.push(create("ada"))
    each.settle()
    assert each.state(row.id).state == "done"
    assert each.goods.done["create", "ada"] == 1


def test_only_a_batch_may_leave_something_undone(each, monkeypatch):
    """One that was sent alone cannot be sent by itself next: nobody knows what became of it."""
    import market_plugin

    real, broken = market_plugin.Outcome, [True]

    def outcome(**given):
        return real(is_undone=True) if broken and broken.pop() else real(**given)

    monkeypatch.setattr(market_plugin, "Outcome", outcome)
    [row] = each.push(create("ada"))
    each.settle()
    assert each.state(row.id).state == "done"
    assert each.goods.done["create", "ada"] == 1
    assert each.stored() == each.goods.records  # it was looked for


def test_one_that_always_breaks_the_provider_is_held_in_the_end_and_holds_up_nobody(each):
    each.market.before = lambda path: None
    real = each.goods._change

    def change(kind, key="", payload=None, **given):
        if (payload or {}).get("name") == "poison":
            return 500, {"error": "oops"}
        return real(kind, key, payload, **given)

    each.goods._change = change
    poison, good = each.ask(create("poison"), create("good"))
    for _ in range(6):
        each.work()
        each.made.clock.move(60)
    assert (each.state(poison).state, each.state(good).state) == ("unknown", "done")
    each.settle()
    held = each.state(poison)
    assert (held.state, held.reason_code) == ("held", "outcome-unknown")
    assert "oops" in held.reason


# --- deaths --------------------------------------------------------------------------------------

POINTS = sorted(name for name in failpoints.NAMES if name.startswith("push."))


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("passage", [1, 2])
def test_a_worker_that_dies_anywhere_makes_nothing_twice(each, point, passage):
    each.goods.put("a", name="ada")
    each.goods.put("b", name="bob")
    each.sync("full")
    each.ask(create("x"), update("a", name="Ada"), create("y"), delete("b"), create("z"))
    set_failpoints(f"{point}=raise@{passage}")
    try:
        each.work()
    except Crash:
        pass
    each.made.clock.move(each.made.settings.lease_s + 1)
    each.settle()
    assert each.goods.names() == ["Ada", "x", "y", "z"]
    assert set(each.goods.done.values()) == {1}
    assert each.stored() == each.goods.records
    assert outbox.list_outbox(each.made) == []


def test_two_workers_at_once_send_each_change_once(each):
    each.ask(*(create(f"n{number:02d}") for number in range(30)))
    [run] = syncs.list_runs(each.made)
    engines = [each.another() for _ in range(2)]
    stop = threading.Event()
    hands = [threading.Thread(target=help_run, args=(engine, run.id, stop)) for engine in engines]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(60)
    for engine in engines:
        engine.database.close()
    each.settle()
    assert len(each.goods.records) == 30
    assert set(each.goods.done.values()) == {1}


def test_a_worker_that_slept_past_its_lease_sends_nothing_more_and_ends_nothing(each):
    ids = each.ask(create("ada"), create("bob"))
    other = each.another()

    def sleep(path):
        each.market.after = lambda _path: None
        each.made.clock.move(each.made.settings.lease_s + 1)
        each.work(other)

    each.market.after = sleep
    each.work()
    other.database.close()
    each.settle()
    assert each.goods.names() == ["ada", "bob"]
    assert [each.state(id_).state for id_ in ids] == ["done", "done"]


def test_a_stop_leaves_the_rest_for_somebody_else(each):
    each.entity = "plain"
    each.ask(create("ada"), create("bob"), create("eve"))
    [run] = syncs.list_runs(each.made)
    stop = threading.Event()
    each.market.before = lambda path: stop.set()
    help_run(each.made.engine, run.id, stop)
    assert each.goods.names() == ["ada"]
    states = sorted(row.state for row in outbox.get_operations(each.made, all_ids(each)))
    assert states == ["done", "queued", "queued"]
    each.market.before = lambda path: None
    each.settle()
    assert each.goods.names() == ["ada", "bob", "eve"]


def all_ids(stall):
    found = outbox.list_outbox(stall.made, states=outbox.operations.STATES)
    return [entry.row.id for entry in found]


def test_nothing_stays_queued_without_a_run(each):
    each.ask(create("ada"))
    [run] = syncs.list_runs(each.made)
    with each.made.database.write() as transaction:  # whatever took it away
        transaction.exec_driver_sql("DELETE FROM runs")
    each.work()
    [again] = syncs.list_runs(each.made)
    assert (again.id != run.id, again.asked_by, again.state) == (True, "outbox", "succeeded")
    assert each.goods.names() == ["ada"]
    assert records.list_records(each.made, "stall", each.entity)
