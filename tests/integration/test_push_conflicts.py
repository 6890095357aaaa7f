"""Somebody else changed the record at the provider: what each policy makes of it."""

from __future__ import annotations

import pytest

from market import open_market
from push_kit import create, delete, make_stall, update
from tieline.errors import InvalidInputError, NotFoundError, RefusedError
from tieline.services import alerts, outbox, syncs

COMPARING = ("keyed", "plain")
"""One whose provider compares versions, one where the core has to."""


@pytest.fixture
def market():
    with open_market() as opened:
        yield opened


@pytest.fixture(params=COMPARING)
def stall(request, database_url, tmp_path, market):
    made = make_stall(database_url, tmp_path, market, request.param)
    made.goods.put("a", name="ada", email="ada@example.com")
    made.sync("full")
    made.made.clock.move(60)
    yield made
    made.made.close()


def change_there(stall, seconds: float = 0, **fields) -> None:
    stall.made.clock.move(seconds)
    stall.goods.put("a", **fields)
    stall.made.clock.move(5)


def test_hold_overwrites_nothing_and_waits_for_a_person(stall):
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, name="theirs")
    stall.work()
    row = stall.state(ids[0])
    assert (row.state, row.reason_code) == ("held", "conflict")
    assert stall.goods.records["a"]["name"] == "theirs"
    assert stall.stored()["a"]["name"] == "theirs"  # seen when it was looked at
    [alert] = alerts.list_alerts(stall.made)
    assert alert.kind == "operations-wait"
    [run] = [run for run in syncs.list_runs(stall.made) if run.mode == "push"]
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 1)


def test_the_provider_s_own_words_are_kept_where_it_has_some(stall):
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, name="theirs")
    stall.work()
    said = stall.state(ids[0]).reason
    assert said.startswith(
        "Stale Object Error" if stall.entity == "keyed" else "the record was changed"
    )


def test_a_held_one_is_settled_for_the_provider(stall):
    ids = stall.ask(update("a", name="ours"), update("a", email="new@example.com"))
    change_there(stall, name="theirs")
    stall.work()
    settled = outbox.resolve_operation(stall.made, ids[0], take="provider", actor="test")
    assert (settled.state, settled.reason_code) == ("dropped", "provider-won")
    assert alerts.list_alerts(stall.made) == []
    stall.settle()
    record = stall.goods.records["a"]
    assert (record["name"], record["email"]) == ("theirs", "new@example.com")


def test_a_held_one_is_settled_for_us(stall):
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, name="theirs")
    stall.work()
    outbox.resolve_operation(stall.made, ids[0], take="local", actor="test")
    change_there(stall, name="theirs again")
    stall.settle()
    assert stall.state(ids[0]).state == "done"
    assert stall.goods.records["a"]["name"] == "ours"
    assert stall.stored() == stall.goods.records


def test_a_held_one_is_not_simply_tried_again_but_edited(stall):
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, name="theirs")
    stall.work()
    with pytest.raises(RefusedError) as caught:
        outbox.retry_operation(stall.made, ids[0], actor="test")
    assert f"outbox resolve {ids[0]}" in caught.value.hint
    outbox.retry_operation(stall.made, ids[0], payload={"name": "both"}, actor="test")
    stall.work()
    assert stall.goods.records["a"]["name"] == "both"


@pytest.mark.parametrize("policy", ["hold", "local_wins", "provider_wins"])
def test_a_refusal_that_is_about_no_version_is_not_tried_again(stall, policy):
    """Where the provider compares nothing, it would say the same the next time."""
    stall.goods.refuse = [(409, {"error": "she does not want that"})]
    [row] = stall.push(update("a", name="Ada"), policy=policy)
    if stall.entity == "keyed":
        assert row.state == "done"  # a stale version is made up for
        return
    expected = "dropped" if policy == "provider_wins" else "held"
    assert (row.state, row.reason) == (expected, "she does not want that")
    assert stall.goods.records["a"]["name"] == "ada"


