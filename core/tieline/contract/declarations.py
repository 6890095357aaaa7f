"""What a plugin says of its provider: frozen, typed, checked when it is made.

A declaration that makes no sense raises ``ValueError`` or ``TypeError`` where
it is written, so that the traceback's last line is the author's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from tieline.contract.shapes import Canonical, shapes_of
from tieline.contract.values import Account, FeedPage, Page, PageParams, Record
from tieline.contract.writes import Write, require_schema

if TYPE_CHECKING:
    from marshmallow import Schema

__all__ = [
    "ApiKey",
    "Basic",
    "Deletes",
    "Direction",
    "Entity",
    "EventAction",
    "Feed",
    "FeedStep",
    "Identify",
    "KeyOf",
    "NewClient",
    "Observation",
    "PageStep",
    "Provider",
    "Rate",
    "RateLimitPolicy",
    "ReadRecord",
    "Version",
    "Windows",
]

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Client = Any
"""Whatever ``tieline_client`` returned: the provider's own SDK client."""

NewClient = Callable[..., Client]
PageStep = Callable[[Client, PageParams, str | None], Page]
"""``(client, params, cursor) -> Page``: one request, one page."""
FeedStep = Callable[[Client, PageParams, str | None], FeedPage]
"""``(client, params, cursor) -> FeedPage``: one request to the log of changes."""
ReadRecord = Callable[[Client, str], Record | None]
"""``(client, key) -> record``, or None if the provider says that it is gone."""
Identify = Callable[[Client], Account]
KeyOf = Callable[[Record], str | None]
"""``(record) -> key``, or None if it has none: text, at most 255 characters."""
Version = Callable[[Record], int]
"""``(record) -> int`` that only ever grows for one record."""
EventAction = Literal["upsert", "delete", "re-read"]
Deletes = Literal["feed", "flag", "sweep", "none"]
Direction = Literal["inbound", "outbound"]


def _require_name(value: str, what: str) -> None:
    if not NAME.fullmatch(value):
        raise ValueError(f"{what} {value!r}: lower case letters, digits and _ only, at most 40")


