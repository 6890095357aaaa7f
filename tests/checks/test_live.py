"""`tieline plugin check --live`: what a provider sends today, beside what the schema promises."""

from __future__ import annotations

import json
import runpy
import signal

import pytest
from marshmallow import RAISE, Schema, fields, validate

from acme_kit import made, served_acme
from cli_kit import run_cli
from oauth_kit import free_port
from site_of import KEY, make_site
from tieline.checks import Case, find_subject
from tieline.checks.drift import compare_records
from tieline.checks.live import look_at_each
from tieline.checks.record import at_sandbox
from tieline.contract import Entity, Number, RecordSchema, Whole
from tieline.registry import find_plugins
from tieline.services.sandbox import serving

pytestmark = [pytest.mark.xdist_group("checks"), pytest.mark.timeout(300)]
CANARY = "acme_test_CANARY5e1f0a77c3d9"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Nothing of an installation is here, nor needed."""
    monkeypatch.setenv("TIELINE_HOME", str(tmp_path / "home"))


@pytest.fixture
def plugin(tmp_path):
    with served_acme(tmp_path / "tieline-acme") as acme:
        yield acme.folder, acme.url, acme.key, acme.app


def change(folder, name: str, *pairs: tuple[str, str]) -> None:
    path = folder / name
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path.write_text(text)


def check(folder, url: str, *more: str, key: str, by: str = "--key-stdin"):
    return run_cli(
        "plugin", "check", str(folder), "--live", by, "--base-url", url, *more, stdin=key
    )


def looked(folder, url: str, *, key: str):
    done = check(folder, url, "--json", key=key)
    return done.code, done.json


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- a provider as it was thought -----------------------------------------------------------------


def test_one_page_is_read_and_nothing_is_stored_here_or_written_there(plugin, tmp_path):
    folder, url, key, app = plugin
    before = files_of(folder)
    done = check(folder, url, key=f"{key}\n")
    assert (done.code, done.stdout.splitlines()) == (
        0,
        ["things: 10 records, and there are more", "    as the schema promises"],
    )
    assert f"Acme at {url}: Acme of this machine" in done.stderr
    assert files_of(folder) == before
    assert not (tmp_path / "home").exists()
    asked = [(each["method"], each["path"].partition("?")[0]) for each in app.log]
    assert asked == [("GET", "/account"), ("GET", "/things")]


def test_the_document_says_whose_answers_these_are_and_that_they_fit(plugin):
    folder, url, key, _ = plugin
    code, said = looked(folder, url, key=key)
    assert code == 0
    assert said["fits"] is True
    assert said["asked"] == {
        "environment": "live", "base_url": url, "account": "Acme of this machine",
    }  # fmt: skip
    [one] = said["entities"]
    assert (one["records"], one["is_all"], one["drift"], one["error"]) == (10, False, [], None)


@pytest.mark.parametrize("name", sorted(one.name for one in find_plugins()))
def test_each_plugin_promises_what_its_sandbox_sends(name):
    subject = find_subject(name)
    with Case(subject) as case, at_sandbox(case) as recorder:
        looks = list(look_at_each(subject, recorder, list(recorder.plugin.entities.values())))
    assert [each.entity for each in looks] == list(recorder.plugin.entities)
    assert [str(each.error) for each in looks if each.error] == []
    assert [each.entity for each in looks if not each.fits] == []
    wrong = [d for each in looks for d in each.compared.drift if d.kind in {"wrong", "refused"}]
    assert wrong == []


def test_a_password_comes_with_its_user_from_a_file(tmp_path):
    folder, names = made(tmp_path / "tieline-acme", "basic")
    key = tmp_path / "key"
    key.write_text(f"owner:{names['KEY']}\n")
    with serving(names["create_app"](things=3)) as url:
        done = run_cli("plugin", "check", str(folder), "--live", "--base-url", url,
                       "--key-file", str(key))  # fmt: skip
    assert (done.code, done.stdout.splitlines()[0]) == (0, "things: 3 records, and that is all")


def test_an_account_that_is_connected_here_is_asked_unless_it_is_paused(
    sqlite_url, redis_url, tmp_path, shop_sandbox
):
    site = make_site(tmp_path / "site", sqlite_url, redis_url)
    asked = ("plugin", "check", "stripe", "--live", "--connection", "shop",
             "--entity", "customers", "--entity", "products")  # fmt: skip
    try:
        site.connect(shop_sandbox)
        said = site.json(*asked)
        assert site.json("records", "list", "shop", "customers")["records"] == []
        site.ok("connections", "pause", "shop")
        refused = site.run(*asked)
    finally:
        site.close()
    assert [each["entity"] for each in said["entities"]] == ["customers", "products"]
    assert said["fits"] is True
    assert KEY not in json.dumps(said)
    assert refused.returncode == 6
    assert "paused" in refused.stderr


# --- a provider as it is --------------------------------------------------------------------------

SCHEMA, PLUGIN = "tieline_acme/schema.py", "tieline_acme/__init__.py"
NAME = "    name = fields.String(allow_none=True)\n"
ONE_OF = "__import__('marshmallow').validate.OneOf"
PLANTED = {
    "a type that is refused": (
        (NAME, "    name = fields.Integer(allow_none=True)\n"),
        ("name", "wrong", "a whole number or null", "text", 10, 10),
        "promise what is sent: name = fields.String()",
    ),
    "a type that marshmallow would turn": (
        ("    version = Whole(required=True)\n", "    version = fields.Boolean(required=True)\n"),
        ("version", "wrong", "true or false, required", "a whole number", 10, 0),
        "promise what is sent: version = Whole(required=True)",
    ),
    "a field that must be there and is not": (
        (NAME, f"{NAME}    currency = fields.String(required=True)\n"),
        ("currency", "missing", "text, required", "", 10, 10),
        "take required=True away",
    ),
    "a field that is misspelt": (
        (NAME, "    nmae = fields.String(allow_none=True)\n"),
        ("nmae", "missing", "text or null", "", 10, 0),
        "look whether it is spelt as it is sent",
    ),
    "a field that the schema leaves out": (
        ("    is_archived = fields.Boolean()\n", ""),
        ("is_archived", "unknown", "", "true or false", 10, 0),
        "promise it if the reference does: is_archived = fields.Boolean()",
    ),
    "a field under another name": (
        (NAME, "    title = fields.Integer(data_key='name')\n"),
        ("name", "wrong", "a whole number", "text", 10, 10),
        "name = fields.String()",
    ),
    "a value that is none of those": (
        (NAME, f"    name = fields.String(validate={ONE_OF}(['Bob']))\n"),
        ("name", "refused", "text", "text: Must be one of: Bob.", 10, 10),
        "promise no more than the provider's reference does",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_planted_drift_is_told_with_its_line_and_its_mend_and_without_a_value(plugin, case):
    folder, url, key, _ = plugin
    pair, expected, mend = PLANTED[case]
    change(folder, SCHEMA, pair)
    code, said = looked(folder, url, key=key)
    [one] = said["entities"]
    by_name = {each["field"]: each for each in one["drift"]}
    found = by_name[expected[0]]
    told = ("field", "kind", "promised", "found", "count", "quarantined")
    assert tuple(found[each] for each in told) == expected
    assert mend in found["do"]
    assert (code, said["fits"], one["quarantined"]) == (
        int(bool(expected[-1])), not expected[-1], expected[-1],
    )  # fmt: skip
    line = int(found["where"].removeprefix(f"{SCHEMA}:"))
    written = (folder / SCHEMA).read_text().splitlines()[line - 1]
    assert expected[0] in written or (found["kind"] == "unknown" and "class Thing" in written)
    assert "Ada" not in json.dumps(said)


def test_people_see_both_sides_as_a_difference(plugin):
    folder, url, key, _ = plugin
    change(folder, SCHEMA, (NAME, "    name = fields.Integer()\n    nick = fields.String()\n"),
           ("    is_archived = fields.Boolean()\n", ""))  # fmt: skip
    done = check(folder, url, key=key)
    assert done.code == 1
    assert done.stdout.splitlines() == [
        "things: 10 records, and there are more",
        "--- tieline_acme/schema.py:12",
        "+++ Acme",
        "-name: a whole number",
        "+name: text (10 of 10)",
        "    at    tieline_acme/schema.py:16",
        "    do    promise what is sent: name = fields.String()",
        "-nick: text; not there (10 of 10)",
        "    at    tieline_acme/schema.py:17",
        "    do    look whether it is spelt as it is sent; promise nothing that never comes",
        "+is_archived: true or false (10 of 10)",
        "    do    nothing is lost: promise those that the reference does",
        "    10 of 10 records would be quarantined",
    ]


def test_an_empty_account_shows_little_and_is_told_so(tmp_path):
    folder, names = made(tmp_path / "tieline-acme")
    with serving(names["create_app"](things=0)) as url:
        done = check(folder, url, key=names["KEY"])
    assert done.code == 0
    assert "an empty account shows little" in done.stdout


class _Line(RecordSchema):
    price = Number(required=True)


class _Strict(Schema):
    class Meta:
        unknown = RAISE

    city = fields.String()


class _Deep(RecordSchema):
    id = fields.String(required=True)
    lines = fields.List(fields.Nested(_Line))
    address = fields.Nested(_Strict)
    totals = fields.Dict(keys=fields.String(), values=fields.Integer(strict=True))
    plan = fields.String(validate=validate.OneOf(["small", "large"]))


def compared(schema, *records):
    entity = Entity(name="deep", schema=schema, page=lambda *_: None)
    found = compare_records(find_subject("stripe"), entity, list(records))
    return found, {each.field: (each.kind, each.count, each.of) for each in found.drift}


def test_what_differs_within_objects_and_lists_is_named_by_its_way_there():
    found, by = compared(
        _Deep(),
        {"id": "a", "lines": [{"price": 1}, {"price": 1.5}], "address": {"city": "Paris"},
         "totals": {"EUR": 1}, "plan": "small"},
        {"id": "b", "lines": [{"price": "7"}, {"sku": "x"}], "address": {"zip": "75001"},
         "totals": {"ada@lovelace.example": "9"}, "plan": "ada"},
    )  # fmt: skip
    assert by == {
        "lines[].price": ("wrong", 3, 4),
        "lines[].sku": ("unknown", 1, 4),
        "address.zip": ("unknown", 1, 2),
        "totals{}": ("refused", 1, 2),
        "plan": ("refused", 1, 2),
    }
    assert (found.count, found.quarantined) == (2, 1)
    told = str([each.as_dict() for each in found.drift])
    for value in ("75001", "ada", "Paris", "'7'", "EUR"):
        assert value not in told, value


def test_names_that_are_data_are_told_as_one_place():
    people = {f"{name}@example.com": 1 for name in ("ada", "grace", "edsger")}
    found, by = compared(RecordSchema.from_dict({"id": fields.String()})(), {"id": "a", **people})
    assert by == {"{}": ("unknown", 3, 3)}
    assert "ada" not in str(found)


def test_what_is_no_record_and_what_has_no_key_would_be_quarantined():
    schema = RecordSchema.from_dict({"id": fields.String(), "n": Whole()})()
    found, by = compared(schema, "text", {"n": 1.0}, {"id": "a", "n": 2})
    assert (found.count, found.quarantined) == (3, 2)
    assert by["(the record)"][0] == "refused"
    assert "n" not in by


# --- a provider that says no ----------------------------------------------------------------------


def test_a_key_that_is_refused_ends_with_4_and_says_where_there_is_another(plugin):
    folder, url, _, _ = plugin
    for more in ((), ("--json",)):
        done = check(folder, url, *more, key=CANARY)
        assert done.code == 4
        assert "refuses this credential" in done.stderr
        assert "copy it from https://" in done.stderr
        assert CANARY not in done.stdout + done.stderr


def test_a_provider_that_is_away_ends_with_5(plugin):
    folder, _, key, _ = plugin
    done = check(folder, f"http://127.0.0.1:{free_port()}", "--json", key=key)
    assert (done.code, done.json["error"]["code"]) == (5, "provider-unavailable")


REFUSED = {
    "a right that is missing": (403, 4, "permission-denied", ["things", "others"]),
    "a key that is taken back": (401, 4, "needs-reauth", ["things"]),
    "an outage": (503, 5, "provider-unavailable", ["things"]),
    "a request that is refused": (400, 1, "request-rejected", ["things", "others"]),
}


def second_entity(folder) -> None:
    """Let the plugin have the same list once more, under another name."""
    entities = "def tieline_entities() -> list[Entity]:\n"
    other = "Entity(name='others', schema=THING, page=THINGS)"
    more = f"    return [*_entities(), {other}]\n\n\n{entities.replace('tieline', '')}"
    change(folder, PLUGIN, (entities, f"{entities}{more}"))


@pytest.mark.parametrize("case", REFUSED)
def test_a_list_that_is_refused_is_told_and_the_others_are_asked_where_that_helps(plugin, case):
    folder, url, key, app = plugin
    status, code, slug, asked = REFUSED[case]
    second_entity(folder)
    body = {"error": {"code": "no", "message": f"for {key}"}}
    told = {"kind": "status", "status": status, "body": body, "path": "/things", "times": 0}
    app.faults, app.counts = [told], [0]
    done, shown = check(folder, url, "--json", key=key), check(folder, url, key=key)
    assert (done.code, shown.code) == (code, code)
    said = done.json
    assert [each["entity"] for each in said["entities"]] == asked
    assert {each["error"]["code"] for each in said["entities"]} == {slug}
    assert said["not_asked"] == [name for name in ("things", "others") if name not in asked]
    assert said["fits"] is False
    assert f"({slug})" in shown.stdout
    assert ("not asked others" in shown.stderr) is (asked == ["things"])
    assert key not in done.stdout + done.stderr + shown.stdout + shown.stderr


def test_a_provider_that_repeats_the_key_does_not_have_it_shown(tmp_path):
    folder, names = made(tmp_path / "tieline-acme")
    change(folder, "tieline_acme_sandbox/__init__.py", (names["KEY"], CANARY))
    names = runpy.run_path(str(folder / "tieline_acme_sandbox" / "__init__.py"))
    app = names["create_app"](things=3)
    for each in app.stock.values():
        each |= {CANARY: "a name", "seen": CANARY, "name": CANARY}
    change(folder, SCHEMA, (NAME, "    name = fields.Integer()\n"))
    with serving(app) as url:
        for more in ((), ("--json",)):
            done = check(folder, url, *more, key=CANARY)
            assert done.code == 1
            assert "seen" in done.stdout
            assert "CANARY" not in done.stdout + done.stderr


def test_a_step_that_hangs_is_given_up_and_told_with_its_line(plugin, monkeypatch):
    folder, *_ = plugin
    stuck = "def stuck(*_):\n    import time\n    time.sleep(60)\n\n\n@hookimpl\n"
    entities = "def tieline_entities() -> list[Entity]:"
    change(folder, PLUGIN, (f"@hookimpl\n{entities}", f"{stuck}{entities}"),
           ("page=THINGS,", "page=stuck,"))  # fmt: skip
    monkeypatch.setattr("tieline.checks.live.MOST_S", 0.2)
    subject = find_subject(str(folder))
    own = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    try:  # pytest has an alarm of its own
        with Case(subject) as case, at_sandbox(case) as recorder:
            [look] = look_at_each(subject, recorder, list(recorder.plugin.entities.values()))
    finally:
        signal.signal(signal.SIGALRM, own[0])
        signal.setitimer(signal.ITIMER_REAL, *own[1])
    line = 1 + (folder / PLUGIN).read_text().splitlines().index("    time.sleep(60)")
    assert "reading things raised TimeoutError at" in look.error.message
    assert f"tieline_acme/__init__.py:{line}" in look.error.message


def test_a_bug_of_the_plugin_ends_with_7_and_names_its_line(plugin):
    folder, url, key, _ = plugin
    bounds = "def bounds(window: Window) -> Mapping[str, str]:\n"
    change(folder, PLUGIN, (bounds, f"{bounds}    raise KeyError('x')\n"))
    done = check(folder, url, "--json", key=key)
    assert done.code == 7
    [one] = done.json["entities"]
    line = 1 + (folder / PLUGIN).read_text().splitlines().index("    raise KeyError('x')")
    assert one["error"]["code"].startswith("plugin-")
    assert f"tieline_acme/__init__.py:{line}" in one["error"]["message"]


# --- words that make no sense ---------------------------------------------------------------------


def test_who_signs_in_is_asked_by_a_connection(tmp_path):
    folder, _ = made(tmp_path / "tieline-acme", "oauth2")
    done = run_cli("plugin", "check", str(folder), "--live")
    assert done.code == 2
    assert "--live --connection NAME" in done.stderr


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("--key-stdin",), 2, "with --live the provider is asked"),
        (("--entity", "things"), 2, "--entity goes with --live"),
        (("--live", "--tier", "silver"), 2, "--live makes no checks"),
        (("--live", "--only", "it-loads"), 2, "--live makes no checks"),
        (("--live", "--connection", "shop", "--base-url", "http://x"), 2, "has its own key"),
        (("--live", "--key-stdin", "--entity", "thingz"), 3, "has no entity 'thingz'"),
        (("--live",), 2, "there is no terminal to ask for the key"),
        (("--live", "--key-stdin", "--environment", "lvie"), 2, "has no environment 'lvie'"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(plugin, given, code, words):
    folder, url, key, _ = plugin
    more = () if "--environment" in given else ("--base-url", url)
    more = more if "--live" in given and "--key-stdin" in given else ()
    done = run_cli("plugin", "check", str(folder), *given, *more, stdin=key)
    assert (done.code, done.has_traceback) == (code, False)
    assert words in done.stderr
