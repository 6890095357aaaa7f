"""Tokens and the audit log as a person meets them, and a server that takes the token."""

from __future__ import annotations

import httpx
import pytest

from site_of import make_site
from tieline.contract import Secret
from tieline.services.connect import connect_api_key
from tieline.web import Listener, create_app


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    yield made
    made.close()


def test_a_token_is_printed_once_works_and_ends(site):
    done = site.run("tokens", "create", "warehouse", "--scope", "read", "--expires", "90d")
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    token = done.stdout.strip()
    assert "not shown again" in done.stderr
    assert "made      warehouse: read, all connections, until 20" in done.stderr
    assert token not in site.ok("tokens")
    [row] = site.json("tokens", "list")["tokens"]
    assert (row["name"], row["scope"], row["connections"]) == ("warehouse", "read", None)
    assert "warehouse\tread\tall\tgood\t" in site.ok("tokens")

    with Listener(create_app(site.installation), host="127.0.0.1", port=0) as listener:
        url = f"{listener.address}/v1/connections"
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(url, headers=headers, trust_env=False).json()["data"] == []
        assert "revoked" in site.run("tokens", "revoke", "warehouse").stderr
        assert httpx.get(url, headers=headers, trust_env=False).status_code == 401

    assert "\trevoked\t" in site.ok("tokens")
    entries = site.json("audit", "--event", "token.revoked")["entries"]
    assert [entry["detail"] for entry in entries] == ["warehouse"]
    assert "token.created" in site.ok("audit", "--limit", "2")


def test_a_token_without_an_end_says_whose_it_is_and_until_when(site):
    connect_api_key(
        site.installation,
        "stripe",
        name="shop",
        key=Secret("sk_test_anything0000"),
        is_checked=False,
        actor="test",
    )
    done = site.run("tokens", "create", "warehouse", "--scope", "read", "--connection", "shop")
    assert "warehouse: read, shop, until it is revoked" in done.stderr


MISTAKES = {
    "no scope": (("create", "x"), 2, "--scope"),
    "no such scope": (("create", "x", "--scope", "root"), 2, "root"),
    "no name": (("create", "a b", "--scope", "read"), 2, "name-invalid"),
    "no time": (("create", "x", "--scope", "read", "--expires", "soon"), 2, "expires: 'soon'"),
    "nobody": (("create", "x", "--scope", "read", "--connection", "shop"), 3, "shop"),
    "not there": (("revoke", "x"), 3, "token-unknown"),
}


@pytest.mark.parametrize("case", MISTAKES, ids=MISTAKES)
def test_a_mistake_is_one_line_and_an_exit_code(site, case):
    arguments, code, words = MISTAKES[case]
    done = site.run("tokens", *arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert words in done.stderr
    assert done.stdout == ""
