"""Every page of docs/how-to and docs/tutorial, typed as it is written, where all is as it says.

What a page needs before its first command is made here by the same services: an
account at a sandbox, a worker, a record in quarantine. So are the ids that it names.
"""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from alert_kit import running_ops
from chances import SOAK
from inbox_kit import Told
from oauth_kit import free_port
from page_stage import SIGNING, Stage, stage_of
from pages import ROOT, SHELL, Step, blocks_of, run_page
from site_of import KEY
from tieline.services import connections as service
from tieline.store import connections as stored
from tieline.store.tables import SCHEMA_REVISION

HOW_TO, TUTORIAL = ROOT / "docs/how-to", ROOT / "docs/tutorial"
NEWS_KEY = "0123456789abcdef0123456789abcdef-us6"
APPLICATION = {"client_id": "sq0idp-example", "client_secret": "application-secret-0123456789"}

pytestmark = pytest.mark.timeout(300)

# What is not run here, and why: nothing else may be left out.
NOT_RUN = {
    "connect-an-account.md": [
        "it needs a plugin with settings; tests/integration/test_connection_settings.py has one"
    ],
    "deploy-on-one-machine.md": [
        "it makes a user and a service of the machine",
        "it needs that user",
    ],
    "deploy-with-postgresql.md": [
        "it makes services of the machine",
        "it needs a container engine",
        "it needs a container engine and a cluster",
    ],
    "move-to-postgresql.md": ["it installs from a registry"],
    "publish-a-plugin.md": ["it installs from a registry", "it uploads to a registry"],
    "rotate-keys.md": ["it installs from a registry"],
    "run-the-chaos-lane.md": [
        "it takes many minutes; tests/faults/test_chaos_lane.py runs a short piece of each"
    ],
    "trace-with-opentelemetry.md": [
        "it installs from a registry; tests/acceptance/test_tracing.py has it installed"
    ],
    "upgrade.md": ["it installs from a registry"],
}

Look = Callable[[list[Step]], None]
PAGES: dict[str, Callable[[Stage], Look | None]] = {}


def page(name: str):
    """Say what a page needs; what is returned looks at what its commands printed."""

    def known(prepare):
        PAGES[f"{name}.md"] = prepare
        return prepare

    return known


# Pages that are typed by a test of their own: one kills what it starts, one installs a package.
ELSEWHERE = {
    "first-plugin.md": "packaging/test_wheels.py",
    "first-ten-minutes.md": "acceptance/test_first_ten_minutes.py",
}
FILES = {
    each.name: each
    for folder in (HOW_TO, TUTORIAL)
    for each in sorted(folder.glob("*.md"))
    if each.name not in ELSEWHERE
}


@pytest.mark.parametrize("name", FILES)
def test_a_page_goes_as_it_is_written(name, request, tmp_path):
    blocks = [block for block in blocks_of(FILES[name]) if block.language in SHELL]
    assert [block.reason for block in blocks if block.reason] == NOT_RUN.get(name, [])
    if all(block.reason for block in blocks):
        assert name not in PAGES
        return
    with stage_of(request, tmp_path) as stage:
        look = PAGES[name](stage)
        steps = run_page(FILES[name], stage.session)
        if look is not None:
            look(steps)


def test_what_is_prepared_or_left_out_is_a_page():
    assert {*NOT_RUN, *PAGES} <= set(FILES)
    for name, test in ELSEWHERE.items():
        assert f"docs/tutorial/{name}" in (ROOT / "tests" / test).read_text(), name


def said(steps: list[Step], beginning: str) -> str:
    """Return what the first command that begins so printed."""
    return next(step.said for step in steps if step.command.startswith(beginning))


def browse(stage: Stage, provider: str) -> str:
    """Have an application at a provider, and a browser whose user says yes."""
    few = {"customers": 3, "orders": 3, "items": 3} if provider == "square" else {}
    url = stage.sandbox(provider, **few, **APPLICATION)
    for environ in (stage.session.environ, stage.site.environ):
        environ["BROWSER"] = 'curl --silent --location --cookie "" --output /dev/null %s'
    stage.set(
        public_url=f"http://127.0.0.1:{free_port()}",
        **{f"{provider}_{name}": text for name, text in APPLICATION.items()},
        **{f"{provider}_environment": "sandbox"},
    )
    return url


