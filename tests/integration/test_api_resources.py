"""What the HTTP API does, resource by resource, each answer held to the document."""

from __future__ import annotations

import json
import re
import threading
from types import SimpleNamespace

import pytest

from api_kit import callers_of, plant
from grants_kit import installed
from ingest_kit import REALM, harbour_of, make_harbour
from market import APPLICATION, open_market
from tieline.contract import Secret
from tieline.engine import help_run
from tieline.services import syncs
from tieline.services.connect import connect_api_key
from tieline.web.api import OPERATIONS
from tieline.web.api.subjects import SUBJECTS

MODULES = {"market": "market_plugin", "stripe": "tieline_stripe", "mailchimp": "tieline_mailchimp"}


@pytest.fixture
def market():
    with open_market() as opened:
        opened.put("things", 5)
        yield opened


@pytest.fixture
def world(sqlite_url, redis_url, tmp_path, market):
    """Two connections to one market, each with one of everything."""
    made = installed(
        sqlite_url,
        tmp_path,
        modules=MODULES,
        redis_url=redis_url,
        public_url="http://127.0.0.1:8377",
        **APPLICATION,
    )
    for number, name in enumerate(("stall", "other")):
        key = f"key-of-the-{name}"
        market.members[key] = f"m{number}"
        connect_api_key(
            made, "market", name=name, key=Secret(key), base_url=market.url, actor="test"
        )
    for goods in market.goods.values():
        goods.clock = made.clock.now
    callers = callers_of(made)
    yield SimpleNamespace(
        made=made, callers=callers, admin=callers.new("admin", name="boss"), market=market
    )
    made.close()


def work(world) -> None:
    """Do what a worker does once."""
    for run in syncs.list_runs(world.made, limit=50):
        if not run.is_over:
            help_run(world.made.engine, run.id, threading.Event())


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"{(\w+)}", lambda found: ids[found[1]], path)


def test_what_belongs_to_another_connection_is_answered_as_what_there_is_not(world):
    other = plant(world.made, world.admin, "other")
    caller = world.callers.new("admin", "stall")
    absent = {name: f"{text[:-3]}aaa" for name, text in other.items()} | {"connection": "con_aaa"}
    same = ("entity", "record", "consumer")  # these are of the connection that is named first
    absent |= {name: other[name] for name in same}
    seen = set()
    for operation in OPERATIONS:
        names = set(re.findall(r"{(\w+)}", operation.path))
        mine = names & set(other)
        if operation.is_for_all or not mine or names - set(other):
            continue
        seen |= mine
        answers = []
        for ids in (other, absent):
            said = caller.refused(operation.method, filled(operation.path, ids), 404)
            text = json.dumps(said)
            for name in mine:
                text = text.replace(ids[name], f"<{name}>")
            answers.append(text)
        assert answers[0] == answers[1], operation.name
        # ... and who may see it gets something else: the test would notice an id that is wrong.
        if operation.method == "GET":
            reply = world.admin.ask("GET", filled(operation.path, other))
            found = {SUBJECTS[name].code for name in names if SUBJECTS[name].find}
            assert reply.json().get("code") not in found, operation.name
    assert seen == set(other)


def test_lists_hold_nothing_of_another_connection(world):
    plant(world.made, world.admin, "stall")
    plant(world.made, world.admin, "other")
    caller = world.callers.new("admin", "stall")
    lists = ("runs", "outbox", "webhook-events", "dead-letters", "audit-log?limit=200", "alerts")
    for path in lists:
        rows = caller.get(f"/{path}")["data"]
        every = world.admin.get(f"/{path}")["data"]
        mine = caller.get("/connections/stall")["id"]
        assert {row["connection_id"] for row in rows} <= {mine}, path
        if path != "alerts":
            assert len(rows) < len(every), path
        name = path.partition("?")[0]
        refused = caller.refused("GET", f"/{name}?connection=other", 404)
        assert refused["code"] == "connection-unknown"
    replayed = caller.post("/webhook-events/replay", {"types": ["good.changed"]})
    assert replayed["count"] == 0  # the one that it sees is pending
    hidden = [row["id"] for row in world.admin.get("/webhook-events?connection=other")["data"]]
    caller.refused("POST", "/webhook-events/replay", 404, json={"ids": hidden})


