"""Examples of deliveries that plugins ship: what they must be, and what is made of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from kit import entry_point
from tieline.contract import PathSecret, Webhooks
from tieline.errors import InvalidInputError, PluginError
from tieline.inbox import put_text, set_values
from tieline.registry import Fixture, Registry, list_fixtures

NOW = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def shipped() -> list[tuple[Fixture, Webhooks]]:
    return [
        (fixture, listed.plugin.webhooks)
        for listed in Registry().list()
        if listed.plugin
        for fixture in list_fixtures(listed.plugin)
    ]


@pytest.mark.parametrize(
    ("fixture", "webhooks"), shipped(), ids=lambda case: getattr(case, "name", None)
)
def test_every_fixture_of_every_plugin_is_a_new_event_of_its_file_s_type(fixture, webhooks):
    first, again, later = (
        webhooks.parse(fixture.fill(new_id=new_id, now=now), {"content-type": fixture.content_type})
        for new_id, now in (("a" * 24, NOW), ("a" * 24, NOW), ("b" * 24, NOW + timedelta(days=1)))
    )
    assert fixture.type in {event.type for event in first}
    assert [event.id for event in first] == [event.id for event in again]
    assert not {event.id for event in first} & {event.id for event in later}


def test_at_least_one_plugin_ships_fixtures():
    assert {fixture.provider for fixture, _ in shipped()} >= {"stripe"}


def fixture(text: str, *, is_form: bool = False) -> Fixture:
    return Fixture(provider="toy", name="order.made", type="order.made", is_form=is_form, text=text)


def filled(text: str, **options) -> bytes:
    return fixture(text, **options).fill(new_id="abc123", now=NOW)


def test_markers_are_filled_in():
    body = filled(
        '{"id": "evt_{{id}}", "again": "{{id}}", "at": "{{now}}", "s": "{{now:epoch}}",'
        ' "bare": {{now:epoch}}, "in": "at {{now:epoch}}", "ms": "{{now:epoch_ms}}",'
        ' "day": "{{now:%d.%m.%Y}}"}'
    )
    seconds = int(NOW.timestamp())
    assert json.loads(body) == {
        "id": "evt_abc123",
        "again": "abc123",
        "at": "2026-11-01T12:30:00Z",
        "s": seconds,
        "bare": seconds,
        "in": f"at {seconds}",
        "ms": seconds * 1000,
        "day": "01.11.2026",
    }


@pytest.mark.parametrize(
    "text",
    [
        "id={{id}}&fired_at={{now:%Y-%m-%d %H:%M:%S}}&data[email]=a%2Bb@example.com",
        "id=%7B%7Bid%7D%7D&fired_at={{now:%Y-%m-%d %H:%M:%S}}&data%5Bemail%5D=a%2Bb%40example.com",
        "id={{id}}\n&fired_at={{now:%Y-%m-%d %H:%M:%S}}\n\n  data[email]=a%2Bb@example.com&\n",
    ],
    ids=["in one line", "escaped", "a field a line"],
)
def test_a_form_is_filled_in_and_sent_as_a_form(text):
    body = filled(text, is_form=True)
    assert dict(parse_qsl(body.decode())) == {
        "id": "abc123",
        "fired_at": "2026-11-01 12:30:00",
        "data[email]": "a+b@example.com",
    }
    assert b"[" not in body
    assert b"@" not in body


@pytest.mark.parametrize("marker", ["{{uuid}}", "{{now:mailchimp}}", "{{ id }}", "{{now:}}"])
def test_a_marker_that_is_none_is_named(marker):
    with pytest.raises(PluginError, match=r"order\.made of toy has a marker that is none"):
        filled(f'{{"id": "{marker}"}}')


def test_a_folder_is_read_by_name_and_what_is_no_fixture_is_left_out(tmp_path, monkeypatch):
    folder = tmp_path / "tried_deliveries"
    folder.mkdir()
    for name in ("b.json", "a.b+c.json", "a.form", "SOURCES.md", ".json", "notes.txt"):
        (folder / name).write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    plugin = Registry(given=[entry_point("hooked", "hooked_plugin")]).get("hooked")
    object.__setattr__(plugin.webhooks, "fixtures", "tried_deliveries")
    found = list_fixtures(plugin)
    assert [(each.name, each.type, each.is_form) for each in found] == [
        ("a", "a", True),
        ("a.b+c", "a.b", False),
        ("b", "b", False),
    ]
    (folder / "c.json").write_bytes(b"\xff")
    with pytest.raises(PluginError, match="cannot be read: UnicodeDecodeError"):
        list_fixtures(plugin)
    object.__setattr__(plugin.webhooks, "fixtures", "nowhere_at_all")
    with pytest.raises(PluginError, match="nowhere_at_all, cannot be read"):
        list_fixtures(plugin)


DOCUMENT = b'{"a": {"b": [{"c": 1}, 2]}, "d": null}'
PUT = {
    "a text": ({"a.b.0.c": "Ada"}, {"a": {"b": [{"c": "Ada"}, 2]}, "d": None}),
    "a number": ({"d": "42"}, {"a": {"b": [{"c": 1}, 2]}, "d": 42}),
    "a text of digits": ({"d": '"42"'}, {"a": {"b": [{"c": 1}, 2]}, "d": "42"}),
    "an object": ({"a": '{"x": true}'}, {"a": {"x": True}, "d": None}),
    "a new name": ({"a.e": "=x="}, {"a": {"b": [{"c": 1}, 2], "e": "=x="}, "d": None}),
    "two": ({"a.b.1": "3", "d": ""}, {"a": {"b": [{"c": 1}, 3]}, "d": ""}),
}


@pytest.mark.parametrize(("changes", "expected"), PUT.values(), ids=PUT)
def test_a_value_is_put_where_its_place_says(changes, expected):
    assert json.loads(set_values(DOCUMENT, changes, is_form=False)) == expected


NOWHERE = {
    "x.y": "there is no 'x'",
    "a.b.2": "there is no '2'",
    "a.b.first": "there is no 'first'",
    "d.e": "there is no 'e'",
    "a.b.1.c": "there is no 'c'",
    "a.b.-1": "there is no '-1'",
}


@pytest.mark.parametrize("place", NOWHERE)
def test_a_place_that_is_not_there_is_named(place):
    with pytest.raises(InvalidInputError, match=NOWHERE[place]):
        set_values(DOCUMENT, {place: "1"}, is_form=False)


def test_a_field_of_a_form_is_put_by_its_path_or_its_name():
    form = b"type=sub&data%5Bemail%5D=a%40example.com"
    for place in ("data.email", "data[email]"):
        found = set_values(form, {place: "b@example.com", "new": "1"}, is_form=True)
        assert parse_qsl(found.decode()) == [
            ("type", "sub"),
            ("data[email]", "b@example.com"),
            ("new", "1"),
        ]


def test_only_a_value_that_is_the_whole_text_becomes_another():
    body = b'{"account": "acct_1", "note": "acct_1 is here", "all": ["acct_1"], "acct_1": 1}'
    assert json.loads(put_text(body, "acct_1", "acct_2", is_form=False)) == {
        "account": "acct_2",
        "note": "acct_1 is here",
        "all": ["acct_2"],
        "acct_1": 1,
    }
    assert put_text(b"a=x&b=xx", "x", "y", is_form=True) == b"a=y&b=xx"


def test_nothing_is_written_anew_where_nothing_changes():
    body = b'{"amount":  1.10, "e": 1e5}'
    assert set_values(body, {}, is_form=False) is body


def test_a_plugin_without_webhooks_or_fixtures_has_none():
    plugin = Registry(given=[entry_point("shelf", "shelf_plugin")]).get("shelf")
    assert list_fixtures(plugin) == []
    assert Webhooks(scheme=PathSecret(), parse=lambda body, headers: []).fixtures == ""
