"""A plugin whose provider is a list in memory, so that a test can say what it does.

Its entity pages newest first, as Stripe does, by "what comes after this key".
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field

from marshmallow import fields

from tieline.contract import (
    CONTRACT_VERSION,
    Account,
    ApiKey,
    Entity,
    Page,
    Provider,
    RecordSchema,
    hookimpl,
)


@dataclass
class Shelf:
    """What the provider has, and what it shall do at which request."""

    records: dict[str, dict] = field(default_factory=dict)
    page_size: int = 3
    faults: dict[int, BaseException | object] = field(default_factory=dict)
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, *keys: str, **extra) -> None:
        for key in keys:
            self.records[key] = {"id": key, "name": f"name of {key}", **extra}

    def page(self, after: str | None) -> Page:
        with self.lock:
            self.requests += 1
            fault = self.faults.pop(self.requests, None)
        if isinstance(fault, BaseException):
            raise fault
        if callable(fault):
            made = fault(self, after)
            if made is not None:
                return made
        keys = sorted(self.records, reverse=True)
        start = (
            0 if after is None else next((n for n, k in enumerate(keys) if k < after), len(keys))
        )
        found = keys[start : start + self.page_size]
        more = start + self.page_size < len(keys)
        return Page(records=[self.records[k] for k in found], next=found[-1] if more else None)


SHELVES: dict[str, Shelf] = {}
_numbers = itertools.count(1)


def new_shelf(**options) -> tuple[str, Shelf]:
    """Make a shelf and the base address under which a connection finds it."""
    url = f"http://shelf{next(_numbers)}.example.com"
    SHELVES[url] = Shelf(**options)
    return url, SHELVES[url]


class Item(RecordSchema):
    id = fields.String(required=True)
    name = fields.String(allow_none=True)


def read(client: Shelf, params, cursor):
    return client.page(cursor)


@hookimpl
def tieline_provider():
    return Provider(
        name="shelf",
        title="Shelf",
        contract=CONTRACT_VERSION,
        environments={"live": "https://shelf.example.com"},
    )


@hookimpl
def tieline_auth():
    return ApiKey(identify=lambda client: Account(name="Shelf"))


@hookimpl
def tieline_client(connection):
    return SHELVES[connection.base_url]


@hookimpl
def tieline_entities():
    return [
        Entity(name="items", schema=Item(), page=read, scope="Items: Read"),
        Entity(
            name="versioned",
            schema=Item(),
            page=read,
            version=lambda record: record["version"],
        ),
        Entity(name="kept", schema=Item(), page=read, deletes="none"),
        Entity(
            name="measured",
            schema=Item(),
            page=read,
            get=lambda client, key: client.records.get(key.partition(":")[2]),
            key=lambda record: f"{record['shop']}:{record['id']}",
            volatile=["stats.opens", "score"],
        ),
    ]
