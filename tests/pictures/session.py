"""The first minutes, really typed: a sandbox, a sync, a worker that is killed, and no loss.

What is different at each run (ids, times, how far it got) is put in one form, so that
what was recorded can be held to what is printed now.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import servers
from oauth_kit import free_port
from pages import Session, Step, run_page
from pictures.recording import COLUMNS

__all__ = ["type_session"]

# What somebody at a keyboard does by looking is a command that is not shown: behind "# ".
TYPED = r"""
tieline init
tieline sandbox serve stripe --port 12111 --customers 2000 >sandbox.log &
# sandbox=$!
# until grep --quiet http sandbox.log; do sleep 0.1; done
echo sk_test_anything0000 | tieline connect stripe --name shop \
  --key-stdin --base-url http://127.0.0.1:12111
tieline up --port 8377 >up.log 2>&1 & up=$!
# until grep --quiet 'worker .* ready' up.log; do sleep 0.1; done
tieline sync run shop customers --wait
tieline records list shop customers --after 2 --limit 2 | cut -f 2,5
tieline limits set shop 2/second --for 10m
tieline sync run shop customers --full
# until tieline runs list --limit 1 | grep --quiet 'running.[1-9]'; do sleep 0.2; done
kill -9 $up
# wait $up || true
tieline runs list --limit 1
tieline up --port 8377 >up.log 2>&1 & up=$!
# until grep --quiet 'worker .* ready' up.log; do sleep 0.1; done
tieline sync run shop customers --full --wait
tieline limits reset shop
tieline verify shop customers --wait >read.tsv
# kill $up $sandbox; wait $up $sandbox || true
# tieline down
"""
_RUNS = ("run_k3v7m2q5x4w6p2hd", "run_c5t2n7j4r6b3z2ya", "run_w4g6f2s7d5e3u2oi")
_ONE_FORM = (
    (r"\x1b\[[0-9;]*m|\r", ""),
    (r"con_\w+", "con_t5j2n7c4r6b3z2ya"),
    (r"\d+ \w+ ago", "4 s ago"),
    (r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC", "2026-01-01 12:10:00 UTC"),
    (r"schema \d+", "schema 0009"),
    (r"(running +)\d+ +", r"\g<1>700   "),
    (r"(?m) +$", ""),
)


def type_session(folder: Path) -> str:
    """Type the session in an empty folder; return what is to be seen, in one form."""
    environ = servers.plain_environ() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": str(COLUMNS),
        "TIELINE_HOME": str(folder / ".tieline"),
        # Patience is what this asks of people; a machine has none to spare.
        "TIELINE_LEASE_S": "2",
        "TIELINE_SWEEP_S": "0.2",
    }
    session = Session(
        cwd=folder,
        environ=environ,
        texts={"12111": str(free_port()), "8377": str(free_port())},
        # As they look in a terminal; nobody is asked anything.
        typed={"tieline runs list": ""},
        has_zygote=False,  # one of them is killed
    )
    page = folder / "session.md"
    typed = TYPED.strip().replace("\n# ", "\n")
    page.write_text(f"```sh\n{typed}\n```\n")
    return "".join(_shown(run_page(page, session, timeout=200), folder))


def _shown(steps: Iterable[Step], folder: Path) -> Iterable[str]:
    """Yield what is typed and printed; each run keeps a name of its own, whatever its id."""
    hidden = {line[2:] for line in TYPED.splitlines() if line.startswith("# ")}
    names: dict[str, str] = {}
    for step in steps:
        if step.command not in hidden:
            said = step.said.replace(str(folder), "~")
            for pattern, form in _ONE_FORM:
                said = re.sub(pattern, form, said)
            for run in re.findall(r"run_\w+", said):
                names.setdefault(run, _RUNS[len(names)])
                said = said.replace(run, names[run])
            yield f"$ {step.command}\n" + (f"{said.rstrip()}\n" if said.strip() else "")
