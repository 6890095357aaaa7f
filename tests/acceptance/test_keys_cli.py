"""Keys by the command line: seen, changed, checked, and what happens when they are not there."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

import kms_server
import servers
from site_of import KEY, make_site


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def kms():
    with pytest.MonkeyPatch.context() as patch:
        for name, text in kms_server.AWS.items():
            patch.setenv(name, text)
        with kms_server.kms_server() as served:
            yield served


def connect(site, url: str, name: str = "shop", **options):
    arguments = ("connect", "stripe", "--name", name, "--key-stdin", "--base-url", url)
    return site.run(*arguments, stdin=KEY, **options)


def let_time_pass(site) -> None:
    before = time.time() - 3600
    os.utime(site.installation.key_path, (before, before))


def stored(site) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(site.installation.database_url.reveal()[10:])) as database:
        return database.execute("select connection_id, field, sealed from credentials").fetchall()


def database_bytes(site) -> bytes:
    path = Path(site.installation.database_url.reveal()[10:])
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


def test_a_key_is_changed_and_forgotten_and_the_account_stays_connected(site, shop_sandbox):
    assert connect(site, shop_sandbox).returncode == 0
    [old] = [use["key_id"] for use in site.json("keys", "status")["keys"]["keys"]]
    refused = site.run("keys", "forget", old)
    assert refused.returncode == 6
    assert "seals now" in refused.stderr

    done = site.run("keys", "rotate", "--new")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "sealing   1 of 1" in done.stderr
    assert f"{old} can be removed (next: tieline keys forget {old})" in done.stderr
    assert site.run("keys", "forget", old).returncode == 6  # a moment has to pass
    let_time_pass(site)

    found = site.json("keys", "status")["keys"]
    assert found["provider"] == "local"
    assert [(use["is_present"], use["fields"], use["can_open"]) for use in found["keys"]] == [
        (True, 1, True),
        (False, 0, None),
    ]
    assert site.json("keys", "forget", old) == {"forgotten": old}
    assert site.json("keys", "rotate")["rotation"]["resealed"] == 0
    assert site.json("keys", "check")["check"] == {"opened": 1, "unopened": [], "is_whole": True}
    assert len(site.installation.key_path.read_text().split()) == 1
    assert connect(site, shop_sandbox, "other").returncode == 0
    assert site.json("keys")["keys"]["keys"][0]["fields"] == 2


def test_people_read_a_table(site, shop_sandbox):
    connect(site, shop_sandbox)
    said = site.ok("keys")
    assert f"provider  local ({site.installation.key_path})" in said
    assert "seals now" in said


def test_a_broken_credential_is_named_and_the_others_go_on(site, shop_sandbox):
    site.connect(shop_sandbox, name="shop")
    site.connect(shop_sandbox, name="other")
    (shop, field, sealed), _ = stored(site)
    with closing(sqlite3.connect(site.installation.database_url.reveal()[10:])) as database:
        with database:
            database.execute(
                "update credentials set sealed = ? where connection_id = ?",
                (sealed.replace('"ct":"', '"ct":"AAAA'), shop),
            )
        [(name,)] = database.execute("select name from connections where id = ?", (shop,))
    done = site.run("keys", "check", "--json")
    assert done.returncode == 7
    check = json.loads(done.stdout)["check"]
    assert check["opened"] == 1
    [broken] = check["unopened"]
    assert (broken["connection_name"], broken["field"], broken["code"]) == (
        name,
        field,
        "seal-broken",
    )
    rotated = site.run("keys", "rotate", "--new")
    assert rotated.returncode == 7
    assert "sealed    1 fields again" in rotated.stderr
    assert f"broken    {name} {field}" in rotated.stderr
    looked = site.run("doctor", "--json")
    assert looked.returncode == 7
    assert {
        (each["level"], name in each["message"])
        for each in json.loads(looked.stdout)["findings"]
        if each["subject"] == "credentials"
    } == {("fail", True), ("ok", False)}


def test_no_command_shows_a_key_or_a_secret(site, shop_sandbox):
    connect(site, shop_sandbox)
    said = ""
    for arguments in (
        ("status",),
        ("rotate", "--new"),
        ("rotate", "--new", "--json"),
        ("check", "--json"),
        ("forget", "local-000000000000"),
    ):
        done = site.run("keys", *arguments, TIELINE_LOG_LEVEL="debug")
        said += done.stdout + done.stderr
    keys = site.installation.key_path.read_text().split()
    assert len(keys) == 3
    assert [secret for secret in (KEY, *keys) if secret in said] == []


def test_a_key_file_that_others_can_read_is_red_in_the_doctor(site):
    path = site.installation.key_path
    path.chmod(0o644)
    done = site.run("doctor", "--json")
    assert done.returncode == 7
    [finding] = [each for each in json.loads(done.stdout)["findings"] if each["subject"] == "keys"]
    assert finding["level"] == "fail"
    assert finding["fix"] == f"chmod 600 {path}"


@pytest.mark.parametrize(
    "arguments", [("keys", "status"), ("keys", "rotate"), ("worker", "--burst")], ids=" ".join
)
def test_production_does_not_start_on_a_local_key(site, arguments):
    done = site.run(*arguments, TIELINE_ENV="production")
    assert done.returncode == 7
    assert "local key" in done.stderr
    assert "TIELINE_ALLOW_LOCAL_KEY=true" in done.stderr
    allowed = {"TIELINE_ENV": "production", "TIELINE_ALLOW_LOCAL_KEY": "true"}
    assert site.run("keys", "status", **allowed).returncode == 0


def test_production_does_not_connect_under_a_local_key_nor_try_the_secret(site, shop_sandbox):
    allowed = {"TIELINE_ENV": "production", "TIELINE_ALLOWED_BASE_URLS": shop_sandbox}
    done = connect(site, shop_sandbox, **allowed)
    assert done.returncode == 7
    assert "local key" in done.stderr
    assert stored(site) == []


def test_under_kms_an_account_is_connected_and_its_credential_opens(kms, site, shop_sandbox):
    kms.fault = None
    site.environ |= kms.environ
    assert connect(site, shop_sandbox, TIELINE_ENV="production",
                   TIELINE_ALLOWED_BASE_URLS=shop_sandbox).returncode == 0  # fmt: skip
    found = site.json("keys", "status")["keys"]
    assert (found["provider"], found["key_id"]) == ("kms", kms.key_arn)
    assert found["keys"][0]["fields"] == 1
    assert kms.key_arn in stored(site)[0][2]
    assert {call.context["application"] for call in kms.calls} == {"tieline"}
    assert site.json("keys", "check")["check"]["opened"] == 1


def test_while_kms_is_down_a_connect_says_so_and_stores_nothing(kms, site):
    site.environ |= kms.environ
    kms.fault = ("answer", 503, "ServiceUnavailable")
    with servers.sandbox(customers=1) as url:
        done = connect(site, url)
    kms.fault = None
    assert done.returncode == 9
    [line] = done.stderr.splitlines()
    assert line.startswith("error[key-unavailable]")
    assert "does not answer now" in line
    assert KEY not in done.stderr
    assert stored(site) == []
    assert site.json("connections")["connections"] == []
    assert KEY.encode() not in database_bytes(site)


def test_while_kms_is_down_a_check_waits_for_it_and_blames_no_credential(kms, site, shop_sandbox):
    site.environ |= kms.environ
    kms.fault = None
    assert connect(site, shop_sandbox).returncode == 0
    kms.fault = ("answer", 503, "ServiceUnavailable")
    check, status, doctor = (
        site.run(*arguments) for arguments in (("keys", "check"), ("keys", "status"), ("doctor",))
    )
    kms.fault = None
    assert check.returncode == 9
    assert status.returncode == 0
    assert "nothing now" in status.stdout
    assert doctor.returncode == 7
    assert "does not answer now" in doctor.stdout
    assert KEY.encode() not in database_bytes(site)
