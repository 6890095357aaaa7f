"""The control surface under ``/_sandbox/``: look inside, and give orders.

It is documented in the package's docstring, and is no part of Stripe's API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tieline_stripe_sandbox.answers import Answer
from tieline_stripe_sandbox.delivery import Receive, Send, deliver, disconnected
from tieline_stripe_sandbox.faults import KINDS, Fault, Faults
from tieline_stripe_sandbox.guide import guide
from tieline_stripe_sandbox.journal import Journal
from tieline_stripe_sandbox.mutation import Mutation, mutate
from tieline_stripe_sandbox.oauth_orders import OAuthOrders
from tieline_stripe_sandbox.stock import Order, Stock
from tieline_stripe_sandbox.webhook_orders import WebhookOrders
from tieline_stripe_sandbox.world import World

__all__ = ["Control"]

_Query = dict[str, str]
_LINES = 500


class Control:
    """Answers what is asked under ``/_sandbox/``."""

    def __init__(
        self,
        *,
        world: World,
        stock: Stock,
        faults: Faults,
        journal: Journal,
        oauth: OAuthOrders,
        webhooks: WebhookOrders,
        facts: dict[str, Any],
    ) -> None:
        self._world = world
        self._stock = stock
        self._faults = faults
        self._journal = journal
        self._webhooks = webhooks
        self._facts = facts | {"accounts": oauth.accounts()}
        self._reads: dict[str, Callable[[_Query], Any]] = {
            "": self._overview,
            "clock": lambda _query: self._clock(),
            "faults": lambda _query: self._faults.status(),
            "guide": lambda _query: guide(world.seed, world.clock.now()),
            "log": lambda query: self._journal.read(int(query.get("after", "0"))),
            "oauth": oauth.read,
            "webhooks": webhooks.read,
        }
        self._orders: dict[str, Callable[[Any], Any]] = {
            "clock": self._set_clock,
            "faults": self._script,
            "mutate": lambda given: mutate(self._world, stock, Mutation.read(given)),
            "oauth": oauth.order,
            "objects": lambda given: stock.obey(Order.read(given)),
        }

    async def answer(
        self, method: str, path: str, query: bytes, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Answer one request."""
        name = path.removeprefix("/_sandbox").strip("/")
        asked = dict(parse_qsl(query.decode("latin-1")))
        entities = {"customers", *self._stock.shelves}
        if name == "truth" and method == "GET" and asked.get("entity", "customers") in entities:
            await self._truth(asked, receive, send)
        elif name == "webhooks" and method == "POST":
            await deliver(await self._of_webhooks(body), (), {}, receive, send)
        else:
            await deliver(self._plain(method, name, asked, body), (), {}, receive, send)

    def _plain(self, method: str, name: str, query: _Query, body: bytes) -> Answer:
        try:
            if method == "GET" and name in self._reads:
                return _json(200, self._reads[name](query))
            if method == "POST" and name in self._orders:
                return _json(200, self._orders[name](orjson.loads(body or b"{}")))
        except (ValueError, TypeError) as error:
            return _json(400, {"error": str(error)})
        return _json(404, {"error": f"no {method} /_sandbox/{name}"})

    async def _of_webhooks(self, body: bytes) -> Answer:
        try:
            return _json(200, await self._webhooks.order(orjson.loads(body or b"{}")))
        except (ValueError, TypeError) as error:
            return _json(400, {"error": str(error)})

    async def _truth(self, query: _Query, receive: Receive, send: Send) -> None:
        """Stream what is live of an entity as JSON lines, oldest first, until the reader goes."""
        kind = b"application/x-ndjson"
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]}
        await send(start)
        gone = asyncio.ensure_future(disconnected(receive))
        entity = query.get("entity", "customers")
        lines = self._lines(query) if entity == "customers" else self._stocked(entity, query)
        for chunk in lines:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
            if gone.done():
                return
        gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _lines(self, query: _Query) -> Iterator[bytes]:
        world = self._world
        after = world.find(query.get("after", ""))
        low = 0 if after is None else after + 1
        ids_only = query.get("ids_only") == "true"
        for start in range(low, len(world), _LINES):
            indices = world.listed(start, min(start + _LINES, len(world)), upwards=True)
            yield b"".join(self._line(index, ids_only=ids_only) for index in indices)

    def _stocked(self, entity: str, query: _Query) -> Iterator[bytes]:
        """Write a shelf; subscriptions have all of their items here."""
        shelf = self._stock.shelves[entity]
        after = shelf.find(query.get("after", ""))
        ids_only = query.get("ids_only") == "true"
        for index in shelf.listed(0 if after is None else after + 1, len(shelf), upwards=True):
            found = shelf.get(index)
            line = {"id": found["id"]}
            yield orjson.dumps(line if ids_only else line | {"object": found}) + b"\n"

    def _line(self, index: int, *, ids_only: bool) -> bytes:
        name = self._world.ids.of(index).encode()
        if ids_only:
            return b'{"id":"%b"}\n' % name
        return b'{"id":"%b","object":%b}\n' % (name, self._world.text(index))

    def _overview(self, _query: _Query) -> dict[str, Any]:
        counts = {"customers": self._world.live, "events": len(self._world.events)}
        counts |= {name: shelf.live for name, shelf in self._stock.shelves.items()}
        return self._facts | counts | {"clock": self._clock(), "fault_kinds": KINDS}

    def _clock(self) -> dict[str, Any]:
        clock = self._world.clock
        return {"now": clock.now(), "frozen": clock.is_frozen}

    def _set_clock(self, given: dict[str, Any]) -> dict[str, Any]:
        clock = self._world.clock
        _expect(given, {"now", "advance_s", "frozen"})
        if "frozen" in given:
            clock.freeze(is_frozen=bool(given["frozen"]))
        if "now" in given or "advance_s" in given:
            clock.set(float(given.get("now", clock.now())) + float(given.get("advance_s", 0)))
        self._webhooks.courier.wake()
        return self._clock()

    def _script(self, given: object) -> list[dict[str, Any]]:
        if not isinstance(given, list):
            raise TypeError("faults are a list; an empty one clears the script")
        self._faults.script([Fault.read(one) for one in given])
        return self._faults.status()


def _expect(given: object, names: set[str]) -> None:
    if not isinstance(given, dict) or given.keys() - names:
        raise ValueError(f"expected an object with some of {', '.join(sorted(names))}")


def _json(status: int, value: Any) -> Answer:
    return Answer(status=status, body=orjson.dumps(value))