@page("a-provider-throttles")
def _(stage: Stage):
    stage.connect("square", "shop", stage.sandbox("square", customers=3, api_key=KEY))

    def look(steps: list[Step]) -> None:
        assert "8/second" in said(steps, "tieline limits set shop")
        assert "nothing" in said(steps, "tieline limits reset-breaker")

    return look


@page("a-token-was-revoked")
def _(stage: Stage):
    url = browse(stage, "quickbooks")
    stage.site.ok("connect", "quickbooks", "--name", "books", "--base-url", url)
    opened = stage.site.installation
    with opened.database.write() as transaction:
        row = stored.find_connection(transaction, "books")
        stored.refuse_credential(
            transaction, row.id, generation=None, words="invalid_grant", now=opened.clock.now()
        )

    def look(steps: list[Step]) -> None:
        assert service.get_connection(opened, "books").state == "ok"
        assert "/oauth/start/" in said(steps, "tieline connections reauth books --link")

    return look


@page("a-webhook-secret-rotates")
def _(stage: Stage):
    stage.shop()
    found, url = stage.endpoint(), stage.serve()
    stage.session.texts |= {
        "whe_4k1x": found,
        "2026-11-20": f"{stage.site.installation.clock.now() - timedelta(days=6):%Y-%m-%d}",
    }
    stage.write("new-secret", SIGNING[::-1])
    stage.write("newer-secret", SIGNING.swapcase())
    stage.site.ok("webhooks", "send", "customer.updated", "--endpoint", found, "--to", url)
    [event] = stage.site.json("webhooks", "events", "list")["events"]
    by_old = ("webhooks", "events", "list", "--verified-with", "old")
    assert stage.site.json(*by_old)["events"] == []

    def look(steps: list[Step]) -> None:
        [secret] = stage.site.json("webhooks", "secret", "show", found, "--raw")["secrets"]
        assert secret["secret"] == SIGNING.swapcase()
        assert event["id"] in said(steps, "tieline webhooks events list --verified-with old")

    return look


@page("a-worker-died")
def _(stage: Stage):
    stage.shop()
    stage.session.texts["dead_4k1x"] = stage.dead_run()

    def look(_: list[Step]) -> None:
        assert stage.site.json("dead", "list")["dead_letters"] == []

    return look


@page("back-up-and-restore")
def _(stage: Stage):
    stage.shop()
    stage.postgres()
    source, target = stage.migrated_postgres(), stage.postgres_name()
    lost = ("tokens", "create", "warehouse", "--scope", "read")
    stage.site.ok(*lost, TIELINE_DATABASE_URL=source)
    stage.site.installation.close()
    stage.session.texts |= {
        # What is restored was lost before.
        "backup tieline-backup.db": 'backup tieline-backup.db && rm "$TIELINE_HOME/tieline.db"',
        "tieline db backup tieline.dump": (
            f"TIELINE_DATABASE_URL={shlex.quote(source)} tieline db backup tieline.dump"
        ),
        "tieline_restored": target,
    }

    def look(steps: list[Step]) -> None:
        assert [each["name"] for each in stage.site.json("connections")["connections"]] == ["shop"]
        assert "0 failures" in said(steps, "tieline doctor")
        url = f"postgresql+psycopg:///{target}"
        programs = {name: text for name, text in stage.session.environ.items() if name[:2] == "PG"}
        found = stage.site.json("tokens", TIELINE_DATABASE_URL=url, **programs)["tokens"]
        assert [each["name"] for each in found] == ["warehouse"]

    return look


@page("be-alerted")
def _(stage: Stage):
    stage.shop()
    stage.dead_events("customers")

    def look(steps: list[Step]) -> None:
        assert "events-dead" in said(steps, "tieline alerts --all")
        assert json.loads(said(steps, "tieline alerts --json"))["alerts"]

    return look


