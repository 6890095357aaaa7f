"""What an operator looks at: status, the sync log, settings, diagnostics, completion."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, update

import canary
from cli_kit import run_cli, use_environment
from tieline import __version__
from tieline.cli.failures import exit_code_of_runs
from tieline.contract import Secret
from tieline.queue import WorkerSign
from tieline.services import schedules, webhooks
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.services.setup import initialise
from tieline.store import connections, log, runs, tables


def now() -> datetime:
    return datetime.now(UTC)


def new_secret(start: str) -> str:
    return f"{start}CANARY{secrets.token_hex(12)}"


KEY = new_secret("sk_test_")


@pytest.fixture
def place(sqlite_url, redis_url, tmp_path, monkeypatch):
    """An installation with four connections that are not alike."""
    use_environment(monkeypatch, tmp_path / "home", sqlite_url, redis_url)
    opened = Installation()
    initialise(opened)
    for name in ("shop", "till", "news", "books"):
        connect_api_key(
            opened,
            "stripe",
            name=name,
            key=Secret(KEY),
            base_url="http://127.0.0.1:9",
            is_checked=False,
            actor="test",
        )
    yield opened
    opened.close()


def put_off(opened: Installation, name: str, state: str, attempt: int, message: str) -> str:
    """Have a run of a connection rest."""
    with opened.database.write() as transaction:
        row = connections.find_connection(transaction, name)
        run_id = runs.add_run(
            transaction,
            connection_id=row.id,
            entity="customers",
            mode="full",
            asked_by="test",
            now=now(),
        )
        transaction.execute(
            update(tables.runs)
            .where(tables.runs.c.id == run_id)
            .values(
                state=state,
                attempt=attempt,
                due_at=now() + timedelta(minutes=5),
                error_code="rate-limited",
                error_message=message,
            )
        )
        return run_id


def various(opened: Installation) -> None:
    put_off(opened, "till", "waiting", 1, "429 from the provider")
    put_off(opened, "news", "retrying", 2, "502 from the provider")
    with opened.database.write() as transaction:
        books = connections.find_connection(transaction, "books")
        connections.refuse_credential(
            transaction, books.id, generation=None, words="invalid_grant", now=now()
        )
        shop = connections.find_connection(transaction, "shop")
        connections.note_success(
            transaction,
            shop.id,
            "customers",
            now=now() - timedelta(minutes=2),
            synced_until=now(),
            full_run_id=None,
        )
        transaction.execute(
            insert(tables.dead_letters).values(
                id="dead_1",
                kind="run",
                connection_id=shop.id,
                reason_code="worker-lost",
                reason="it died",
                facts={},
                created_at=now(),
            )
        )
    sign = WorkerSign(name="host:1", queues=("sync",), busy_with="job", version=__version__)
    opened.presence.announce(sign, ttl_s=100)


def test_status_shows_every_connection_and_what_it_waits_for(place):
    various(place)
    said = run_cli("status")
    assert said.code == 0
    lines = {line.split("\t")[0]: line.split("\t") for line in said.stdout.splitlines()}
    assert lines["shop"][2] == "ok"
    assert re.fullmatch("[2-4] min ago", lines["shop"][3])
    assert lines["shop"][5] == "1 dead letter · tieline dead list"
    assert lines["till"][2] == "waiting"
    assert re.fullmatch("in [2-5] min", lines["till"][4])
    assert lines["till"][5] == "429 from the provider"
    assert lines["news"][2] == "retrying (attempt 2)"
    assert lines["books"][2:] == [
        "needs_reauth", "-", "parked", "invalid_grant · tieline connections reauth books",
    ]  # fmt: skip
    assert "workers 1 alive (1 busy)   schedulers none alive   queue 0" in said.stdout
    assert "runs 2   events 0   dead 1   quarantine 0" in said.stdout


def schedule(opened: Installation, entity: str, rule: str, zone: str = "UTC") -> None:
    """Set a schedule of the shop, in a zone that need not be known any more."""
    schedules.set_schedule(opened, "shop", entity, rule, is_cron=" * " in rule, actor="test")
    with opened.database.write() as transaction:
        of_it = tables.schedules.c.entity == entity
        transaction.execute(update(tables.schedules).where(of_it).values(zone=zone))


def test_status_shows_no_time_for_what_will_not_come(place):
    def shown() -> tuple[str, str]:
        [line] = [each for each in run_cli("status").stdout.splitlines() if "shop" in each]
        return tuple(line.split("\t")[4:6])

    schedule(place, "customers", "0 3 * * *", "Mars/Olympus")
    told = (
        "a schedule waits: 'Mars/Olympus' is no time zone on this machine"
        " · tieline schedules list --connection shop"
    )
    assert shown() == ("-", told)
    schedule(place, "products", "3d", "Mars/Olympus")  # an interval asks for no zone
    assert shown()[0].startswith("in ")
    assert shown()[1] == told
    with place.database.write() as transaction:
        transaction.execute(update(tables.schedules).values(zone="Europe/Berlin", paused_at=now()))
    assert shown() == ("-", "-")
    for entity in ("customers", "products"):
        schedules.resume_schedule(place, "shop", entity, actor="test")
    assert shown()[0].startswith("in ")
    with place.database.write() as transaction:
        shop = connections.find_connection(transaction, "shop")
        for entity in ("customers", "products"):
            transaction.execute(
                insert(tables.dead_letters).values(
                    id=f"dead_{entity}",
                    kind="run",
                    connection_id=shop.id,
                    entity=entity,
                    reason_code="worker-lost",
                    reason="it died",
                    facts={},
                    created_at=now(),
                )
            )
    assert shown() == ("-", "2 dead letters · tieline dead list")


def test_status_as_json_has_the_same_facts(place):
    various(place)
    found = run_cli("status", "--json").json
    states = {each["name"]: each["state"] for each in found["connections"]}
    assert states == {
        "shop": "ok", "till": "waiting", "news": "retrying", "books": "needs_reauth",
    }  # fmt: skip
    [shop] = [each for each in found["connections"] if each["name"] == "shop"]
    assert (shop["dead_letters"], shop["quarantined"], shop["trouble"]) == (1, 0, "1 dead letter")
    assert [each["name"] for each in found["workers"]] == ["host:1"]
    assert found["redis_trouble"] is None


def test_status_shows_what_it_can_while_redis_is_away(place, monkeypatch):
    various(place)
    monkeypatch.setenv("TIELINE_REDIS_URL", "redis://:hunter2hunter2@127.0.0.1:1")
    said = run_cli("status")
    assert said.code == 0
    assert "needs_reauth" in said.stdout
    assert "workers unknown   Redis does not answer" in said.stdout
    assert "hunter2" not in said.stdout + said.stderr


def test_the_sync_log_is_shown_by_connection_and_run(place):
    run_id = put_off(place, "till", "waiting", 1, "later")
    with place.database.write() as transaction:
        row = connections.find_connection(transaction, "till")
        log.add_entry(
            transaction, at=now(), actor="test", event="run.asked", connection_id=row.id,
            entity="customers", run_id=run_id,
        )  # fmt: skip
    lines = run_cli("logs", "tail", "--connection", "till", "--json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [each["event"] for each in events][-1] == "run.asked"
    assert {each["connection_name"] for each in events} == {"till"}
    [entry] = run_cli("logs", "tail", "--run", run_id, "--json").stdout.splitlines()
    assert json.loads(entry)["run_id"] == run_id
    assert "run.asked\ttill\tcustomers" in run_cli("logs", "tail", "--run", run_id).stdout
    assert run_cli("logs", "tail", "--run", "run_x").code == 3


def test_the_sync_log_is_shown_by_how_much_it_matters(place):
    with place.database.write() as transaction:
        row = connections.find_connection(transaction, "till")
        for event, code in (
            ("run.asked", None),
            ("run.waiting", "provider-unavailable"),
            ("webhooks.refused", "signature-wrong"),
            ("run.succeeded_with_quarantine", None),
            ("run.failed", "plugin-bug"),
            ("connection.needs_reauth", None),
        ):
            log.add_entry(
                transaction,
                at=now(),
                actor="test",
                event=event,
                connection_id=row.id,
                error_code=code,
            )

    def told(*options):
        lines = run_cli("logs", "tail", "--connection", "till", "--json", *options).stdout
        found = map(json.loads, lines.splitlines())
        return {each["event"]: each["level"] for each in found}

    errors = {"run.failed": "error", "connection.needs_reauth": "error"}
    warnings = dict.fromkeys(
        ("run.waiting", "webhooks.refused", "run.succeeded_with_quarantine"), "warning"
    )
    assert told("--level", "error") == errors
    assert told("--level", "warning") == errors | warnings
    assert told() == told("--level", "info") == told() | errors | warnings | {"run.asked": "info"}
    assert set(told().values()) == set(log.LEVELS)
    assert run_cli("logs", "tail", "--level", "warn").code == 2


def test_settings_are_shown_with_their_origin_and_without_their_secrets(place, monkeypatch):
    secret = new_secret("whsec_")
    home = Path(os.environ["TIELINE_HOME"])
    (home / ".env").write_text(f"export TIELINE_STRIPE_WEBHOOK_SECRET={secret}\nTIELINE_HANDS=4\n")
    (home / "token").write_text("0f3b9a7c5d1e48a2b6c4\n")
    monkeypatch.setenv("TIELINE_METRICS_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("TIELINE_DATABASE_URL", "postgresql://me:hunter2hunter2@db/tieline")
    done = run_cli("config", "show", "--origin")
    found = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    assert found["TIELINE_STRIPE_WEBHOOK_SECRET"] == "(set)\t.env"
    assert found["TIELINE_HANDS"] == "4\t.env"
    assert found["TIELINE_METRICS_TOKEN"] == f"{home / 'token'}\tenvironment, file"
    assert found["TIELINE_DATABASE_URL"] == "(set)\tenvironment"
    assert "TIELINE_LEASE_S" not in found
    shown = run_cli("config", "show", "--all", "--json")
    every = {each["name"]: each for each in shown.json["settings"]}
    assert every["TIELINE_LEASE_S"]["origin"] == "default"
    for text in (secret, "hunter2", "0f3b9a7c5d1e48a2b6c4"):
        assert text not in done.stdout + shown.stdout


def asked_for() -> list[str]:
    return sorted(run["entity"] for run in run_cli("runs", "--json").json["runs"])


def test_all_entities_are_asked_for_at_once_or_none_if_one_makes_no_sense(place):
    assert run_cli("sync", "run", "shop", "customers", "nothing").code == 3
    market = {"name": "market", "base_url": "http://127.0.0.1:9", "is_checked": False}
    connect_api_key(place, "square", key=Secret(KEY), actor="test", **market)
    said = run_cli("sync", "run", "market", "customers", "catalog", "--since", "2026-01-01")
    assert (said.code, "error[no-windows]" in said.stderr) == (6, True)
    assert asked_for() == []
    said = run_cli("sync", "run", "shop", "products", "products")
    assert said.stderr.count("asked ") == 1
    said = run_cli("sync", "run", "shop")
    assert (said.code, said.stderr.count("a run is active already")) == (0, 1)
    assert asked_for() == ["charges", "customers", "products", "subscriptions"]


def test_a_dry_run_is_of_one_entity_and_asks_for_no_run(place, shop_sandbox):
    connect_api_key(
        place, "stripe", name="dry", key=Secret(KEY), base_url=shop_sandbox, actor="test"
    )
    done = run_cli("sync", "run", "dry", "customers", "--dry-run", "--limit", "3")
    assert done.code == 0, done.stderr
    assert [line.split("\t")[1] for line in done.stdout.splitlines()[1:]] == ["created"] * 3
    assert "nothing was stored" in done.stderr
    assert asked_for() == []
    for words in (["--dry-run"], ["customers", "--dry-run", "--full"], ["customers", "--limit=3"]):
        assert run_cli("sync", "run", "dry", *words).code == 2, words


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 8, 0], 8), ([8, 5, 4], 5), ([0, 1, 8], 1), ([], 0)]
)
def test_several_runs_end_as_the_first_that_did_not_end_well(codes, code):
    assert exit_code_of_runs(codes) == code


def test_one_setting_is_printed_for_scripts_and_a_secret_one_never(place, monkeypatch):
    monkeypatch.setenv("TIELINE_HANDS", "4")
    monkeypatch.setenv("TIELINE_METRICS_TOKEN", "0f3b9a7c5d1e48a2b6c4")
    assert run_cli("config", "get", "hands").stdout == "4\n"
    assert run_cli("config", "get", "TIELINE_LEASE_S").stdout == "30\n"
    assert run_cli("config", "get", "metrics-token").stdout == "(set)\n"
    assert run_cli("config", "get", "alert-webhook-url").stdout == ""
    told = run_cli("config", "get", "hands", "--json").json["setting"]
    assert (told["name"], told["origin"]) == ("TIELINE_HANDS", "environment")
    unknown = run_cli("config", "get", "hnads")
    assert (unknown.code, "did you mean TIELINE_HANDS?" in unknown.stderr) == (3, True)


def test_settings_are_checked_without_asking_database_or_redis(place, monkeypatch):
    monkeypatch.setenv("TIELINE_DATABASE_URL", "postgresql://127.0.0.1:1/tieline")
    monkeypatch.setenv("TIELINE_REDIS_URL", "redis://127.0.0.1:1")
    assert run_cli("config", "validate").code == 0
    monkeypatch.setenv("TIELINE_LAESE_S", "30")
    done = run_cli("config", "validate", "--json")
    assert (done.code, done.json["findings"][0]["code"]) == (0, "setting-unknown")
    monkeypatch.setenv("TIELINE_LEASE_S", "0")
    done = run_cli("config", "validate")
    assert done.code == 7
    assert "TIELINE_LEASE_S" in done.stderr


def test_a_bundle_says_how_all_is_and_holds_no_secret(place, monkeypatch, tmp_path):
    planted = {
        "API key": KEY,
        "webhook secret": new_secret("whsec_"),
        "application's": new_secret("sk_live_"),
        "database password": new_secret("pw"),
        "metrics token": new_secret("token"),
        "in a setting that is none": new_secret("misspelt"),
        "somebody's name": new_secret("Ada "),
        "in the provider's words": new_secret("echo"),
    }
    various(place)
    webhooks.add_endpoint(
        place, "shop", base="https://hooks.example.com", secret=Secret(planted["webhook secret"]),
        actor="test",
    )  # fmt: skip
    echo = planted["in the provider's words"]
    put_off(place, "shop", "retrying", 3, f"?access_token={echo}")
    with place.database.write() as transaction:
        transaction.execute(
            update(tables.connections).values(account_name=planted["somebody's name"])
        )
        transaction.execute(
            update(tables.dead_letters).values(facts={"record": planted["somebody's name"]})
        )
    monkeypatch.setenv("TIELINE_STRIPE_CLIENT_SECRET", planted["application's"])
    monkeypatch.setenv("TIELINE_METRICS_TOKEN", planted["metrics token"])
    monkeypatch.setenv("TIELINE_METRICS_TOKN", planted["in a setting that is none"])
    password = planted["database password"]
    monkeypatch.setenv("TIELINE_DATABASE_URL", f"postgresql://me:{password}@127.0.0.1:1/tieline")
    away = run_cli("bundle", "--output", str(tmp_path / "away.tar.gz"))
    assert away.code == 0, away.stderr
    monkeypatch.setenv("TIELINE_DATABASE_URL", place.settings.database_url.reveal())
    path = tmp_path / "bundle.tar.gz"
    done = run_cli("bundle", "--output", str(path), "--json")
    assert done.code == 0, done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    parts = {}
    for each in (path, tmp_path / "away.tar.gz"):
        with tarfile.open(each) as archive:
            for member in archive:
                parts[f"{each.name} {member.name}"] = archive.extractfile(member).read()
    hits = {name: canary.scan(blob, planted) for name, blob in parts.items()}
    assert {name: found for name, found in hits.items() if found} == {}
    assert all(canary.scan(text.encode(), {name: text}) for name, text in planted.items())
    read = {
        name.rpartition("/")[2]: json.loads(blob)
        for name, blob in parts.items()
        if name.startswith("bundle") and name.endswith(".json")
    }
    assert read["about.json"]["tieline"] == __version__
    assert {each["state"] for each in read["runs.json"]} == {"waiting", "retrying"}
    assert "needs-reauth" in {each["code"] for each in read["doctor.json"]}
    assert "setting-unknown" in {each["code"] for each in read["doctor.json"]}
    assert len(read["status.json"]["lines"]) == 4
    assert read["database.json"]["rows"]["connections"] == 4
    assert read["sync-log.json"]
    gone = json.loads(parts["away.tar.gz tieline-bundle/runs.json"])
    assert gone["error"]["code"] == "database-down"
    again = run_cli("bundle", "--output", str(path))
    assert again.code == 6
    assert "error[bundle-exists]" in again.stderr


def test_bash_completes_commands_and_options():
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    script = run_cli("completion", "bash").stdout
    asked = f"""
{script}
for words in 'tieline sched' 'tieline webhooks sec'; do
  COMP_WORDS=($words); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
  _tieline_completion tieline; echo "$words: ${{COMPREPLY[*]}}"
done
"""
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [bash, "--norc", "-c", asked], capture_output=True, text=True, env=environ, timeout=100
    )
    assert done.stdout.splitlines() == [
        "tieline sched: schedules scheduler",
        "tieline webhooks sec: secret",
    ], done.stderr


@pytest.mark.parametrize(
    ("shell", "parse"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])]
)
def test_a_completion_script_is_one_of_its_shell(shell, parse, tmp_path):
    done = run_cli("completion", shell)
    assert done.code == 0
    assert "_TIELINE_COMPLETE" in done.stdout
    assert "%(" not in done.stdout
    path = tmp_path / "script"
    path.write_text(done.stdout)
    if found := shutil.which(shell):
        subprocess.run([found, *parse, str(path)], check=True, timeout=60)
    # Without the shell: quotes and brackets are in pairs.
    code = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("#"))
    assert code.count('"') % 2 == 0
    assert code.count("{") == code.count("}")
    assert run_cli("completion", "tcsh").code == 2