def test_provider_wins_drops_the_change_and_takes_the_record(stall):
    ids = stall.ask(update("a", name="ours"), policy="provider_wins")
    change_there(stall, name="theirs")
    stall.work()
    row = stall.state(ids[0])
    assert (row.state, row.reason_code) == ("dropped", "provider-won")
    assert stall.goods.records["a"]["name"] == stall.stored()["a"]["name"] == "theirs"


def test_local_wins_sends_it_over_what_there_is(stall):
    ids = stall.ask(update("a", name="ours"), policy="local_wins")
    change_there(stall, name="theirs")
    stall.work()
    assert stall.state(ids[0]).state == "done"
    assert stall.goods.records["a"]["name"] == stall.stored()["a"]["name"] == "ours"
    assert stall.goods.done["update", "a"] == 1


@pytest.mark.parametrize(("first", "name"), [("theirs", "ours"), ("ours", "theirs")])
def test_newest_wins_by_when_it_was_asked_for_and_when_the_provider_changed_it(stall, first, name):
    if first == "ours":
        ids = stall.ask(update("a", name="ours"), policy="newest_wins")
        change_there(stall, 30, name="theirs")
    else:
        change_there(stall, name="theirs")
        stall.made.clock.move(30)
        ids = stall.ask(update("a", name="ours"), policy="newest_wins")
    stall.work()
    assert stall.state(ids[0]).state == ("done" if name == "ours" else "dropped")
    assert stall.goods.records["a"]["name"] == stall.stored()["a"]["name"] == name


def test_newest_wins_is_refused_where_the_provider_tells_no_times(stall):
    write = stall.made.registry.get("market").entity(stall.entity).write
    told = write.changed_at
    object.__setattr__(write, "changed_at", None)
    try:
        with pytest.raises(InvalidInputError) as caught:
            stall.ask(update("a", name="x"), policy="newest_wins")
    finally:
        object.__setattr__(write, "changed_at", told)
    assert caught.value.slug == "policy-unsupported"


def test_what_somebody_changed_beside_it_is_no_conflict(stall):
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, email="new@example.com")
    stall.work()
    record = stall.goods.records["a"]
    assert stall.state(ids[0]).state == "done"
    assert (record["name"], record["email"]) == ("ours", "new@example.com")
    assert stall.stored() == stall.goods.records


def test_what_is_so_already_is_done_without_a_write(stall):
    ids = stall.ask(update("a", name="same"))
    change_there(stall, name="same")
    stall.work()
    row = stall.state(ids[0])
    assert (row.state, row.reason_code) == ("done", "already-so")
    assert stall.goods.done["update", "a"] == 0


def test_a_change_that_the_sync_brought_meanwhile_is_seen_as_well(stall):
    """What counts is what was known when the change was asked for."""
    ids = stall.ask(update("a", name="ours"))
    change_there(stall, name="theirs")
    stall.sync("incremental")
    assert stall.stored()["a"]["name"] == "theirs"
    stall.work()
    assert stall.state(ids[0]).state == "held"
    assert stall.goods.records["a"]["name"] == "theirs"


def test_our_own_earlier_change_is_no_conflict_but_somebody_s_in_between_is(stall):
    first, second = stall.ask(update("a", name="one"), update("a", name="two"))

    def between(path):
        if stall.goods.done["update", "a"] == 1:
            stall.market.before = lambda _path: None
            stall.goods.put("a", name="theirs")

    stall.market.before = between
    stall.work()
    assert stall.state(first).state == "done"
    assert stall.state(second).state == "held"
    assert stall.goods.records["a"]["name"] == "theirs"


def test_an_earlier_change_of_ours_does_not_hide_what_somebody_did_to_another_field(stall):
    """The first is sent on top of a changed email; the second must not take that for its own."""
    first, second = stall.ask(update("a", name="one"), update("a", email="ours@example.com"))
    change_there(stall, email="theirs@example.com")
    stall.work()
    assert stall.state(first).state == "done"
    assert stall.state(second).state == "held"
    assert stall.goods.records["a"]["email"] == "theirs@example.com"