@page("connect-an-account")
def _(stage: Stage):
    square = browse(stage, "square")
    stage.write("secret", APPLICATION["client_secret"])
    stage.session.texts |= {
        "connect stripe": f"connect stripe --base-url {stage.sandbox(customers=1)}",
        "connect square": f"connect square --base-url {square}",
        "sq0idp-…": APPLICATION["client_id"],
        "/run/secrets/square": str(stage.session.cwd / "secret"),
        "ENVIRONMENT=production": "ENVIRONMENT=sandbox",
    }
    stage.session.typed |= {
        "tieline connect stripe": KEY,
        "tieline connections rotate-key": KEY,
        "tieline connections remove": "till",
    }

    def look(steps: list[Step]) -> None:
        assert "ok  square · till" in said(steps, "tieline connections test till")
        assert "/oauth/start/" in said(steps, "tieline connect square --name kiosk --link")
        assert [each["name"] for each in stage.site.json("connections")["connections"]] == ["shop"]

    return look


@page("deploy-with-postgresql")
def _(stage: Stage):
    (stage.session.cwd / "deploy").mkdir()

    def look(_: list[Step]) -> None:
        made = stage.session.cwd / "deploy/.env"
        assert made.stat().st_mode & 0o077 == 0
        assert re.fullmatch(r"(\w+=\S{32,}\n){3}", made.read_text())

    return look


@page("find-what-is-missing")
def _(stage: Stage):
    stage.shop()
    stage.work(("shop", "customers"))
    record = stage.site.json("records", "list", "shop", "customers")["records"][0]
    run = stage.site.json("verify", "shop", "customers", "--wait")["run"]
    stage.session.texts |= {"run_8f2k": run["id"], "cus_4k1x": record["id"]}
    stage.session.typed |= {"tieline state reset": "shop"}

    def look(steps: list[Step]) -> None:
        assert "known until 2026-03-01" in said(steps, "tieline state reset")
        assert "was 2026-03-01" in said(steps, "tieline state undo")

    return look


@page("first-deployment")
def _(stage: Stage):
    for name in [name for name in stage.session.environ if name.startswith("TIELINE_")]:
        del stage.session.environ[name]
    sandbox, port = free_port(), free_port()
    stage.session.texts |= {":12111": f":{sandbox}", ":8377": f":{port}"}
    stage.session.texts |= {" 12111": f" {sandbox}", " 8377": f" {port}"}

    def look(steps: list[Step]) -> None:
        assert json.loads(said(steps, "curl --silent --fail --header"))["data"]
        assert said(steps, "sqlite3 backup.db") == "ok"
        assert "0 warnings, 0 failures" in said(steps, "tieline doctor")

    return look


@page("look-after-events")
def _(stage: Stage):
    stage.shop()
    first, second = stage.dead_events("customers", "products")
    [event] = stage.deliver(Told(type="charge.failed", key="ch_1", entity=None))
    stage.session.texts |= {"evt_4k1x": event, "dead_7q2m": [first, first, second]}

    def look(steps: list[Step]) -> None:
        assert event in said(steps, "tieline webhooks events list")
        assert stage.site.json("dead", "list")["dead_letters"] == []

    return look


@page("move-to-postgresql")
def _(stage: Stage):
    stage.shop()
    stage.site.installation.close()
    stage.postgres()
    name = stage.postgres_name()
    address = f"postgresql+psycopg:///{name}"
    stage.session.texts |= {
        "createuser tieline": f"createuser {name}",
        "createdb tieline --owner tieline": f"createdb {name} --owner {name}",
        "postgresql+psycopg://tieline:PASSWORD@db.example.com/tieline": address,
    }
    stage.session.typed["createuser"] = "long-password\nlong-password"

    def look(steps: list[Step]) -> None:
        moved = stage.session.environ | {"TIELINE_DATABASE_URL": address}
        stage.site.environ = moved
        assert stage.site.json("db", "current")["schema"] == SCHEMA_REVISION
        assert stage.site.json("connections")["connections"][0]["name"] == "shop"

    return look


