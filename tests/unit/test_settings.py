"""Settings are read in one order, checked, and named when they are wrong."""

from __future__ import annotations

import pytest

from tieline.contract import SettingsError
from tieline.settings import load_settings, unknown_names


def test_the_environment_comes_before_dotenv_and_a_value_before_its_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("redis://from-file\n")
    (tmp_path / ".env").write_text(
        "TIELINE_LEASE_S=7\nTIELINE_REDIS_URL=redis://from-dotenv\n# x\n"
    )
    assert load_settings({}, tmp_path).lease_s == 7
    assert load_settings({}, tmp_path).redis_url.reveal() == "redis://from-dotenv"
    named = {"TIELINE_REDIS_URL_FILE": str(secret), "TIELINE_LEASE_S": "9"}
    assert load_settings(named, tmp_path).lease_s == 9
    assert load_settings(named, tmp_path).redis_url.reveal() == "redis://from-file"
    both = named | {"TIELINE_REDIS_URL": "redis://from-environment"}
    assert load_settings(both, tmp_path).redis_url.reveal() == "redis://from-environment"


WRONG = {
    "LEASE_S": ["0", "601", "soon", "nan"],
    "ENV": ["prod"],
    "DATABASE_URL": ["mysql://u:hunter2@h/d"],
    "REDIS_URL": ["http://:hunter2@h"],
    "LOG_LEVEL": ["loud"],
    "READ_AHEAD": ["-1", "65", "x"],
    "ALLOW_LOCAL_KEY": ["perhaps"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_named_with_an_example_and_not_shown(name, value, tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings({f"TIELINE_{name}": value}, tmp_path)
    assert f"TIELINE_{name}" in caught.value.message
    assert f"TIELINE_{name}=" in caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError) as caught:
        load_settings({"TIELINE_KEY_FILE": str(tmp_path / "none")}, tmp_path)
    assert "TIELINE_KEY_FILE" in caught.value.message


def test_failpoints_need_a_second_word(tmp_path):
    armed = {"TIELINE_FAILPOINTS": "sync.fetch.after=kill"}
    with pytest.raises(SettingsError):
        load_settings(armed, tmp_path)
    assert load_settings(armed | {"TIELINE_ALLOW_FAILPOINTS": "true"}, tmp_path).failpoints


def test_a_misspelt_name_is_reported_with_the_nearest():
    assert unknown_names({"TIELINE_HOEM": "x", "TIELINE_KEY_FILE": "y", "PATH": "z"}) == {
        "TIELINE_HOEM": "did you mean TIELINE_HOME?"
    }


MISSPELT = {
    "TIELINE_SQUARE_CLIENT_SECRT": "TIELINE_SQUARE_CLIENT_SECRET",
    "TIELINE_SQAURE_CLIENT_ID": "TIELINE_SQUARE_CLIENT_ID",
    "TIELINE_SQUARE_REDIRECT_URL": "TIELINE_SQUARE_REDIRECT_URI",
    "TIELINE_SQUARE_RATE_LIMIT": "TIELINE_SQUARE_RATE_LIMITS",
    "TIELINE_STIRPE_RATE_LIMITS": "TIELINE_STRIPE_RATE_LIMITS",
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_name_of_a_provider_s_setting_is_reported_too(name, tmp_path):
    found = unknown_names({name: "x"}, tmp_path, providers=["square", "stripe"])
    assert found == {name: f"did you mean {MISSPELT[name]}?"}


def test_what_an_installed_provider_takes_is_no_mistake(tmp_path):
    names = ["CLIENT_ID", "CLIENT_SECRET", "CLIENT_SECRET_FILE", "REDIRECT_URI", "ENVIRONMENT"]
    given = {
        f"TIELINE_SQUARE_{name}": "x"
        for name in [*names, "SCOPES", "WEBHOOK_SECRET", "RATE_LIMITS"]
    }
    assert unknown_names(given, tmp_path, providers=["square"]) == {}
    assert unknown_names(given, tmp_path) == {}
    assert len(unknown_names(given, tmp_path, providers=["stripe"])) == len(given)


def test_a_misspelt_name_in_dotenv_is_reported(tmp_path):
    (tmp_path / ".env").write_text("TIELINE_KYE=x\n# TIELINE_OLD=y\n")
    assert unknown_names({}, tmp_path) == {"TIELINE_KYE": "did you mean TIELINE_KEY?"}


def test_a_name_that_resembles_none_gets_no_list_of_sixty(tmp_path):
    found = unknown_names({"TIELINE_XYZZY": "x"}, tmp_path)
    assert found == {"TIELINE_XYZZY": "tieline config env-example names all"}


def test_the_home_follows_the_desktop_s_rules(tmp_path, monkeypatch):
    assert load_settings({"XDG_DATA_HOME": "/data"}, tmp_path).home.as_posix() == "/data/tieline"
    monkeypatch.setenv("HOME", "/home/me")
    assert load_settings({}, tmp_path).home.as_posix() == "/home/me/.local/share/tieline"
    assert load_settings({"TIELINE_HOME": "~/t"}, tmp_path).home.as_posix() == "/home/me/t"


def test_secrets_do_not_print(tmp_path):
    settings = load_settings({"TIELINE_REDIS_URL": "redis://:hunter2@h"}, tmp_path)
    assert "hunter2" not in repr(settings)
