"""The quick lane of ``./tie chaos``: a few seeds of layer 1, a few kills of layer 2."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from random import Random

import pytest

from chaos.cutting_proxy import CuttingProxy
from chaos.grounds import make_grounds
from chaos.layer1 import play_share
from chaos.layer2 import play
from chaos.siege import ONE_HAND
from chaos.verdict import find_doubled, find_lost
from servers import sandbox, truth
from site_of import make_site
from tieline.failpoints import NAMES

SEEDS = range(150)
FEWEST = 20
SEED, KILLS = 11, 6
NOT_IN_LAYER_1 = {
    "schedule.tick.before_commit": "layer 1 has no scheduler; test_scheduler_kills.py has",
    "schedule.tick.after_commit": "layer 1 has no scheduler; test_scheduler_kills.py has",
    "push.claim.after_commit": "layer 1 sends nothing; test_push_kills.py does",
    "push.send.before": "layer 1 sends nothing; test_push_kills.py does",
    "push.send.after": "layer 1 sends nothing; test_push_kills.py does",
    "push.end.before_commit": "layer 1 sends nothing; test_push_kills.py does",
    "push.end.after_commit": "layer 1 sends nothing; test_push_kills.py does",
    "alert.deliver.before": "layer 1 tells nobody; test_alert_kills.py does",
    "alert.deliver.after": "layer 1 tells nobody; test_alert_kills.py does",
    "inbox.accept.before_commit": "nobody delivers to layer 1; test_inbox_kills.py does",
    "inbox.accept.after_commit": "nobody delivers to layer 1; test_inbox_kills.py does",
    "inbox.drain.before_commit": "layer 1's provider sends nothing; test_drain_kills.py does",
    "inbox.drain.after_commit": "layer 1's provider sends nothing; test_drain_kills.py does",
    "move.before_commit": "layer 1 moves nowhere; test_move_kills.py does",
    "move.after_commit": "layer 1 moves nowhere; test_move_kills.py does",
    "auth.refresh.before_call": "layer 1's provider has no tokens; test_refresh_races.py has",
    "auth.refresh.after_reply": "layer 1's provider has no tokens; test_refresh_races.py has",
    "auth.refresh.after_commit": "layer 1's provider has no tokens; test_refresh_races.py has",
}


@pytest.fixture(scope="module")
def told():
    """As many seeds as twenty seconds are enough for."""
    return play_share(SEEDS, until=time.monotonic() + 20)


def test_every_story_of_layer_1_holds(told):
    assert told.failed == {}
    assert told.seeds >= FEWEST


def test_every_failpoint_is_passed_in_layer_1_or_has_its_reason(told):
    assert told.passed == NAMES - NOT_IN_LAYER_1.keys()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("db", ["sqlite", "postgresql"])
def test_a_short_siege_of_layer_2_holds(db, request):
    given_url = ""
    if db == "postgresql":  # shared with other tests, so it is not restarted
        given_url = request.getfixturevalue("postgres_server").address
    verdict = play(db, SEED, KILLS, given_url=given_url, acts=[ONE_HAND])
    assert verdict.is_good, "\n".join(verdict.lines())
    assert sum(act.kills for act in verdict.acts) >= KILLS


def test_the_verdict_sees_what_was_lost_and_what_was_doubled():
    home = Path(tempfile.mkdtemp(prefix="tieline-eye-", dir="/tmp"))
    try:
        with make_grounds(home / "h", "sqlite", seed=1) as grounds:
            for shop in grounds.shops:
                shop.ask("full")
            grounds.site.ok("worker", "--burst")
            assert (find_lost(grounds, "now"), find_doubled(grounds)) == ([], [])
            with grounds.site.installation.database.write() as connection:
                first, second = connection.exec_driver_sql(
                    "SELECT record_id FROM records LIMIT 2"
                ).scalars()
                connection.exec_driver_sql(
                    f"UPDATE records SET revision = 2 WHERE record_id = '{first}'"
                )
                connection.exec_driver_sql(
                    f"UPDATE records SET deleted_at = changed_at WHERE record_id = '{second}'"
                )
            (lost,) = find_lost(grounds, "now")
            assert lost.endswith(f"misses {second}")
            doubled = "\n".join(find_doubled(grounds))
            assert f"{first} was written 2 times and changed 1 times" in doubled
            assert "901 writes, 900 positions of the feed, 900 counted" in doubled
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_page_whose_commit_was_cut_is_neither_lost_nor_doubled(postgres_url, redis_url, tmp_path):
    folder = Path(tempfile.mkdtemp(prefix="tieline-cut-", dir="/tmp"))  # short, for its socket
    proxy = CuttingProxy(postgres_url, folder, Random(1), every=2)
    site = make_site(tmp_path / "site", postgres_url, redis_url, lease_s="1", sweep_s="0.2")
    try:
        proxied = {"TIELINE_DATABASE_URL": proxy.start()}
        with sandbox(customers=1200) as url:
            site.connect(url)
            run_id = site.ask()
            site.ok("worker", "--burst", **ONE_HAND, **proxied)
            run = site.state_of(run_id)
            assert set(proxy.cuts) == {"answer lost", "commit lost"}
            assert (run.state, run.counts.created, run.counts.updated) == ("succeeded", 1200, 0)
            assert run.counts.seen == 1200
            assert site.exported() == truth(url)
    finally:
        site.close()
        proxy.stop()
        shutil.rmtree(folder)
