"""`tieline plugin record`: what is stored of a provider, and what is held to it afterwards."""

from __future__ import annotations

import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from acme_kit import made, served_acme
from pages import blocks_of
from site_of import KEY, make_site
from tieline.checks import CHECKS, Case, find_subject, make_check
from tieline.cli.main import cli
from tieline.registry import find_plugins
from tieline.scaffold import Wanted, make_plugin
from tieline.services.sandbox import serving

pytestmark = [pytest.mark.xdist_group("checks"), pytest.mark.timeout(300)]
CHECK = "recordings-are-kept"
PAGE = Path(__file__).parents[2] / "docs/how-to/record-answers.md"


def run(*arguments: str, given: str | None = None):
    return CliRunner().invoke(
        cli, ["plugin", "record", *arguments], standalone_mode=False, input=given
    )


@pytest.fixture
def plugin(tmp_path):
    with served_acme(tmp_path / "tieline-acme") as acme:
        yield acme.folder, acme.url, acme.key


def recorded(folder):
    return json.loads((folder / "tests/recorded/things.json").read_text())


def found(folder):
    with Case(find_subject(str(folder))) as case:
        return make_check(case, CHECKS[CHECK])


def test_pages_log_and_one_record_of_the_provider_are_stored_without_its_people(plugin):
    folder, url, key = plugin
    done = run(str(folder), "--live", "--base-url", url, "--key-stdin", given=f"{key}\n")
    assert done.exception is None, done.output
    assert done.stdout.splitlines() == [str(folder / "tests/recorded/things.json")]
    said = recorded(folder)
    assert (said["version"], said["source"], said["entity"]) == (1, "live", "things")
    assert [each["step"] for each in said["exchanges"]] == ["page", "page", "get", "feed", "feed"]
    text = json.dumps(said)
    assert not re.search(r"Ada|Lovelace|acme_test|127\.0\.0\.1|thing_0001", text)
    first, second = [each["reply"]["body"]["things"] for each in said["exchanges"][:2]]
    assert first[0]["price_cents"] == 99
    assert said["exchanges"][1]["request"]["query"][-1] == ["cursor", first[-1]["id"]]
    assert first[-1]["id"] < second[0]["id"]


def test_no_more_pages_and_bytes_are_stored_than_were_asked_for(plugin):
    folder, url, key = plugin
    given = ("--live", "--base-url", url, "--key-stdin")
    assert run(str(folder), *given, "--pages", "1", given=key).exception is None
    assert [each["step"] for each in recorded(folder)["exchanges"]] == ["page", "get", "feed"]
    assert run(str(folder), *given, "--max-kb", "2", given=key).exception is None
    assert [each["step"] for each in recorded(folder)["exchanges"]] == ["page", "get"]
    assert "raise --max-kb" in run(str(folder), *given, "--max-kb", "1", given=key).exception.hint


def test_a_key_that_is_refused_is_told_and_stores_nothing(plugin):
    folder, url, _ = plugin
    done = run(str(folder), "--live", "--base-url", url, "--key-stdin", given="wrong-key-0123")
    assert done.exception.slug == "needs-reauth"
    assert "wrong-key" not in done.output
    assert not (folder / "tests/recorded").exists()


def test_a_password_is_read_with_its_user(tmp_path):
    folder, names = made(tmp_path / "tieline-acme", "basic")
    key = tmp_path / "key"
    key.write_text(f"owner:{names['KEY']}\n")
    with serving(names["create_app"](things=3)) as url:
        done = run(str(folder), "--live", "--base-url", url, "--key-file", str(key))
    assert done.exception is None, done.output
    assert names["KEY"] not in (folder / "tests/recorded/things.json").read_text()


def test_who_signs_in_is_recorded_by_a_connection(tmp_path):
    folder, _ = made(tmp_path / "tieline-acme", "oauth2")
    assert "--connection NAME" in run(str(folder), "--live").exception.hint


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--key-stdin",), "the sandbox needs no account"),
        (("--connection", "shop"), "the sandbox needs no account"),
        (("--live", "--connection", "shop", "--base-url", "http://x"), "has its own key"),
        (("--pages", "21"), "21 is not in the range"),
        (("--entity", "thingz"), "has no entity 'thingz'"),
    ],
)
def test_what_makes_no_sense_is_told(plugin, given, words):
    assert words in str(run(str(plugin[0]), *given).exception)


def test_how_the_answers_differ_from_the_schema_is_told_without_a_value(plugin):
    folder, url, key = plugin
    schema = folder / "tieline_acme/schema.py"
    text = schema.read_text().replace("    is_archived = fields.Boolean()\n", "")
    schema.write_text(text.replace("    name = fields.String(", "    name = fields.Integer("))
    said = run(str(folder), "--live", "--base-url", url, "--key-stdin", given=key).output
    assert "  -name: a whole number or null\n  +name: text (20 of 20)\n" in said
    assert "  +is_archived: true or false (20 of 20)\n" in said
    assert "20 of 20 records would be quarantined" in said
    assert "Ada" not in said


def test_a_dry_run_says_the_same_and_stores_nothing(plugin):
    folder, url, key = plugin
    said = run(str(folder), "--live", "--base-url", url, "--key-stdin", "--dry-run", given=key)
    assert said.exception is None
    assert "things: 5 answers" in said.output
    assert said.stdout == ""
    assert not (folder / "tests/recorded").exists()


def test_plugin_and_sandbox_are_held_to_what_was_recorded(plugin):
    folder, url, key = plugin
    assert found(folder).state == "not applicable"
    run(str(folder))
    assert found(folder).state == "not applicable"  # its own sandbox proves nothing
    run(str(folder), "--live", "--base-url", url, "--key-stdin", given=key)
    assert (found(folder).state, found(folder).what) == ("passed", "")


