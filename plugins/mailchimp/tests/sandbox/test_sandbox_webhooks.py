"""Webhooks of the sandbox: made after a look at the address, and delivered as Mailchimp does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from jsonschema import Draft202012Validator

from tieline_mailchimp_sandbox import create_app

KEY = "0123456789abcdef0123456789abcdef-us6"
SCHEMA = json.loads(
    (Path(__file__).parents[1] / "data/mailchimp-webhooks.schema.json").read_text("utf-8")
)
TYPES = ("subscribe", "unsubscribe", "profile", "upemail", "cleaned", "campaign")
START = 1_793_500_000
"""A time after every sandbox's start."""


def check(name: str, value: Any) -> None:
    wrong = Draft202012Validator({"$ref": f"#/$defs/{name}"} | SCHEMA).iter_errors(value)
    assert [error.message for error in wrong] == []


def fields_of(body: str) -> dict[str, str]:
    return dict(parse_qsl(body, keep_blank_values=True))


@dataclass
class Taker:
    """Who is delivered to: an ASGI application that answers as it is told."""

    url: str = ""
    came: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    waits_s: float = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        while message.get("more_body"):
            message["body"] += (await receive())["body"]
        await asyncio.sleep(self.waits_s)
        headers = {name.decode(): text.decode() for name, text in scope["headers"]}
        self.came.append((scope["method"], headers, message["body"]))
        status = self.statuses.pop(0) if self.statuses else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def forms(self) -> list[dict[str, str]]:
        return [fields_of(body.decode()) for method, _, body in self.came if body]


@dataclass
class Scene:
    """A sandbox with a webhook of everything in its first audience, and who takes it."""

    http: httpx.Client
    taker: Taker
    audience: str = ""
    made: dict[str, Any] = field(default_factory=dict)

    def api(self, method: str, path: str = "", **body: Any) -> httpx.Response:
        path = f"/3.0/lists/{self.audience}{path}"
        return self.http.request(method, path, auth=("any", KEY), json=body or None)

    def hook(self, **changed: Any) -> httpx.Response:
        body = {
            "url": self.taker.url,
            "events": dict.fromkeys(TYPES, True),
            "sources": {"user": True, "admin": True, "api": True},
        }
        return self.api("POST", "/webhooks", **body | changed)

    def order(self, name: str, **given: Any) -> Any:
        return self.http.post(f"/_sandbox/{name}", json=given).raise_for_status().json()

    def contact(self, **given: Any) -> Any:
        return self.order("contacts", audience=self.audience, **given)

    def plant(self, address: str = "Ada@Example.com", **fields: Any) -> Any:
        return self.contact(add={"email_address": address, "status": "subscribed"} | fields)

    def deliveries(self) -> list[dict[str, Any]]:
        found = self.http.get("/_sandbox/deliveries").json()["deliveries"]
        assert isinstance(found, list)
        return found

    def types(self) -> list[str]:
        return [each["type"] for each in self.deliveries()]

    def until(self, is_so: Callable[[], bool], found: Callable[[], Any] = lambda: None) -> Any:
        ends = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < ends, self.deliveries()
            time.sleep(0.01)
        return found()

    def report(self) -> Any:
        return self.http.get("/_sandbox/webhooks").json()

    def taken(self, count: int) -> list[dict[str, str]]:
        """Wait until so many forms came; return them."""
        self.until(lambda: len(self.taker.forms) >= count)
        return self.taker.forms


@pytest.fixture
def scene(serving: Any) -> Iterator[Callable[..., Scene]]:
    """Make scenes: ``scene(unsigned_webhooks=True)``; the options are the sandbox's."""
    taker = Taker()
    with ExitStack() as stack:

        def make(*, hook: bool = True, is_clock_set: bool = True, **options: Any) -> Scene:
            taker.url = f"{stack.enter_context(serving(taker))}/in?secret=x"
            url = stack.enter_context(serving(create_app(audiences=2, contacts=0, **options)))
            http = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=60))
            made = Scene(http, taker)
            if is_clock_set:
                made.order("clock", now=START, frozen=True)
            made.audience = http.get("/_sandbox/truth", params={"entity": "lists"}).json()[0]["id"]
            if hook:
                made.made = made.hook().raise_for_status().json()
                taker.came.clear()
            return made

        yield make


@pytest.fixture(scope="module")
def lasting(serving: Any) -> Iterator[Scene]:
    """One scene for many tests, each with another contact of the same address."""
    taker = Taker()
    with (
        serving(taker) as url,
        serving(create_app(audiences=1, contacts=0)) as base,
        httpx.Client(base_url=base, trust_env=False, timeout=60) as http,
    ):
        taker.url = url
        yield Scene(http, taker)


