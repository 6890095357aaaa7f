"""The plugin, as it is, on a Stripe that nobody here wrote: localstripe, over HTTP.

It keeps customers, products, subscriptions and charges, and is of another age:
its lists are oldest first and know neither ``created`` nor ``types``, its
products have no ``updated``, its subscriptions no prices but plans. So there
are no windows and no incremental reads of it, and its subscriptions are synced
and have no meaning.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from provider_kit import Bench, make_bench
from servers import plain_environ
from tieline.contract import Money, Payment
from tieline.store import quarantined
from tieline_stripe.entities import CHARGES, CUSTOMERS, PRODUCTS

KEY = "sk_test_localstripe"
ENTITIES = ("customers", "products", "subscriptions", "charges")
GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000341"


class Shop:
    """What a merchant does at localstripe, by its API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False
        )

    def make(self, kind: str, **given: Any) -> dict[str, Any]:
        reply = self.http.post(f"/v1/{kind}", data=given)
        assert reply.status_code == 200, reply.text
        made: dict[str, Any] = reply.json()
        return made

    def remove(self, kind: str, key: str) -> None:
        assert self.http.delete(f"/v1/{kind}/{key}").status_code == 200

    def card_for(self, customer: str, number: str) -> None:
        card = {"number": number, "exp_month": "12", "exp_year": "2030", "cvc": "123"}
        token = self.make("tokens", **{f"card[{name}]": text for name, text in card.items()})
        self.make(f"customers/{customer}/sources", source=token["id"])

    def truth(self, kind: str) -> dict[str, Any]:
        """Read everything in one go, in this test's own way."""
        query = {"limit": 1000} | ({"status": "all"} if kind == "subscriptions" else {})
        listed = self.http.get(f"/v1/{kind}", params=query).json()
        assert not listed["has_more"]
        return {each["id"]: each for each in listed["data"]}


@pytest.fixture
def shop(request: Any) -> Iterator[Shop]:
    flags = getattr(request, "param", ["--with-updated"])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).parents[1] / "localstripe_server.py"), *flags],
        stdout=subprocess.PIPE,
        env=plain_environ(),
    )
    assert process.stdout
    try:
        opened = Shop(f"http://127.0.0.1:{int(process.stdout.readline())}")
        yield opened
        opened.http.close()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def stocked(shop: Shop) -> Shop:
    """More customers than a page holds; something of everything else."""
    keys = [
        shop.make("customers", name=f"N{n}", email=f"{n}@example.com")["id"] for n in range(110)
    ]
    shop.make("products", id="tea", name="Tea", active="false", description="Hot leaf juice")
    gold = shop.make("products", name="Gold")["id"]
    shop.make("plans", id="gold", amount=2000, currency="usd", interval="month", product=gold)
    for key in keys[:3]:
        shop.card_for(key, GOOD_CARD)
        subscription = shop.make("subscriptions", customer=key, **{"items[0][plan]": "gold"})
    shop.remove("subscriptions", subscription["id"])
    shop.make("charges", amount=1099, currency="jpy", customer=keys[0])
    refunded = shop.make("charges", amount=5000, currency="eur", customer=keys[0])
    shop.make("refunds", charge=refunded["id"], amount=1200)
    shop.make("charges", amount=12340, currency="kwd", customer=keys[1], capture="false")
    shop.card_for(keys[5], DECLINED_CARD)
    declined = shop.http.post("/v1/charges", data={**PRICE, "customer": keys[5]})
    assert declined.status_code == 402
    return shop


PRICE = {"amount": 700, "currency": "usd"}


@pytest.fixture
def bench(shop: Shop, tmp_path: Path) -> Iterator[Bench]:
    made = make_bench("stripe", "tieline_stripe", shop.url, tmp_path, KEY, is_sandbox=False)
    yield made
    made.installation.close()