# --- deletes, and what is gone -------------------------------------------------------------------


def test_a_delete_of_a_record_that_changed_is_held(stall):
    ids = stall.ask(delete("a"))
    change_there(stall, email="new@example.com")
    stall.work()
    assert stall.state(ids[0]).state == "held"
    outbox.resolve_operation(stall.made, ids[0], take="local", actor="test")
    stall.work()
    assert (stall.goods.records, stall.stored()) == ({}, {})


def test_a_delete_after_our_own_update_is_no_conflict(stall):
    rows = stall.push(update("a", name="x"), delete("a"))
    assert [row.state for row in rows] == ["done", "done"]
    assert stall.goods.records == {}


def test_a_delete_of_what_is_gone_is_done(stall):
    ids = stall.ask(delete("a"))
    stall.goods.remove("a")
    stall.work()
    assert stall.state(ids[0]).state == "done"
    assert stall.stored() == {}


@pytest.mark.parametrize(
    ("policy", "state"),
    [("hold", "held"), ("provider_wins", "dropped"), ("local_wins", "dead"),
     ("newest_wins", "dropped")],
)  # fmt: skip
def test_an_update_of_what_is_gone_makes_nothing_new(stall, policy, state):
    ids = stall.ask(update("a", name="ours"), policy=policy)
    stall.goods.remove("a")
    stall.work()
    assert stall.state(ids[0]).state == state
    assert stall.goods.records == {}


def test_a_record_that_was_never_read_can_be_changed(stall):
    stall.goods.put("z", name="zoe")
    [row] = stall.push(update("z", name="Zoe"))
    assert (row.state, stall.goods.records["z"]["name"]) == ("done", "Zoe")


# --- creates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "state"),
    [("hold", "held"), ("local_wins", "held"), ("provider_wins", "dropped")],
)
def test_a_name_that_is_taken_is_told_in_the_provider_s_words(stall, policy, state):
    stall.goods.is_unique = True
    [row] = stall.push(create("ada"), policy=policy)
    assert (row.state, row.reason) == (state, "Duplicate Name Exists: ada")
    assert len(stall.goods.records) == 1


def test_a_create_whose_name_is_taken_can_be_given_another(stall):
    stall.goods.is_unique = True
    [row] = stall.push(create("ada"))
    outbox.retry_operation(stall.made, row.id, payload={"name": "ada (2)"}, actor="test")
    stall.work()
    assert stall.goods.names() == ["ada", "ada (2)"]


# --- by hand -------------------------------------------------------------------------------------


def test_what_is_finished_is_left_alone(stall):
    [row] = stall.push(create("x"))
    for settle in (
        lambda: outbox.retry_operation(stall.made, row.id, actor="test"),
        lambda: outbox.drop_operation(stall.made, row.id, actor="test"),
        lambda: outbox.resolve_operation(stall.made, row.id, take="local", actor="test"),
    ):
        with pytest.raises(RefusedError, match="is done"):
            settle()
    with pytest.raises(NotFoundError):
        outbox.show_operation(stall.made, "op_nonsense")


def test_what_is_being_sent_is_not_dropped(stall):
    [operation_id] = stall.ask(create("x"))
    refusals = []

    def drop(path):
        stall.market.before = lambda _path: None
        try:
            outbox.drop_operation(stall.made, operation_id, actor="test")
        except RefusedError as error:
            refusals.append(error.slug)

    stall.market.before = drop
    stall.work()
    assert (refusals, stall.state(operation_id).state) == (["operation-state"], "done")


def test_a_queued_change_can_be_dropped_and_is_not_sent(stall):
    [operation_id] = stall.ask(create("x"))
    outbox.drop_operation(stall.made, operation_id, actor="test")
    stall.work()
    assert stall.goods.names() == ["ada"]