def test_a_test_of_ones_own_plays_a_recording_as_the_page_says(tmp_path, monkeypatch):
    make_plugin(Wanted(name="acme", entity="orders"), tmp_path / "acme")
    assert run(str(tmp_path / "acme")).exception is None
    [code] = [block.text for block in blocks_of(PAGE) if block.language == "python"]
    path = tmp_path / "acme/tests/test_recorded.py"
    path.write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path / "acme"))
    try:
        runpy.run_path(str(path))["test_the_provider_s_own_pages_are_read"]()
    finally:
        for name in [name for name in sys.modules if name.startswith("tieline_acme")]:
            del sys.modules[name]


BROKEN = {
    "the sandbox sends a number as a text": (
        "tieline_acme_sandbox/__init__.py",
        '"price_cents": number * 99,',
        '"price_cents": str(number * 99),',
        "things.price_cents is text in the sandbox, and a number in things.json",
        "let the sandbox answer as the provider does",
    ),
    "the schema promises what the provider does not send": (
        "tieline_acme/schema.py",
        "    name = fields.String(allow_none=True)\n",
        "    name = fields.Integer(allow_none=True)\n",
        "record 1 of things.json breaks what the schema promises: name",
        "promise what the provider sends",
    ),
    "the plugin asks for something else": (
        "tieline_acme/__init__.py",
        '"limit": 100, ',
        '"limit": 50, ',
        "things.json has no answer to GET /things",
        "record it again",
    ),
    "the list ends too early": (
        "tieline_acme/__init__.py",
        'cursor_field="next"',
        'cursor_field="nxt"',
        "page ends, and things.json has 1 more answers to it",
        "end only where the answer says so",
    ),
    "the log is asked for otherwise": (
        "tieline_acme/__init__.py",
        '{"updated_since": window.start.isoformat()}',
        '{"changed_since": window.start.isoformat()}',
        "things.json has no answer to GET /things",
        "record it again",
    ),
    "the log names the entry and not the record": (
        "tieline_acme/__init__.py",
        'Change(key=record["id"], at=',
        'Change(key="evt_1", at=',
        "a change of evt_1 in things.json has the record of another",
        "name the record itself",
    ),
    "the log tells times that nobody sent": (
        "tieline_acme/__init__.py",
        'at=utc(record["updated_at"])',
        'at=utc(record["changed_at"])',
        "reading feed of things.json raises KeyError: 'changed_at'",
        "promise what the provider sends",
    ),
    "one record is read and another comes": (
        "tieline_acme/__init__.py",
        "    found: Record = parse_json(reply.content)\n    return found\n",
        '    found: Record = parse_json(reply.content)\n    return {**found, "id": "thing_1"}\n',
        "has the record of another: thing_1",
        "name the record itself",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_departs_from_the_recording_is_caught_and_named(plugin, case):
    folder, url, key = plugin
    run(str(folder), "--live", "--base-url", url, "--key-stdin", given=key)
    name, old, new, what, mend = BROKEN[case]
    path = folder / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    said = found(folder)
    assert said.state == "failed"
    assert what in said.what
    assert mend in said.do


PERSONAL = re.compile(
    r"mail(?!.*status)|phone|(first|last|given|family|display|full|cardholder)_?name|^name$|line_?1|street|^city$"
    r"|locality|postal|note|birth",
    re.IGNORECASE,
)


def texts_of_people(value, name=""):
    """Yield every text that stands at a name of somebody's, in an answer."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from texts_of_people(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of_people(inner, name)
    elif isinstance(value, str) and len(value) > 5 and PERSONAL.search(name):
        yield value


@pytest.mark.parametrize("name", sorted(one.name for one in find_plugins()))
def test_what_is_recorded_of_each_sandbox_names_nobody_and_is_read_again(name, tmp_path):
    folder = tmp_path / "tests/recorded"
    done = run(name, "--to", str(folder), "--max-kb", "9999")
    assert done.exception is None, done.output
    written = {path: path.read_text() for path in folder.glob("*.json")}
    with Case(replace(find_subject(name), folder=tmp_path)) as case:
        with case.site() as site:
            people = {
                text
                for entity in case.entities
                for record in site.truth(entity).values()
                for text in texts_of_people(record)
            }
            keys = {
                key
                for entity in case.entities
                for key in site.truth(entity)
                if len(key) > 8 and re.search(r"\d", key)
            }
        everything = json.dumps([json.loads(text) for text in written.values()], ensure_ascii=False)
        assert len(people) > 10
        assert sorted(text for text in people | keys if text in everything) == []
        for path, text in written.items():
            path.write_text(text.replace('"source": "sandbox"', '"source": "live"', 1))
        said = make_check(case, CHECKS[CHECK])
    assert (said.state, said.what) == ("passed", "")


def test_an_account_that_is_connected_here_is_recorded_by_its_name(
    sqlite_url, redis_url, tmp_path, shop_sandbox
):
    site = make_site(tmp_path / "site", sqlite_url, redis_url)
    try:
        site.connect(shop_sandbox)
        given = ("plugin", "record", "stripe", "--live", "--entity", "customers", "--pages", "1")
        done = site.run(*given, "--connection", "shop", "--to", str(tmp_path / "made"))
        other = site.run("plugin", "record", "square", "--live", "--connection", "shop",
                         "--to", str(tmp_path))  # fmt: skip
    finally:
        site.close()
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "made/customers.json").read_text()
    assert KEY not in text
    assert json.loads(text)["source"] == "live"
    assert other.returncode == 2
    assert "shop is an account at stripe, not square" in other.stderr
