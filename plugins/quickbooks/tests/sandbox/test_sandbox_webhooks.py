"""Deliveries: what is told of, in which body, how it is signed, and how it is tried again."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import hmac
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from tieline_quickbooks_sandbox.clock import Clock
from tieline_quickbooks_sandbox.post import is_address, post
from tieline_quickbooks_sandbox.webhooks import Webhooks

SCHEMA = json.loads((Path(__file__).parents[1] / "data/quickbooks.schema.json").read_text("utf-8"))
FORMS = {"cloudevents": "webhookCloudEvents", "older": "webhookLegacy"}
ACCOUNTING = "com.intuit.quickbooks.accounting"


@functools.cache
def validator(name: str) -> Draft202012Validator:
    schema = {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    return Draft202012Validator(schema)


def until(look: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait until something is so, and return it."""
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.005)
    return found


class Ear:
    """An application that hears deliveries, and answers as it is told to, at last with 200."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.sleeps_s = 0.0
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(ear.sleeps_s)
                ear.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(ear.answers.pop(0) if ear.answers else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(b"heard")

            def log_message(self, *_given: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/in?x=1"

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for _, body in self.heard]

    @property
    def types(self) -> list[str]:
        return [each["type"] for body in self.bodies for each in body]


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


class Stage:
    """A sandbox over HTTP whose clock stands, with connected companies."""

    def __init__(self, base: str, http: httpx.Client, ear: Ear) -> None:
        self.base, self._http, self.ear = base, http, ear
        self.order("clock", frozen=True)
        self.accounts = self.look("")["accounts"]
        self.realms = [each["id"] for each in self.accounts]

    def order(self, name: str, **given: Any) -> Any:
        reply = self._http.post(f"{self.base}/_sandbox/{name}", json=given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def look(self, name: str) -> Any:
        return self._http.get(f"{self.base}/_sandbox/{name}").json()

    def connect(self, *indices: int) -> list[str]:
        grants = [self.order("oauth", grant={"account": index}) for index in indices]
        return [each["access_token"] for each in grants]

    def mutate(self, entity: str = "Customer", account: int = 0, **verbs: int) -> Any:
        return self.order("mutate", entity=entity, account=account, **verbs)

    def write(self, token: str, body: Any, query: str = "") -> Any:
        url = f"{self.base}/v3/company/{self.realms[0]}/customer{query}"
        headers = {"authorization": f"Bearer {token}"}
        reply = self._http.post(url, json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return reply.json()["Customer"]

    def settled(self) -> None:
        """Wait until nothing waits."""
        until(lambda: not any(self.look("webhooks")[name] for name in ("waiting", "unanswered")))

    def attempts(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many attempts, and return them: no more, no fewer, and none is due now."""
        until(lambda: self.look("deliveries")["total"] >= count)
        due, now = self.look("webhooks")["due"], self.look("clock")["now"]
        assert due is None or due > now
        found = self.look("deliveries")
        assert found["total"] == count
        return found["deliveries"]


@pytest.fixture
def stage(server, http, ear):
    return lambda **options: Stage(server(**({"customers": 9, "invoices": 9} | options)), http, ear)


# --- what is told ---------------------------------------------------------------------------------

TOLD = [
    ("Customer", "create", "created", "Create"),
    ("Customer", "update", "updated", "Update"),
    ("Customer", "rebalance", "updated", "Update"),
    ("Customer", "deactivate", "updated", "Update"),
    ("Customer", "delete", "deleted", "Delete"),
    ("Invoice", "create", "created", "Create"),
    ("Invoice", "pay", "updated", "Update"),
    ("Invoice", "void", "void", "Void"),
    ("Invoice", "email", "emailed", "Emailed"),
    ("Invoice", "delete", "deleted", "Delete"),
]


