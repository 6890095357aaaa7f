"""Of two copies of one record, which one stands: every rule once."""

from __future__ import annotations

import pytest

from tieline.records.order import Copy, Known, Order, Verdict, gone

S = 1_000_000
NOW = 1_000 * S


def known(digest: str = "x", rank: float = 100, *, dead: bool = False, revision: int = 1) -> Known:
    return Known(digest, int(rank * S), dead, revision)


def copy(source: str, rank: float, digest: str = "y") -> Copy:
    return Copy("k", b"{}", digest, int(rank * S), source)


def dead(source: str, rank: float) -> Copy:
    return gone("k", int(rank * S), source)


def version(source: str, number: int, digest: str = "y") -> Copy:
    return Copy("k", b"{}", digest, number, source)


THERE, GONE = known(), known(dead=True)
V5 = Known("x", 5, is_deleted=False, revision=1)
V5_GONE = Known("x", 5, is_deleted=True, revision=2)

BY_TIME = {
    "the same list copy": (THERE, copy("list", 200, "x"), "SAME"),
    "the same at a later event": (THERE, copy("feed", 200, "x"), "NOTE"),
    "the same at an earlier event": (THERE, copy("feed", 50, "x"), "SAME"),
    "the same when asked for": (THERE, copy("get", 200, "x"), "NOTE"),
    "gone, and known to be": (GONE, dead("list", 200), "SAME"),
    "gone at a later event, and known to be": (GONE, dead("feed", 200), "NOTE"),
    "a newer list copy": (THERE, copy("list", 102), "WRITE"),
    "an older list copy": (THERE, copy("list", 98), "OLDER"),
    "a list copy just after": (THERE, copy("list", 101.9), "ASK"),
    "a list copy just before": (THERE, copy("list", 98.1), "ASK"),
    "a newer event": (THERE, copy("feed", 102), "WRITE"),
    "an older event": (THERE, copy("webhook", 98), "OLDER"),
    "an event of the same second": (THERE, copy("webhook", 100), "ASK"),
    "a deletion": (THERE, dead("feed", 102), "WRITE"),
    "an older deletion": (THERE, dead("feed", 98), "OLDER"),
    "a deletion of the same second": (THERE, dead("feed", 100), "ASK"),
    "a list copy of what was gone": (GONE, copy("list", 102), "WRITE"),
    "an event of what was gone": (GONE, copy("feed", 102), "ASK"),
    "an older event of what is gone": (GONE, copy("feed", 98), "OLDER"),
    "a list copy, the known time is none": (known(rank=2_000), copy("list", 900), "ASK"),
    "an event, the known time is none": (known(rank=2_000), copy("feed", 900), "OLDER"),
}
BY_TIME_ALONE = {
    "a newer copy": (THERE, copy("list", 100.1), "WRITE"),
    "a copy of the same time": (THERE, copy("feed", 100), "WRITE"),
    "an older copy": (THERE, copy("feed", 99.9), "OLDER"),
    "a deletion of the same second": (THERE, dead("feed", 99.1), "WRITE"),
    "an older deletion": (THERE, dead("feed", 99), "OLDER"),
    "a copy of the second of its deletion": (GONE, copy("list", 100.9), "OLDER"),
    "a copy of the second after": (GONE, copy("list", 101), "WRITE"),
    "an event after the deletion": (GONE, copy("feed", 101), "WRITE"),
    "the known time is none": (known(rank=2_000), copy("list", 900), "WRITE"),
}
BY_VERSION = {
    "a newer version": (V5, version("feed", 6), "WRITE"),
    "an older version": (V5, version("list", 4), "OLDER"),
    "the same version, another content": (V5, version("list", 5), "ASK"),
    "the same": (V5, version("feed", 5, "x"), "SAME"),
    "a deletion": (V5, dead("feed", 1), "ASK"),
    "a deletion that is known": (V5_GONE, dead("feed", 900), "SAME"),
    "a newer version of what is gone": (V5_GONE, version("feed", 6), "ASK"),
    "the last version of what is gone": (V5_GONE, version("list", 5, "x"), "ASK"),
    "an older version of what is gone": (V5_GONE, version("list", 4), "OLDER"),
}
BY_VERSION_ALONE = {
    "the same version in a list": (V5, version("list", 5), "WRITE"),
    "a deletion": (V5, dead("feed", 1), "WRITE"),
    "an event of what is gone": (V5_GONE, version("feed", 6), "OLDER"),
    "a list copy of what is gone": (V5_GONE, version("list", 5, "x"), "WRITE"),
    "an older list copy of what is gone": (V5_GONE, version("list", 4), "OLDER"),
}


