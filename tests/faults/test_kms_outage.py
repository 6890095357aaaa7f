"""The key service is away while workers work: what was asked for lately serves on."""

from __future__ import annotations

import pytest

from kms_server import AWS, kms_server
from site_of import make_site, wait_until


@pytest.fixture(scope="module")
def kms():
    with pytest.MonkeyPatch.context() as patch:
        for name, text in AWS.items():
            patch.setenv(name, text)
        with kms_server() as running:
            yield running


def test_a_worker_bridges_an_outage_from_job_to_job(
    kms, sqlite_url, redis_url, shop_sandbox, tmp_path
):
    """Each job has a process of its own, which would take its data keys with it when it ends."""
    site = make_site(tmp_path / "site", sqlite_url, redis_url, **kms.settings)
    site.environ |= kms.environ
    try:
        site.connect(shop_sandbox)
        site.start("worker")
        first = site.ask()
        wait_until(lambda: site.state_of(first).is_over)
        assert site.state_of(first).state == "succeeded"
        kms.fault = ("answer", 500, "KMSInternalException")
        second = site.ask(mode="full")
        wait_until(lambda: site.state_of(second).is_over or site.state_of(second).error_code)
        assert site.state_of(second).state == "succeeded"
    finally:
        kms.fault = None
        site.close()