def test_a_webhook_is_made_shown_changed_and_deleted(scene: Any) -> None:
    one = scene()
    check("Webhook", one.made)
    assert (one.made["signing_enabled"], one.made["list_id"]) == (True, one.audience)
    assert len(one.made["signing_secret"]) >= 32
    path = f"/webhooks/{one.made['id']}"
    shown = one.api("GET", path).json()
    assert shown == {name: text for name, text in one.made.items() if name != "signing_secret"}
    page = one.api("GET", "/webhooks").json()
    check("WebhooksPage", page)
    assert (page["webhooks"], page["total_items"]) == ([shown], 1)
    changed = one.api("PATCH", path, events={"profile": False}).json()
    assert changed["events"] == shown["events"] | {"profile": False}
    assert changed["sources"] == shown["sources"]
    assert one.api("DELETE", path).status_code == 204
    assert one.api("GET", path).status_code == 404
    assert one.api("GET", "/webhooks").json()["total_items"] == 0


def test_the_address_is_looked_at_before_it_is_stored(scene: Any) -> None:
    one = scene(hook=False)
    one.taker.statuses = [404, 204, 302]
    for _ in range(3):
        refused = one.hook()
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "url")
    assert one.api("GET", "/webhooks").json()["webhooks"] == []
    assert one.hook(url="http://127.0.0.1:9/nobody").status_code == 400
    assert one.hook().status_code == 200
    assert [(method, body) for method, _, body in one.taker.came] == [("GET", b"")] * 4
    assert {headers["user-agent"] for _, headers, _ in one.taker.came} == {
        "MailChimp.com WebHook Validator"
    }
    assert one.hook().status_code == 400  # the same address again


@pytest.mark.parametrize(
    "body",
    [{"url": "ftp://x/"}, {"url": 7}, {"url": "http://a b/"}, {"events": {"all": True}},
     {"events": {"profile": 1}}, {"sources": []}],
    ids=str,
)  # fmt: skip
def test_a_webhook_that_makes_no_sense_is_refused(lasting: Scene, body: dict[str, Any]) -> None:
    lasting.audience = lasting.order("lists", add={})["id"]
    refused = lasting.hook(**body)
    assert (refused.status_code, refused.json()["title"]) == (400, "Invalid Resource")
    assert lasting.api("GET", "/webhooks").json()["webhooks"] == []


def test_a_delivery_is_a_signed_form(scene: Any) -> None:
    one = scene()
    made = one.plant(merge_fields={"FNAME": "Žofie & Co", "ADDRESS": {"city": "Dublin"}})
    [form] = one.taken(1)
    [(method, headers, body)] = one.taker.came
    assert (method, headers["user-agent"]) == ("POST", "MailChimp.com")
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    at, _, found = headers["x-mailchimp-signature"].partition(",")
    assert at == f"t={START}"
    text = f"{START}.".encode() + body
    secret = one.made["signing_secret"].encode()
    assert found == f"v1={hmac.new(secret, text, hashlib.sha256).hexdigest()}"
    check("webhookEvent", {"type": form["type"], "fired_at": form["fired_at"], "data": {}})
    assert form["fired_at"] == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(START))
    assert form["data[id]"] == made["unique_email_id"]
    assert form["data[list_id]"] == one.audience
    assert form["data[email]"] == form["data[merges][EMAIL]"] == "Ada@Example.com"
    assert form["data[merges][FNAME]"] == "Žofie & Co"
    assert form["data[merges][ADDRESS][city]"] == "Dublin"
    assert "data[merges][INTERESTS]" in form


def test_webhooks_of_old_do_not_sign(scene: Any) -> None:
    one = scene(unsigned_webhooks=True)
    assert not {"signing_enabled", "signing_secret"} & one.made.keys()
    one.plant()
    one.taken(1)
    assert "x-mailchimp-signature" not in one.taker.came[0][1]


def test_a_signature_is_of_the_machine_s_time_unless_the_clock_was_set(scene: Any) -> None:
    one = scene(is_clock_set=False)
    one.plant()
    one.taken(1)
    at = int(one.taker.came[-1][1]["x-mailchimp-signature"].partition(",")[0].removeprefix("t="))
    assert abs(at - time.time()) < 60


def by_api(method: str, path: str = "", **body: Any) -> Callable[[Scene], Any]:
    return lambda one: one.api(method, f"/members/{MEMBER}{path}", **body).raise_for_status()


def by_order(**given: Any) -> Callable[[Scene], Any]:
    return lambda one: one.contact(find=MEMBER, **given)


