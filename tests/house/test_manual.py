"""The manual page names every command and option, and is what man(1) reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import click

from cli_kit import run_cli
from json_output import tree

TREE = tree()
MACROS = {".TH", ".SH", ".SS", ".TP", ".PP", ".B"}


def page() -> str:
    done = run_cli("man")
    assert (done.code, done.stderr) == (0, "")
    return done.stdout


def test_every_command_and_option_is_on_the_page():
    text = page()
    told = {
        line.removeprefix(".SS tieline ") for line in re.findall(r"^\.SS .+$", text, re.MULTILINE)
    }
    wanted = {name.replace("-", r"\-") for name in TREE if not name.startswith("sandbox serve ")}
    assert told == wanted
    for name, command in TREE.items():
        if name.startswith("sandbox serve "):
            continue  # which there are depends on the machine
        section = text.partition(f"\n.SS tieline {name.replace('-', chr(92) + '-')}\n")[2]
        section = re.split(r"^\.S[SH] ", section, maxsplit=1, flags=re.MULTILINE)[0]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[0].replace("-", r"\-") in section, (name, option.opts)


def test_the_page_is_the_same_each_time_and_names_no_machine():
    assert page() == page()
    assert str(Path.home()) not in page()


def test_the_page_is_well_formed():
    lines = page().splitlines()
    assert lines[0].startswith(".TH TIELINE 1 ")
    for line in lines:
        if line.startswith((".", "'")):
            assert line.split()[0] in MACROS, line
        # Nothing but the escapes that the writer makes: a font, a dash, a backslash, a quote.
        assert re.sub(r"\\(f[BIR]|-|e|&|\(aq)", "", line).count("\\") == 0, line
        assert line.count(r"\fB") + line.count(r"\fI") == line.count(r"\fR"), line
    order = [line[4:] for line in lines if line.startswith(".SH ")]
    assert order == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT",
        "FILES",
    ]  # fmt: skip


def test_man_and_groff_read_it_without_a_complaint_where_they_are(tmp_path):
    file = tmp_path / "tieline.1"
    file.write_text(page())
    readers = {
        "groff": ["groff", "-man", "-ww", "-Tutf8", str(file)],
        "man": ["man", "--warnings", "-l", str(file)],
    }
    for name, words in readers.items():
        if shutil.which(name) is None:
            continue
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin",
            "MANPAGER": "cat", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), name
        shown = re.sub("\x1b\\[[0-9;]*m|.\x08", "", done.stdout)
        assert "tieline - keep SaaS data in step" in shown
        assert "tieline queue drain [OPTIONS] [NAME]" in shown
