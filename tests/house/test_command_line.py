"""Every command, in every way in which a command is called wrong or in a poor place."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

sys.path.append(str(Path(__file__).parents[1] / "fuzz"))

import cli_calls  # found by the line above

import sinks
from cli_kit import run_cli, use_environment
from json_output import tree
from tieline.services.installation import Installation
from tieline.services.setup import initialise

TREE = tree()
LEAVES = [name for name, each in TREE.items() if not isinstance(each, click.Group)]


@pytest.fixture(scope="module")
def place(redis_home, redis_server, tmp_path_factory):
    """An installation with nothing in it, in whose environment this process is."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        use_environment(patch, home, f"sqlite:///{home}/tieline.db", redis_server.ensure())
        settings = {name: text for name, text in os.environ.items() if name[:8] == "TIELINE_"}
        opened = Installation()
        initialise(opened)
        opened.close()
    return home, settings


@pytest.fixture(autouse=True)
def in_place(place, monkeypatch):
    home, settings = place
    for name, text in settings.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(home)


def test_every_command_explains_itself_in_plain_text_or_to_nobody(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    for name in ["", *TREE]:
        done = run_cli(*name.split(), "--help")
        assert (done.code, done.stderr) == (0, ""), name
        assert f"Usage: {f'tieline {name}'.strip()}" in done.stdout, name
        assert "\x1b" not in done.stdout, name
    for name in ["", *TREE][::5]:
        unread = run_cli(*name.split(), "--help", has_reader=False)
        assert unread.code in {0, 141}, (name, unread.stderr)
        assert unread.stderr == "", name


def test_every_command_has_an_option_explained_in_words():
    for name, command in TREE.items():
        assert command.help, name
        if name.startswith("sandbox serve "):
            continue  # its options are what the sandbox takes, by their names
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{name} {option.opts}"


def test_every_command_refuses_what_it_does_not_know_in_one_line():
    for name in TREE:
        for wrong in ("--no-such-option", "--json=1", "\udc80"):
            done = run_cli(*name.split(), wrong)
            assert done.code == 2, (name, wrong, done.stderr)
            [line] = done.stderr.splitlines()
            assert line.startswith("error[usage]: "), (name, line)
            assert not done.has_traceback


def reading(name: str) -> list[str]:
    """Fill in what a reading command is about: things that are not there."""
    filled = re.sub(r"\{(\w+)\}", r"no-such-\1", sinks.READING[name])
    return [*name.split(), *filled.split()]


READING = [name for name in sinks.READING if name != "connections test"]


@pytest.mark.parametrize("name", READING)
def test_a_reading_command_prints_data_to_one_stream_and_all_else_to_the_other(name, monkeypatch):
    has = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: has)  # other tests write meanwhile
    arguments = reading(name)
    has_json = name not in sinks.NO_JSON
    done = run_cli(*arguments, *(["--json"] if has_json else []))
    assert not done.has_traceback, done.stderr
    assert done.code in {0, 2, 3, 7}, done.stderr
    if has_json and done.stdout:
        for line in done.stdout.splitlines() if "follow" in name else [done.stdout]:
            json.loads(line)
    if has_json and done.code and name != "doctor":
        told = json.loads(done.stdout)["error"]
        assert told["exit_code"] == done.code
        assert f"error[{told['code']}]: " in done.stderr
    before = run_cli("--json", *arguments)
    if has_json and "at" not in json.loads(done.stdout or "{}"):
        assert (before.code, before.stdout) == (done.code, done.stdout)
    quiet = run_cli("--quiet", *arguments)
    assert not quiet.stderr or quiet.stderr.startswith("error["), quiet.stderr
    unread = run_cli(*arguments, has_reader=False)
    assert not unread.has_traceback, unread.stderr
    assert unread.code in {done.code, 141}


def test_streams_that_are_closed_end_no_real_process_with_a_traceback(place):
    _, settings = place
    environ = {name: os.environ[name] for name in ("PATH", "HOME")} | settings
    for words in ("version", "help needs-reauth"):
        shell = f"'{sys.executable}' -m tieline {words} <&- >&- 2>&-"
        done = subprocess.run(["/bin/sh", "-c", shell], env=environ, timeout=60)
        assert done.returncode in {0, 141}, words


def test_a_misspelt_command_or_option_gets_the_nearest():
    for words, meant in (
        (("snyc",), "did you mean sync?"),
        (("connections", "lisst"), "Did you mean 'list'?"),
        (("runs", "list", "--lmit", "3"), "Did you mean '--limit'?"),
        (("help", "key-oepn"), "did you mean key-open?"),
        (("webhooks", "secret"), "say what to do: finish, rotate, show"),
    ):
        done = run_cli(*words)
        assert meant in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_question_is_asked_of_nobody_when_no_input_is_wanted():
    done = run_cli("--no-input", "connect", "stripe", "--name", "shop")
    assert done.code == 2
    assert "error[interactive-needed]: " in done.stderr


def test_hundreds_of_drawn_calls_leave_no_traceback(tmp_path, redis_url):
    """The lane has thousands: ./tie fuzz cli."""
    found = cli_calls.fuzz(tmp_path, seed=20261126, calls=120, redis_url=redis_url)
    assert found.bad == []
    assert sum(found.codes.values()) > 90
    assert {0, 2, 3} <= set(found.codes)
