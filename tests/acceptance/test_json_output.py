"""Every command that has ``--json`` prints what docs/reference/json-output.json says of it.

Each output of each command in each test is held to it (:mod:`json_output`); here is what
makes sure that there is one of every command, and that the schemas can fail.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args, get_type_hints

import jsonschema
import pytest

import json_output
from cli_kit import run_cli
from json_output import DOCUMENT, commands_with_json, require_known
from page_stage import SIGNING, Stage, stage_of
from site_of import KEY
from tieline.checks import drift, kinds
from tieline.cli.face import OUTPUT_VERSION
from tieline.contract.alerts import Severity
from tieline.contract.declarations import Deletes, Direction
from tieline.contract.writes import OperationKind
from tieline.engine.basis import Policy
from tieline.engine.plan import MODES
from tieline.services import connections as service
from tieline.services import pulse, quarantine, queues, storage, views
from tieline.store import operations
from tieline.store.tokens import Scope
from tieline.throttle.ledger import BreakerState

NEWS_KEY = "0123456789abcdef0123456789abcdef-us6"
ROOT = Path(__file__).parents[2]
# Commands that are run elsewhere, by what they are called with there.
ELSEWHERE = {
    "connections set": (
        "integration/test_connection_settings.py",
        'run_cli("connections", "set", "shop", "region=us", "per-second=7", "--json")',
    ),
    "demo": ("acceptance/test_first_use.py", '"demo", "--json"'),
    "demo break": ("acceptance/test_demo_cli.py", 'run_cli("demo", "break", "down", "--json")'),
    "demo mend": ("acceptance/test_demo_cli.py", 'run_cli("demo", "mend", "--json")'),
    "demo start": ("acceptance/test_demo_cli.py", '"demo", "start", *words, "--json"'),
    "demo stop": ("acceptance/test_demo_cli.py", 'run_cli("demo", "stop", "--json")'),
    "keys forget": ("acceptance/test_keys_cli.py", 'site.json("keys", "forget"'),
    "webhooks listen": ("acceptance/test_webhooks_listen.py", '"webhooks", "listen", "--json"'),
}


def test_every_command_has_a_schema_and_every_schema_a_command():
    assert set(DOCUMENT["commands"]) == commands_with_json()
    assert DOCUMENT["version"] == OUTPUT_VERSION


def test_the_schemas_are_schemas_of_which_each_says_something():
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)
    used = json.dumps(DOCUMENT["commands"]) + json.dumps(DOCUMENT["$defs"])
    assert [name for name in DOCUMENT["$defs"] if f'"#/$defs/{name}"' not in used] == []
    for name, schema in DOCUMENT["commands"].items():
        with pytest.raises(AssertionError):
            require_known((*name.split(), "--json"), 0, '{"odd": 1}')
        assert {"$ref", "oneOf", "required", "additionalProperties"} & set(schema), name


def test_a_field_that_is_added_renamed_or_of_another_kind_is_met():
    good = {"schema": "0001", "needed": "0002", "database": "sqlite"}
    require_known(("db", "current", "--json"), 0, json.dumps(good))
    for bad in (good | {"more": 1}, good | {"needed": 2}, {"schema": None, "needed": "0002"}):
        with pytest.raises(AssertionError, match="tieline db current"):
            require_known(("db", "current", "--json"), 0, json.dumps(bad))
    with pytest.raises(AssertionError, match="no JSON"):
        require_known(("db", "current", "--json"), 0, "schema\t0001\n")


def test_whoever_reads_it_may_meet_more_fields_than_a_version_had():
    """Fields are added within a version, so the schemas as they are published let them pass."""
    schema = DOCUMENT | {"$ref": "#/commands/db%20current"}
    good = {"schema": "0001", "needed": "0002", "database": "sqlite", "later": True}
    jsonschema.validate(good, {key: each for key, each in schema.items() if key != "about"})


WORDS = {
    "$defs/run/mode": MODES,
    "$defs/run/direction": get_args(Direction),
    "$defs/operation/state": operations.STATES,
    "$defs/operation/kind": get_args(OperationKind),
    "$defs/operation/policy": get_args(Policy),
    "$defs/token/scope": get_args(Scope),
    "$defs/alert/severity": get_args(Severity),
    "$defs/limits/breakers/state": get_args(get_type_hints(BreakerState)["state"]),
    "$defs/provider/entities/deletes": get_args(Deletes),
    "$defs/job/what": get_args(queues.What),
    "commands/db backup/form": get_args(get_type_hints(storage.BackedUp)["form"]),
    "commands/health/role": pulse.ROLES,
    "commands/connections remove/access": get_args(service.Access),
    "$defs/plugin_checked/checks/level": get_args(kinds.Level),
    "$defs/plugin_checked/checks/state": get_args(kinds.State),
    "$defs/plugin_seen_live/entities/drift/kind": get_args(drift.Kind),
    "commands/records quarantine retry/retried/became": get_args(quarantine.Became),
    "commands/views list/views/state": get_args(views.State),
}


@pytest.mark.parametrize("place", WORDS)
def test_the_words_that_a_field_may_have_are_the_code_s(place):
    kind, name, *fields = place.split("/")
    found = DOCUMENT[kind][name]
    for each in fields:
        found = found.get("items", found)["properties"][each]
    assert set(found["enum"]) == set(WORDS[place])


def test_commands_that_are_run_elsewhere_are():
    for name, (path, words) in ELSEWHERE.items():
        assert words in (ROOT / "tests" / path).read_text(), name


@pytest.fixture
def stage(request, tmp_path, monkeypatch):
    """A place in whose environment this process is: a process for each command takes longer."""
    with stage_of(request, tmp_path) as made:
        made.set(public_url="https://tieline.example.com")
        for name, text in made.site.environ.items():
            monkeypatch.setenv(name, text)
        monkeypatch.chdir(made.site.cwd)
        yield made


def tell(*words: str, stdin: str = "", code: int = 0):
    """Run a command, whose output is looked at as every one's; return its document."""
    done = run_cli(*words, "--json", stdin=stdin)
    assert done.code == code, (words, done.stderr)
    return done.json if done.stdout and "\n{" not in done.stdout else done.stdout.splitlines()


