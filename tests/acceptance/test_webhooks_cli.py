"""``tieline webhooks`` and ``tieline serve`` as people and providers use them."""

from __future__ import annotations

import json
import secrets

import httpx
import pytest

import canary
from ingest_kit import BASE, Harbour, Sender
from oauth_kit import free_port
from sinks import ProcessList, sinks_of
from site_of import wait_until

SIGNING = f"whsec_CANARY{secrets.token_hex(16)}"
NEWER = f"whsec_CANARY{secrets.token_hex(16)}"


@pytest.fixture
def harbour(site) -> Harbour:
    made = Harbour(site.installation, site.installation.clock)
    made.add_connection("stripe", "shop", "acct_1")
    made.add_connection("mailchimp", "letters", "mc1")
    return made


def serving(site) -> str:
    port = free_port()
    site.start("serve", "--port", str(port), TIELINE_LOG_LEVEL="debug")
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(answers)
    return url


def sender_of(site, made: dict, scheme: str, secret: str = "") -> Sender:
    return Sender(
        scheme=scheme,
        endpoint_id=made["endpoint"]["id"],
        url=made["url"],
        secret=secret,
        clock=site.installation.clock,
    )


def test_an_endpoint_from_its_making_to_its_end_shows_no_secret_anywhere(site, harbour):
    with ProcessList() as processes:
        shop = site.json("webhooks", "add", "shop", "--url", BASE, "--secret-stdin", stdin=SIGNING)
        letters = site.json("webhooks", "add", "letters", "--url", BASE)
        stripe = sender_of(site, shop, "stripe", SIGNING)
        mailchimp = sender_of(site, letters, "mailchimp-unsigned")
        path_secret = letters["url"].rpartition("/")[2]
        assert len(path_secret) == 43
        url = serving(site)

        def post(signed, path: str = "") -> int:
            target = f"{url}{path or signed.path}"
            headers = dict(signed.headers)
            sent = httpx.post(target, content=signed.body, headers=headers, trust_env=False)
            return sent.status_code

        assert post(stripe.signed("evt_1")) == 200
        assert post(stripe.signed(secret=NEWER)) == 401
        assert post(mailchimp.signed()) == 200
        assert post(mailchimp.signed(), f"/webhooks/mailchimp/whe_none/{path_secret}") == 404
        assert (
            post(mailchimp.signed(), f"/webhooks/stripe/{stripe.endpoint_id}/{path_secret}") == 404
        )

        rotated = site.json(
            *("webhooks", "secret", "rotate", stripe.endpoint_id, "--secret-stdin"), stdin=NEWER
        )
        assert [each["retires_at"] is None for each in rotated["endpoint"]["secrets"]] == [
            True,
            False,
        ]
        assert post(stripe.signed(secret=NEWER)) == 200
        assert post(stripe.signed(secret=SIGNING)) == 200
        site.ok("webhooks", "secret", "finish", stripe.endpoint_id)
        assert post(stripe.signed(secret=SIGNING)) == 401

        shown = site.json("webhooks", "secret", "show", stripe.endpoint_id)
        assert [sorted(each) for each in shown["secrets"]] == [
            ["id", "kind", "made_at", "retires_at"]
        ]
        raw = site.json("webhooks", "secret", "show", stripe.endpoint_id, "--raw")
        assert [each["secret"] for each in raw["secrets"]] == [NEWER]
        assert "secret" not in json.dumps(
            site.json("webhooks", "secret", "show", mailchimp.endpoint_id, "--raw")["secrets"]
        ).replace('"path"', "")

        counts = wait_until(
            lambda: (
                (found := site.json("webhooks", "show", stripe.endpoint_id)["endpoint"]["counts"])
                and found.get("signature-wrong") == 2
                and found
            )
        )
        assert counts["accepted"] == 3
        listed = site.json("webhooks", "list")
        assert {each["state"] for each in listed["endpoints"]} == {"active"}
        assert listed["refused_elsewhere"] == {"endpoint-unknown": 1}
        assert listed["endpoints"][1]["scheme_level"] == "path-secret"

        site.ok("webhooks", "disable", stripe.endpoint_id)
        assert wait_until(lambda: post(stripe.signed(secret=NEWER)) == 404)
        site.ok("webhooks", "enable", stripe.endpoint_id)
        assert wait_until(lambda: post(stripe.signed(secret=NEWER)) == 200)
        site.ok("webhooks", "remove", mailchimp.endpoint_id)
        assert wait_until(lambda: post(mailchimp.signed()) == 404)

        looked_for = {"signing": SIGNING, "newer": NEWER, "path": path_secret}
        sinks = sinks_of(site, processes, folder=site.cwd.parent)
        for name in ("logs of processes", "database", "Redis", "files", "list of processes"):
            assert canary.scan(sinks[name].read(), looked_for) == [], name


def test_what_is_wrong_is_said_with_what_to_do(site, harbour):
    cases = {
        ("webhooks", "add", "shop"): (2, "TIELINE_PUBLIC_URL"),
        ("webhooks", "add", "shp", "--url", BASE): (3, "shop"),
        ("webhooks", "add", "mailchimp", "--url", BASE): (6, "webhooks add CONNECTION"),
        ("webhooks", "show", "whe_none"): (3, "webhooks add"),
        ("webhooks", "secret", "rotate", "whe_none"): (3, "webhooks add"),
        ("webhooks", "add", "shop", "--url", BASE, "--secret", "x"): (2, "secret"),
        ("webhooks", "add", "shop", "--url", BASE, "--expects-every", "soon"): (2, "expects-every"),
    }
    for words, (code, said) in cases.items():
        done = site.run(*words)
        assert (done.returncode, said in done.stderr) == (code, True), (words, done.stderr)


def test_an_endpoint_without_a_secret_says_that_it_is_closed_and_what_opens_it(site, harbour):
    done = site.run("webhooks", "add", "shop", "--url", BASE)
    assert done.returncode == 0
    endpoint_id = done.stdout.strip().rpartition("/")[2]
    assert f"tieline webhooks register {endpoint_id}\n" in done.stderr
    assert f"tieline webhooks secret rotate {endpoint_id} --secret-stdin" in done.stderr
    assert site.json("webhooks", "show", endpoint_id)["endpoint"]["state"] == "closed"
    site.ok("webhooks", "secret", "rotate", endpoint_id, "--secret-stdin", stdin=SIGNING)
    assert site.json("webhooks", "show", endpoint_id)["endpoint"]["state"] == "active"
