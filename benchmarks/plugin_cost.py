"""What each plugin's page step costs a record, beside plain httpx and orjson on the same pages.

    ./tie bench plugin_cost [--records 10000] [--rounds 7] [--only square] [--json]

The step is the declared one: it builds its requests with the provider's SDK,
sends them over Tieline's transport, and reads the page. What it asked of the
sandbox, a process of its own, is noted; the plain way sends exactly that with
an httpx client and parses each answer with orjson, and does nothing more: no
paging, no look at what came. Both take turns, so that a busy machine slows
them alike, and each round's ratio counts once: the median is shown.

CPU is this process's own, user and system. Only the ratios mean anything.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
from stage import measure, servers

import grants_kit
from tieline.auth import OpenConnection
from tieline.contract import Entity, PageParams, Secret
from tieline.services.connect import connect_api_key

GOAL = 2.0
_SQUARE = "EAAATielineSandboxPersonalAccessToken000000000000000000000000001"


@dataclass(frozen=True)
class Case:
    """An entity, and how much of it the sandbox has for one benchmark of n records."""

    provider: str
    entity: str
    options: Callable[[int], dict[str, object]]
    key: str = ""


CASES = [
    Case("stripe", "customers", lambda n: {"customers": n, "edge_cases": False}, "sk_test_bench1"),
    Case("square", "customers", lambda n: {"customers": n, "orders": 0, "items": 0}, _SQUARE),
    Case("square", "orders", lambda n: {"customers": 10, "orders": n, "items": 10}, _SQUARE),
    Case("mailchimp", "contacts", lambda n: {"contacts": n}, f"{'0123456789abcdef' * 2}-us6"),
    Case("quickbooks", "customers", lambda n: {"customers": n, "invoices": 0}),
]


@dataclass(frozen=True)
class Sent:
    """One request, as the transport was given it."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None


@dataclass
class Ways:
    """The two ways through the same pages."""

    entity: Entity
    place: OpenConnection
    http: httpx.Client
    sent: list[Sent]
    records: int = 0

    def step(self) -> int:
        """Read every page as the engine asks for it."""
        total, cursor = 0, None
        while True:
            page = self.entity.page(self.place.client, PageParams(), cursor)
            total, cursor = total + len(page.records), page.next
            if cursor is None:
                return total

    def plain(self) -> int:
        """Send the same requests and parse the answers."""
        for each in self.sent:
            answer = self.http.request(
                each.method, each.url, headers=each.headers, content=each.content
            )
            orjson.loads(answer.content)
        return self.records

    def note(self) -> None:
        """Read once, and note what is sent; later rounds send the same."""
        send = self.place.transport.send

        def noted(method: str, url: str, *, headers: Any, content: bytes | None = None) -> Any:
            self.sent.append(Sent(method, url, dict(headers), content))
            return send(method, url, headers=headers, content=content)

        self.place.transport.send = noted
        self.records = self.step()
        del self.place.transport.send


@contextmanager
def ways(case: Case, records: int) -> Iterator[Ways]:
    """Connect to a sandbox with so many records; limits are none."""
    with ExitStack() as stack:
        url = stack.enter_context(servers.sandbox(case.provider, **case.options(records)))
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = {f"{case.provider}_rate_limits": "none"}
        if not case.key:
            settings |= grants_kit.application(case.provider)
        made = grants_kit.installed(f"sqlite:///{home}/tieline.db", home, **settings)
        stack.callback(made.close)
        row = (
            connect_api_key(
                made,
                case.provider,
                name="bench",
                key=Secret(case.key),
                base_url=url,
                actor="benchmark",
            )
            if case.key
            else grants_kit.connect_grant(made, case.provider, url, name="bench")
        )
        place = made.engine.opener.open(row.id)
        stack.callback(place.transport.close)
        entity = made.registry.get(case.provider).entity(case.entity)
        http = stack.enter_context(httpx.Client(trust_env=False, timeout=60))
        found = Ways(entity, place, http, [])
        found.note()
        yield found


def bench(case: Case, records: int, rounds: int) -> dict[str, object]:
    with ways(case, records) as both:
        for way in (both.step, both.plain):
            way()
        turns = [(measure(both.step), measure(both.plain)) for _ in range(rounds)]
        return {
            "provider": case.provider,
            "entity": case.entity,
            "records": both.records,
            "requests": len(both.sent),
            "rounds": rounds,
            "cpu_us_step": round(statistics.median(step.cpu_us for step, _ in turns), 2),
            "cpu_us_plain": round(statistics.median(plain.cpu_us for _, plain in turns), 2),
            "ratio": round(
                statistics.median(step.cpu_us / plain.cpu_us for step, plain in turns), 2
            ),
        }


def profile(case: Case, records: int) -> None:
    """Show where the step's time goes, by the function's own time."""
    with ways(case, records) as both:
        both.step()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(3):
            both.step()
        profiler.disable()
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", help="a provider's name")
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cases = [case for case in CASES if given.only in {None, case.provider}]
    if not cases:
        parser.error(f"no plugin of that name: {given.only}")
    if given.profile:
        for case in cases:
            print(case.provider, case.entity)
            profile(case, given.records)
        return
    results = [bench(case, given.records, given.rounds) for case in cases]
    if given.json:
        print(json.dumps(results, indent=2))
        return
    for found in results:
        name = f"{found['provider']} {found['entity']}"
        print(
            f"{name:<22}{found['records']:>8,} records{found['requests']:>6} requests"
            f"{found['cpu_us_step']:>8} µs a record, plain {found['cpu_us_plain']}:"
            f" {found['ratio']} x (goal {GOAL:g})"
        )


if __name__ == "__main__":
    main()
