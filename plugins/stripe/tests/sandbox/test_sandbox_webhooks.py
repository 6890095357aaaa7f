"""Webhook endpoints, and deliveries as Stripe makes them: signed, repeated, late, lost."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

DATA = Path(__file__).parents[1] / "data"
SCHEMA = json.loads((DATA / "stripe-webhook-endpoints.schema.json").read_text("utf-8"))
PATH = "/v1/webhook_endpoints"
KEY = "sk_test_51TielineSandbox"
PLATFORM = "sk_test_51TielineSandboxPlatform"
GOOD = {"url": "https://hooks.example.com/stripe", "enabled_events[]": "customer.created"}


def check(name: str, value: Any) -> None:
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    Draft202012Validator(schema).validate(value)


def test_an_endpoint_from_its_making_to_its_end(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    made = caller.post(PATH, GOOD | {"description": "Ours", "metadata[a]": "1"}).json
    check("webhook_endpoint", made)
    assert made.pop("secret").startswith("whsec_")
    assert caller.get(f"{PATH}/{made['id']}").json == made
    page = caller.get(PATH).json
    check("list_webhook_endpoint", page)
    assert page["data"] == [made]
    form = {"enabled_events[0]": "*", "metadata[b]": "2", "metadata[a]": "", "description": ""}
    changed = caller.post(f"{PATH}/{made['id']}", form | {"disabled": "true"}).json
    new = {"enabled_events": ["*"], "metadata": {"b": "2"}, "description": None}
    assert changed == made | new | {"status": "disabled"}
    gone = caller.delete(f"{PATH}/{made['id']}").json
    check("deleted_webhook_endpoint", gone)
    for reply in (caller.get(f"{PATH}/{made['id']}"), caller.delete(f"{PATH}/{made['id']}")):
        assert (reply.status, reply.error["code"]) == (404, "resource_missing")
    assert caller.get(PATH).json["data"] == []


def test_every_parameter_of_the_official_description_is_taken_and_no_other(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    full = GOOD | {"api_version": "2026-10-28.endive", "connect": "false", "description": "d"}
    names = {name.partition("[")[0] for name in full} | {"metadata"}
    assert names == SCHEMA["x-create"]["properties"].keys()
    assert caller.post(PATH, full | {"metadata[k]": "v"}).status == 200
    for name in SCHEMA["x-create"]["required"]:
        form = {key: text for key, text in GOOD.items() if not key.startswith(name)}
        assert caller.post(PATH, form).error["param"] == name
    cursors = {name: "1" if name == "limit" else "we_none" for name in SCHEMA["x-list"]}
    for name, text in cursors.items():
        reply = caller.get(PATH, **{name: text})
        assert reply.status == (200 if name in {"limit", "expand"} else 400), name


WRONG = {
    "an unknown parameter": ({"colour": "red"}, "parameter_unknown"),
    "no scheme": ({"url": "hooks.example.com"}, "url_invalid"),
    "no host": ({"url": "https://"}, "url_invalid"),
    "another scheme": ({"url": "ftp://example.com"}, "url_invalid"),
    "a space": ({"url": "https://a b.example"}, "url_invalid"),
    "an unknown type": ({"enabled_events[]": "customer.renamed"}, None),
    "a text of types": ({"enabled_events": "*"}, "parameter_invalid_array"),
    "no boolean": ({"connect": "maybe"}, None),
    "a malformed version": ({"api_version": "yesterday"}, None),
    "a long metadata key": ({f"metadata[{'k' * 41}]": "v"}, None),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused(sandbox: Any, case: str) -> None:
    extra, code = WRONG[case]
    caller = sandbox(customers=1)
    form = {name: text for name, text in GOOD.items() if not set(extra) & {name, name[:-2]}}
    reply = caller.post(PATH, form | extra)
    assert (reply.status, reply.error.get("code")) == (400, code)
    assert caller.get(PATH).json["data"] == []


def test_a_version_cannot_be_changed_later(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    made = caller.post(PATH, GOOD).json
    reply = caller.post(f"{PATH}/{made['id']}", {"api_version": "2026-10-28.endive"})
    assert (reply.status, reply.error["code"]) == (400, "parameter_unknown")


def test_sixteen_are_the_most_and_pages_go_from_new_to_old(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    made = [caller.post(PATH, GOOD).json["id"] for _ in range(16)]
    assert caller.post(PATH, GOOD).status == 400
    first = caller.get(PATH, limit=10)
    assert first.ids == made[:5:-1]
    assert first.json["has_more"]
    second = caller.get(PATH, limit=10, starting_after=first.ids[-1])
    assert second.ids == made[5::-1]
    assert not second.json["has_more"]
    assert caller.get(PATH, limit=3, ending_before=made[5]).ids == made[8:5:-1]


def test_who_may_not_is_refused(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    for method in ("GET", "POST"):
        assert caller.ask(method, PATH, key="rk_test_51a_nowebhooks").status == 403
    account = caller.order("oauth", {"grant": {"account": 0}})["stripe_user_id"]
    headers = {"stripe-account": account}
    assert caller.ask("GET", PATH, key=PLATFORM, headers=headers).status == 200
    reply = caller.ask("POST", PATH, key=PLATFORM, headers=headers)
    assert (reply.status, "rak_webhook_write" in reply.error["message"]) == (403, True)


def test_a_repeated_creation_makes_one_and_tells_its_secret_again(sandbox: Any) -> None:
    caller = sandbox(customers=1)
    first = caller.post(PATH, GOOD, idempotency_key="k1")
    again = caller.post(PATH, GOOD, idempotency_key="k1")
    assert again.json == first.json
    assert len(caller.get(PATH).json["data"]) == 1


class Hooked:
    """A served sandbox with an endpoint at a receiver."""

    def __init__(self, base: str, receiver: Any) -> None:
        self.base = base
        self.receiver = receiver
        self.client = httpx.Client(base_url=base, trust_env=False, timeout=90)

    def call(self, method: str, path: str, key: str = KEY, **given: Any) -> Any:
        account = given.pop("account", "")
        headers = {"authorization": f"Bearer {key}"}
        headers |= {"stripe-account": account} if account else {}
        reply = self.client.request(method, path, headers=headers, **given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def enable(self, *types: str, **more: Any) -> dict[str, Any]:
        key, account = more.pop("key", KEY), more.pop("account", "")
        form = {"url": self.receiver.url, "enabled_events[]": list(types)} | more
        made: dict[str, Any] = self.call("POST", PATH, key, data=form, account=account)
        return made

    def order(self, name: str = "webhooks", **given: Any) -> dict[str, Any]:
        reply = self.client.post(f"/_sandbox/{name}", json=given)
        assert reply.status_code == 200, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def flush(self) -> None:
        assert self.order(flush=True)["manner"]

    def mutate(self, **given: Any) -> dict[str, list[str]]:
        done: dict[str, list[str]] = self.order("mutate", **given)
        self.flush()
        return done

    def log(self) -> dict[str, Any]:
        told: dict[str, Any] = self.client.get("/_sandbox/webhooks").json()
        return told

    def events(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/v1/events", params=query)["data"]
        return found


@pytest.fixture
def hooked(server: Any, receiver: Any) -> Any:
    made: list[Hooked] = []

    def make(**options: Any) -> Hooked:
        sizes = {"customers": 30, "products": 5, "subscriptions": 10, "charges": 10}
        made.append(Hooked(server(**(sizes | options)), receiver))
        made[-1].order("clock", frozen=True)
        return made[-1]

    yield make
    for each in made:
        each.client.close()


Make = Callable[..., Hooked]


def signatures(header: str) -> tuple[int, list[str]]:
    parts = [part.split("=", 1) for part in header.split(",")]
    assert parts[0][0] == "t"
    return int(parts[0][1]), [text for name, text in parts[1:] if name == "v1"]


def signed(secret: str, at: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def test_what_is_enabled_is_delivered_as_the_log_has_it_and_nothing_else(hooked: Make) -> None:
    shop = hooked()
    made = shop.enable("customer.updated", "customer.deleted", api_version="2025-03-31.basil")
    shop.mutate(create=3, update=4, delete=2)
    seen = shop.receiver.seen
    log = {event["id"]: event for event in shop.events(type="customer.*", limit="100")}
    assert len(seen) == 6
    for headers, body in seen:
        event = json.loads(body)
        known = log[event["id"]] | {"api_version": "2025-03-31.basil", "pending_webhooks": 1}
        assert event == known
        assert event["type"] in {"customer.updated", "customer.deleted"}
        at, given = signatures(headers["stripe-signature"])
        assert given == [signed(made["secret"], at, body)]
        assert abs(at - time.time()) < 60
        assert headers["content-type"] == "application/json; charset=utf-8"
        assert headers["user-agent"].startswith("Stripe/1.0")
        assert body.startswith(b'{\n  "id": "evt_')
    assert len(shop.log()["deliveries"]) == 6
    assert {each["pending_webhooks"] for each in log.values()} == {0}


def test_no_more_comes_to_an_endpoint_that_is_disabled_or_deleted(hooked: Make) -> None:
    shop = hooked()
    made = shop.enable("*")
    shop.mutate(create=1)
    shop.call("POST", f"{PATH}/{made['id']}", data={"disabled": "true"})
    shop.mutate(create=1)
    shop.call("POST", f"{PATH}/{made['id']}", data={"disabled": "false"})
    shop.mutate(create=1)
    shop.order(hold=True)
    shop.order("mutate", create=1)
    shop.call("DELETE", f"{PATH}/{made['id']}")
    shop.order(hold=False, flush=True)
    assert len(shop.receiver.seen) == 2
    assert shop.log()["waiting"] == 0
    assert shop.events(delivery_success="false") == []


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_is_not_taken_is_tried_three_times_more_over_some_hours(
    hooked: Make, status: int
) -> None:
    shop = hooked()
    shop.enable("customer.created")
    shop.receiver.status = status
    shop.mutate(create=1)
    tries = [1]
    for seconds in (299, 1, 3_600, 10_800, 86_400):
        shop.order("clock", advance_s=seconds)
        shop.flush()
        tries.append(len(shop.receiver.seen))
    assert tries == [1, 1, 2, 3, 4, 4]
    assert len(set(shop.receiver.ids)) == 1
    [failed] = shop.events(delivery_success="false")
    assert (failed["id"], failed["pending_webhooks"]) == (shop.receiver.ids[0], 1)
    assert failed["id"] not in [each["id"] for each in shop.events(delivery_success="true")]
    assert [each["status"] for each in shop.log()["deliveries"]] == [status] * 4
    times = [signatures(headers["stripe-signature"])[0] for headers, _ in shop.receiver.seen]
    assert max(times) - min(times) < 60  # of the machine, whose receivers compare them


def test_one_that_is_taken_at_last_is_not_tried_again(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    shop.order(retry_s=[1, 1])
    shop.receiver.status = 503
    shop.mutate(create=1)
    shop.receiver.status = 204
    for _ in range(3):
        shop.order("clock", advance_s=1)
        shop.flush()
    assert [each["status"] for each in shop.log()["deliveries"]] == [503, 204]
    assert shop.events(delivery_success="false") == []


def test_retries_come_by_themselves_while_the_clock_runs(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    shop.order("clock", frozen=False)
    shop.order(retry_s=[0.2])
    shop.receiver.status = 500
    shop.mutate(create=1)
    until = time.monotonic() + 30
    while len(shop.receiver.seen) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_nobody_listening_and_nonsense_count_as_failures(hooked: Make) -> None:
    shop = hooked()
    made = shop.enable("customer.created")
    for url in ("http://127.0.0.1:9/", shop.base.replace("http", "https"), "http://no.invalid/"):
        shop.call("POST", f"{PATH}/{made['id']}", data={"url": url})
        shop.mutate(create=1)
    found = shop.log()["deliveries"]
    assert [each["status"] for each in found] == [0, 0, 0]
    assert all(each["error"] for each in found)


def test_a_receiver_that_hangs_is_given_up_and_holds_up_nobody(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    shop.order(timeout_s=0.4)
    shop.receiver.pause_s = 60
    began = time.monotonic()
    shop.order("mutate", create=6)
    shop.call("GET", "/v1/customers")
    assert time.monotonic() - began < 20
    shop.flush()
    assert {(each["status"], each["error"]) for each in shop.log()["deliveries"]} == {
        (0, "TimeoutError")
    }


def test_some_come_twice_some_never_and_chance_is_the_same_again(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    counts = []
    for _ in range(2):
        shop.receiver.seen.clear()
        shop.order(duplicate=0.4, drop=0.3, seed=7)
        shop.mutate(create=40)
        ids = shop.receiver.ids
        counts.append((len(ids), len(set(ids))))
    assert counts[0] == counts[1]
    assert 20 < counts[0][1] < 40
    assert counts[0][0] > counts[0][1]
    assert shop.events(delivery_success="false") == []
    shop.order(duplicate=1.0, drop=0)
    shop.receiver.seen.clear()
    shop.mutate(create=3)
    assert sorted(shop.receiver.ids) == sorted([*set(shop.receiver.ids)] * 2)


def test_what_was_held_leaves_in_disorder_on_order(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created", "customer.updated")
    shop.order(hold=True, shuffle=True, seed=3)
    shop.order("mutate", create=10, update=20)
    assert shop.receiver.seen == []
    assert shop.log()["waiting"] == 30
    shop.order(hold=False, flush=True)
    in_log = [event["id"] for event in shop.events(limit="30")][::-1]
    assert sorted(shop.receiver.ids) == sorted(in_log)
    # Several leave at once, so neighbours change places anyhow.
    moved = [abs(place - in_log.index(name)) for place, name in enumerate(shop.receiver.ids)]
    assert max(moved) > 12


def test_a_delay_is_of_the_sandbox_s_clock(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    shop.order(delay_s=100)
    shop.mutate(create=20)
    early = len(shop.receiver.seen)
    shop.order("clock", advance_s=101)
    shop.flush()
    assert (early < 20, len(shop.receiver.seen)) == (True, 20)


def test_a_rolled_secret_signs_beside_the_one_before_for_a_while(hooked: Make) -> None:
    shop = hooked()
    made = shop.enable("customer.created")
    new = shop.order(roll=made["id"], overlap_s=3600)["secret"]
    assert new != made["secret"]
    shop.mutate(create=1)
    shop.order("clock", advance_s=3601)
    shop.mutate(create=1)
    expected = [[new, made["secret"]], [new]]
    for (headers, body), secrets in zip(shop.receiver.seen, expected, strict=True):
        at, given = signatures(headers["stripe-signature"])
        assert given == [signed(secret, at, body) for secret in secrets]
    assert "secret" not in shop.call("GET", f"{PATH}/{made['id']}")


def test_an_event_is_sent_again_to_all_or_to_one(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    other = shop.enable("customer.created")
    shop.mutate(create=1)
    [name] = set(shop.receiver.ids)
    assert shop.order(resend=name)["sent"] == 2
    assert shop.order(resend=name, to=other["id"], flush=True)["sent"] == 1
    assert shop.receiver.ids == [name] * 5
    for wrong in ({"resend": "evt_none"}, {"resend": name, "to": "we_none"}, {"roll": "x"}):
        assert shop.client.post("/_sandbox/webhooks", json=wrong).status_code == 400


def test_the_time_of_signing_can_be_off_or_the_sandbox_s_own(hooked: Make) -> None:
    shop = hooked()
    shop.enable("customer.created")
    now = shop.client.get("/_sandbox/clock").json()["now"]
    shop.order(sign_by="sandbox", skew_s=-400)
    shop.mutate(create=1)
    at, _ = signatures(shop.receiver.seen[0][0]["stripe-signature"])
    assert at == int(now - 400)


def test_a_platform_s_endpoint_hears_of_connected_accounts_and_its_own_of_its_own(
    hooked: Make,
) -> None:
    shop = hooked()
    shop.enable("customer.created", "account.application.deauthorized")
    theirs = shop.enable("customer.created", "account.application.deauthorized", connect="true")
    accounts = [
        shop.order("oauth", grant={"account": number, "scopes": ["read_write"]})["stripe_user_id"]
        for number in range(2)
    ]
    own = shop.enable("customer.created", key=PLATFORM, account=accounts[0])
    shop.mutate(create=1)
    told = [
        (each["endpoint"] == theirs["id"], each["account"]) for each in shop.log()["deliveries"]
    ]
    expected = [(False, None), (False, None), *((True, name) for name in accounts)]
    assert sorted(told, key=str) == sorted(expected, key=str)
    by_account = {event.get("account"): event["id"] for event in shop.receiver.events}
    assert len(set(by_account.values()) - {None}) == 2  # events of their own
    assert [each["account"] for each in shop.log()["endpoints"]][-1] == accounts[0]
    assert own["id"] not in [each["id"] for each in shop.call("GET", PATH)["data"]]
    shop.receiver.seen.clear()
    shop.order("oauth", revoke=accounts[1])
    shop.mutate(create=1)
    gone, *others = sorted(shop.receiver.events, key=lambda event: event["type"])
    assert (gone["type"], gone["account"]) == ("account.application.deauthorized", accounts[1])
    assert accounts[1] not in [event.get("account") for event in others]
    assert len(others) == 3


def test_without_an_endpoint_nothing_is_kept(hooked: Make) -> None:
    shop = hooked()
    shop.mutate(create=50, update=50)
    assert (shop.log()["waiting"], shop.log()["total"]) == (0, 0)


@pytest.mark.parametrize(
    "given",
    [{"colour": 1}, {"drop": 2}, {"retry_s": [-1]}, {"delay_s": "long"}, {"sign_by": "me"}, []],
)
def test_orders_that_make_no_sense_are_refused(sandbox: Any, given: Any) -> None:
    caller = sandbox(customers=1)
    reply = caller.ask("POST", "/_sandbox/webhooks", body=json.dumps(given).encode())
    assert (reply.status, "error" in reply.json) == (400, True)
