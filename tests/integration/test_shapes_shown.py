"""What records mean, by the command line: beside the payload, and never instead of it."""

from __future__ import annotations

import pytest

import servers
from site_of import make_site


@pytest.fixture(scope="module")
def shop():
    with servers.sandbox(customers=30, products=12, subscriptions=30, charges=60) as url:
        yield url


@pytest.fixture
def site(shop, sqlite_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, redis_url, sweep_s="0.3")
    made.connect(shop)
    made.start("worker")
    yield made
    made.close()


def test_what_records_mean_is_shown_beside_what_they_are(site, shop):
    for entity in ("customers", "products", "subscriptions", "charges"):
        site.ok("sync", "run", "shop", entity, "--wait")
    said = site.json("records", "list", "shop", "charges", "--limit", "1000", "--canonical")
    records = said["records"]
    assert len(records) == 60
    by_currency = {each["payload"]["currency"]: each for each in records}
    yen, ariary = by_currency["jpy"], by_currency["mga"]
    assert yen["canonical"]["shape"] == "Payment"
    amount = yen["payload"]["amount"]
    assert yen["canonical"]["amount"] == {"amount_minor": amount, "currency": "JPY"}
    assert ariary["canonical"]["amount"]["amount_minor"] == ariary["payload"]["amount"] * 100
    assert yen["canonical"]["created_at"].endswith("Z")
    assert {each["canonical_problem"] for each in records} == {None}
    shown = site.json("records", "show", "shop", "charges", yen["id"], "--canonical")["record"]
    assert shown == yen
    assert "canonical" not in site.json("records", "show", "shop", "charges", yen["id"])["record"]
    shapes = {
        entity: {
            each["canonical"]["shape"]
            for each in site.json("records", "list", "shop", entity, "--canonical")["records"]
        }
        for entity in ("customers", "products", "subscriptions")
    }
    assert shapes == {"customers": {"Contact"}, "products": {"Product"}, "subscriptions": {"Order"}}
    people = site.ok("records", "list", "shop", "subscriptions", "--canonical", "--limit", "1")
    assert people.splitlines()[0].endswith("CANONICAL")
    assert '{"shape": "Order"' in people
    assert site.run("records", "list", "shop", "nothing", "--canonical").returncode == 3


def test_an_entity_s_line_of_the_matrix_is_what_it_declares(site):
    [stripe] = site.json("providers", "show", "stripe")["providers"]
    lines = {each["name"]: each for each in stripe["entities"]}
    assert lines["subscriptions"] == {
        "name": "subscriptions",
        "directions": ["inbound"],
        "deletes": "none",
        "windows": "created",
        "feed": True,
        "incremental": {"by": "log of changes", "retention_days": 29, "overlap_s": 600.0},
        "order": "time",
        "canonical": ["Order"],
        "scope": "Subscriptions: Read, Events: Read",
        "hides": "cancelled ones, unless status=all; those of a test clock, which no list shows",
    }
    assert lines["products"]["order"] == "version"
    assert lines["customers"]["deletes"] == "feed"
    assert "Payment" in site.ok("providers", "show", "stripe")
