"""A connection sets what its plugin lets it set: given with the key, changed later, shown, kept."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from api_kit import callers_of
from cli_kit import run_cli, use_environment
from grants_kit import installed
from market import APPLICATION, install_plugins, open_market
from tieline.contract import Secret, SettingsError
from tieline.engine import ask_run, help_run
from tieline.errors import InvalidInputError
from tieline.services import oauth, syncs
from tieline.services.connect import connect_api_key
from tieline.services.connection_settings import change_settings
from tieline.services.connections import get_connection, list_connections
from tieline.store import connections as store
from tieline.store import log

MODULES = {"tenant": "tenant_plugin", "market": "market_plugin"}
KEY = "key-of-the-tenant"


@pytest.fixture
def market():
    with open_market() as opened:
        opened.members[KEY] = "m0"
        opened.put("e0", 5)
        yield opened


@pytest.fixture
def made(database_url, tmp_path, redis_url):
    opened = installed(
        database_url, tmp_path, modules=MODULES, redis_url=redis_url, hands="1", **APPLICATION
    )
    yield opened
    opened.close()


@pytest.fixture
def lite(sqlite_url, tmp_path, redis_url):
    """One database is enough for what never gets to it."""
    opened = installed(
        sqlite_url, tmp_path, modules=MODULES, redis_url=redis_url, hands="1", **APPLICATION
    )
    yield opened
    opened.close()


def connect(made, market, settings, provider="tenant", **options):
    return connect_api_key(
        made,
        provider,
        name="shop",
        key=Secret(KEY),
        base_url=market.url,
        settings=settings,
        actor="test",
        **options,
    )


def details(made, event):
    with made.database.read() as transaction:
        found = log.list_entries(transaction)
    return [entry["detail"] for entry in found if entry["event"] == event]


def test_what_is_set_reaches_the_plugin_and_defaults_with_it(made, market):
    row = connect(made, market, {"shop": "kiosk", "per-second": "20"})
    assert row.settings == {"shop": "kiosk", "per-second": "20"}
    assert get_connection(made, "shop").account_name == "kiosk in eu"
    opened = made.engine.opener.open(row.id)
    opened.transport.close()
    assert opened.connection.settings == {"shop": "kiosk", "region": "eu", "per_second": 20}
    things = opened.plugin.entity("things")
    run = ask_run(made.engine, row, things, mode="full", asked_by="test").run
    help_run(made.engine, run.id, threading.Event())
    assert syncs.get_run(made, run.id).counts.created == 5
    assert market.calls["/kiosk/things/e0"] > 0


REFUSED = {
    "nothing where something is required": ("tenant", {}, "connection-setting-invalid", "shop"),
    "an unknown name": (
        "tenant",
        {"shop": "a", "regoin": "eu"},
        "connection-setting-unknown",
        "regoin",
    ),
    "a value that does not fit": ("tenant", {"shop": "A B"}, "connection-setting-invalid", "shop"),
    "none of the words": (
        "tenant",
        {"shop": "a", "region": "mars"},
        "connection-setting-invalid",
        "region",
    ),
    "no number": (
        "tenant",
        {"shop": "a", "per-second": "fast"},
        "connection-setting-invalid",
        "per-second",
    ),
    "a name of Python's": (
        "tenant",
        {"shop": "a", "per_second": 5},
        "connection-setting-unknown",
        "per_",
    ),
    "a list": ("tenant", {"shop": ["a"]}, "connection-setting-invalid", "shop"),
    "a long text": ("tenant", {"shop": "a" * 9000}, "connection-setting-invalid", "shop"),
    "where there are none": ("market", {"shop": "a"}, "connection-setting-unknown", "settings"),
}


@pytest.mark.parametrize(("provider", "settings", "code", "named"), REFUSED.values(), ids=REFUSED)
def test_what_the_schema_refuses_is_not_tried_at_the_provider(
    lite, market, provider, settings, code, named
):
    with pytest.raises(InvalidInputError) as raised:
        connect(lite, market, settings, provider)
    assert raised.value.slug == code
    assert named in raised.value.message
    assert not market.calls
    assert list_connections(lite) == []


def test_settings_are_changed_one_by_one_or_as_a_whole(made, market):
    connect(made, market, {"shop": "kiosk", "region": "us"})
    changed = change_settings(made, "shop", {"per-second": 5}, actor="test")
    assert changed.settings == {"shop": "kiosk", "region": "us", "per-second": 5}
    fewer = change_settings(made, "shop", {"shop": "stall"}, dropped=["region"], actor="test")
    assert fewer.settings == {"shop": "stall", "per-second": 5}
    whole = change_settings(made, "shop", {"shop": "till"}, is_whole=True, actor="test")
    assert whole.settings == get_connection(made, "shop").settings == {"shop": "till"}
    told = details(made, "connection.settings_changed")
    assert sorted(told) == [
        "tenant shop: per-second", "tenant shop: per-second, shop", "tenant shop: region, shop",
    ]  # fmt: skip
    assert change_settings(made, "shop", {"shop": "till"}, actor="test").settings == whole.settings
    assert details(made, "connection.settings_changed") == told


@pytest.mark.parametrize(
    ("given", "dropped", "error"),
    [
        ({"region": "mars"}, [], InvalidInputError),
        ({"moon": "1"}, [], InvalidInputError),
        ({}, ["shop"], InvalidInputError),
        ({}, ["region"], InvalidInputError),
        ({"shop": "b"}, ["shop"], InvalidInputError),
        ({"per-second": 101}, [], SettingsError),
    ],
    ids=["no word", "unknown", "required", "not set", "both", "the plugin's limits refuse it"],
)
def test_a_change_that_is_refused_changes_nothing(lite, market, given, dropped, error):
    connect(lite, market, {"shop": "kiosk"})
    with pytest.raises(error):
        change_settings(lite, "shop", given, dropped=dropped, actor="test")
    assert get_connection(lite, "shop").settings == {"shop": "kiosk"}
    assert details(lite, "connection.settings_changed") == []


def test_two_changes_at_once_are_both_kept(made, market):
    connect(made, market, {"shop": "kiosk"})
    ready = threading.Barrier(2)

    def change(given):
        ready.wait()
        change_settings(made, "shop", given, actor="test")

    for number in range(1, 9):
        each = [
            threading.Thread(target=change, args=(given,))
            for given in ({"per-second": number}, {"region": ("eu", "us")[number % 2]})
        ]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join()
        expected = {"shop": "kiosk", "per-second": number, "region": ("eu", "us")[number % 2]}
        assert get_connection(made, "shop").settings == expected


def test_a_new_key_keeps_the_settings_and_changes_none(made, market):
    connect(made, market, {"shop": "kiosk"})
    again = connect(made, market, None, is_replacing=True)
    assert again.settings == get_connection(made, "shop").settings == {"shop": "kiosk"}
    assert again.account_name == "kiosk in eu"
    with pytest.raises(InvalidInputError, match="changes no settings"):
        connect(made, market, {"shop": "stall"}, is_replacing=True)


def test_stored_settings_that_fit_no_longer_stop_that_connection_and_say_what_to_do(lite, market):
    row = connect(lite, market, {"shop": "kiosk"})
    with lite.database.write() as transaction:
        gone = {"shop": "kiosk", "colour": "red"}
        store.set_settings(transaction, row.id, gone, now=lite.clock.now())
    opened = lite.engine.opener.open(row.id)
    opened.transport.close()
    assert "colour" not in opened.connection.settings
    with lite.database.write() as transaction:
        store.set_settings(transaction, row.id, {"region": "us"}, now=lite.clock.now())
    with pytest.raises(SettingsError) as raised:
        lite.engine.opener.open(row.id)
    assert raised.value.hint == "tieline connections set shop shop=VALUE"


def test_a_sign_in_remembers_what_is_to_be_set(lite):
    """A plugin that takes OAuth 2 and has settings is one of these two with the other's schema."""
    registry = lite.registry
    plain, tenant = registry.get("market"), registry.get("tenant")
    provider = replace(plain.provider, settings=tenant.provider.settings)
    both = replace(plain, provider=provider)
    lite.registry = SimpleNamespace(get=lambda _name: both)
    try:
        with pytest.raises(InvalidInputError):
            oauth.intend(lite, "market", name="till", settings={}, actor="test")
        intent = oauth.intend(lite, "market", name="till", settings={"shop": "a"}, actor="test")
        link = oauth.make_link(lite, intent)
        found, _ = oauth.open_link(lite, link.address.rpartition("/")[2])
        assert found == intent
        assert oauth._row(found, lite).settings == {"shop": "a"}
    finally:
        lite.registry = registry