@pytest.mark.timeout(180)
def test_every_command_prints_what_its_schema_says(stage, postgres_url):
    before = json_output.seen.copy()
    json_output.seen.clear()
    try:
        about_the_machine()
        about_connections(stage)
        about_what_waits(stage)
        about_runs_and_records(stage)
        about_webhooks(stage)
        about_writing(stage)
        about_the_end(stage, postgres_url)
        assert commands_with_json() - json_output.seen == set(ELSEWHERE)
    finally:
        json_output.seen.update(before)


def about_the_machine() -> None:
    for words in (
        "init", "version", "help", "help needs-reauth", "config path", "config get hands",
        "config show --all",
        "config validate", "db current", "db check", "db upgrade", "doctor", "status",
        "providers", "providers list", "providers show stripe", "limits show", "audit",
        "plugin check stripe --only it-loads", "queue", "queue show", "queue pause",
        "queue drain --timeout 5s", "queue resume", "db stats", "db backup copy.db",
    ):  # fmt: skip
        tell(*words.split())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIELINE_LAESE_S", "3")
        assert tell("config", "validate")["findings"]


def about_connections(stage: Stage) -> None:
    key = {"stdin": KEY}
    url = stage.sandbox(customers=20, products=2, subscriptions=2, charges=2)
    tell("connect", "stripe", "--name", "shop", "--key-stdin", "--base-url", url, **key)
    for words in ("", " list", " show shop", " test shop", " pause shop", " resume shop"):
        tell(*f"connections{words}".split())
    tell("connections", "rotate-key", "shop", "--key-stdin", **key)
    tell("connections", "reauth", "shop", "--key-stdin", **key)
    tell("limits", "set", "shop", "50/second", "--for", "1h")
    tell("limits", "shop")
    tell("limits", "reset", "shop")
    tell("limits", "reset-breaker", "shop")


def about_runs_and_records(stage: Stage) -> None:
    asked = tell("sync", "run", "shop", "subscriptions")["run"]
    [queue] = tell("queue", "show")["queues"]
    assert asked["id"] in {job["run"] for job in queue["waiting"]}, queue
    tell("sync", "cancel", asked["id"])
    about_many_runs(asked["id"])
    stage.work(("shop", "customers"))
    assert len(tell("health", "worker")["alive"]) == 1
    run = tell("sync", "run", "shop", "customers", "--full", "--wait")["run"]
    customer = tell("records", "list", "shop", "customers", "--canonical")["records"][0]["id"]
    for words in (
        "runs", "runs list", f"runs show {run['id']}", f"runs logs {run['id']}", "status",
        "logs tail", "audit",
        "records list shop customers", f"records show shop customers {customer} --canonical",
        "records export shop customers --output all.jsonl", "records drift shop",
        f"records explain shop customers {customer}", "records consumers list shop customers",
    ):  # fmt: skip
        tell(*words.split())
    feed = ("records", "follow", "shop", "customers", "--once", "--consumer", "crm")
    assert len(tell(*feed)) == len(tell("records", "export", "shop", "customers")) == 20
    for words in ("list shop customers", "reset shop customers crm --to end"):
        tell("records", "consumers", *words.split())
    tell("records", "consumers", "drop", "shop", "customers", "crm")
    assert len(tell("sync", "plan", "shop")["plans"]) == 4
    assert len(tell("sync", "run", "shop", "--wait")["runs"]) == 4
    tried = tell("sync", "run", "shop", "customers", "--dry-run", "--limit", "5")["tried"]
    assert [each["outcome"] for each in tried["records"]] == ["unchanged"] * 5
    assert len(tell("sync", "run", "shop", "customers", "products", "--full")["runs"]) == 2
    assert len(tell("sync", "run", "shop", "customers", "products", "--wait")["runs"]) == 2
    tell("state", "show", "shop")
    tell("state", "reset", "shop", "customers", "--yes")
    tell("state", "undo", "shop", "customers")
    verified = tell("verify", "shop", "customers", "--wait")["run"]
    tell("verify", "shop", "customers", "--repair")
    tell("verify", "--run", verified["id"])
    for words in ("create", "list", "drop stripe"):
        tell("views", *words.split())


