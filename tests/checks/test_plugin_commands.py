"""`tieline plugin new` and `check`: what they print, refuse and hold a plugin to."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from tieline.checks import CHECKS, LEVELS, check_plugin, draw_badge, find_subject
from tieline.checks.reference import write_table
from tieline.cli.main import cli
from tieline.contract import TielineError
from tieline.registry import find_plugins
from tieline.scaffold import Wanted, make_plugin

pytestmark = [pytest.mark.xdist_group("checks"), pytest.mark.timeout(300)]
PAGE = Path(__file__).parents[2] / "docs/reference/checks.md"
QUICK = ("it-loads", "limits-are-declared", "exemptions-have-reasons")


def run(*arguments: str):
    return CliRunner().invoke(cli, ["plugin", *arguments], standalone_mode=False)


def only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


@pytest.fixture
def plugin(tmp_path):
    make_plugin(Wanted(name="acme"), tmp_path / "tieline-acme")
    return tmp_path / "tieline-acme"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_new_plugin_has_eight_files_at_most(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("new", "big_shop", "--auth", "oauth2", "--entity", "purchase_orders")
    assert done.exception is None
    made = [path for path in (tmp_path / "tieline-big-shop").rglob("*") if path.is_file()]
    assert sorted(done.stdout.split()) == sorted(str(path.relative_to(tmp_path)) for path in made)
    assert len(made) <= 8
    left = "".join(path.read_text() for path in made)
    assert not re.search(r"acme|\bthings?\b|#:", left, re.IGNORECASE)


def test_a_new_plugin_has_its_own_words_put_into_the_middle_of_no_other(tmp_path):
    make_plugin(Wanted(name="acme", entity="qqzs"), tmp_path / "made")
    made = [path.read_text() for path in (tmp_path / "made").rglob("*") if path.is_file()]
    assert re.findall(r"[a-z]+qqz[a-z]*", "".join(made)) == []


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(name="big_shop", auth="oauth2", entity="purchase_orders"),
        Wanted(name="x", title="Crème & Co.", auth="basic", entity="categories"),
        Wanted(name="events", entity="records", base_url="https://api.example.com/v2"),
    ],
    ids=lambda wanted: wanted.name,
)
def test_a_new_plugin_works_under_any_name(wanted, tmp_path):
    make_plugin(wanted, tmp_path / "made")
    report = check_plugin(
        find_subject(str(tmp_path / "made")),
        only=["import-is-quiet", "it-loads", "docs-page", "account-is-named", "pages-completely",
              "changes-are-seen", "deliveries-are-read"],
    )  # fmt: skip
    assert [f"{each.check.name}: {each.what}" for each in report.failed] == []


def test_the_sandbox_of_a_new_plugin_consents_and_takes_each_code_once(tmp_path):
    make_plugin(Wanted(name="acme", auth="oauth2"), tmp_path / "made")
    names = runpy.run_path(str(tmp_path / "made" / "tieline_acme_sandbox" / "__init__.py"))
    ask = partial(asked, names["create_app"](things=1))
    status, headers, _ = ask("/oauth/authorize?redirect_uri=http://127.0.0.1:1/back&state=s%26t")
    back = urlsplit(headers["location"])
    assert (status, back.netloc, back.path) == (302, "127.0.0.1:1", "/back")
    told = dict(parse_qsl(back.query))
    assert told["state"] == "s&t"
    status, _, tokens = ask("/oauth/token", body=urlencode({"code": told["code"]}).encode())
    assert status == 200
    token = json.loads(tokens)["access_token"]
    assert ask("/account", authorization=f"Bearer {token}")[0] == 200
    assert ask("/oauth/token", body=urlencode({"code": told["code"]}).encode())[0] == 400


def asked(app, target: str, *, body: bytes = b"", **headers: str):
    """Call an ASGI application without a server; returns status, headers and body."""
    path, _, query = target.partition("?")
    given = [(name.encode(), text.encode()) for name, text in headers.items()]
    scope = {"type": "http", "method": "POST" if body else "GET", "path": path}
    told: list[dict] = []

    async def receive():
        return {"body": body}

    async def send(message):
        told.append(message)

    asyncio.run(app(scope | {"query_string": query.encode(), "headers": given}, receive, send))
    names = {name.decode(): text.decode() for name, text in told[0]["headers"]}
    return told[0]["status"], names, told[1]["body"]


BAD = {
    "capitals": Wanted(name="Acme"),
    "a path": Wanted(name="../acme"),
    "our own name": Wanted(name="tieline"),
    "no plural": Wanted(name="acme", entity="thing"),
    "no kind": Wanted(name="acme", auth="magic"),
    "http": Wanted(name="acme", base_url="http://api.acme.com"),
    "a quote in the address": Wanted(name="acme", base_url='https://a.com/"+evil+"'),
    "a quote in the title": Wanted(name="acme", title='Acme"""; import os'),
    "two lines": Wanted(name="acme", title="Acme\nInc"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_be_no_plugin_is_refused_and_nothing_is_written(case, tmp_path):
    with pytest.raises(TielineError):
        make_plugin(BAD[case], tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_folder_with_something_in_it_is_left_alone(plugin):
    before = {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()}
    done = run("new", "acme", "--to", str(plugin))
    assert "not empty" in str(done.exception)
    assert before == {path: path.read_bytes() for path in plugin.rglob("*") if path.is_file()}


def test_a_failure_says_what_where_and_what_to_do(plugin):
    source = plugin / "tieline_acme/__init__.py"
    change(source, 'rates=[Rate(limit="20/second")], concurrency=4', "")
    done = run("check", str(plugin), *only(*QUICK))
    assert done.return_value == 1
    shown = done.stdout[done.stdout.index("FAILED") :]
    assert "no rate and no concurrency is declared" in shown
    assert re.search(r"at    tieline_acme/__init__\.py:\d+\n", shown)
    assert "do    write the hook tieline_rate_limits" in shown


def test_a_plugin_that_does_not_import_fails_once_and_not_fifty_times(plugin):
    (plugin / "tieline_acme/__init__.py").write_text("import no_such_module\n")
    done = run("check", str(plugin), "--tier", "bronze")
    assert done.return_value == 1
    assert "No module named 'no_such_module'" in done.stdout
    assert done.stdout.count("FAILED") <= 2
    assert "not made" in done.stderr


def test_an_account_that_cannot_be_connected_is_told_once(plugin):
    change(plugin / "tieline_acme/__init__.py", 'f"Bearer {key}"', "key")
    asked = ["account-is-named", "sandbox-has-it-all", "pages-completely", "it-loads"]
    report = check_plugin(find_subject(str(plugin)), only=asked)
    assert [each.check.name for each in report.failed] == ["account-is-named"]
    assert {each.what for each in report.findings if each.state == "not made"} == {
        "account-is-named has to pass first"
    }


def test_pages_without_end_are_told_once_and_soon(plugin):
    path = plugin / "tieline_acme/__init__.py"
    change(path, 'cursor_field="next"', 'cursor_field="next", cursor_query="from"')
    change(plugin / "tieline_acme_sandbox/__init__.py", '"next": page[-1]["id"]',
           '"next": str(len(self.log))')  # fmt: skip
    asked = ["sandbox-has-it-all", "pages-completely", "changes-are-seen"]
    report = check_plugin(find_subject(str(plugin)), only=asked)
    [found] = report.failed
    assert "took 2,000 requests" in found.what
    assert [each.state for each in report.findings] == ["failed", "not made", "not made"]


def test_a_bug_is_told_in_its_own_words_and_where_it_is(plugin):
    path = plugin / "tieline_acme/__init__.py"
    change(path, 'at=utc(record["updated_at"])', 'at=utc(record["updated_at"][:19])')
    [found] = check_plugin(find_subject(str(plugin)), only=["changes-are-seen"]).failed
    assert "says no offset from UTC: add the provider's, +00:00" in found.what
    line = path.read_text().splitlines()[int(found.where.rpartition(":")[2]) - 1]
    assert "[:19]" in line


def test_a_reason_exempts_and_is_shown_and_none_does_not(plugin):
    source = plugin / "tieline_acme/__init__.py"
    change(source, 'rates=[Rate(limit="20/second")], concurrency=4', "")
    project = plugin / "pyproject.toml"
    reason = '[tool.tieline.exempt]\n"limits-are-declared" = "Acme has no limits"\n'
    project.write_text(f"{project.read_text()}\n{reason}")
    [found] = check_plugin(find_subject(str(plugin)), only=["limits-are-declared"]).findings
    assert found.state == "exempt"
    assert "Acme has no limits" in found.what
    change(project, "Acme has no limits", "")
    report = check_plugin(find_subject(str(plugin)), only=QUICK)
    assert {each.check.name for each in report.failed} == {
        "limits-are-declared",
        "exemptions-have-reasons",
    }


def test_a_level_that_is_not_earned_fails_and_one_that_is_does_not(plugin):
    subject = find_subject(str(plugin))
    report = check_plugin(subject, only=QUICK)
    made = report.findings
    assert subject.published == "silver"
    assert report.earned is None
    assert report.is_overstated

    def with_all_of(*levels: str):
        passed = [
            type(made[0])(check=each, state="passed")
            for each in CHECKS.values()
            if each.level in levels
        ]
        return type(report)(name="acme", findings=passed, published="silver")

    assert [with_all_of(*LEVELS[: n + 1]).earned for n in range(3)] == list(LEVELS)
    assert [with_all_of(*LEVELS[: n + 1]).is_overstated for n in range(3)] == [True, False, False]


def test_the_document_has_every_check_with_its_finding(plugin):
    done = run("check", str(plugin), "--json", *only(*QUICK))
    said = json.loads(done.stdout)
    assert said["plugin"] == "acme"
    assert said["published"] == "silver"
    assert [each["name"] for each in said["checks"]] == [n for n in CHECKS if n in QUICK]
    assert {each["state"] for each in said["checks"]} == {"passed"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("check", "no_such"), "there is no plugin 'no_such'"),
        (("check", "/"), "has no pyproject.toml"),
        (("check", "stripe", "--only", "it-laods"), "there is no check 'it-laods'"),
    ],
)
def test_a_mistake_gets_one_line(arguments, words):
    assert words in str(run(*arguments).exception)


