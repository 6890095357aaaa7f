"""What a command imports: help comes at once, and nobody waits for what is not asked for.

Processor time is measured by `./tie bench cli_start`; here is what decides it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import get_args

import pytest

from servers import plain_environ
from tieline.cli import choices
from tieline.engine.basis import POLICIES
from tieline.queue import QUEUE
from tieline.services import demo_sandbox, exports, pulse, runs, tokens
from tieline.store.operations import STATES

SDKS = {"stripe", "square", "mailchimp_marketing", "quickbooks"}
PLUGINS = {f"tieline_{name}" for name in ("stripe", "square", "mailchimp", "quickbooks")}
SERVERS = {"starlette", "uvicorn", "apispec", "alembic", "prometheus_client"}
# The SDK is a namespace: redis-py looks into it, and shall find nothing to import.
TRACES = {"tieline.telemetry.spans", "opentelemetry.sdk.trace", "opentelemetry.sdk.metrics"}
TRACES |= {"opentelemetry.trace", "opentelemetry.exporter", "google.protobuf"}
HEAVY = (
    {
        "sqlalchemy",
        "redis",
        "rq",
        "limits",
        "httpx",
        "marshmallow",
        "pluggy",
        "structlog",
        "cryptography",
    }
    | TRACES
    | {"rich", "tieline.services.installation", "tieline.engine", "tieline.store"}
    | SERVERS
    | SDKS
    | PLUGINS
)

# Each page of help in one process, one after the other: whoever imports too much is named.
PAGES = """
import contextlib, io, json, re, sys
from tieline.cli.main import cli

heavy, told, met = set(json.loads(sys.argv[1])), [], set()
# A sandbox is asked for its own options, so that its page has to import it.
left = [[]]
while left:
    path = left.pop()
    page = io.StringIO()
    with contextlib.redirect_stdout(page):
        cli.main([*path, "--help"], prog_name="tieline", standalone_mode=False)
    new = (heavy & set(sys.modules)) - met
    met |= new
    told.append([" ".join(path), sorted(new)])
    _, _, commands = page.getvalue().partition("Commands:\\n")
    names = re.findall(r"^  (\\S+)", commands, re.MULTILINE)
    left += [[*path, name] for name in names if path != ["sandbox", "serve"]]
print(json.dumps(told))
"""
RUN = """
import json, sys
from tieline.cli.main import main
try: main(sys.argv[2:])
except SystemExit as end: code = end.code
print(json.dumps([code, sorted(set(json.loads(sys.argv[1])) & set(sys.modules))]), file=sys.stderr)
"""


def python(script: str, forbidden: set[str], *arguments: str, home: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sorted(forbidden)), *arguments],
        env=plain_environ() | ({"TIELINE_HOME": home} if home else {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [*done.stdout.splitlines()[-1:], *done.stderr.splitlines()[-1:]]


def test_no_page_of_help_imports_what_only_running_needs():
    told = dict(json.loads(python(PAGES, HEAVY)[0]))
    # Which sandboxes there are, the registry knows; it knows plugins, too.
    assert told.pop("sandbox serve") == ["pluggy"]
    assert len(told) > 100
    assert {path: heavy for path, heavy in told.items() if heavy} == {}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    [told] = python(RUN, set(), "--quiet", "init", home=str(folder))
    assert json.loads(told)[0] == 0
    yield str(folder)
    python(RUN, set(), "down", home=str(folder))


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["version"], HEAVY - {"pluggy"}),
        (["help", "needs-reauth"], HEAVY),
        (["completion", "bash"], HEAVY),
        (["worker", "--burst"], TRACES),
        (["connections"], SDKS | PLUGINS | SERVERS | {"redis", "rq", "httpx", "structlog", "rich"}),
        (["status"], TRACES | SDKS | PLUGINS | SERVERS | {"httpx", "structlog", "rich"}),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_command_imports_only_what_it_needs(arguments, forbidden, home):
    told = python(RUN, forbidden, *arguments, home=home)[-1]
    assert json.loads(told) == [0, []]


def test_the_words_that_options_take_are_those_that_are_known():
    assert tuple(demo_sandbox.FAULTS) == choices.FAULTS
    assert choices.FORMATS == exports.FORMATS == get_args(exports.Format)
    assert choices.OPERATION_STATES == STATES
    assert choices.POLICIES == POLICIES
    assert choices.QUEUE == QUEUE
    assert choices.ROLES == pulse.ROLES
    assert choices.RUN_FIELDS == runs.FIELDS
    assert choices.SCOPES == tokens.SCOPES