def test_the_command_line_sets_shows_and_changes(
    sqlite_url, redis_url, tmp_path, market, monkeypatch
):
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(install_plugins(folder, "tenant"))
    installed(sqlite_url, tmp_path / "home").close()
    use_environment(monkeypatch, tmp_path / "home", sqlite_url, redis_url)
    said = run_cli("providers", "show", "tenant", "--json").json["providers"][0]
    assert said["settings"]["region"] == "Where its data is."
    assert "set per-second" in run_cli("providers", "show", "tenant").stdout

    given = ("connect", "tenant", "--name", "shop", "--key-stdin", "--base-url", market.url)
    refused = run_cli(*given, "--set", "regoin=eu", "--set", "shop=kiosk", stdin=KEY)
    assert refused.code == 2
    assert "setting 'regoin'" in refused.stderr
    assert "region" in refused.stderr.partition("regoin")[2]
    made = run_cli(*given, "--set", "shop=kiosk", "--json", stdin=KEY)
    assert made.json["connection"]["settings"] == {"shop": "kiosk"}
    changed = run_cli("connections", "set", "shop", "region=us", "per-second=7", "--json")
    expected = {"shop": "kiosk", "region": "us", "per-second": "7"}
    assert changed.json["connection"]["settings"] == expected
    assert "set region" in run_cli("connections", "show", "shop").stdout
    assert run_cli("connections", "set", "shop", "--unset", "region").code == 0
    shown = run_cli("connections", "show", "shop", "--json").json["connection"]
    assert shown["settings"] == {"shop": "kiosk", "per-second": "7"}