@page("quarantine")
def _(stage: Stage):
    stage.shop()
    good = stage.bad_record(b'{"id":"cus_1","object":"customer"}', "cus_1")
    bad = stage.bad_record(b'{"id":7,"object":"customer"}')
    stage.bad_record(b'{"id":8,"object":"customer"}')
    stage.session.texts["bad_4k1x"] = [good, good, bad]
    stage.session.codes["tieline records quarantine retry --all"] = 8

    def look(_: list[Step]) -> None:
        assert stage.site.json("records", "show", "shop", "customers", "cus_1")
        assert stage.site.json("records", "quarantine", "list", "shop")["quarantine"] == []

    return look


@page("query-records-in-sql")
def _(stage: Stage):
    stage.shop()
    stage.work(("shop", "customers"))

    def look(_: list[Step]) -> None:
        blocks = blocks_of(HOW_TO / "query-records-in-sql.md")
        [query] = [block.text for block in blocks if block.language == "sql"]
        with sqlite3.connect(stage.site.cwd / "tieline.db") as database:
            assert sum(count for _, count, _ in database.execute(query)) > 0
        database.close()

    return look


@page("read-the-change-feed")
def _(stage: Stage):
    stage.shop()
    stage.work(("shop", "customers"))
    stage.write("load", "#!/bin/sh\nexec cat > loaded\n")
    (stage.session.cwd / "load").chmod(0o755)
    stage.session.lasting = {"tieline records follow": 0}
    stage.session.texts["--after 5200"] = "--after 5"

    def look(steps: list[Step]) -> None:
        lines = (stage.session.cwd / "loaded").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} == set(stage.site.exported())
        assert "crm" in said(steps, "tieline records consumers list")
        for ending in ("jsonl", "csv", "parquet"):
            assert (stage.session.cwd / f"customers.{ending}").stat().st_size > 1000

    return look


@page("receive-webhooks")
def _(stage: Stage):
    stage.shop()
    stage.set(public_url="https://tieline.example.com")
    stage.write("secret", SIGNING)
    stage.write("new-secret", SIGNING[::-1])
    found, url = stage.endpoint(), stage.serve()
    ops = stage.stack.enter_context(running_ops())
    stage.session.texts |= {
        "whe_4k1x": found,
        "http://localhost:8000/hooks": f"{ops.url} --port {free_port()}",
        "send customer.updated": f"send customer.updated --endpoint {found} --to {url}",
    }
    stage.session.lasting = {"tieline webhooks listen": 130}

    def look(steps: list[Step]) -> None:
        assert "https://tieline.example.com/webhooks/stripe/" in said(steps, "tieline webhooks add")
        assert "401" in said(steps, "tieline webhooks send customer.updated --forge")
        assert len(stage.site.json("webhooks", "events", "list")["events"]) == 2

    return look


@page("record-answers")
def _(stage: Stage):
    port = free_port()
    stage.session.texts["12113"] = str(port)
    stage.session.texts["python -m uvicorn"] = f"{sys.executable} -m uvicorn"

    def look(steps: list[Step]) -> None:
        told = said(steps, "python3 -m json.tool")
        assert '"step": "page"' in told
        assert "acme_test" not in told
        assert re.search(r"ok +gold +recordings-are-kept", said(steps, "tieline plugin check"))

    return look


@page("rotate-keys")
def _(stage: Stage):
    stage.shop()
    stage.session.texts["local-5f…"] = stage.site.json("keys")["keys"]["key_id"]
    stage.session.codes["tieline keys forget"] = 6  # until ten minutes have gone by

    def look(steps: list[Step]) -> None:
        assert "sealed    1 fields again" in said(steps, "tieline keys rotate --new")
        assert "error[key-lately-used]" in said(steps, "tieline keys forget")

    return look