def judge(case, *, asked=None, **options) -> str:
    options = {"is_versioned": False, "can_ask": True, "now": NOW} | options
    return Order(**options).judge(case[0], case[1], asked).name


@pytest.mark.parametrize("name", BY_TIME)
def test_by_time(name):
    assert judge(BY_TIME[name]) == BY_TIME[name][2]


@pytest.mark.parametrize("name", BY_TIME_ALONE)
def test_by_time_where_nothing_can_be_read_again(name):
    assert judge(BY_TIME_ALONE[name], can_ask=False) == BY_TIME_ALONE[name][2]


@pytest.mark.parametrize("name", BY_VERSION)
def test_by_version(name):
    assert judge(BY_VERSION[name], is_versioned=True) == BY_VERSION[name][2]


@pytest.mark.parametrize("name", BY_VERSION_ALONE)
def test_by_version_where_nothing_can_be_read_again(name):
    expected = BY_VERSION_ALONE[name][2]
    assert judge(BY_VERSION_ALONE[name], is_versioned=True, can_ask=False) == expected


@pytest.mark.parametrize(("read_until", "expected"), [(202, "ASK"), (198, "WRITE")])
def test_an_event_from_before_the_last_list_read_is_asked_about(read_until, expected):
    case = (THERE, copy("feed", 200))
    assert judge(case, read_until=read_until * S) == expected


def test_an_event_from_before_the_last_list_read_revives_nothing():
    case = (GONE, copy("feed", 200))
    assert judge(case, can_ask=False, read_until=202 * S) == "OLDER"


ANSWERS = {
    "an answer": (THERE, copy("get", 100), THERE, "WRITE"),
    "an answer that has an early time": (THERE, copy("get", 10), THERE, "WRITE"),
    "gone, says the answer": (THERE, dead("get", 100), THERE, "WRITE"),
    "back, says the answer": (GONE, copy("get", 100), GONE, "WRITE"),
    "written meanwhile": (known("z", revision=2), copy("get", 100), THERE, "ASK"),
    "noted meanwhile": (known(rank=101), copy("get", 100), THERE, "ASK"),
    "unknown when it was asked for": (THERE, copy("get", 100), None, "ASK"),
    "written meanwhile, but the same": (known("y", revision=2), copy("get", 100), THERE, "SAME"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_stands_unless_something_came_between(name):
    before, answer, asked, expected = ANSWERS[name]
    assert judge((before, answer), asked=asked) == expected


def test_an_answer_of_an_older_version_comes_from_a_copy_that_lags():
    assert judge((V5, version("get", 4)), asked=V5, is_versioned=True) == "OLDER"
    assert judge((V5, version("get", 5)), asked=V5, is_versioned=True) == "WRITE"
    assert judge((V5_GONE, version("get", 4)), asked=V5_GONE, is_versioned=True) == "WRITE"


def test_every_verdict_is_reached():
    tables = (BY_TIME, BY_TIME_ALONE, BY_VERSION, BY_VERSION_ALONE, ANSWERS)
    reached = {case[-1] for table in tables for case in table.values()}
    assert reached == {verdict.name for verdict in Verdict}
