"""What a change rests on, and whether that is still so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields

from tieline.contract import Entity, Page, RecordSchema, Write
from tieline.engine.basis import POLICIES, Basis, in_shape_of, judge, says_already

NOW = datetime(2026, 11, 1, tzinfo=UTC)
# Few names and values, so that two objects often have some in common.
names = st.sampled_from(["a", "b", "c", "é\0"])
values = st.integers(0, 2) | st.sampled_from(["x", "\ud800"])
trees = st.recursive(values, lambda inner: st.dictionaries(names, inner, max_size=3), max_leaves=4)
objects = st.dictionaries(names, trees, max_size=4)


class Anything(Schema):
    a = fields.Raw()


def entity(**how) -> Entity:
    step = lambda client, operation: None  # noqa: E731
    write = Write(schema=Anything(), update=step, delete=step, **how)
    page = lambda client, params, cursor: Page(records=[], next=None)  # noqa: E731
    return Entity(
        name="things", schema=RecordSchema(), page=page, get=lambda client, key: None, write=write
    )


def judged(policy, payload, then, now, *, asked_at=NOW, **how):
    declared = entity(**how)
    basis = None if then is None else Basis.of(declared.write, then, payload)
    return judge(
        policy, entity=declared, payload=payload, basis=basis, record=now, asked_at=asked_at
    )


@given(objects, objects)
def test_what_a_payload_names_is_taken_of_a_record_and_no_more(payload, record):
    found = in_shape_of(payload, record)
    assert found.keys() <= payload.keys() & record.keys()
    assert in_shape_of(payload, found) == found


@given(objects, objects)
def test_a_basis_comes_back_as_it_was_written(payload, record):
    basis = Basis.of(entity().write, record, payload)
    text = basis.write()
    assert text.isascii()
    assert Basis.read(text) == basis


@given(st.sampled_from(POLICIES), objects.filter(bool), objects)
def test_a_record_that_nobody_changed_is_never_in_conflict(policy, payload, record):
    assert judged(policy, payload, record, record) in {"send", "done"}


@given(st.sampled_from(POLICIES), objects.filter(bool), objects, objects)
def test_nothing_is_overwritten_unseen_unless_we_win(policy, payload, then, now):
    is_same = in_shape_of(payload, then) == in_shape_of(payload, now)
    verdict = judged(policy, payload, then, now)
    if verdict == "send" and policy != "local_wins":
        assert is_same
    if verdict == "done":
        assert in_shape_of(payload, now) == payload


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        ("hold", "hold"),
        ("provider_wins", "provider"),
        ("local_wins", "send"),
        ("newest_wins", "provider"),  # nobody tells when it was changed
    ],
)
def test_a_policy_decides_in_a_conflict(policy, verdict):
    assert judged(policy, {"a": 1}, {"a": 0}, {"a": 2}) == verdict
    assert judged(policy, {"a": 1}, {"a": 0}, None) == verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(-1, "send"), (0, "provider"), (1, "provider")])
def test_of_two_changes_the_newer_wins_and_of_one_instant_the_provider_s(seconds, verdict):
    changed_at = NOW + timedelta(seconds=seconds)
    found = judged(
        "newest_wins", {"a": 1}, {"a": 0}, {"a": 2}, changed_at=lambda record: changed_at
    )
    assert found == verdict


def test_a_delete_rests_on_the_whole_record():
    assert judged("hold", {}, {"a": 1, "b": 1}, {"a": 1, "b": 1}) == "send"
    assert judged("hold", {}, {"a": 1, "b": 1}, {"a": 1, "b": 2}) == "hold"
    assert judged("hold", {}, {"a": 1}, None) == "done"


def test_what_changes_without_meaning_is_no_conflict_for_a_delete():
    declared = replace(entity(), volatile=("score", "s.n"))
    then, now = {"a": 1, "score": 1, "s": {"n": 1}}, {"a": 1, "score": 2, "s": {"n": 2}}
    basis = Basis.of(declared.write, then, {}, declared.volatile)
    given = {"entity": declared, "payload": {}, "basis": basis, "asked_at": NOW}
    assert judge("hold", **given, record=now) == "send"
    assert judge("hold", **given, record=now | {"a": 2}) == "hold"


def test_without_a_basis_it_rests_on_whatever_there_is():
    assert judged("hold", {"a": 1}, None, {"a": 2}) == "send"


def test_parts_of_an_object_are_compared_one_by_one():
    then, now = {"a": {"city": "Rome", "zip": "1"}}, {"a": {"city": "Rome", "zip": "2"}}
    assert judged("hold", {"a": {"city": "Oslo"}}, then, now) == "send"
    assert judged("hold", {"a": {"zip": "3"}}, then, now) == "hold"
    assert judged("hold", {"a": {"zip": "2"}}, then, now) == "done"


@pytest.mark.parametrize(
    ("wanted", "there", "is_same"),
    [(True, 1, False), (0, False, False), (10, 10.0, True), ([1], [True], False), ({}, [], False)],
)
def test_true_is_not_one(wanted, there, is_same):
    assert says_already(entity().write, {"a": {"b": wanted}}, {"a": {"b": there}}) is is_same


def test_the_provider_s_way_of_writing_is_the_plugin_s_to_know():
    write = entity(matches=lambda payload, record: record["a"] == payload["a"].upper()).write
    assert says_already(write, {"a": "x"}, {"a": "X"})
    assert not says_already(write, {"a": "x"}, {"a": "x"})


@pytest.mark.parametrize("policy", POLICIES)
def test_a_delete_that_leaves_the_record_there_is_known_by_what_it_left(policy):
    inactive = {"a": 1, "b": "off"}
    how = {"is_deleted": lambda record: record["b"] == "off"}
    assert judged(policy, {}, {"a": 1, "b": "on"}, inactive, **how) == "done"
    assert judged(policy, {}, None, inactive, **how) == "done"
    assert judged(policy, {}, inactive, inactive) == "send"
    assert judged("hold", {}, {"a": 1, "b": "on"}, {"a": 2, "b": "on"}, **how) == "hold"
    assert judged(policy, {"a": 2}, inactive, inactive, **how) == "send"


def after(own, payload, then, record, *, was_unchanged=True):
    write = entity(token=lambda record: record["v"]).write
    basis = Basis.of(write, {"v": "1"} | then, payload)
    moved = basis.after_own_write(
        write, own=own, payload=payload, record={"v": "2"} | record, was_unchanged=was_unchanged
    )
    return moved.token, moved.fields


def test_after_our_own_write_the_next_rests_on_its_result():
    assert after({"a": 1}, {"a": 2}, {"a": 0}, {"a": 1}) == ("2", {"a": 1})
    assert after({"a": 1}, {"b": 2}, {"a": 0, "b": 0}, {"a": 1, "b": 0}) == ("2", {"b": 0})


def test_what_somebody_changed_is_not_taken_for_our_own_write():
    token, found = after({"a": 1}, {"b": 2}, {"a": 0, "b": 0}, {"a": 1, "b": 9})
    assert (token, found) == ("1", {"b": 0})
    token, _ = after({"a": 1}, {}, {"a": 0}, {"a": 1}, was_unchanged=False)
    assert token == "1"


def test_what_the_provider_made_of_our_own_write_is_ours():
    assert after({"a": "x"}, {"a": "y"}, {"a": "w"}, {"a": "X"}) == ("2", {"a": "X"})
