"""The HTTP API under calls that schemathesis makes of its document, good ones and bad ones.

Every answer has to be one that the document knows, and none may be a 5xx.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from api_kit import Callers, callers_of, document, plant, require_documented
from grants_kit import installed
from market import APPLICATION, Market, open_market
from tieline.contract import Secret
from tieline.services.connect import connect_api_key
from tieline.services.installation import Installation
from tieline.web.api import PREFIX

MODULES = {"market": "market_plugin", "stripe": "tieline_stripe"}
# What is taken away or ended here would be missed by all later calls.
SPARED = {"remove_connection": "other", "replace_secret": "other"}
KNOWN = {"connection": "stall", "entity": "keyed", "provider": "market", "record": "a"}


def make_world(database_url: str, redis_url: str, home: Path, market: Market) -> Installation:
    """Make an installation with two connections and a few records."""
    made = installed(
        database_url,
        home,
        modules=MODULES,
        redis_url=redis_url,
        public_url="http://127.0.0.1:8377",
        api_calls_per_minute="1000000",
        **APPLICATION,
    )
    for number, name in enumerate(("stall", "other")):
        market.members[f"key-of-the-{name}"] = f"m{number}"
        connect_api_key(
            made,
            "market",
            name=name,
            key=Secret(f"key-of-the-{name}"),
            base_url=market.url,
            actor="test",
        )
    return made


def shoot(callers: Callers, market: Market, *, cases: int, number: int) -> Counter[int]:
    """Make calls; return how many got which status.

    Args:
        callers: Of the installation.
        market: Where the connections are.
        cases: How many calls.
        number: The seed.
    """
    admin = callers.new("admin", name="fuzz")
    known = KNOWN | plant(callers.installation, admin, "stall")
    found: Counter[int] = Counter()
    schema = schemathesis.openapi.from_dict(document())
    operations = [each.ok() for each in schema.get_all_operations()]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    per_one = max(1, math.ceil(cases / len(operations) / len(modes)))
    for place, operation in enumerate(operations):
        for mode in modes:

            @seed(number * 1000 + place)
            @settings(
                max_examples=per_one,
                database=None,
                deadline=None,
                derandomize=False,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode), is_known=st.integers(0, 3))
            def ask(case: Any, is_known: int) -> None:
                found[_ask(admin, market, case, known if is_known < 3 else {})] += 1

            ask()
    return found


def _ask(admin: Any, market: Market, case: Any, known: Mapping[str, str]) -> int:
    name = case.operation.definition.raw["operationId"]
    if known:
        for parameter in case.path_parameters or {}:
            if parameter in known:
                case.path_parameters[parameter] = known[parameter]
        if "connection" in (case.path_parameters or {}) and name in SPARED:
            case.path_parameters["connection"] = SPARED[name]
    if name == "create_connection" and isinstance(case.body, dict) and "base_url" in case.body:
        case.body["base_url"] = market.url  # nowhere else is called
    sent = case.as_transport_kwargs(base_url=f"http://tieline.test{PREFIX}")
    headers = {**sent.get("headers", {}), "Authorization": f"Bearer {admin.token}"}
    headers = {key: text.encode("latin-1", "replace") for key, text in headers.items()}
    body = {"json": sent["json"]} if "json" in sent else {"content": sent.get("data") or b""}
    reply = admin.client.request(
        sent["method"], sent["url"], params=sent.get("params"), headers=headers, **body
    )
    assert reply.status_code < 500, f"{name}: {reply.status_code} {reply.text}"
    path = case.operation.path
    require_documented(sent["method"], f"{PREFIX}{path}", reply)
    return int(reply.status_code)


def run(*, cases: int, seed: int, database_url: str) -> int:
    """Run the lane on a fresh installation with a Valkey of its own."""
    with _embedded() as (home, redis_url), open_market() as market:
        url = database_url or f"sqlite:///{home / 'tieline.db'}"
        made = make_world(url, redis_url, home, market)
        began = time.monotonic()
        found = shoot(callers_of(made), market, cases=cases, number=seed)
        made.close()
    seconds = time.monotonic() - began
    by_status = ", ".join(f"{status}: {count}" for status, count in sorted(found.items()))
    print(f"{sum(found.values())} calls in {seconds:.0f} s, seed {seed}: {by_status}")
    print("no 5xx, no answer that the document does not know")
    return 0


@contextmanager
def _embedded() -> Iterator[tuple[Path, str]]:
    from tieline.coordination import EmbeddedServer

    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder))
        try:
            yield Path(folder), server.ensure()
        finally:
            server.stop()