@pytest.mark.parametrize("given", [[], ["sk_live_secret"], ["=x"], ["shop=a", "shop=b"]], ids=str)
def test_what_is_no_name_and_value_is_refused_and_not_repeated(
    sqlite_url, redis_url, tmp_path, monkeypatch, given
):
    use_environment(monkeypatch, tmp_path / "home", sqlite_url, redis_url)
    done = run_cli("connections", "set", "shop", *given)
    assert done.code == 2
    assert "sk_live" not in done.stderr


def test_the_api_sets_all_of_it_and_shows_it(lite, market):
    admin = callers_of(lite).new("admin", name="boss")
    body = {"provider": "tenant", "name": "shop", "api_key": KEY, "base_url": market.url}
    refused = admin.refused("POST", "/connections", 422, json=body)
    assert refused["code"] == "connection-setting-invalid"
    made = admin.post("/connections", body | {"settings": {"shop": "kiosk"}}, status=201)
    assert made["settings"] == {"shop": "kiosk"}
    whole = {"settings": {"shop": "till", "per-second": 3}}
    put = admin.ok("PUT", "/connections/shop/settings", json=whole)
    assert put["settings"] == {"shop": "till", "per-second": 3}
    assert admin.get("/connections/shop")["settings"] == put["settings"]
    wrong = {"settings": {"shop": "till", "per-second": "fast"}}
    refused = admin.refused("PUT", "/connections/shop/settings", 422, json=wrong)
    assert refused["code"] == "connection-setting-invalid"
    [said] = [each for each in admin.get("/providers")["data"] if each["name"] == "tenant"]
    assert set(said["settings"]) == {"shop", "region", "per-second"}