def require_origin(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or url.endswith("/"):
        raise ValueError(f"{what} {url!r}: an http(s) address without a trailing slash")
    _ = parts.port  # ValueError for one beyond 65,535


def _is_origin_of(pattern: str, url: str) -> bool:
    """Compare origins; a star in the pattern stands for one name."""
    if "//*." not in pattern:
        return url == pattern or url.startswith(f"{pattern}/")
    head, tail = pattern.split("*.", 1)
    name, dot, rest = url.removeprefix(head).partition(".")
    is_name = re.fullmatch(r"[A-Za-z0-9-]{1,63}", name) is not None
    return url.startswith(head) and is_name and bool(dot) and rest.partition("/")[0] == tail


def _is_path(value: object) -> bool:
    return isinstance(value, str) and all(value.split("."))


def require_callable(value: object, what: str, *, or_none: bool = False) -> None:
    if value is None and or_none:
        return
    if not callable(value):
        raise TypeError(f"{what} must be a function, not {type(value).__name__}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Provider:
    """The provider as such.

    Attributes:
        name: The entry point's name: lower case letters, digits and ``_``.
        title: As the provider writes itself.
        contract: Version of the contract that the plugin was written for.
        environments: Base address per environment, the default one first,
            without trailing slashes.
        hosts: Further origins that the SDK may call (sign-in, files), or that
            an account's own base address may have: ``https://*.example.com``
            stands for one name in place of the star.
        api_version: The version of the provider's API that the plugin pins;
            empty where the provider has none.
        settings: Schema of what a connection may set; None for nothing.
        docs: Address of the provider's own API reference.
    """

    name: str
    title: str
    contract: int
    environments: Mapping[str, str]
    hosts: Sequence[str] = ()
    api_version: str = ""
    settings: Schema | None = None
    docs: str = ""

    def __post_init__(self) -> None:
        _require_name(self.name, "Provider.name")
        if not self.environments:
            raise ValueError("Provider.environments: at least one is needed")
        for name, url in self.environments.items():
            _require_name(name, "Provider.environments")
            require_origin(url, f"Provider.environments[{name!r}]")
        for url in self.hosts:
            require_origin(url.replace("//*.", "//any.", 1), "Provider.hosts")
            if "*" in url.replace("//*.", "", 1):
                raise ValueError(
                    f"Provider.hosts {url!r}: a star may stand for the first name only"
                )
        object.__setattr__(self, "environments", MappingProxyType(dict(self.environments)))

    def owns(self, url: str) -> bool:
        """Say whether an address, without its path, is one of the provider's own."""
        own = (*self.environments.values(), *self.hosts)
        return any(_is_origin_of(pattern, url) for pattern in own)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """The provider takes one secret that a person copies from its pages.

    Attributes:
        identify: Says whose account the client opens; it is the check that
            ``tieline connect`` makes. Raises what the client raises.
        field: Name of the secret in the credential.
        refuse: ``(text) -> reason``: why this text cannot be a key of the
            provider, in words that do not repeat it; None if it can be.
        environment: ``(text) -> environment`` where the key tells it; None
            where it does not.
        base_url: ``(text) -> address`` where the key tells at which of the
            provider's hosts the account is; None where it does not.
        where: Address of the page where people find their key.
    """

    identify: Identify
    field: str = "api_key"
    refuse: Callable[[str], str | None] | None = None
    environment: Callable[[str], str | None] | None = None
    base_url: Callable[[str], str | None] | None = None
    where: str = ""
    kind: Literal["api_key"] = "api_key"

    def __post_init__(self) -> None:
        require_callable(self.identify, "ApiKey.identify")
        _require_name(self.field, "ApiKey.field")
        require_callable(self.refuse, "ApiKey.refuse", or_none=True)
        require_callable(self.environment, "ApiKey.environment", or_none=True)
        require_callable(self.base_url, "ApiKey.base_url", or_none=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Basic:
    """The provider takes a user name and a password.

    The credential's fields are ``username`` and ``password``.

    Attributes:
        identify: As for :class:`ApiKey`.
        where: As for :class:`ApiKey`.
    """

    identify: Identify
    where: str = ""
    kind: Literal["basic"] = "basic"

    def __post_init__(self) -> None:
        require_callable(self.identify, "Basic.identify")


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """The entity's list can be cut by time, and the pieces read side by side.

    The page step must then honour ``params.window`` on both sides, start
    included and end excluded.

    Attributes:
        field: Field of the record that the window bounds; it must not change
            during a record's life. Dots lead into objects: ``meta.created``.
        step: Smallest difference that the provider's filter knows.
        epoch: The field holds seconds since 1970, not ISO 8601 text.
        order: How the list is sorted by the field. Empty: by something else,
            or not at all; then a window that turns out long is not split.
        earliest: About when the oldest records were made, aware UTC: where
            to cut a window that has no beginning. Older ones are read too.
    """

    field: str
    step: timedelta = timedelta(seconds=1)
    epoch: bool = True
    order: Literal["newest first", "oldest first", ""] = ""
    earliest: datetime = datetime(2005, 1, 1, tzinfo=UTC)

    def __post_init__(self) -> None:
        if not all(self.field.split(".")):
            raise ValueError(f"Windows.field {self.field!r}: names with single dots between them")
        if self.step <= timedelta(0):
            raise ValueError("Windows.step must be longer than nothing")
        if self.order not in {"newest first", "oldest first", ""}:
            raise ValueError('Windows.order: "newest first", "oldest first" or ""')
        if self.earliest.tzinfo is None:
            raise ValueError("Windows.earliest must have a time zone")

    def time_of(self, record: Record) -> datetime | None:
        """Read the field; None if the record has no time there."""
        value: object = record
        for name in self.field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        try:
            if self.epoch:
                is_time = type(value) is int
                return datetime.fromtimestamp(value, UTC) if is_time else None  # type: ignore[arg-type]
            time = datetime.fromisoformat(value) if isinstance(value, str) else None
        except (ValueError, OverflowError, OSError):
            return None
        return time.astimezone(UTC) if time and time.tzinfo else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """The provider keeps a log of changes that can be read after a time.

    Attributes:
        page: One request to the log; ``params.window`` is the range wanted.
        retention: How far back the log reaches; older means a full run. None
            where it reaches back for ever, as a list by time of change does.
        overlap: How late an entry may still show up in the log.
    """

    page: FeedStep
    retention: timedelta | None
    overlap: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        require_callable(self.page, "Feed.page")
        if self.overlap < timedelta(0):
            raise ValueError("Feed.overlap must not be less than nothing")
        if self.retention is not None and self.overlap >= self.retention:
            raise ValueError("Feed.overlap must be shorter than Feed.retention")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entity:
    """One kind of thing that can be kept in step.

    Attributes:
        name: Plural, lower case letters, digits and ``_``: ``customers``.
        schema: A marshmallow schema instance with the fields that we promise.
            Its ``unknown`` must be ``EXCLUDE``: what it does not name stays in
            the record and is counted as drift.
        page: One request, one page. Reads the whole window, hidden rows
            included: ask for archived and cancelled ones too.
        key: The field that identifies a record: text, at most 255 characters.
            Or a function of the record, where no field alone is unique or
            lasts; it must give the same for every copy of one record.
        get: Reads one record by its key; None where the provider cannot.
        version: Orders two copies of one record; None: by the time at which
            they were read.
        windows: How history can be cut up; None: one piece.
        feed: The provider's log of changes; None where there is none.
        events: What a webhook event of each type means for this entity.
        deletes: How a deletion shows: in the feed, as a flag of the record,
            only by its absence from a full read, or not at all.
        write: How changes are sent; None for inbound only.
        scope: The right that reading needs, as the provider's pages name it.
        hides: What the provider's list leaves out by default, in words; the
            page step asks for it all the same.
        canonical: What a record means in the shapes that providers share; a
            function whose annotation says which. None: nothing said.
        volatile: Fields that change without meaning, such as scores and
            counters; dots lead into objects: ``stats.opens``. They are stored
            as they came with the last real change, and make none themselves.
        event_key: Fields whose texts, with colons between them, events may
            name a record by where they cannot tell its key, such as an
            address. ``get`` must take that too. Where it finds nothing, the
            records that have it are read by their own keys: one may be gone.
    """

    name: str
    schema: Schema
    page: PageStep
    key: str | KeyOf = "id"
    get: ReadRecord | None = None
    version: Version | None = None
    windows: Windows | None = None
    feed: Feed | None = None
    events: Mapping[str, EventAction] = field(default_factory=lambda: MappingProxyType({}))
    deletes: Deletes = "sweep"
    write: Write | None = None
    scope: str = ""
    hides: str = ""
    canonical: Canonical | None = None
    volatile: Sequence[str] = ()
    event_key: Sequence[str] = ()

    def __post_init__(self) -> None:
        _require_name(self.name, "Entity.name")
        require_schema(self.schema, f"Entity({self.name!r}).schema", unknown="exclude")
        require_callable(self.page, f"Entity({self.name!r}).page")
        self._check_fields()
        for name in ("get", "version", "canonical"):
            require_callable(getattr(self, name), f"Entity({self.name!r}).{name}", or_none=True)
        if self.deletes not in get_args(Deletes):
            raise ValueError(f"Entity({self.name!r}).deletes: one of {get_args(Deletes)}")
        if odd := set(self.events.values()) - set(get_args(EventAction)):
            raise ValueError(f"Entity({self.name!r}).events: {odd} mean nothing")
        if self.write and self.get is None and set(self.write.kinds) != {"create"}:
            raise ValueError(
                f"Entity({self.name!r}): updates and deletes need a get, to find out what became"
                " of one whose answer was lost, and what somebody else changed"
            )
        if self.deletes == "feed" and self.feed is None:
            raise ValueError(f"Entity({self.name!r}): deletes='feed' needs a feed")
        _ = self.shapes

    def _check_fields(self) -> None:
        if not callable(self.key) and (not isinstance(self.key, str) or not self.key):
            raise ValueError(f"Entity({self.name!r}).key must name a field or be a function")
        if isinstance(self.volatile, str) or not all(map(_is_path, self.volatile)):
            raise ValueError(f"Entity({self.name!r}).volatile must be a list of dotted paths")
        if self.key in self.volatile:
            raise ValueError(f"Entity({self.name!r}).volatile must leave the key alone")
        if isinstance(self.event_key, str) or not all(map(_is_path, self.event_key)):
            raise ValueError(f"Entity({self.name!r}).event_key must be a list of dotted paths")
        if self.event_key and self.get is None:
            raise ValueError(f"Entity({self.name!r}).event_key needs a get that takes it")
        for name in ("volatile", "event_key"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def shapes(self) -> tuple[str, ...]:
        """Names of the canonical shapes that records have; empty: none said."""
        return shapes_of(self.canonical) if self.canonical else ()

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Which way the entity can be kept in step."""
        return ("inbound",) if self.write is None else ("inbound", "outbound")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One limit that the provider meters.

    Attributes:
        limit: As ``limits`` writes it: ``"25/second"``, ``"100/10 second"``; up
            to a billion calls in up to a year.
        scope: What it is counted by.
        match: Beginning of the paths that it counts, or several beginnings of
            paths that it counts together; empty: all.
    """

    limit: str
    scope: Literal["account", "application", "endpoint"] = "account"
    match: str | Sequence[str] = ""

    def __post_init__(self) -> None:
        if not isinstance(self.match, str):
            object.__setattr__(self, "match", tuple(self.match))
            if not self.match or not all(isinstance(each, str) and each for each in self.match):
                raise ValueError("Rate.match: a beginning of paths, or several, none of them empty")
        found = re.fullmatch(r"(\d+) ?/ ?(?:(\d+) )?(second|minute|hour|day)s?", self.limit)
        if found is None:
            raise ValueError(f'Rate.limit {self.limit!r}: write it like "25/second"')
        calls, times, unit = found.groups()
        if not _is_count(calls, _MOST_CALLS):
            raise ValueError(f"Rate.limit {self.limit!r}: from one call to {_MOST_CALLS:,}")
        if times is not None and not _is_count(times, _MOST_UNITS[unit]):
            raise ValueError(f"Rate.limit {self.limit!r}: a time of a second to a year")


_MOST_CALLS = 1_000_000_000
_MOST_UNITS = {"second": 31_622_400, "minute": 527_040, "hour": 8_784, "day": 366}


def _is_count(digits: str, most: int) -> bool:
    return len(digits) <= len(str(most)) and 1 <= int(digits) <= most


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimitPolicy:
    """How fast one connection may call its provider, over all workers.

    Attributes:
        rates: Every one of them holds at once.
        concurrency: Requests in flight at once, a million at most; None: not
            limited.
        reserve: Share kept for live calls, from 0 to 1; of a rate within a second
            none is, for live calls come first and need not wait longer.
        alert_at: Share of a rate from which calls are paced and people told.
        key: What the provider counts by where that is not the account, such as
            its user: connections with the same key share all of this. Never a
            secret; empty: the account.
    """

    rates: Sequence[Rate] = ()
    concurrency: int | None = None
    reserve: float = 0.1
    alert_at: float = 0.8
    key: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.reserve < 1:
            raise ValueError("RateLimitPolicy.reserve: a share from 0 up to 1")
        if not 0 < self.alert_at <= 1:
            raise ValueError("RateLimitPolicy.alert_at: a share above 0, at most 1")
        if self.concurrency is not None and not 1 <= self.concurrency <= 1_000_000:
            raise ValueError("RateLimitPolicy.concurrency: from 1 to a million, or None")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What an answer told about the provider's limits.

    Attributes:
        remaining: Calls left in the present window; None if not told.
        reset_after_s: Seconds until that window ends; None if not told.
        retry_after_s: Seconds to stay away; None if not told.
        scope: Which of the policy's rates this is about.
        is_refusal: Whether the call was refused for its rate; None: if its
            status is 429.
    """

    remaining: int | None = None
    reset_after_s: float | None = None
    retry_after_s: float | None = None
    scope: Literal["account", "application", "endpoint"] = "account"
    is_refusal: bool | None = None