def about_many_runs(cancelled: str) -> None:
    """Try a run again that was cancelled, alone and with all like it; no worker is there."""
    alike = ("--all", "--entity", "subscriptions")
    assert tell("runs", "retry", *alike, "--dry-run")["count"] == 1
    again = tell("runs", "retry", cancelled)["run"]
    assert tell("runs", "cancel", *alike, "--dry-run")["count"] == 1
    [active] = tell("runs", "retry", *alike, "--yes")["active"]
    assert active["id"] == again["id"]
    tell("runs", "cancel", again["id"])
    tell("connections", "pause", "shop")
    assert len(tell("runs", "retry", *alike, "--yes", code=6)["left"]) == 1
    tell("connections", "resume", "shop")
    assert len(tell("runs", "retry", *alike, "--yes")["runs"]) == 1
    assert len(tell("runs", "cancel", *alike, "--yes")["runs"]) == 1


def about_what_waits(stage: Stage) -> None:
    bad = stage.bad_record(b'{"id":7,"object":"customer"}')
    tell("records", "quarantine", "list", "shop")
    tell("records", "quarantine", "show", bad)
    tell("records", "quarantine", "retry", bad, code=8)
    tell("records", "quarantine", "drop", bad, "--yes")
    for words in ("set {} every 15m", "list", "next", "pause {}", "resume {}", "remove {}"):
        tell("schedules", *words.format("shop charges").split())
    tell("schedules")
    [events] = stage.dead_events("customers")
    first, second = stage.dead_run("products"), stage.dead_run("charges")
    for words in ("", "list", f"show {first}", f"retry {first}", f"drop {second}"):
        tell("dead", *words.split())
    tell("alerts", "--all")
    tell("dead", "show", events)
    tell("dead", "retry", events)
    tell("console")
    made = tell("tokens", "create", "warehouse", "--scope", "read", "--connection", "shop")
    assert made["token"]["token"].startswith("tln_")
    for words in ("", "list", "revoke warehouse"):
        tell("tokens", *words.split())
    for words in ("", "status", "check", "rotate --new"):
        tell("keys", *words.split())


def about_webhooks(stage: Stage) -> None:
    found = tell("webhooks", "add", "shop", "--secret-stdin", stdin=SIGNING)["endpoint"]["id"]
    for words in ("", "list", "show {}", "disable {}", "enable {}", "register {}", "unregister {}"):
        tell("webhooks", *words.format(found).split())
    tell("webhooks", "secret", "rotate", found, "--secret-stdin", stdin=SIGNING[::-1])
    tell("webhooks", "secret", "finish", found)
    for words in (found, f"{found} --raw", "dev", "dev --raw"):
        tell("webhooks", "secret", "show", *words.split())
    tell("webhooks", "send", "--list")
    sent = ("webhooks", "send", "customer.updated", "--endpoint", found, "--to", stage.serve())
    tell(*sent)
    tell(*sent, "--forge")
    event = tell("webhooks", "events", "list")["events"][0]["id"]
    tell("webhooks", "events", "show", event)
    tell("webhooks", "events", "replay", event)
    tell("webhooks", "remove", found)


def about_writing(stage: Stage) -> None:
    url = stage.sandbox("mailchimp", contacts=12, audiences=1)
    stage.connect("mailchimp", "news", url, NEWS_KEY)
    tell("sync", "run", "news", "contacts", "--wait")
    found = tell("records", "list", "news", "contacts")["records"]
    keys = [each["id"] for each in found if each["payload"]["status"] == "subscribed"][:3]
    for key in keys:
        stage.change_member(url, NEWS_KEY, key)
        change = ("--update", key, '{"merge_fields": {"FNAME": "Ours"}}', "--wait")
        tell("push", "news", "contacts", *change, code=8)
    first, second, third = (each["id"] for each in tell("outbox")["operations"])
    for words in ("list", f"show {first}", f"resolve {first} --take provider", f"drop {second}"):
        tell("outbox", *words.split())
    tell("outbox", "retry", third, "--payload", '{"vip": true}')


def about_the_end(stage: Stage, postgres_url: str) -> None:
    tell("bundle")
    tell("connections", "remove", "news", "--keep-records", "--yes")
    for process in stage.site.processes:
        process.terminate()
        process.wait(30)
    stage.site.installation.close()
    tell("db", "move", "--to", "-", stdin=postgres_url)
    tell("db", "move", "--undo")
    tell("down")
