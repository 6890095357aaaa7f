"""Real workers: one that has nothing to do helps another, and comes when it is needed."""

from __future__ import annotations

import pytest

import servers
from site_of import make_site, wait_until
from tieline.services import syncs
from tieline.store import partitions


@pytest.fixture
def fresh(database_url, redis_url, tmp_path, request):
    sweep_s = getattr(request, "param", "0.3")
    made = make_site(tmp_path / "site", database_url, redis_url, hands="1", sweep_s=sweep_s)
    yield made
    made.close()


def readers(site, run_id: str) -> set[str]:
    """Name the processes that have read a part of a run."""
    with site.installation.database.read() as connection:
        found = connection.exec_driver_sql(
            f"SELECT lease_owner FROM partitions WHERE run_id = '{run_id}' AND seen > 0"
        )
        return set(found.scalars())


def test_an_idle_worker_helps_and_a_new_run_goes_first(fresh):
    """Two workers, one run that lasts: both read it; a second run need not wait for its end."""
    site = fresh
    with servers.sandbox(customers=6_000, latency_ms=150) as url:
        site.connect(url)
        workers = [site.start("worker"), site.start("worker")]
        wait_until(lambda: len(site.installation.presence.alive()) == len(workers))
        lasting = site.ask(mode="full")
        wait_until(lambda: len(readers(site, lasting)) == 2)
        brief = site.ask(entity="products")
        wait_until(lambda: site.state_of(brief).is_over)
        assert not site.state_of(lasting).is_over
        wait_until(lambda: site.state_of(lasting).is_over, seconds=60)
        ended = site.state_of(lasting)
        assert (ended.state, ended.counts.seen) == ("succeeded", len(servers.truth(url)))
        assert site.exported() == servers.truth(url)
        with site.installation.database.read() as connection:
            parts = partitions.list_partitions(connection, lasting)
        assert {part.state for part in parts} == {"done"}


@pytest.mark.parametrize("fresh", ["60"], indirect=True)
def test_help_comes_long_before_the_next_sweep(fresh):
    site = fresh
    with servers.sandbox(customers=20_000, latency_ms=150) as url:
        site.connect(url)
        workers = [site.start("worker"), site.start("worker")]
        wait_until(lambda: len(site.installation.presence.alive()) == len(workers))
        lasting = site.ask(mode="full")
        wait_until(lambda: len(readers(site, lasting)) == 2)
        syncs.cancel_run(site.installation, lasting, actor="test")
        wait_until(lambda: site.state_of(lasting).is_over)
