"""Rules of schedules: read, refused, and when their ticks are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline.engine.timetable import (
    Timetable,
    default_jitter_s,
    find_zone,
    read_duration_s,
    read_rule,
    require_jitter,
)
from tieline.errors import InvalidInputError

NEW_YORK = ZoneInfo("America/New_York")


def timetable(rule: str, zone: str = "UTC", *, jitter_s: int = 0, name: str = "sch_1"):
    anchor = datetime(2026, 1, 1, 0, 0, 7, 123456, tzinfo=UTC)
    return Timetable(schedule_id=name, rule=read_rule(rule, zone), jitter_s=jitter_s, anchor=anchor)


def ticks(rule: str, after: datetime, count: int, zone: str = "UTC") -> list[datetime]:
    return list(islice(timetable(rule, zone).ticks_after(after), count))


@pytest.mark.parametrize(
    ("text", "stored"),
    {
        "every 15m": "every 15m",
        "15m": "every 15m",
        "  every   90s ": "every 90s",
        "every 15 m": "every 15m",
        "120s": "every 2m",
        "24h": "every 1d",
        "10s": "every 10s",
        "cron  30 3 * *  MON-FRI": "cron 30 3 * * MON-FRI",
    }.items(),
)
def test_a_rule_is_stored_in_one_form_that_is_read_again(text, stored):
    assert read_rule(text, "UTC").text == stored
    assert read_rule(stored, "UTC").text == stored


REFUSED = {
    "nothing": ("", "rule: ''"),
    "a word": ("hourly", "no duration"),
    "negative": ("every -5m", "no duration"),
    "zero": ("every 0s", "out of range"),
    "too often": ("every 9s", "out of range"),
    "too seldom": ("every 3661d", "out of range"),
    "a fraction": ("every 1.5h", "no duration"),
    "two units": ("1h30m", "no duration"),
    "an unmarked cron rule": ("30 3 * * *", "--cron"),
    "four fields": ("cron 30 3 * *", "4 fields"),
    "seconds": ("cron 0 30 3 * * *", "6 fields"),
    "no fields": ("cron", "0 fields"),
    "an alias": ("cron @daily", "1 fields"),
    "minute 60": ("cron 60 3 * * *", "Bad minute"),
    "a day that never comes": ("cron 0 0 30 2 *", "cron rule"),
    "a day that never comes, in a list": ("cron 0 0 31 2,4,6 *", "cron rule"),
    "emoji": ("every 15m 🕒", "is no rule"),
    "a digit of another script": ("every ١٥m", "is no rule"),
    "NUL": ("every 15m\0", "no duration"),
    "a path": ("../../etc/passwd", "no duration"),
    "SQL": ("'; DROP TABLE schedules; --", "rule"),
    "a megabyte": ("every " + "9" * 1_000_000 + "m", "is no rule"),
    "long cron": ("cron " + ",".join(["1"] * 80) + " * * * *", "too long"),
}


@pytest.mark.parametrize("case", REFUSED, ids=list(REFUSED))
def test_a_wrong_rule_is_refused_with_field_and_reason(case):
    text, words = REFUSED[case]
    with pytest.raises(InvalidInputError) as caught:
        read_rule(text, "UTC")
    assert caught.value.message.startswith("rule: ")
    assert words in caught.value.message + caught.value.hint
    assert len(caught.value.message) < 250
    assert caught.value.hint


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Olympus",
        "America",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "a\0b",
        "é",
        "X" * 10**6,
    ],
)
def test_a_wrong_zone_is_refused_with_field_and_reason(zone):
    with pytest.raises(InvalidInputError) as caught:
        find_zone(zone)
    assert caught.value.message.startswith("zone: ")
    assert len(caught.value.message) < 250


def test_a_misspelt_zone_is_told_its_nearest():
    with pytest.raises(InvalidInputError) as caught:
        find_zone("Europe/Berlni")
    assert caught.value.hint == "did you mean Europe/Berlin?"


RULE_LIKE = st.text("0123456789*/-,#L W?smhdevrycon@MONJAN\0é🕒", max_size=40)
FIELD = st.one_of(
    st.integers(-1, 70).map(str),
    st.sampled_from(["*", "*/5", "1-5", "5-1", "L", "LW", "MON", "1#2", "5L", "1,L", "JAN", "1/0"]),
    RULE_LIKE,
)
CRON_LIKE = st.lists(FIELD, min_size=4, max_size=6).map(lambda words: "cron " + " ".join(words))


@settings(max_examples=5000, deadline=None, database=None)
@given(
    text=st.one_of(RULE_LIKE, RULE_LIKE.map("every {}".format), CRON_LIKE, st.text(max_size=200)),
    zone=st.sampled_from(["UTC", "America/New_York", "Nowhere"]),
)
def test_whatever_is_typed_is_read_or_refused(text, zone):
    try:
        rule = read_rule(text, zone)
    except InvalidInputError as error:
        assert error.message.startswith(("rule: ", "zone: "))  # noqa: PT017 - either may be
        return
    assert len(rule.text) <= 120
    assert rule.gap_s() >= 10
    require_jitter(rule, default_jitter_s(rule))
    now = datetime(2026, 3, 8, 6, 59, 59, 5, tzinfo=UTC)
    first, second = islice(
        Timetable(schedule_id="s", rule=rule, jitter_s=0, anchor=now).ticks_after(now), 2
    )
    assert now < first < second


def test_an_interval_does_not_drift():
    start = datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC)
    table, now = timetable("every 15m"), start
    for number in range(1, 1000):
        due = table.next_after(now)
        assert due == start + number * timedelta(minutes=15)
        now = due + timedelta(seconds=number % 300)  # noticed late, more or less


def test_a_grid_goes_on_before_its_anchor():
    early = datetime(2020, 1, 1, tzinfo=UTC)
    assert early < timetable("every 1h").next_after(early) <= early + timedelta(hours=1)


@pytest.mark.parametrize("rule", ["every 15m", "cron */15 * * * *", "cron 0 3 * * *"])
def test_jitter_is_bounded_the_same_for_all_and_keeps_the_order(rule):
    start = datetime(2026, 5, 1, tzinfo=UTC)
    jitter_s = min(450, read_rule(rule, "UTC").gap_s() // 2)
    plain = list(islice(timetable(rule).ticks_after(start), 200))
    table = timetable(rule, jitter_s=jitter_s)
    moved = [tick for tick in islice(table.ticks_after(start), 201) if tick >= plain[0]][:200]
    late = [(m - p).total_seconds() for p, m in zip(plain, moved, strict=True)]
    assert all(0 <= each <= jitter_s for each in late)
    assert max(late) - min(late) > jitter_s / 2
    assert moved == sorted(set(moved))
    now = start
    for expected in islice(table.ticks_after(start), 50):  # one by one gives the same
        now = table.next_after(now)
        assert now == expected


@pytest.mark.parametrize("jitter", [-1, 451, 10**12])
def test_a_jitter_that_could_put_ticks_out_of_order_is_refused(jitter):
    with pytest.raises(InvalidInputError, match=r"jitter: .* from 0 to 450 s"):
        require_jitter(read_rule("15m", "UTC"), jitter)


def test_the_default_jitter_is_a_tenth_and_a_minute_at_most():
    rules = ("10s", "5m", "15m", "1d", "cron * * * * *", "cron 0 3 * * *")
    assert [default_jitter_s(read_rule(text, "UTC")) for text in rules] == [1, 30, 60, 60, 6, 60]


@pytest.mark.parametrize("local", ["30 2", "30 1", "0 0", "0 3"])
@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
def test_a_daily_rule_comes_once_on_every_day_of_the_year(local, zone):
    start = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = ticks(f"cron {local} * * *", start, 365, zone)
    days = [tick.astimezone(ZoneInfo(zone)).date() for tick in found]
    assert len(set(days)) == 365
    assert days[-1] - days[0] == timedelta(days=364)


@pytest.mark.parametrize("minute", range(0, 60, 7))
def test_no_moment_of_the_repeated_hour_brings_a_daily_tick_back(minute):
    """01:30 comes twice on that night; a scheduler that starts in between must not do it again."""
    tick = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # 01:30 EDT
    now = tick + timedelta(minutes=minute)
    assert ticks("cron 30 1 * * *", now, 1, "America/New_York") == [
        datetime(2026, 11, 2, 6, 30, tzinfo=UTC)
    ]


def test_what_falls_into_the_skipped_hour_comes_right_after_it():
    before = datetime(2026, 3, 8, 6, tzinfo=UTC)
    [tick] = ticks("cron 30 2 * * *", before, 1, "America/New_York")
    assert tick.astimezone(NEW_YORK).isoformat() == "2026-03-08T03:00:00-04:00"


def test_an_hourly_rule_follows_real_time_when_clocks_change():
    for day in (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):
        found = ticks("cron 0 * * * *", day, 24, "America/New_York")
        assert found == [day + timedelta(hours=hour) for hour in range(1, 25)]


def test_a_leap_day_comes_in_leap_years_alone():
    found = ticks("cron 0 0 29 2 *", datetime(2095, 1, 1, tzinfo=UTC), 3)
    assert [tick.year for tick in found] == [2096, 2104, 2108]
    daily = ticks("cron 0 6 * * *", datetime(2028, 2, 28, 12, tzinfo=UTC), 2)
    assert [tick.strftime("%m-%d") for tick in daily] == ["02-29", "03-01"]
    last = ticks("cron 0 0 L 2 *", datetime(2027, 1, 1, tzinfo=UTC), 2)
    assert [tick.strftime("%m-%d") for tick in last] == ["02-28", "02-29"]


def test_nothing_happens_in_2038():
    edge = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)
    assert ticks("every 10s", edge, 2) == [
        datetime(2038, 1, 19, 3, 14, 17, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 27, tzinfo=UTC),
    ]
    assert ticks("cron 0 3 * * *", edge, 1)[0] == datetime(2038, 1, 20, 3, tzinfo=UTC)
    [tick] = ticks("cron 0 3 * * *", edge, 1, "America/New_York")
    assert tick.astimezone(NEW_YORK).hour == 3


@pytest.mark.parametrize("text", ["7", "d", "7 days", "-7d", "1e3d", "59s", "", "9" * 12 + "d"])
def test_a_wrong_duration_names_its_field(text):
    with pytest.raises(InvalidInputError, match=r"^full-every: "):
        read_duration_s(text, field="full-every", least_s=60)