def test_each_change_is_told_by_its_id_in_both_forms(stage):
    here = stage()
    here.connect(0)
    token = here.order("webhooks", url=here.ear.url)["token"]
    for form, definition in FORMS.items():
        here.order("webhooks", form=form)
        for entity, verb, new, old in TOLD:
            [number] = here.mutate(entity, **{verb: 1})[verb]
            here.settled()
            headers, body = here.ear.heard[-1]
            assert not list(validator(definition).iter_errors(json.loads(body)))
            key = hmac.new(token.encode(), body, hashlib.sha256).digest()
            assert headers["intuit-signature"] == base64.b64encode(key).decode()
            assert headers["content-type"] == "application/json"
            if form == "cloudevents":
                [event] = json.loads(body)
                told = (event["type"], event["intuitentityid"], event["data"])
                assert told == (f"qbo.{entity.lower()}.{new}.v1", number, {})
                assert event["intuitaccountid"] == here.realms[0]
            else:
                [note] = json.loads(body)["eventNotifications"]
                [event] = note["dataChangeEvent"]["entities"]
                told = (event["name"], event["operation"], event["id"])
                assert (note["realmId"], told) == (here.realms[0], (entity, old, number))
    assert len(here.ear.heard) == 2 * len(TOLD)


def test_a_merge_names_the_one_that_stays_and_the_one_that_is_gone(stage):
    here = stage(invoices=40)
    here.connect(0)
    here.order("webhooks", url=here.ear.url)
    spellings = set()
    for turn in range(6):
        [loser] = here.mutate(merge=1)["merge"]
        here.settled()
        merge, *rest = here.ear.bodies[-1]
        [(spelling, gone)] = merge["data"].items()
        spellings.add(spelling)
        assert (merge["type"], gone) == ("qbo.customer.merged.v1", loser)
        assert merge["intuitentityid"] != loser
        assert merge["id"].endswith(f"-Customer-{merge['intuitentityid']}")
        assert {each["type"] for each in rest} <= {"qbo.invoice.updated.v1"}
        here.mutate(update=turn % 2)
        here.settled()
    assert spellings == {"deletedid", "deletedId"}
    here.order("webhooks", form="older")
    [loser] = here.mutate(merge=1)["merge"]
    here.settled()
    [note] = here.ear.bodies[-1]["eventNotifications"]
    merge = note["dataChangeEvent"]["entities"][0]
    assert (merge["operation"], merge["deletedId"]) == ("Merge", loser)


def test_what_nobody_is_told_of(stage):
    here = stage()
    here.mutate(create=1)  # there is no endpoint
    here.order("webhooks", url=here.ear.url, entities={"Invoice": ["Void"]})
    here.mutate("Invoice", void=1)  # the company is not connected
    here.connect(0)
    here.mutate(create=1)  # not chosen
    here.mutate("Invoice", silent=1, update=1)
    here.order("objects", entity="Invoice", plant=[{"Id": "900"}])
    here.order("oauth", revoke=here.realms[0])
    here.mutate("Invoice", void=1)
    status = here.look("webhooks")
    assert (status["waiting"], status["unanswered"], status["lost"]) == (0, 0, 0)
    here.connect(0)
    here.mutate("Invoice", void=1)
    here.settled()
    assert here.ear.types == ["qbo.invoice.void.v1"]


def test_writes_of_an_application_are_told_and_a_remembered_answer_is_not(stage):
    here = stage(customers=0)
    [token] = here.connect(0)
    here.order("webhooks", url=here.ear.url)
    for _ in range(2):
        made = here.write(token, {"DisplayName": "Ada"}, "?requestid=r1")
    sparse = {"Id": made["Id"], "SyncToken": "0", "sparse": True}
    made = here.write(token, sparse | {"Notes": "n"})
    here.settled()
    here.order("habits", inactive_as="deleted")
    here.write(token, sparse | {"SyncToken": "1", "Active": False})
    here.settled()
    verbs = ["created", "updated", "deleted"]
    assert here.ear.types == [f"qbo.customer.{verb}.v1" for verb in verbs]


def test_one_body_is_about_several_companies_and_none_is_too_long(stage):
    here = stage()
    here.connect(0, 1)
    here.order("webhooks", url=here.ear.url, held=True, most=4)
    for account in (0, 1):
        here.mutate(account=account, update=3)
    assert here.ear.heard == []
    here.order("webhooks", held=False)
    here.settled()
    first, second = here.ear.bodies
    assert (len(first), len(second)) == (4, 2)
    assert {each["intuitaccountid"] for each in first} == set(here.realms[:2])


# --- how it is tried again ------------------------------------------------------------------------


