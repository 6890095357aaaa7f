"""The tutorial, typed as it is written, in an environment in which there is nothing else."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import servers
from oauth_kit import free_port
from pages import ROOT, Session, blocks_of, commands_of, run_page

PAGE = ROOT / "docs/tutorial/first-ten-minutes.md"
TYPED = [command for block in blocks_of(PAGE) for command in commands_of(block)]

pytestmark = pytest.mark.timeout(600)


@pytest.mark.slow
def test_the_first_ten_minutes_go_as_they_are_written(tmp_path):
    environ = servers.plain_environ() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        # Patience is what the page asks of people; a machine has none to spare.
        "TIELINE_LEASE_S": "2",
        "TIELINE_SWEEP_S": "0.2",
    }
    ports = {"8377": str(free_port())}
    # A process of its own each time: one of them is killed.
    session = Session(cwd=tmp_path, environ=environ, texts=ports, has_zygote=False)
    steps = run_page(PAGE, session, timeout=500)
    said = {}
    for step in steps:
        said.setdefault(step.command, []).append(step.said)

    def of(beginning: str) -> list[str]:
        return [each for command in said if command.startswith(beginning) for each in said[command]]

    assert "1 warning, 0 failures" in of("tieline doctor")[0]
    first, again = of("tieline sync run shop customers --follow")[0], of("tieline runs list")
    assert re.search(r"Fetched +page \d+ .*5,000 records +5,000 new", first)
    assert "5000 created" in first
    assert "Resuming" not in first
    assert len(re.findall(r"^\d+\tcus_", of("tieline records list")[0], re.MULTILINE)) == 5
    assert "workers 1 alive" in of("tieline status")[0]
    asked = re.search(r"(run_\w+)", of("tieline sync run shop customers --full")[0])[1]
    assert asked in again[0]
    resumed, throttled = of("tieline sync run shop customers --full --follow")
    assert "a run is active already (full)" in resumed
    assert re.search(r"Resuming  stripe · shop · customers from page ([2-9]|\d\d) ", resumed)
    assert len(re.findall(r"Waiting   the provider's limit, until \d\d:", throttled)) >= 2
    assert "succeeded 5000 records" in throttled
    assert "lowered to" in of("tieline limits show")[0]
    assert re.search(rf"{asked}.*succeeded", again[1]) or re.search(
        rf"succeeded .*{asked}", resumed
    )
    assert "5000" in of("tieline verify")[0]
    good, forged = of("tieline webhooks send")
    assert ("200" in good, "401" in forged) == (True, True)
    assert '"name":"Ada"' in of("tieline records show")[0]
    [page] = of("curl ")
    assert "1 connection, 1 <span" in page
    assert re.search(r"<p>1 alive, \d schedulers?, \d+ jobs? waiting", page)
    [refused] = of("tieline sync run shop customers --wait || ")
    assert re.search(r"error\[(provider-unavailable|breaker-open)\]: ", refused)
    assert "effect   The run is tried again with growing pauses" in refused
    assert "workers     1 alive" in of("tieline doctor || true")[0]
    assert "stopped" in of("tieline demo stop")[0]


def test_the_tutorial_names_no_option_that_is_not_there():
    from cli_kit import run_cli

    for line in re.findall(r"^tieline (.+?)(?: [|&]|$)", "\n".join(TYPED), re.MULTILINE):
        words = [word for word in re.split(r"[ =]", line) if re.fullmatch(r"[a-z][a-z-]+", word)]
        options = [word for word in line.split() if word.startswith("--")]
        depth = 2 if words[0] in {"sync", "runs", "records", "limits", "demo", "webhooks"} else 1
        said = run_cli(*words[:depth], "--help").stdout
        assert [option for option in options if option not in said] == [], line