MEMBER = hashlib.md5(b"ada@example.com", usedforsecurity=False).hexdigest()
CHANGES: dict[str, tuple[Callable[[Scene], Any], list[str], dict[str, str]]] = {
    "fields": (by_api("PATCH", merge_fields={"FNAME": "Ida"}), ["profile"],
               {"data[merges][FNAME]": "Ida"}),
    "nothing": (by_api("PATCH", language="en"), [], {}),
    "tags": (by_api("POST", "/tags", tags=[{"name": "x", "status": "active"}]), [], {}),
    "leaves by api": (by_api("PATCH", status="unsubscribed"), ["unsubscribe"],
                      {"data[action]": "unsub", "data[reason]": "manual"}),
    "leaves by itself": (by_order(leave="unsubscribe"), ["unsubscribe"],
                         {"data[action]": "unsub", "data[campaign_id]": "4fjk2ma9xd"}),
    "bounces": (by_order(leave="bounce"), ["cleaned"],
                {"data[reason]": "hard", "data[email]": "Ada@Example.com"}),
    "asked again": (by_api("PATCH", status="pending"), [], {}),
    "archived": (by_api("DELETE"), ["unsubscribe"], {"data[action]": "delete"}),
    "erased": (by_api("POST", "/actions/delete-permanent"), ["unsubscribe"],
               {"data[action]": "delete", "data[email]": "Ada@Example.com"}),
    "moved": (by_api("PATCH", email_address="ida@example.com"), ["upemail", "profile"],
              {"data[new_email]": "ida@example.com", "data[old_email]": "Ada@Example.com"}),
    "removed on order": (by_order(remove=True), ["unsubscribe"], {"data[action]": "delete"}),
    "many at once": (
        lambda one: one.api("POST", members=[{"email_address": f"n{n}@example.com",
                                              "status": "subscribed"} for n in range(3)]),
        ["subscribe"] * 3, {}),
    "known, never asked": (
        lambda one: one.api("POST", "/members", email_address="t@example.com",
                            status="transactional"), [], {}),
    "a campaign": (
        lambda one: one.order("webhooks", audience=one.audience, campaign={"subject": "Hello"}),
        ["campaign"], {"data[subject]": "Hello", "data[status]": "sent"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_each_change_is_told_as_mailchimp_tells_it(lasting: Scene, case: str) -> None:
    act, types, told = CHANGES[case]
    lasting.audience = lasting.order("lists", add={})["id"]
    lasting.plant(merge_fields={"FNAME": "Ada"}, language="en")
    lasting.hook().raise_for_status()
    lasting.taker.came.clear()
    before = lasting.http.get("/_sandbox/deliveries").json()["total"]
    act(lasting)
    lasting.until(lambda: len(lasting.taker.forms) >= len(types))
    lasting.until(lambda: not lasting.report()["sending"])
    found = lasting.http.get("/_sandbox/deliveries", params={"after": before}).json()["deliveries"]
    assert [each["type"] for each in found] == types
    assert [each["state"] for each in found] == ["taken"] * len(types)
    forms = [fields_of(each["body"]) for each in found]
    assert all(form["data[list_id]"] == lasting.audience for form in forms)
    if forms:
        assert told.items() <= forms[0].items()


def test_only_what_is_wanted_is_delivered_and_of_whose_doing_it_is_wanted(scene: Any) -> None:
    one = scene(hook=False)
    one.hook(events={"profile": True, "cleaned": True}, sources={"user": False, "admin": True,
             "api": False}).raise_for_status()  # fmt: skip
    one.plant()
    one.api("PATCH", f"/members/{MEMBER}", merge_fields={"FNAME": "By API"})
    one.contact(find=MEMBER, set={"full_name": "By an admin"})
    one.contact(find=MEMBER, leave="bounce")
    assert one.types() == ["profile", "cleaned"]


def test_one_audience_s_webhook_hears_nothing_of_another(scene: Any) -> None:
    one = scene()
    other = one.http.get("/_sandbox/truth", params={"entity": "lists"}).json()[1]["id"]
    one.order("contacts", audience=other, add={"status": "subscribed"})
    one.plant()
    assert [form["data[list_id]"] for form in one.taken(1)] == [one.audience]


def test_what_nobody_takes_is_tried_again_for_75_minutes_and_then_given_up(scene: Any) -> None:
    one = scene()
    one.taker.statuses = [500, 404, 302, 429, 503, 500, 400]
    one.plant()
    for minutes in (1, 2, 5, 10, 20, 37):
        before = one.until(lambda: one.report()["waiting"] == 1, lambda: len(one.taker.came))
        one.order("clock", advance_s=minutes * 60 - 1)
        assert len(one.taker.came) == before
        one.order("clock", advance_s=1)
        one.until(lambda n=before: len(one.taker.came) > n)
    one.until(lambda: one.deliveries()[0]["state"] == "given up")
    [delivery] = one.deliveries()
    assert [each["status"] for each in delivery["attempts"]] == [500, 404, 302, 429, 503, 500, 400]
    assert delivery["attempts"][-1]["at"] - START == 75 * 60
    bodies = {body for _, _, body in one.taker.came}
    assert len(bodies) == 1  # a repeated delivery repeats its body
    assert len({headers["x-mailchimp-signature"] for _, headers, _ in one.taker.came}) == 7


def test_who_is_too_slow_or_not_there_gets_it_again(scene: Any) -> None:
    one = scene()
    one.order("webhooks", rules={"timeout_s": 0.2, "pauses_s": [5]})
    one.taker.waits_s = 1.0
    one.plant()
    one.until(lambda: one.report()["waiting"] == 1)
    one.taker.waits_s = 0.0
    one.order("clock", advance_s=5)
    one.until(lambda: one.deliveries()[0]["state"] == "taken")
    slow, good = one.deliveries()[0]["attempts"]
    assert (slow["status"], slow["error"], good["status"]) == (0, "TimeoutError", 200)
    assert slow["ms"] >= 150


def test_a_webhook_that_keeps_failing_is_silenced_until_it_is_changed(scene: Any) -> None:
    one = scene()
    one.order("webhooks", rules={"pauses_s": [], "most_missed": 2, "at_once": 1})
    one.taker.statuses = [500, 500]
    for number in range(3):
        one.plant(f"n{number}@example.com")
    one.until(lambda: one.deliveries()[-1]["state"] == "dropped")
    assert [each["state"] for each in one.deliveries()] == ["given up", "given up", "dropped"]
    one.api("PATCH", f"/webhooks/{one.made['id']}", events={"profile": True})
    one.plant("n3@example.com")
    one.until(lambda: one.deliveries()[-1]["state"] == "taken")


def test_a_webhook_that_is_deleted_gets_nothing_that_was_on_its_way(scene: Any) -> None:
    one = scene()
    one.order("webhooks", rules={"hold": True})
    one.plant()
    one.api("DELETE", f"/webhooks/{one.made['id']}")
    one.plant("later@example.com")
    one.order("webhooks", release="as made")
    one.until(lambda: one.deliveries()[0]["state"] == "dropped")
    assert (len(one.deliveries()), one.taker.came) == (1, [])


def test_deliveries_are_held_and_let_go_in_the_order_that_is_wanted(scene: Any) -> None:
    one = scene()
    one.order("webhooks", rules={"hold": True, "at_once": 1, "seed": 3})
    for number in range(6):
        one.plant(f"n{number}@example.com")
    assert one.report()["held"] == 6
    one.order("webhooks", release="reversed")
    came = [form["data[email]"] for form in one.taken(6)]
    assert came == [f"n{number}@example.com" for number in reversed(range(6))]
    one.order("webhooks", resend=[1, 2, 3, 4, 5, 6])
    one.order("webhooks", release="shuffled")
    again = [form["data[email]"] for form in one.taken(12)[6:]]
    assert sorted(again) == sorted(came)
    assert again not in (came, came[::-1])


def test_deliveries_are_doubled_lost_delayed_and_sent_again_on_order(scene: Any) -> None:
    one = scene()
    one.order("webhooks", rules={"lose": 1, "copies": 2, "delay_s": 30})
    one.plant("lost@example.com")
    one.plant()
    assert [each["state"] for each in one.deliveries()] == ["lost", "waiting", "waiting"]
    assert one.taker.came == []
    one.order("clock", advance_s=30)
    first, second = one.taken(2)
    assert first == second
    one.order("webhooks", rules={"delay_s": 0}, resend=[1])
    assert one.taken(3)[2]["data[email]"] == "lost@example.com"


@pytest.mark.parametrize(
    "order",
    [{"rules": {"copies": 0}}, {"rules": {"pauses_s": ["x"]}}, {"rules": {"hold": 1}},
     {"rules": {"x": 1}}, {"rules": []}, {"release": "at random"}, {"resend": [1]},
     {"campaign": {}}, {"audience": "none", "campaign": {}}, {"x": 1}],
    ids=str,
)  # fmt: skip
def test_orders_that_make_no_sense_are_told(sandbox: Any, order: dict[str, Any]) -> None:
    reply = sandbox().ask("POST", "/_sandbox/webhooks", body=json.dumps(order).encode())
    assert (reply.status, list(reply.json)) == (400, ["error"])


def test_nothing_runs_where_nobody_is_told(sandbox: Any) -> None:
    caller = sandbox()
    caller.order("mutate", {"create": 50, "update": 50, "delete": 5})
    assert caller.facts("deliveries") == {"total": 0, "deliveries": []}
    assert caller.app._post._sender is None


def test_what_waits_is_bounded(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tieline_mailchimp_sandbox.post._MOST_WAITING", 3)
    one = scene()
    one.order("webhooks", rules={"hold": True})
    for number in range(5):
        one.plant(f"n{number}@example.com")
    assert (one.report()["held"], one.report()["overflowed"]) == (3, 2)
