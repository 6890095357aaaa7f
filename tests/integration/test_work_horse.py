"""A work-horse begins at once: what it needs is there in the worker that forks it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import servers
from site_of import make_site

WATCH = """
import gc, json, os, sys

def look_at_this_child():
    before, leave, spared = set(sys.modules), os._exit, gc.get_freeze_count()

    def tell_and_leave(status):
        with open(os.environ["TOLD"], "a") as told:
            new = sorted(set(sys.modules) - before)
            told.write(json.dumps({"pid": os.getpid(), "new": new, "spared": spared}) + "\\n")
        leave(status)

    os._exit = tell_and_leave

os.register_at_fork(after_in_child=look_at_this_child)
"""
CLIENT = """
import importlib, json, sys
from tieline.contract import PageParams, ProviderError
from tieline.testing import client_of

plugin = importlib.import_module(sys.argv[1])
entities = plugin.tieline_entities()
before = set(sys.modules)
client = client_of(plugin, None, json.loads(sys.argv[2]))
for entity in entities:
    try:
        entity.page(client, PageParams(), None)
    except ProviderError:
        pass  # nobody answers
print(sorted(set(sys.modules) - before))
"""
CREDENTIALS = {
    "stripe": {"api_key": "sk_test_000000000000000000000000"},
    "square": {"access_token": "EAAA"},
    "mailchimp": {"api_key": "0123456789abcdef0123456789abcdef-us6"},
    "quickbooks": {"access_token": "token", "realm_id": "1"},
}


def test_it_imports_nothing_and_collects_nothing_of_the_worker(tmp_path, database_url, redis_url):
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(WATCH)
    site = make_site(tmp_path / "site", database_url, redis_url)
    site.may_fork = False
    told = tmp_path / "told"
    try:
        with servers.sandbox(customers=250) as url:
            site.connect(url)
            site.ask()
            site.ok("worker", "--burst", PYTHONPATH=str(watch), TOLD=str(told))
            assert site.exported() == servers.truth(url)
    finally:
        site.close()
    children = [json.loads(line) for line in told.read_text().splitlines()]
    assert children
    assert [child["new"] for child in children] == [[]] * len(children)
    assert min(child["spared"] for child in children) > 10_000


@pytest.mark.parametrize("provider", CREDENTIALS)
def test_a_plugin_imports_what_its_client_needs_when_it_is_loaded(provider):
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, f"tieline_{provider}", json.dumps(CREDENTIALS[provider])],
        capture_output=True,
        text=True,
        timeout=60,
        env=servers.plain_environ(),
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
