"""The doctor finds what is planted, each with its code and a command, and nothing else."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from cli_kit import run_cli, use_environment
from doctor_kit import PLANTED, Ward, open_key, scheduled
from tieline import __version__
from tieline.contract import Secret
from tieline.queue import WorkerSign
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise
from tieline.store.schema import upgrade


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, redis_server) -> Path:
    """A folder with a database, a key and a connection, to be copied."""
    folder = tmp_path_factory.mktemp("healthy")
    with pytest.MonkeyPatch.context() as patch:
        use_environment(patch, folder, f"sqlite:///{folder}/tieline.db", redis_server.ensure())
        opened = Installation()
        initialise(opened)
        connect_api_key(
            opened,
            "stripe",
            name="shop",
            key=Secret("sk_test_0f3b9d7c51e2a864"),
            base_url="http://127.0.0.1:9",
            is_checked=False,
            actor="test",
        )
        opened.close()
    return folder


@pytest.fixture
def ward(healthy, redis_url, tmp_path, monkeypatch):
    """A healthy installation: a connection, a worker, a scheduler."""
    folder, plugins = tmp_path / "home", tmp_path / "plugins"
    plugins.mkdir()
    monkeypatch.syspath_prepend(str(plugins))
    shutil.copytree(healthy, folder)
    use_environment(monkeypatch, folder, f"sqlite:///{folder}/tieline.db", redis_url)
    made = Ward(monkeypatch, folder, redis_url, plugins)
    with made.opened() as opened:
        sign = WorkerSign(name="host:1", queues=("sync",), busy_with="", version=__version__)
        opened.presence.announce(sign, ttl_s=100)
        opened.schedulers.announce(sign, ttl_s=100)
    return made


def test_the_doctor_finds_nothing_on_a_healthy_installation(ward):
    with ward.opened() as opened:
        ward.endpoint(opened)
        scheduled(opened, timedelta(hours=1))
    (ward.folder / ".env").write_text("# of this folder\nexport TIELINE_LOG_FORMAT=json\n")
    done = ward.doctor()
    found = done.json
    assert [each for each in found["findings"] if each["level"] != "ok"] == []
    assert (found["warnings"], found["failures"], done.code) == (0, 0, 0)
    subjects = {each["subject"] for each in found["findings"]}
    assert subjects >= {
        "config", "database", "disk", "keys", "credentials", "redis", "plugins", "connections",
        "limits", "webhooks", "workers", "scheduler",
    }  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED, ids=list(PLANTED))
def test_the_doctor_finds_what_is_planted(ward, fault):
    plant, level, code, words = PLANTED[fault]
    heal = plant(ward)
    try:
        done = ward.doctor()
    finally:
        if heal is not None:
            heal()
    assert "hunter2" not in done.stdout
    troubles = [each for each in done.json["findings"] if each["level"] != "ok"]
    [found] = [each for each in troubles if each["code"] == code]
    assert found["level"] == level
    assert words in f"{found['message']} {found['fix']}"
    assert found["fix"]
    assert done.code == (7 if any(each["level"] == "fail" for each in troubles) else 0)
    if fault not in SPREADING:
        assert troubles == [found]


# What these break shows in other places, too: no key opens no credential.
SPREADING = {"no installation", "a database that is away"}


@pytest.mark.parametrize("fault", ["a key that others can read", "secrets that others can read"])
def test_what_is_safe_is_mended_when_asked(ward, fault):
    PLANTED[fault][0](ward)
    [trouble] = [each for each in ward.doctor().json["findings"] if each["level"] != "ok"]
    assert trouble["is_fixable"]
    done = ward.doctor("--fix")
    assert [each for each in done.json["findings"] if each["level"] != "ok"] == []
    assert len(done.json["fixed"]) == 1
    assert done.code == 0


def test_a_database_of_this_machine_that_is_behind_is_brought_up_when_asked(ward):
    path = ward.folder / "old.db"
    ward.env("DATABASE_URL", f"sqlite:///{path}")
    with ward.opened() as opened:
        upgrade(opened.raw_database, "0001")
    assert "schema-behind" in {each["code"] for each in ward.doctor().json["findings"]}
    done = ward.doctor("--fix")
    assert done.json["fixed"] == ["database: tieline db upgrade"]
    assert done.code == 0


def test_nothing_is_mended_unless_it_is_asked_for(ward):
    open_key(ward)
    ward.doctor()
    assert (ward.folder / "keys" / "local.key").stat().st_mode & 0o777 == 0o644


def test_people_read_the_cause_the_command_and_the_code(ward):
    open_key(ward)
    said = run_cli("doctor").stdout
    assert "FAIL  keys        " in said
    assert "[key-open]\n        fix         chmod 600 " in said
    assert said.endswith("failure\n")
