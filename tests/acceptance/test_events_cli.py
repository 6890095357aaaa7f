"""``tieline webhooks events`` and ``tieline dead``, as a person sees them."""

from __future__ import annotations

import json

import pytest

from inbox_kit import Told, deliver, states_of
from servers import sandbox
from site_of import make_site
from tieline.services.connections import get_connection


class _Inbox:
    """What :func:`inbox_kit.deliver` needs of a site."""

    def __init__(self, site) -> None:
        installation = site.installation
        self.clock, self.database = installation.clock, installation.database
        self.connection_id = get_connection(installation, "shop").id


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    made = make_site(tmp_path / "site", sqlite_url, redis_url, lease_s="1", sweep_s="0.2")
    with sandbox(customers=3) as url:
        made.connect(url)
        yield made
    made.close()


def customer(key: str, **more) -> Told:
    record = {"id": key, "object": "customer", **more}
    return Told(
        type="customer.created", key=key, at=-30, record=record, entity="customers", id=f"of {key}"
    )


def test_events_are_listed_shown_and_handled_once_more(site):
    inbox = _Inbox(site)
    ids = deliver(inbox, customer("cus_a"), Told(type="charge.failed", key="ch_1", entity=None))
    assert "pending" in site.ok("webhooks", "events", "list")
    site.ok("worker", "--burst")
    listed = site.json("webhooks", "events", "list", "--connection", "shop", "--state", "done")
    [event] = listed["events"]
    assert (event["id"], event["record_id"], event["state"]) == (ids[0], "cus_a", "done")
    assert (event["event_key"], event["entity"], event["error"]) == ("of cus_a", "customers", None)
    shown = site.json("webhooks", "events", "show", ids[0])
    assert json.loads(shown["delivery"]["body"]) == {"type": "customer.created", "id": "cus_a"}
    assert "cus_a" in site.ok("webhooks", "events", "show", ids[0])
    assert site.json("webhooks", "events", "replay", "--connection", "shop") == {"replayed": 2}
    assert states_of(inbox) == ["pending", "pending"]
    site.ok("worker", "--burst")
    assert states_of(inbox) == ["done", "ignored"]
    assert site.exported()["cus_a"]["object"] == "customer"
    assert "a webhook" in site.ok("records", "explain", "shop", "customers", "cus_a")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["events", "replay"], 2, "say which events are meant"),
        (["events", "show", "evt_none"], 3, "there is no event"),
        (["events", "replay", "evt_none"], 3, "there is no event"),
        (["events", "list", "--connection", "none"], 3, "there is no connection"),
        (["events", "list", "--state", "odd"], 2, "odd"),
        (["events", "list", "--since", "yesterday"], 2, "yesterday"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(site, words, code, said):
    done = site.run("webhooks", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_dead_events_are_one_letter_that_is_retried(site):
    inbox = _Inbox(site)
    told = [Told(type="customer.updated", key=key, at=-9, entity="customers") for key in "xy"]
    deliver(inbox, *told)
    without = {"TIELINE_PROVIDERS_DISABLED": "stripe", "TIELINE_RUN_ATTEMPTS": "1"}
    site.ok("worker", "--burst", **without)
    [letter] = site.json("dead", "list")["dead_letters"]
    assert (letter["kind"], letter["entity"]) == ("events-ours", "customers")
    shown = site.json("dead", "show", letter["id"])
    assert (shown["events"], shown["log"]) == (2, [])
    assert "2 events; the fault is ours" in site.ok("dead", "show", letter["id"])
    retried = site.json("dead", "retry", letter["id"])
    assert (retried["events"], retried["run"]) == (2, None)
    assert states_of(inbox) == ["pending", "pending"]
    site.ok("worker", "--burst")
    assert states_of(inbox) == ["done", "done"]