def test_a_limited_token_reads_no_delivery_that_tells_of_another_account(
    sqlite_url, redis_url, tmp_path
):
    harbour = make_harbour(sqlite_url, tmp_path, redis_url=redis_url)
    callers = callers_of(harbour.installation)
    harbour.add_connection("quickbooks", "rival", "9341450000000002")
    both = [REALM, "9341450000000002"]
    assert harbour.accept(harbour.senders["quickbooks"].signed(realms=both)) == 200
    assert harbour.accept(harbour.senders["stripe"].signed()) == 200
    caller = callers.new("admin", "books", "shop")
    told, own = (
        caller.get(f"/webhook-events/{caller.get(path)['data'][0]['id']}")
        for path in ("/webhook-events?connection=books", "/webhook-events?connection=shop")
    )
    assert (told["headers"], told["body"], told["record_id"]) == ({}, None, "1")
    assert own["body"] is not None
    whole = callers.new("read").get(f"/webhook-events/{told['id']}")
    assert all(realm in whole["body"] for realm in both)
    harbour.close()


def test_a_run_is_asked_for_once_followed_and_read(world):
    admin = world.admin
    world.market.goods["keyed"].put("a", name="ada", email="ada@example.com")
    asked = admin.post("/connections/stall/runs", {"entity": "keyed", "mode": "full"}, 201)
    again = admin.post("/connections/stall/runs", {"entity": "keyed", "mode": "full"}, 200)
    assert (asked["is_new"], again["is_new"]) == (True, False)
    run_id = asked["run"]["id"]
    assert again["run"]["id"] == run_id
    assert admin.get(f"/runs/{run_id}")["progress"]["seen"] == 0
    work(world)
    run = admin.get(f"/runs/{run_id}")
    assert (run["state"], run["counts"]["created"], run["progress"]) == ("succeeded", 1, None)
    assert run["asked_by"] == "api:boss"
    assert admin.get(f"/runs/{run_id}/log")["data"][0]["event"] == "run.asked"
    said = admin.refused("POST", f"/runs/{run_id}/cancel", 409)
    assert said["code"] == "run-over"

    [record] = admin.get("/connections/stall/entities/keyed/records")["data"]
    assert (record["id"], record["payload"]["name"]) == ("a", "ada")
    assert record["canonical"] is None
    one = admin.get("/connections/stall/entities/keyed/records/a")
    assert one == record
    changes = admin.get("/connections/stall/entities/keyed/changes")
    assert (len(changes["data"]), changes["next"], changes["end"]) == (1, 1, 1)
    explained = admin.get("/connections/stall/entities/keyed/explanation?record_id=a")
    assert explained["copies"][0]["run_id"] == run_id
    assert admin.get("/connections/stall/drift")["data"] is not None
    assert admin.refused("GET", "/connections/stall/entities/keyed/records/b", 404)["code"] == (
        "record-unknown"
    )
    said = admin.refused("GET", "/connections/stall/entities/none/records", 404)
    assert "keyed" in said["hint"]


def test_a_verification_tells_what_it_found(world):
    admin = world.admin
    world.market.goods["keyed"].put("a", name="ada", email="ada@example.com")
    world.made.clock.move(60)  # what is younger than the run is not missing yet
    asked = admin.post("/connections/stall/runs", {"entity": "keyed", "mode": "verify"}, 201)
    work(world)
    found = admin.get(f"/runs/{asked['run']['id']}/findings")
    assert (found["theirs"], found["ours"]) == (1, 0)
    assert [each["record_id"] for each in found["findings"]] == ["a"]