@pytest.mark.parametrize("entity", ENTITIES)
def test_everything_that_was_made_there_is_here(stocked: Shop, bench: Bench, entity: str) -> None:
    run = bench.sync(entity)
    assert (run.state, run.counts.quarantined) == ("succeeded", 0)
    assert len(bench.stored(entity)) >= {"customers": 110, "products": 2}.get(entity, 3)
    assert bench.stored(entity) == stocked.truth(entity)
    verified = bench.sync(entity, "verify")
    assert (verified.state, bench.found_by(verified)) == ("succeeded", {})


def test_cancelled_subscriptions_and_failed_charges_are_here_too(
    stocked: Shop, bench: Bench
) -> None:
    bench.sync("subscriptions")
    states = [each["status"] for each in bench.stored("subscriptions").values()]
    assert sorted(states) == ["active", "active", "canceled"]
    bench.sync("charges")
    assert "failed" in {each["status"] for each in bench.stored("charges").values()}


def test_without_a_log_that_we_can_read_changes_and_deletes_come_by_reading_everything(
    stocked: Shop, bench: Bench
) -> None:
    bench.sync("customers")
    first, second, *_ = stocked.truth("customers")
    stocked.make(f"customers/{first}", name="Ada Lovelace")
    stocked.remove("customers", second)
    new = stocked.make("customers", name="Bob")["id"]
    bench.pass_time(3600)
    run = bench.sync("customers")
    assert (run.state, run.mode) == ("succeeded", "full")
    assert "Stripe answered 400: Unexpected types" in run.reason
    counts = (run.counts.created, run.counts.updated, run.counts.deleted)
    assert counts == (1, 1, 1)
    stored = bench.stored("customers")
    assert (stored[first]["name"], stored[new]["name"]) == ("Ada Lovelace", "Bob")
    assert second not in stored


def test_what_is_charged_has_a_meaning(stocked: Shop, bench: Bench) -> None:
    assert CHARGES.canonical
    bench.sync("charges")
    found = [CHARGES.canonical(record) for record in bench.stored("charges").values()]
    paid = {each.amount: each for each in found if isinstance(each, Payment)}
    yen = paid[Money(amount_minor=1099, currency="JPY")]
    assert (yen.state, yen.refunded) == ("succeeded", Money(amount_minor=0, currency="JPY"))
    euros = paid[Money(amount_minor=5000, currency="EUR")]
    assert euros.refunded == Money(amount_minor=1200, currency="EUR")
    assert paid[Money(amount_minor=12340, currency="KWD")].state == "pending"
    failed = paid[Money(amount_minor=700, currency="USD")]
    assert (failed.state, failed.failure) == ("failed", "Your card was declined.")


@pytest.mark.parametrize(("entity", "declared"), [("customers", CUSTOMERS), ("products", PRODUCTS)])
def test_customers_and_products_have_one_too(
    stocked: Shop, bench: Bench, entity: str, declared: Any
) -> None:
    bench.sync(entity)
    for key, record in bench.stored(entity).items():
        shape = declared.canonical(record)
        assert (shape.id, shape.name) == (key, record["name"])


@pytest.mark.parametrize("shop", [[]], indirect=True, ids=["as it is"])
def test_its_products_lack_what_stripe_s_schema_requires_and_wait_in_quarantine(
    shop: Shop, bench: Bench
) -> None:
    made = shop.make("products", name="Gold")
    assert "updated" not in made
    run = bench.sync("products")
    assert (run.state, run.counts.quarantined) == ("succeeded_with_quarantine", 1)
    with bench.engine.database.read() as transaction:
        [kept] = quarantined.list_quarantined(transaction, bench.connection_id)
    assert (kept["record_id"], kept["reason_code"]) == (made["id"], "record-version")


@pytest.mark.parametrize("key", ["sk_x", "pk_test_localstripe"])
def test_a_key_that_it_does_not_know_connects_nothing(shop: Shop, tmp_path: Path, key: str) -> None:
    with pytest.raises(Exception, match=r"Unauthorized|key"):
        make_bench("stripe", "tieline_stripe", shop.url, tmp_path, key, is_sandbox=False)
