"""Take answers of a provider: a few pages of one entity, its log, one of its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tieline.auth import OpenConnection
from tieline.contract import (
    Entity,
    FeedPage,
    Page,
    PageParams,
    ProviderUnavailableError,
    Record,
    Reply,
    Window,
    parse_json,
)
from tieline.engine import blamed
from tieline.errors import InvalidInputError
from tieline.recording.kinds import Judge, hides
from tieline.recording.mask import HIDDEN, Mask
from tieline.recording.play import VERSION, body_sent
from tieline.records import record_key

__all__ = ["Bounds", "Taken", "take"]

_SINCE = timedelta(days=14)  # some logs reach back no further than a month
_HEADERS = ("content-type", "date", "link", "retry-after")
_LIMITS = ("ratelimit", "rate-limit")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """How much is taken of one entity.

    Attributes:
        pages: The most pages of its list, and of its log.
        size_bytes: The most that all its answers may have together.
    """

    pages: int = 2
    size_bytes: int = 512_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """What was taken of one entity.

    Attributes:
        document: As it is stored; see the reference of checks.
        records: As the provider sent them, to be compared with the schema; never stored.
        replaced: How many different values something else stands for.
    """

    document: Mapping[str, Any]
    records: list[Record]
    replaced: int


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and its answer, as they were."""

    step: str
    method: str
    url: str
    content: bytes | None
    reply: Reply


@dataclass
class _Taker:
    """Calls the steps of an entity and notes what passes."""

    opened: OpenConnection
    entity: Entity
    bounds: Bounds
    exchanges: list[_Exchange] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    size: int = 0
    is_full: bool = False

    def pages(self, name: str, step: Callable[..., Page | FeedPage], params: PageParams) -> None:
        """Read a few pages, as long as there is room."""
        cursor: str | None = None
        self.is_full = False
        for _ in range(self.bounds.pages):
            with self._noting(name):
                page = step(self.opened.client, params, cursor)
            cursor = page.next
            if isinstance(page, Page):
                self.records += page.records
            if cursor is None or self.is_full:
                break

    def one(self) -> None:
        """Read the first record by its key, if there is one and a step for it."""
        if self.entity.get is not None and self.records:
            with self._noting("get"):
                self.entity.get(self.opened.client, record_key(self.records[0], self.entity.key))

    @contextmanager
    def _noting(self, step: str) -> Iterator[None]:
        before, size = len(self.exchanges), self.size

        def note(method: str, url: str, content: bytes | None, reply: Reply) -> None:
            self.exchanges.append(_Exchange(step, method, url, content, reply))
            self.size += len(reply.content)

        with self.opened.transport.heard(note), blamed(self.opened.plugin, self.entity):
            yield
        if self.size <= self.bounds.size_bytes:
            return
        asked, self.size, self.is_full = self.size, size, True
        del self.exchanges[before:]
        if not before:
            raise InvalidInputError(
                f"one page of {self.entity.name} has {-(-asked // 1000):,} kB, and"
                f" {self.bounds.size_bytes // 1000:,} kB may be stored",
                hint="raise --max-kb",
                code="recording-too-large",
            )


def take(
    opened: OpenConnection,
    entity: Entity,
    *,
    bounds: Bounds,
    secrets: list[str],
    kept: Mapping[str, str],
    keep: tuple[str, ...] = (),
    now: datetime,
    source: str,
) -> Taken:
    """Read a few pages of an entity and return them masked.

    Args:
        opened: The connection; nothing is written there, nor here.
        entity: What is read.
        bounds: How much.
        secrets: The credential's fields; they must be nowhere.
        kept: Those that are no secret and say whose account it is: they are masked.
        keep: Names of fields whose values stay as they are.
        now: For the log of changes: it is read from 14 days before.
        source: ``live`` or ``sandbox``; it is told in the document.

    Raises:
        ProviderError: As the plugin says it.
        PluginError: A bug of the plugin.
        InvalidInputError: The first page alone is too large.
        RefusedError: A secret could not be masked.
    """
    taker = _Taker(opened, entity, bounds)
    taker.pages("page", entity.page, PageParams())
    taker.one()
    since = (now - _SINCE).replace(microsecond=0)
    if entity.feed is not None:
        taker.pages("feed", entity.feed.page, PageParams(window=Window(start=since)))
    account = {"id": opened.connection.account.id or "", **kept}
    mask = _mask_of(taker, secrets, keep, account)
    document = {
        "version": VERSION,
        "provider": opened.plugin.name,
        "api_version": opened.plugin.provider.api_version,
        "entity": entity.name,
        "source": source,
        "recorded_on": now.date().isoformat(),
        "feed_since": since.isoformat() if entity.feed is not None else None,
        "kept": sorted(keep),
        "account": {name: mask.asked(text) for name, text in account.items()},
        "exchanges": [_written(each, mask, opened) for each in taker.exchanges],
    }
    mask.require_clean(document)
    return Taken(document=document, records=taker.records, replaced=mask.count)


def _mask_of(
    taker: _Taker, secrets: list[str], keep: tuple[str, ...], account: Mapping[str, str]
) -> Mask:
    opened, entity = taker.opened, taker.entity
    provider = opened.plugin.provider
    key = entity.key if isinstance(entity.key, str) else ""
    mask = Mask(
        Judge(schema=entity.schema, key=key, keep=keep),
        secrets=secrets,
        base_url=opened.connection.base_url,
        public_url=next(iter(provider.environments.values())),
        owns=provider.owns,
    )
    mask.learn_ids(account.values())
    for each in taker.exchanges:
        mask.learn(_json(each.reply.content))
        mask.learn_links(each.reply.headers.get("link", ""))
    mask.settle()
    return mask


def _written(each: _Exchange, mask: Mask, opened: OpenConnection) -> Mapping[str, Any]:
    parts = urlsplit(each.url)
    prefix = urlsplit(opened.connection.base_url).path
    path = unquote(parts.path.removeprefix(prefix))
    query = [
        [name, HIDDEN if hides(name) else mask.asked(text)]
        for name, text in parse_qsl(parts.query, keep_blank_values=True)
    ]
    request = {"method": each.method, "path": mask.asked_path(path), "query": query}
    if each.content:
        request["body"] = mask.asked_value(body_sent(each.content))
    body = _json(each.reply.content)
    return {
        "step": each.step,
        "request": request,
        "reply": {
            "status": each.reply.status,
            "headers": _headers(each.reply.headers, mask),
            "seconds": round(each.reply.seconds, 6),  # a step may reckon by it from when that is
            "body": mask.value(body) if body is not None else None,
        },
    }


def _headers(given: Mapping[str, str], mask: Mask) -> Mapping[str, str]:
    """Keep the headers that steps look at: of what they say, all of it is known."""
    found = {
        name: text
        for name, text in given.items()
        if name in _HEADERS or any(word in name for word in _LIMITS)
    }
    if "link" in found:
        found["link"] = mask.links(found["link"])
    return found


def _json(content: bytes) -> Any:
    """Parse a body; None if it is no JSON, and then nothing of it is kept."""
    try:
        return parse_json(content)
    except ProviderUnavailableError:
        return None
