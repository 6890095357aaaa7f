"""Help is read by people: colours where they are wanted, and no line cut off."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from cli_kit import run_cli
from tieline.cli.failures import exit_code_of
from tieline.cli.main import cli
from tieline.cli.pages import shows_colours


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "xterm")


def page(*arguments: str) -> str:
    """Read help as a terminal with colours is shown it."""
    done = CliRunner().invoke(cli, [*arguments, "--help"], color=True)
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("command", [(), ("sync",), ("sync", "run")])
def test_what_can_be_typed_stands_out(command):
    assert "\x1b[36m--help\x1b[0m" in page(*command).replace("-h, ", "")
    assert "\x1b" not in page("--no-color", *command)


@pytest.mark.parametrize(
    ("name", "text", "shows"),
    [("NO_COLOR", "1", False), ("TERM", "dumb", False), ("TERM", "xterm", None)],
)
def test_colours_can_be_refused_by_the_environment(name, text, shows, monkeypatch):
    monkeypatch.setenv(name, text)
    assert shows_colours() is shows


@pytest.mark.parametrize("command", [(), ("webhooks",), ("sync",), ("records",)])
def test_a_list_of_commands_cuts_no_line_off(command):
    _, _, commands = page("--no-color", *command).partition("Commands:")
    assert commands
    assert "..." not in commands


def test_no_command_at_all_is_answered_by_help(capsys):
    with pytest.raises(click.exceptions.NoArgsIsHelpError) as raised:
        cli.main(args=[], prog_name="tieline", standalone_mode=False)
    assert exit_code_of(raised.value, wants_json=False) == 2
    assert capsys.readouterr().out.startswith("Usage: tieline")


@pytest.mark.parametrize("given", [("--json",), ("provider-unavailable",), ("{", "--json")])
def test_the_page_of_all_codes_is_neither_json_nor_of_one_code(given):
    done = run_cli("help", "--markdown", *given)
    assert done.code == 2
    assert "# Error codes" not in done.stdout
    assert "--markdown prints all codes as a page" in done.stderr
