"""Bugs planted in a scaffolded plugin are caught, each by a check that names the mend."""

from __future__ import annotations

import shutil

import pytest

from checks.seeds import SEEDS, patched
from tieline.checks import CHECKS, Case, find_subject, make_check
from tieline.checks.site import Grounds
from tieline.scaffold import KINDS, Wanted, make_plugin

pytestmark = pytest.mark.xdist_group("checks")


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


def test_at_least_twenty_bugs_are_planted_and_each_in_its_own_way():
    assert len(SEEDS) >= 20
    assert len({seed.check for seed in SEEDS.values()}) >= 19