@page("schedules")
def _(stage: Stage):
    stage.shop()
    first, second = stage.dead_run("products"), stage.dead_run("charges")
    stage.session.texts["dead_4k2v…"] = [first, first, second]
    stage.session.lasting = {"tieline scheduler": 0}

    def look(steps: list[Step]) -> None:
        assert "every 15m" in said(steps, "tieline schedules  ")
        assert said(steps, "tieline schedules next").count("customers") == 20

    return look


@page("upgrade")
def _(stage: Stage):
    def look(steps: list[Step]) -> None:
        assert SCHEMA_REVISION in said(steps, "tieline db upgrade")

    return look


@page("use-the-api")
def _(stage: Stage):
    stage.shop()
    stage.session.texts["http://127.0.0.1:8377"] = stage.serve()

    def look(steps: list[Step]) -> None:
        [listed, asked] = [
            json.loads(each.said) for each in steps if each.command.startswith("curl")
        ]
        assert [each["name"] for each in listed["data"]] == ["shop"]
        assert asked["run"]["mode"] == "full"

    return look


@page("use-the-console")
def _(stage: Stage):
    stage.shop()

    def look(steps: list[Step]) -> None:
        [link] = re.findall(r"^http://\S+$", said(steps, "tieline console"), re.MULTILINE)
        assert re.fullmatch(r"http://127\.0\.0\.1:8377/console/enter/[\w-]{43}", link)

    return look


@page("when-something-is-wrong")
def _(stage: Stage):
    stage.shop()

    def look(steps: list[Step]) -> None:
        assert '"connections"' in said(steps, "tar")

    return look


@page("write-a-plugin")
def _(stage: Stage):
    installed = stage.session.cwd / "installed"
    options = f"--quiet --no-index --no-deps --no-build-isolation --target {installed}"
    stage.session.environ["PYTHONPATH"] = str(installed)
    stage.session.texts["pip install --editable tieline-acme pytest"] = (
        f"python3 -m pip install {options} ./tieline-acme"
    )
    if not SOAK:  # tests/checks makes them all, of a plugin that was made in the same way
        stage.session.texts |= {
            "check tieline-acme": "check tieline-acme --only it-loads --only limits-are-declared",
            "&& pytest": "&& pytest -k 'it-loads or limits-are-declared'",
        }

    def look(steps: list[Step]) -> None:
        assert "bronze" in said(steps, "tieline plugin check")
        assert "passed" in said(steps, "cd tieline-acme")

    return look


@page("write-to-a-provider")
def _(stage: Stage):
    url = stage.sandbox("mailchimp", contacts=12, audiences=1)
    stage.connect("mailchimp", "news", url, NEWS_KEY)
    stage.work(("news", "contacts"))
    found = stage.site.json("records", "list", "news", "contacts")["records"]
    keys = [each["id"] for each in found if each["payload"]["status"] == "subscribed"]
    for key in keys[:3]:
        stage.change_member(url, NEWS_KEY, key)
    for key in keys[:3]:
        wanted = ("news", "contacts", "--update", key, '{"merge_fields": {"FNAME": "Ours"}}')
        assert stage.site.run("push", *wanted, "--wait").returncode == 8
    held = [each["id"] for each in stage.site.json("outbox")["operations"]]
    stage.session.texts |= {
        "a6b5da1054:a93fce29": [*keys[3:5], keys[5]],
        "a6b5da1054": keys[0].partition(":")[0],
        "op_4k1x": [held[0], *held],
    }
    name = "write-to-a-provider.md"
    [lines, *_] = [block for block in blocks_of(HOW_TO / name) if block.language == "json"]
    text = lines.text.replace("a6b5da1054:a93fce29", keys[6]).replace(
        "a6b5da1054:c51e7b08", keys[7]
    )
    stage.write("changes.jsonl", text.replace("a6b5da1054", keys[0].partition(":")[0]))

    def look(steps: list[Step]) -> None:
        assert "FNAME" in said(steps, "tieline outbox show")
        left = stage.site.json("outbox")["operations"]
        assert {each["state"] for each in left} <= {"queued", "sending"}

    return look
