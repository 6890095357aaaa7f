"""The tutorial, typed as it is written, in an environment in which there is nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import servers

PAGE = Path(__file__).parents[2] / "docs/tutorial/first-ten-minutes.md"

pytestmark = pytest.mark.timeout(600)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_first_ten_minutes_go_as_they_are_written(tmp_path):
    if shutil.which("bash") is None or shutil.which("curl") is None:
        pytest.skip("bash and curl are needed")
    ports = {"12111": free_port(), "8377": free_port()}
    script = "\n".join(f"echo '== {n}'\n{block}" for n, block in enumerate(blocks()))
    for written, port in ports.items():
        assert written in script
        script = script.replace(written, port)
    environ = servers.plain_environ() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        # Patience is what the page asks of people; a machine has none to spare.
        "TIELINE_LEASE_S": "2",
        "TIELINE_SWEEP_S": "0.2",
    }
    (tmp_path / "script").write_text(f"set -eu\n{script}\necho '== done'\n")
    with (tmp_path / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "--norc", str(tmp_path / "script")],
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=500)
        finally:
            if shell.poll() is None or code:
                os.killpg(shell.pid, signal.SIGKILL)
    text = (tmp_path / "said").read_text(errors="replace")
    assert code == 0, text[-3000:]
    assert "Traceback" not in text
    parts = dict(re.findall(r"^== (\w+)\n(.*?)(?=^== |\Z)", text, re.MULTILINE | re.DOTALL))
    assert "1 warning, 0 failures" in parts["0"]
    assert "5000 created" in parts["2"]
    assert len(re.findall(r"^\d+\tcus_", parts["2"], re.MULTILINE)) == 5
    assert "workers 1 alive" in parts["2"]
    asked = re.search(r"(run_\w+)", parts["3"])[1]
    assert f"{asked}" in parts["4"]
    assert "a full run is active already" in parts["4"]
    assert re.search(rf"succeeded .*{asked}", parts["4"])
    assert "5000" in parts["5"]
    assert re.search(r"error\[(provider-unavailable|breaker-open)\]: ", parts["6"])
    assert "effect   The run is tried again with growing pauses" in parts["6"]
    assert "workers     1 alive" in parts["6"]
    assert "done" in parts


def test_the_tutorial_names_no_option_that_is_not_there():
    from cli_kit import run_cli

    for line in re.findall(r"^tieline (.+?)(?: [|&]|$)", "\n".join(blocks()), re.MULTILINE):
        words = [word for word in re.split(r"[ =]", line) if re.fullmatch(r"[a-z][a-z-]+", word)]
        options = [word for word in line.split() if word.startswith("--")]
        depth = 2 if words[0] in {"sync", "runs", "records", "limits", "sandbox"} else 1
        depth = 3 if words[:2] == ["sandbox", "serve"] else depth
        said = run_cli(*words[:depth], "--help").stdout
        assert [option for option in options if option not in said] == [], line