def test_runs_are_paged_from_the_newest_to_the_oldest(world):
    made = []
    for _ in range(5):
        asked = world.admin.post("/connections/stall/runs", {"entity": "keyed"}, 201)
        made.append(asked["run"]["id"])
        world.admin.post(f"/runs/{made[-1]}/cancel")
        world.made.clock.move(1)
    found, cursor = [], ""
    while True:
        page = world.admin.get(f"/runs?limit=2&state=cancelled&state=failed{cursor}")
        found += [run["id"] for run in page["data"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert found == made[::-1]
    said = world.admin.refused("GET", f"/dead-letters?cursor={cursor[8:]}", 422)
    assert said["code"] == "cursor-invalid"


def test_a_schedule_is_set_seen_and_not_overwritten_unseen(world):
    admin, path = world.admin, "/connections/stall/schedules/keyed"
    admin.refused("GET", path, 404)
    said = admin.refused("PUT", path, 422, json={"rule": "now and then"})
    assert said["errors"][0]["pointer"] == "/rule"
    body = {"rule": "every 15m", "full_every": "soon"}
    said = admin.refused("PUT", path, 422, json=body)
    assert said["errors"][0]["pointer"] == "/full_every"
    admin.ok("PUT", path, json={"rule": "every 15m"})
    reply = admin.ask("GET", path)
    tag = {"If-Match": reply.headers["etag"]}
    assert reply.json()["rule"] == "every 15m"
    [listed] = admin.get("/schedules")["data"]
    assert listed == reply.json()
    ticks = admin.get("/ticks?limit=3")["data"]
    assert [tick["entity"] for tick in ticks] == ["keyed"] * 3
    assert world.callers.new("read", "other").get("/ticks")["data"] == []

    world.made.clock.move(1)
    admin.ok("PUT", path, json={"rule": "every 30m"}, headers=tag)
    said = admin.refused("PUT", path, 412, json={"rule": "every 1h"}, headers=tag)
    assert said["code"] == "changed"
    admin.refused("DELETE", path, 412, headers=tag)
    assert admin.get(path)["rule"] == "every 30m"
    assert admin.post(f"{path}/pause")["state"] == "paused"
    assert admin.refused("POST", f"{path}/pause", 409)["code"] == "schedule-paused"
    assert admin.post(f"{path}/resume")["state"] == "active"
    admin.ok("DELETE", path, 204)
    admin.refused("DELETE", path, 412, headers={"If-Match": "*"})


def test_a_change_between_look_and_write_is_not_overwritten_either(world, monkeypatch):
    """The comparison that counts is in the transaction that writes."""
    from tieline.services import schedules

    admin, path = world.admin, "/connections/stall/schedules/keyed"
    admin.ok("PUT", path, json={"rule": "every 15m"})
    tag = {"If-Match": admin.ask("GET", path).headers["etag"]}
    right = schedules.set_schedule

    def late(installation, *given, **named):
        world.made.clock.move(1)
        right(installation, *given[:2], "every 2h", actor="somebody else")
        return right(installation, *given, **named)

    monkeypatch.setattr(schedules, "set_schedule", late)
    admin.refused("PUT", path, 412, json={"rule": "every 1h"}, headers=tag)
    assert admin.get(path)["rule"] == "every 2h"


def test_a_consumer_reads_moves_on_and_is_told_if_somebody_else_moved_it(world):
    admin = world.admin
    for key in "abc":
        world.market.goods["keyed"].put(key, name=key, email=f"{key}@example.com")
    admin.post("/connections/stall/runs", {"entity": "keyed", "mode": "full"}, 201)
    work(world)
    path = "/connections/stall/entities/keyed/consumers/warehouse"
    assert admin.refused("GET", path, 404)["code"] == "consumer-unknown"
    assert admin.ok("PUT", path, json={"position": 0})["behind"] == 3
    first = admin.get(f"{path}/changes?limit=2")
    assert [each["id"] for each in first["data"]] == ["a", "b"]
    done = {"after": first["after"], "next": first["next"]}
    assert admin.post(f"{path}/acknowledge", done)["position"] == 2
    assert admin.post(f"{path}/acknowledge", done)["position"] == 2  # the answer was lost
    said = admin.refused("POST", f"{path}/acknowledge", 409, json={"after": 0, "next": 1})
    assert said["code"] == "consumer-moved"
    said = admin.refused("POST", f"{path}/acknowledge", 422, json={"after": 2, "next": 9})
    assert said["code"] == "position-unknown"
    [listed] = admin.get("/connections/stall/entities/keyed/consumers")["data"]
    assert (listed["name"], listed["behind"]) == ("warehouse", 1)
    assert admin.refused("GET", f"{path[:-20]}/changes?after=99", 409)["code"] == "position-ahead"
    assert admin.ok("PUT", path, json={"position": None})["behind"] == 0
    admin.ok("DELETE", path, 204)
    admin.refused("DELETE", path, 404)


def test_changes_are_sent_and_what_is_held_is_settled(world):
    admin = world.admin
    changes = [{"kind": "create", "payload": {"name": "ada"}}]
    key = {"Idempotency-Key": "order-1"}
    body = {"entity": "keyed", "changes": changes}
    asked = admin.post("/connections/stall/outbox", body, 202, headers=key)
    again = admin.post("/connections/stall/outbox", body, 202, headers=key)
    assert again == asked
    [listed] = admin.get("/outbox")["data"]
    assert listed["id"] == asked["operations"][0]["id"]
    work(world)
    one = admin.get(f"/outbox/{listed['id']}")
    assert (one["state"], one["asked_by"]) == ("done", "api:boss")
    assert world.market.goods["keyed"].names() == ["ada"]

    bad = {"entity": "keyed", "changes": [{"kind": "create", "payload": {"nme": "x"}}]}
    said = admin.refused("POST", "/connections/stall/outbox", 422, json=bad)
    assert [each["pointer"] for each in said["errors"]] == ["/changes/0"]
    for change in ({"kind": "update", "payload": {}}, {"kind": "create", "key": "a"}, {}):
        said = admin.refused(
            "POST",
            "/connections/stall/outbox",
            422,
            json={"entity": "keyed", "changes": [change]},
        )
        assert said["errors"][0]["pointer"].startswith("/changes/0/")
    later = admin.post("/connections/stall/outbox", body, 202)["operations"][0]["id"]
    said = admin.refused("POST", f"/outbox/{later}/resolve", 409, json={"take": "local"})
    assert said["code"] == "operation-state"
    assert admin.ok("DELETE", f"/outbox/{later}")["state"] == "dropped"
    assert [row["state"] for row in admin.get("/outbox?state=done&state=dropped")["data"]] == [
        "dropped",
        "done",
    ]


def test_quarantine_dead_letters_and_events_are_seen_and_settled(world):
    admin, ids = world.admin, plant(world.made, world.admin, "stall")
    one = admin.get(f"/quarantine/{ids['bad']}")
    assert one["raw"] == '{"id": "k1", "name": 7}'
    [tried] = admin.post(f"/quarantine/{ids['bad']}/retry")["data"]
    assert tried["id"] == ids["bad"]
    admin.post("/connections/stall/quarantine/retry", {"entity": "keyed"})
    admin.ask("DELETE", f"/quarantine/{ids['bad']}")
    assert admin.get("/connections/stall/quarantine")["data"] == []

    letter = admin.get(f"/dead-letters/{ids['letter']}")
    assert (letter["facts"], letter["events"]) == ({"page": 3}, 0)
    done = admin.post(f"/dead-letters/{ids['letter']}/retry")
    assert (done["letter"]["settled_how"], done["is_new"]) == ("retried", True)
    assert admin.refused("DELETE", f"/dead-letters/{ids['letter']}", 409)["code"] == (
        "dead-letter-settled"
    )
    assert admin.get("/dead-letters")["data"] == []
    assert len(admin.get("/dead-letters?all=true")["data"]) == 1

    event = admin.get(f"/webhook-events/{ids['event']}")
    assert (event["body"], event["headers"], event["state"]) == (
        '{"id": 1}',
        {"x-a": "b"},
        "pending",
    )
    assert admin.get("/webhook-events?state=done")["data"] == []
    said = admin.refused("POST", "/webhook-events/replay", 422, json={})
    assert said["code"] == "events-choice"
    assert admin.post("/webhook-events/replay", {"ids": [ids["event"]]})["count"] == 0


def test_an_endpoint_is_made_rotated_and_removed_and_its_secrets_are_told_once(world):
    admin = world.admin
    harbour_of(world.made)  # endpoints of two schemes
    wanted = {"connection": "shop", "expects_every": "soon"}
    said = admin.refused("POST", "/webhook-endpoints", 422, json=wanted)
    assert [each["pointer"] for each in said["errors"]] == ["/expects_every"]
    assert len(admin.get("/webhook-endpoints")["data"]) == 2
    made = admin.post(
        "/webhook-endpoints",
        {"connection": "letters", "base": "https://hooks.example.com"},
        201,
    )
    assert made["url"].startswith("https://hooks.example.com/webhooks/mailchimp/")
    path = f"/webhook-endpoints/{made['id']}"
    assert made["url"] not in json.dumps(admin.get(path))
    tag = {"If-Match": admin.ask("GET", path).headers["etag"]}
    off = admin.ok("PATCH", path, json={"state": "disabled"}, headers=tag)
    assert off["state"] == "disabled"
    admin.refused("PATCH", path, 412, json={"state": "active"}, headers=tag)
    rotated = admin.post(f"{path}/rotate-secret", {"overlap": "1h"})
    assert rotated["url"] != made["url"]
    assert len(rotated["secrets"]) == 2
    assert len(admin.post(f"{path}/finish-rotation")["secrets"]) == 1
    assert admin.get(f"{path}/secrets")["data"] == []
    signed = next(
        row for row in admin.get("/webhook-endpoints")["data"] if row["provider"] == "stripe"
    )
    [shown] = admin.get(f"/webhook-endpoints/{signed['id']}/secrets")["data"]
    assert shown["secret"].startswith("whsec_")
    said = admin.refused("POST", "/webhook-endpoints", 422, json={})
    assert said["code"] == "endpoint-owner"
    admin.ok("DELETE", path, 204)
    admin.refused("GET", path, 404)


def test_an_account_is_connected_renewed_and_removed(world):
    admin = world.admin
    world.market.members["new-key"] = "m7"
    body = {
        "provider": "market",
        "name": "new",
        "api_key": "new-key",
        "base_url": world.market.url,
    }
    made = admin.post("/connections", body, 201, headers={"Idempotency-Key": "c"})
    assert made["account"] == {"id": "m7", "name": "Stall m7"}
    assert admin.post("/connections", body, 201, headers={"Idempotency-Key": "c"}) == made
    assert admin.refused("POST", "/connections", 409, json=body)["code"] == "name-taken"
    wrong = body | {"name": "wrong", "api_key": "nobody-has-this"}
    reply = admin.ask("POST", "/connections", json=wrong)
    assert reply.status_code == 409
    assert "nobody-has-this" not in reply.text
    both = body | {"name": "both", "login": {"username": "a", "password": "b"}}
    said = admin.refused("POST", "/connections", 422, json=both)
    assert said["errors"][0]["pointer"] == "/api_key"
    assert admin.post("/connections/new/test")["account"]["id"] == "m7"
    world.market.members["newer-key"] = "m7"
    admin.ok("PUT", "/connections/new/secret", json={"api_key": "newer-key"})
    kept = admin.ok("DELETE", "/connections/new?keep_records=true")
    assert kept["connection"]["state"] == "disconnected"
    admin.ok("DELETE", "/connections/new")
    admin.refused("GET", "/connections/new", 404)
    keys = admin.get("/keys")
    assert keys["keys"][0]["fields"] > 0


def test_an_owner_gets_a_link_and_it_is_seen_what_became_of_it(world):
    admin = world.admin
    body = {"provider": "market", "name": "owned", "base_url": world.market.url}
    made = admin.post("/oauth/links", body, 201)
    assert made["address"].startswith("http://127.0.0.1:8377/oauth/start/")
    link = f"/oauth/links/{made['link']}"
    assert admin.get(link) == {"link": made["link"], "state": "waiting", "connection": None}
    secret = made["address"].rpartition("/")[2]
    assert secret not in made["link"]
    admin.ok("DELETE", link, 204)
    assert admin.refused("GET", link, 404)["code"] == "link-unknown"
    said = admin.refused("POST", "/connections/stall/oauth-link", 422)
    assert said["code"] == "auth-kind"


def test_limits_are_set_for_a_time_and_reset(world):
    admin = world.admin
    for text in ("concurrency=99999999999999999999", "1/99999999999999999999 seconds"):
        wanted = {"limits": text, "lasting": "1h"}
        said = admin.refused("PUT", "/connections/stall/limits", 422, json=wanted)
        assert [each["pointer"] for each in said["errors"]] == ["/limits"]
    body = {"limits": "8/second; concurrency=4", "lasting": "2h"}
    [set_] = admin.ok("PUT", "/connections/stall/limits", json=body)["data"]
    assert set_["override"] == "8/second; concurrency=4"
    assert len(admin.get("/limits")["data"]) == 2
    assert len(admin.ok("PUT", "/providers/market/limits", json=body)["data"]) == 2
    limited = world.callers.new("admin", "stall")
    limited.refused("PUT", "/providers/market/limits", 403, json=body)
    said = admin.refused("PUT", "/connections/stall/limits", 422, json=body | {"limits": "fast"})
    assert said["code"] == "invalid-input"
    assert len(admin.ok("DELETE", "/providers/market/limits")["data"]) == 2
    [reset] = admin.ok("DELETE", "/connections/stall/limits")["data"]
    assert reset["override"] is None
    assert admin.post("/connections/stall/reset-breaker") == {"was_there": False}
    assert admin.refused("DELETE", "/providers/nothing/limits", 404)["code"] == (
        "connection-unknown"
    )


def test_the_audit_log_tells_who_did_what(world):
    world.admin.post("/connections/stall/pause")
    world.admin.post("/tokens", {"name": "reader", "scope": "read"}, 201)
    [paused] = world.admin.get("/audit-log?event=connection.paused&actor=api:boss")["data"]
    assert paused["detail"] == "0 runs wait"
    [made] = world.admin.get("/audit-log?event=token.created&actor=api:boss")["data"]
    assert made["detail"] == "reader: read, all connections"
    limited = world.callers.new("read", "stall")
    assert limited.get("/audit-log?event=token.created")["data"] == []
    since = "2020-01-01T00:00:00%2B01:00"
    assert world.admin.get(f"/audit-log?since={since}&until=2020-01-02T00:00:00Z")["data"] == []


def test_a_plan_says_what_asking_would_do(world):
    first = world.admin.get("/connections/stall/plan?entity=plain")
    assert [(each["mode"], each["requests"]) for each in first["plans"]] == [("full", None)]
    world.admin.post("/connections/stall/runs", {"entity": "plain"}, 201)
    work(world)
    [plan] = world.admin.get("/connections/stall/plan?entity=plain&mode=full")["plans"]
    assert plan["requests"] >= 1
    caller = world.callers.new("read", "other")
    caller.refused("GET", "/connections/stall/plan", 404)


def test_a_cursor_is_shown_set_back_and_brought_back(world):
    path = "/connections/stall/entities/keyed/state"
    assert world.admin.refused("POST", f"{path}/reset", 409, json={})["code"].startswith("state-")
    limited = world.callers.new("admin", "other")
    limited.refused("POST", f"{path}/reset", 404, json={})
    world.callers.new("read", "stall").refused("POST", f"{path}/undo", 403)
    world.admin.post("/connections/stall/runs", {"entity": "keyed"}, 201)
    work(world)

    def shown() -> dict:
        found = world.admin.get("/connections/stall/states")["data"]
        return next(each for each in found if each["entity"] == "keyed")

    known = shown()["synced_until"]
    moved = world.admin.post(f"{path}/reset", {})
    assert moved == {"connection": "stall", "entity": "keyed", "was": known, "to": None}
    assert (shown()["synced_until"], shown()["undoes"]) == (None, known)
    assert world.admin.post(f"{path}/undo")["to"] == known
    assert shown()["synced_until"] == known
