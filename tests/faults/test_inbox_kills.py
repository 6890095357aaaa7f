"""Servers killed while they take deliveries in, and deliveries of any size to real ones."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ingest_kit import harbour_of
from oauth_kit import free_port
from site_of import wait_until

ALLOWED = {"TIELINE_ALLOW_FAILPOINTS": "true"}


@pytest.fixture
def harbour(site):
    return harbour_of(site.installation)


def serving(site, **extra: str):
    port = free_port()
    process = site.start("serve", "--port", str(port), **extra)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answers)
    return process, url


def post(url: str, signed) -> int:
    """Deliver; 0 if there is no answer."""
    try:
        reply = httpx.post(
            f"{url}{signed.path}",
            content=signed.body,
            headers=dict(signed.headers),
            timeout=20,
            trust_env=False,
        )
    except httpx.HTTPError:
        return 0
    return reply.status_code


@pytest.mark.parametrize(
    ("point", "rows"), [("inbox.accept.before_commit", 0), ("inbox.accept.after_commit", 1)]
)
def test_a_server_that_is_killed_before_its_answer_loses_and_doubles_nothing(
    site, harbour, point, rows
):
    signed = harbour.senders["stripe"].signed()
    process, url = serving(site, TIELINE_FAILPOINTS=f"{point}=kill", **ALLOWED)
    assert post(url, signed) == 0
    process.wait(10)
    assert harbour.count() == rows
    _, url = serving(site)
    assert post(url, signed) == 200
    assert post(url, signed) == 200
    assert harbour.count() == 1


def peak_bytes(process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def test_bodies_beyond_the_limit_cost_a_server_no_memory(sqlite_url, redis_url, tmp_path):
    from site_of import make_site

    site = make_site(tmp_path / "site", sqlite_url, redis_url)
    try:
        harbour = harbour_of(site.installation)
        process, url = serving(site)
        sender = harbour.senders["mailchimp-unsigned"]
        for _ in range(20):
            assert post(url, sender.signed()) == 200
        before = peak_bytes(process)
        for _ in range(20):
            body = b"x" * 10_000_000
            assert post(url, sender.signed().changed(body=body)) in {0, 413}
        assert peak_bytes(process) - before <= 8_000_000
        assert post(url, sender.signed()) == 200
    finally:
        site.close()
