"""What the CLI can do, the HTTP API can do, and the reverse; a gap has its reason here."""

from __future__ import annotations

import re
from pathlib import Path

from api_kit import document
from sinks import CHANGING, READING
from tieline.web.api import OPERATIONS
from tieline.web.api.answering import PREFIX

ROOT = Path(__file__).parents[2]

# What stays the command's alone. A group's own name lists, as its `list` does.
ONLY_COMMANDS = {
    "bundle": "writes a file about the machine that it runs on",
    "completion": "is for a shell",
    "console": "signs a person in to a page of what the API's operations tell and do",
    "config get": "of the machine that it runs on",
    "config path": "of the machine that it runs on",
    "config show": "of the machine that it runs on",
    "config validate": "looks at the machine that it runs on",
    "config env-example": "writes a file for the machine that is set up",
    "db backup": "writes a file on the machine that it runs on",
    "db check": "for whoever migrates: the API does not answer on a schema that is not its own",
    "db current": "for whoever migrates",
    "db move": "for whoever migrates: no process may be serving meanwhile",
    "db upgrade": "for whoever migrates: the API does not answer before that",
    "demo": "shows Tieline on one machine",
    "demo break": "tells a sandbox of this machine",
    "demo mend": "tells a sandbox of this machine",
    "demo start": "starts a sandbox on this machine",
    "demo stop": "stops a sandbox of this machine",
    "doctor": "looks at the machine that it runs on; /readyz tells what a program needs",
    "down": "stops a server of this machine",
    "health": "looks at processes of the machine that it runs on",
    "help": "explains to people; each problem carries its code and a hint",
    "init": "makes what the API needs first",
    "keys check": "opens every credential, which takes its time; /v1/keys opens a few of each key",
    "keys forget": "changes a file of the machine that has it",
    "keys rotate": "takes its time, and is watched by a person",
    "queue drain": "waits for a person or a script; /v1/queues tells what is under way",
    "records export": "one answer of any size; page through records, or follow the changes",
    "logs tail": "follows for a person; /v1/audit has the same entries in pages",
    "man": "is for people at a terminal; /v1/docs explains the API",
    "plugin badge": "draws a picture for whoever writes a plugin",
    "plugin check": "runs the code of whoever writes a plugin, on their machine",
    "plugin new": "writes files for whoever writes a plugin",
    "plugin record": "writes files for whoever writes a plugin",
    "plugin schema from-openapi": "writes code for whoever writes a plugin",
    "sandbox": "serves a sandbox on this machine",
    "scheduler": "is a process",
    "serve": "is the process that answers the API",
    "status": "one screen for a person, of what connections, runs, limits and alerts tell",
    "up": "is a process",
    "version": "of the machine that it runs on; the API's is in /v1/openapi.json",
    "views create": "changes the database's schema, which is its owner's",
    "views drop": "changes the database's schema, which is its owner's",
    "views list": "for whoever may read the database",
    "webhooks enable": "set_endpoint_state does both",
    "webhooks listen": "shows deliveries on the machine of whoever develops",
    "webhooks send": "makes deliveries on the machine of whoever develops",
    "worker": "is a process",
}


def commands() -> set[str]:
    groups = {name for name in READING if any(other.startswith(f"{name} ") for other in READING)}
    return {name for name in (*READING, *CHANGING) if name not in groups}


def test_every_command_is_an_operation_or_has_a_reason_why_not():
    served = {operation.command for operation in OPERATIONS if operation.command}
    known = commands()
    assert served - known == set()
    assert known - served - set(ONLY_COMMANDS) == set()
    assert set(ONLY_COMMANDS) & served == set()
    assert set(ONLY_COMMANDS) - known == set()


def test_every_operation_is_a_command_or_has_a_reason_why_not():
    for operation in OPERATIONS:
        assert bool(operation.command) != bool(operation.why_no_command), operation.name


def test_every_operation_has_a_line_in_the_reference():
    page = (ROOT / "docs/reference/http-api.md").read_text()
    told = set(re.findall(r"^\| `([A-Z]+) (/\S+)` \| (\w+) \|", page, re.MULTILINE))
    assert told == {(each.method, PREFIX + each.path, each.scope) for each in OPERATIONS}
    for status in document()["components"]["responses"]:
        assert f"| {status.removeprefix('Problem')} |" in page


def test_names_of_operations_and_schemas_are_their_own():
    names = [operation.name for operation in OPERATIONS]
    assert len(names) == len(set(names))
    pairs = [(operation.method, operation.path) for operation in OPERATIONS]
    assert len(pairs) == len(set(pairs))


def test_what_changes_takes_more_than_the_scope_to_read():
    for operation in OPERATIONS:
        if operation.method == "GET":
            continue
        assert operation.scope in {"operate", "admin"}, operation.name