def test_what_is_not_answered_with_200_comes_again_by_the_clock_and_holds_back_the_rest(stage):
    here = stage()
    here.connect(0)
    here.ear.answers = [500, 204, 302, 404]
    here.order("webhooks", url=here.ear.url)
    here.mutate(update=1)
    here.attempts(2)  # the first retry is at once
    here.mutate(create=1)
    for seconds, count in ((9, 2), (1, 3), (19, 3), (1, 4), (29, 4)):
        here.order("clock", advance_s=seconds)
        here.attempts(count)
    here.order("clock", advance_s=1)
    here.settled()
    tried = here.attempts(6)
    assert [each["status"] for each in tried] == [500, 204, 302, 404, 200, 200]
    assert [each["attempt"] for each in tried] == [1, 2, 3, 4, 5, 1]
    assert [each["answer"] for each in tried if each["status"] != 204] == ["heard"] * 5
    assert here.ear.types == ["qbo.customer.updated.v1"] * 5 + ["qbo.customer.created.v1"]
    assert len({body for _, body in here.ear.heard[:5]}) == 1
    assert len({headers["intuit-t-id"] for headers, _ in here.ear.heard}) == 6


def test_waits_are_intuit_s_in_the_sandbox_s_time(stage):
    here = stage()
    here.connect(0)
    waits = [0, 10, 20, 30, 300, 1200, 7200, 14400, 21600, 21600]
    here.ear.answers = [500] * len(waits)
    here.order("webhooks", url=here.ear.url)
    here.mutate(update=1)
    for count, wait in enumerate(waits, start=1):
        until(lambda count=count: here.look("deliveries")["total"] >= count)
        for seconds in (wait - 1, 1) if wait else ():
            here.order("clock", advance_s=seconds)
    here.settled()
    times = [each["at"] for each in here.look("deliveries")["deliveries"]]
    assert [late - early for early, late in pairwise(times)] == waits


def test_a_scaled_wait_is_short_and_the_clock_may_run(stage):
    here = stage()
    here.connect(0)
    here.order("clock", frozen=False)
    here.ear.answers = [500] * 5
    here.order("webhooks", url=here.ear.url, scale=0.001)
    here.mutate(update=1)
    here.settled()
    times = [each["at"] for each in here.attempts(6)]
    for early, late, wait in zip(times[:-1], times[1:], (0, 10, 20, 30, 300), strict=True):
        assert late - early >= wait / 1000
    assert times[-1] - times[0] < 60


def test_who_is_slow_or_away_has_not_heard(stage):
    here = stage()
    here.connect(0)
    here.ear.sleeps_s = 1.0
    here.order("webhooks", url=here.ear.url, timeout_s=0.1)
    here.mutate(update=1)
    slow = here.attempts(2)
    assert [(each["status"], each["error"]) for each in slow] == [(0, "timeout")] * 2
    here.ear.sleeps_s = 0
    here.order("webhooks", url="http://127.0.0.1:1/", timeout_s=3)
    here.order("clock", advance_s=10)
    assert here.attempts(3)[-1]["error"] == "ConnectionRefusedError"
    here.order("webhooks", url=here.ear.url)
    here.order("clock", advance_s=20)
    here.settled()
    assert here.attempts(4)[-1]["status"] == 200


# --- orders ---------------------------------------------------------------------------------------


def test_events_come_twice_and_in_any_order(stage):
    here = stage(customers=60)
    here.connect(0)
    here.order("webhooks", url=here.ear.url, held=True)
    here.mutate(create=60)
    here.order("webhooks", held=False, shuffle=True, duplicate=0.5, most=7)
    here.settled()
    met = [each["intuitentityid"] for body in here.ear.bodies for each in body]
    first = list(dict.fromkeys(met))
    assert len(first) == 60
    assert first != sorted(first, key=int)
    assert set(Counter(met).values()) == {1, 2}
    ids = {each["id"] for body in here.ear.bodies for each in body}
    assert len(ids) == 60


def test_events_are_lost_late_or_signed_by_somebody_else(stage):
    here = stage()
    here.connect(0)
    token = here.order("webhooks", url=here.ear.url, drop=1)["token"]
    here.mutate(update=3)
    assert here.look("webhooks")["lost"] == 3
    here.order("webhooks", drop=0, delay_s=60)
    here.mutate(update=1)
    here.order("clock", advance_s=59)
    assert here.look("webhooks")["waiting"] == 1
    here.ear.answers = [401]
    here.order("webhooks", forge=1)
    here.order("clock", advance_s=1)
    here.settled()
    right = [
        headers["intuit-signature"]
        == base64.b64encode(hmac.digest(token.encode(), body, "sha256")).decode()
        for headers, body in here.ear.heard
    ]
    assert right == [False, True]


