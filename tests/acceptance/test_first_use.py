"""The main job as a person does it: real commands, real processes, both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import servers
from json_output import require_known
from site_of import KEY, make_site, wait_until
from tieline.store.tables import SCHEMA_REVISION


@pytest.fixture
def fresh(database_url, redis_url, tmp_path):
    """An environment in which nothing was done yet."""
    made = make_site(tmp_path / "site", database_url, redis_url, lease_s="2", sweep_s="0.3")
    yield made
    made.close()


def test_from_connect_to_export(fresh):
    site = fresh
    site.environ["TIELINE_HANDS"] = "1"  # a page that two hands share is counted by both
    with servers.sandbox(customers=350) as url:
        assert site.json("init")["schema"] == SCHEMA_REVISION
        connected = site.json(
            "connect", "stripe", "--name", "shop", "--key-stdin", "--base-url", url, stdin=KEY
        )
        assert connected["connection"]["provider"] == "stripe"
        site.start("worker")
        ended = site.json("sync", "run", "shop", "customers", "--wait")["run"]
        assert set(ended) >= {"id", "state", "mode", "counts", "requests", "seconds"}
        assert ended["state"] == "succeeded"
        assert ended["requests"] == 4
        assert ended["counts"] == {
            "seen": 350,
            "created": 350,
            "updated": 0,
            "unchanged": 0,
            "deleted": 0,
            "quarantined": 0,
        }
        out = site.ok("records", "export", "shop", "customers")
        lines = [json.loads(line) for line in out.splitlines()]
        assert {line["id"]: line["payload"] for line in lines} == servers.truth(url)
        assert all(set(lines[0]) >= set(line) for line in lines)
        assert {"id", "payload", "changed_at", "deleted_at", "position"} <= set(lines[0])
        assert [line["position"] for line in lines] == list(range(1, 351))

        changed = httpx.post(
            f"{url}/_sandbox/mutate",
            json={"create": 5, "update": 7, "delete": 3, "seed": 4},
            trust_env=False,
        ).json()
        counts = site.json("sync", "run", "shop", "customers", "--wait", "--full")["run"]["counts"]
        assert counts["created"] == 5
        assert counts["updated"] == 7
        assert counts["deleted"] == 3
        assert site.exported() == servers.truth(url)
        gone = {
            json.loads(line)["id"]
            for line in site.ok("records", "export", "shop", "customers").splitlines()
            if json.loads(line)["deleted_at"]
        }
        assert gone == set(changed["deleted"])
        assert site.json("records", "list", "shop", "customers", "--limit", "2")["records"]
        log = site.json("runs", "show", ended["id"])["log"]
        assert log[0]["event"] == "run.asked"
        assert site.json("doctor")["failures"] == 0


def test_without_a_worker_a_waiting_sync_says_so_and_ends(site, shop_sandbox):
    site.connect(shop_sandbox)
    done = site.run("sync", "run", "shop", "customers", "--wait", "--json", "--patience", "2")
    assert done.returncode == 9
    assert "no worker" in done.stderr
    assert json.loads(done.stdout)["error"]["code"] == "no-worker"
    site.ok("worker", "--burst")  # the run was kept
    assert len(site.exported()) == 1200


def test_a_canary_key_shows_nowhere(site, shop_sandbox, redis_url, tmp_path):
    """Not in output, logs at debug, Redis, the database, or a failing provider's echo."""
    from urllib.parse import quote

    loud = {"TIELINE_LOG_LEVEL": "debug"}
    said = site.run(
        "connect", "stripe", "--name", "shop", "--key-stdin", "--base-url", shop_sandbox,
        stdin=KEY, **loud,
    )  # fmt: skip
    assert said.returncode == 0
    texts = [said.stdout, said.stderr]
    run_id = site.ask()
    worker = site.run("worker", "--burst", **loud)
    texts += [worker.stdout, worker.stderr]
    for arguments in (
        ("connections", "show", "shop", "--json"),
        ("runs", "show", run_id, "--json"),
        ("doctor",),
        ("connect", "stripe", "--name", "shop", "--key-stdin"),
    ):
        done = site.run(*arguments, stdin=KEY, **loud)
        texts += [done.stdout, done.stderr]
    redis = site.installation.redis
    for name in redis.scan_iter():
        texts += [name.decode(errors="replace"), repr(redis.dump(name))]
        if redis.type(name) == b"hash":
            texts.append(repr(redis.hgetall(name)))
    texts += [repr(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()]
    if site.installation.database.dialect == "postgresql":
        texts.append(_dump(site))
    whole = "\n".join(texts)
    assert "run.succeeded" in whole  # the scan did see what was going on
    for form in (KEY, quote(KEY, safe=""), KEY.encode().hex(), _base64(KEY)):
        assert form not in whole


def _base64(text: str) -> str:
    from base64 import b64encode

    return b64encode(text.encode()).decode().rstrip("=")


def _dump(site) -> str:
    from tieline.store.tables import metadata

    with site.installation.database.read() as connection:
        return "\n".join(
            repr(connection.execute(table.select()).all()) for table in metadata.sorted_tables
        )


def test_the_demo_shows_the_main_job_and_leaves_nothing_running(tmp_path):
    environ = servers.plain_environ() | {"TIELINE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "tieline", "demo", "--json"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    require_known(("demo", "--json"), done.returncode, done.stdout)
    facts = json.loads(done.stdout)
    assert facts["run"]["state"] == "succeeded"
    assert facts["records"] >= 5000
    assert facts["run"]["counts"]["created"] == facts["records"]
    assert Path(facts["database"]).is_file()
    wait_until(lambda: not _processes_with(str(tmp_path)))


def _processes_with(word: str) -> list[str]:
    found = subprocess.run(["ps", "-A", "-o", "args="], capture_output=True, text=True)
    return [line for line in found.stdout.splitlines() if word in line and "pytest" not in line]


def test_a_closed_stdout_is_no_crash(site, shop_sandbox):
    site.connect(shop_sandbox)
    site.ask()
    site.ok("worker", "--burst")
    command = f"{sys.executable} -m tieline records export shop customers | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=site.environ, capture_output=True, text=True
    )
    assert json.loads(done.stdout)["position"] == 1
    assert "Traceback" not in done.stderr


def test_commands_need_no_terminal_and_no_locale(site):
    bare = {"LC_ALL": "C", "TERM": "dumb", "NO_COLOR": "1"}
    environ = {name: text for name, text in site.environ.items() if name != "HOME"} | bare
    done = subprocess.run(
        [sys.executable, "-m", "tieline", "doctor"],
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout


def test_what_the_embedded_installation_makes_is_its_owners_alone(tmp_path):
    home = tmp_path / "home"
    site = make_site(home, "", "")
    assert (home / "keys" / "local.key").stat().st_mode & 0o777 == 0o600
    assert site.installation.redis.ping()
    site.close()
    assert site.json("down")["stopped"] is True
    assert site.json("down")["stopped"] is False
    assert (home / "valkey" / "valkey.conf").is_file()
