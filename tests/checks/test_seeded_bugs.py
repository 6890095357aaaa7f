"""Bugs planted in a scaffolded plugin are caught, each by a check that names the mend."""

from __future__ import annotations

import shutil
import signal
import threading
from dataclasses import replace

import pytest

from checks.seeds import SEEDS, patched
from tieline.checks import CHECKS, Case, find_subject, make_check
from tieline.checks.site import Grounds
from tieline.contract import Secret
from tieline.scaffold import KINDS, Wanted, make_plugin
from tieline.store.connections import list_connections
from tieline.store.database import open_database
from tieline.store.records import count_live

pytestmark = [pytest.mark.xdist_group("checks"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def grounds():
    with Grounds() as opened:
        yield opened


@pytest.fixture(scope="module")
def scaffolds(tmp_path_factory):
    """The plugins that `tieline plugin new acme` makes, by kind of credential."""
    made = {}
    for kind in KINDS:
        made[kind] = tmp_path_factory.mktemp("scaffolds") / kind
        make_plugin(Wanted(name="acme", auth=kind), made[kind])
    return made


@pytest.mark.parametrize("name", SEEDS)
def test_a_seeded_bug_is_caught_by_a_check_that_names_the_mend(name, scaffolds, grounds, tmp_path):
    seed = SEEDS[name]
    folder = tmp_path / "plugin"
    shutil.copytree(scaffolds[seed.kind], folder)
    path = folder / seed.file
    path.write_text(patched(path.read_text(), seed))
    with Case(find_subject(str(folder)), grounds=grounds) as case:
        found = make_check(case, CHECKS[seed.check])
    assert found.state == "failed"
    assert seed.mend in found.do
    file, _, line = found.where.rpartition(":")
    assert (folder / file).is_file(), found
    assert int(line) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_plugin_without_a_bug_passes_the_same_checks(kind, scaffolds, grounds):
    names = {seed.check for seed in SEEDS.values()} if kind == "api_key" else OF_CREDENTIALS
    with Case(find_subject(str(scaffolds[kind])), grounds=grounds) as case:
        found = [make_check(case, CHECKS[name]) for name in sorted(names)]
    assert [f"{each.check.name}: {each.what}" for each in found if each.state == "failed"] == []


OF_CREDENTIALS = {
    "account-is-named",
    "docs-page",
    "pages-completely",
    "revoked-asks-a-person",
    "secrets-stay-shut",
    "tokens-are-read-at-each-call",
    "tokens-are-renewed-once",
}


def test_hostile_text_is_tried_on_postgresql_too(scaffolds, grounds, postgres_url):
    subject = find_subject(str(scaffolds["api_key"]))
    with Case(subject, grounds=grounds, database_url=postgres_url) as case:
        found = make_check(case, CHECKS["hostile-text-costs-nothing"])
    assert (found.state, found.what) == ("passed", "")
    database = open_database(Secret(postgres_url))
    with database.read() as transaction:
        [connection] = list_connections(transaction)
        assert count_live(transaction, connection.id, "things") > 40
    database.close()


def test_a_check_that_hangs_is_given_up_and_told(scaffolds, grounds, monkeypatch):
    monkeypatch.setattr("tieline.checks.run._LONGEST_S", 0.2)
    monkeypatch.setattr("signal.getitimer", lambda _which: (0.0, 0.0))  # pytest has set its own
    endless = replace(CHECKS["it-loads"], run=lambda _case: threading.Event().wait(60))
    own = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        with Case(find_subject(str(scaffolds["api_key"])), grounds=grounds) as case:
            found = make_check(case, endless)
    finally:
        signal.signal(signal.SIGALRM, own[0])
        signal.setitimer(signal.ITIMER_REAL, *own[1])
    assert found.state == "failed"
    assert "took longer" in found.what


def test_at_least_twenty_bugs_are_planted_and_each_in_its_own_way():
    assert len(SEEDS) >= 20
    assert len({seed.check for seed in SEEDS.values()}) >= 19