def test_a_delivery_is_sent_again_as_it_was_with_the_token_of_now(stage):
    here = stage()
    here.connect(0)
    old = here.order("webhooks", url=here.ear.url)["token"]
    here.mutate(update=1)
    here.settled()
    new = here.order("webhooks", token="")["token"]
    here.order("webhooks", resend=[1, 1])
    here.settled()
    assert new not in {"", old}
    assert len({body for _, body in here.ear.heard}) == 1
    assert len({headers["intuit-signature"] for headers, _ in here.ear.heard}) == 2
    assert len(here.look("deliveries?after=1")["deliveries"]) == 2


def test_an_endpoint_that_was_taken_away_hears_nothing_more(stage):
    here = stage()
    here.connect(0)
    here.ear.answers = [500, 500]
    here.order("webhooks", url=here.ear.url)
    here.mutate(update=1)
    here.attempts(2)
    status = here.order("webhooks", url="")
    assert (status["url"], status["token"], status["unanswered"]) == ("", "", 0)
    here.mutate(update=1)
    here.order("clock", advance_s=100_000)
    here.attempts(2)


WRONG = [
    {"url": "ftp://x"},
    {"url": "http://"},
    {"url": 5},
    {"form": "xml"},
    {"entities": {"Vendor": ["Create"]}},
    {"entities": {"Invoice": ["Merge"]}},
    {"entities": []},
    {"duplicate": 2},
    {"drop": "x"},
    {"held": 1},
    {"most": 0},
    {"scale": 0},
    {"timeout_s": 0},
    {"resend": [7]},
    {"resend": 1},
    {"what": 1},
    [],
]


def test_orders_that_make_no_sense_do_nothing(sandbox):
    caller = sandbox()
    before = caller.get("/_sandbox/webhooks").json
    for given in WRONG:
        reply = caller.ask("POST", "/_sandbox/webhooks", body=json.dumps(given).encode())
        assert reply.status == 400, given
        assert reply.json["error"]
    assert caller.get("/_sandbox/webhooks").json == before


# --- bounds ---------------------------------------------------------------------------------------


def test_no_more_wait_than_ten_thousand_and_nothing_is_left_running():
    async def play() -> None:
        clock = Clock()
        hooks = Webhooks(clock, 1, lambda _realm: True)
        hooks.tell("1", "Customer", "Update", "1")
        assert len(asyncio.all_tasks()) == 1  # nobody listens: nothing was begun
        hooks.order({"url": "http://127.0.0.1:1/", "held": True})
        for number in range(10_001):
            hooks.tell("1", "Customer", "Update", str(number))
        status = hooks.status()
        assert (status["waiting"], status["lost"]) == (10_000, 1)
        assert len(asyncio.all_tasks()) == 2
        hooks.order({"url": ""})
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1  # it ended by itself
        hooks.order({"url": "http://127.0.0.1:1/"})
        hooks.tell("1", "Customer", "Update", "1")
        await hooks.stop()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(play())


@contextmanager
def answering(text: bytes) -> Iterator[Callable[[], Any]]:
    """Serve one fixed answer, whatever is asked; yield what posts to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(text)
        writer.close()

    async def play() -> Any:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            return await post(f"http://127.0.0.1:{port}/", {}, b"{}", timeout_s=5)

    yield lambda: asyncio.run(play())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200),
        (b"HTTP/1.0 503 \r\n\r\n", 503),
        (b"HTTP/1.1 200", 200),
        (b"", 0),
        (b"SSH-2.0-x\r\n", 0),
        (b"HTTP/1.1 abc OK\r\n\r\n", 0),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        (b"HTTP/1.1 " + b"2" * 100_000, 0),
    ],
    ids=[
        "whole",
        "without words",
        "cut off",
        "nothing",
        "not http",
        "no number",
        "no end",
        "endless",
    ],
)
def test_an_answer_is_read_or_there_is_none(text, status):
    with answering(text) as ask:
        posted = ask()
    assert posted.status == status
    assert bool(posted.error) is (status == 0)


@pytest.mark.parametrize("url", ["", "x", "http:///a", "http://a:0/", "http://a:x/", "file:///a"])
def test_what_is_no_address_is_told_apart(url):
    assert not is_address(url)
    assert is_address("https://hooks.example.com/webhooks/quickbooks/whe_1")