def test_each_plugin_shows_a_level_that_there_is():
    shown = {found.name: found.level for found in find_plugins()}
    assert {name: level for name, level in shown.items() if level not in LEVELS} == {}


@pytest.mark.parametrize("name", sorted(found.name for found in find_plugins()))
def test_what_can_be_seen_of_a_plugin_of_ours_without_running_it_is_right(name):
    seen = [each.name for each in CHECKS.values() if each.needs != "sandbox"]
    slow = {"import-is-quiet", "import-is-quick", "forged-deliveries-are-refused"}
    subject = find_subject(name)
    asked = LEVELS[: LEVELS.index(subject.published) + 1]
    names = [each for each in seen if each not in slow and CHECKS[each].level in asked]
    report = check_plugin(subject, only=names)
    assert [f"{each.check.name}: {each.what} at {each.where}" for each in report.failed] == []


def test_the_page_has_every_check():
    """Mend: put what tieline.checks.reference.write_table() returns at the end of the page."""
    assert PAGE.read_text().endswith(f"{write_table()}\n")


LEVELS_SHOWN = {'acme = "silver"': "silver", 'acme = "gold"': "gold", 'acme = "best"': "no level"}


@pytest.mark.parametrize("line", LEVELS_SHOWN, ids=LEVELS_SHOWN.get)
def test_a_badge_shows_the_level_that_the_plugin_shows_and_needs_no_other_file(line, plugin):
    change(plugin / "pyproject.toml", 'acme = "silver"', line)
    drawn = run("badge", str(plugin)).stdout
    said = [part.text for part in ET.fromstring(drawn).iter() if (part.text or "").strip()]
    assert said == [f"Tieline plugin: {LEVELS_SHOWN[line]}", "Tieline plugin", LEVELS_SHOWN[line]]
    assert not re.search("href|url\\(|@import|<script", drawn)
    assert set(re.findall(r"https?://[^\"]+", drawn)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("level", [*LEVELS, ""])
def test_the_letters_of_a_badge_can_be_read(level):
    for colour in re.findall(r'<rect[^>]+fill="#(\w+)"', draw_badge(level)):
        parts = [int(colour[n : n + 2], 16) / 255 for n in (0, 2, 4)]
        light = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        luminance = sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), light, strict=True))
        assert 1.05 / (luminance + 0.05) >= 4.5, colour


def test_no_advice_is_empty_and_every_name_is_a_slug():
    for each in CHECKS.values():
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", each.name)
        assert each.do
        assert each.proves.endswith(".")
