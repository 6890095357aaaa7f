"""Read a few records and say what a run would do with them; nothing is stored."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from typing import Literal

from tieline.auth import OpenConnection, reauth_hint
from tieline.contract import Entity, NeedsReauthError, Page, PageParams, Window
from tieline.engine.blame import blamed
from tieline.engine.fetch import Fetcher
from tieline.engine.plan import Range, make_plan
from tieline.engine.work import checked_page
from tieline.records import PageWriter, Plan, rank_of, restore
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.syncs import check_window, require_awake
from tieline.store.rows import Counts

__all__ = ["Tried", "TriedRecord", "try_sync"]

_LOOK_S = 0.5
Outcome = Literal["created", "updated", "unchanged", "read again", "quarantined"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TriedRecord:
    """What a run would do with one record.

    Attributes:
        id: Its key; None if it has none that can be used.
        outcome: What it would be; ``read again``: two copies of it differ, so that
            it would be asked for by its key.
        payload: As JSON text, as it would be stored; None if it would not be.
        code: Why it would go to quarantine, as a code; None if it would not.
        reason: The same in words.
    """

    id: str | None
    outcome: Outcome
    payload: str | None = None
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What came of trying.

    Attributes:
        entity: Which.
        records: What would become of each, page by page; what is bad last.
        counts: Of all of them; ``requests`` is how many calls that took.
        is_all: Whether the provider has no more than these.
        unknown: Fields that records have and the schema does not name.
        missing: Fields that it names and records lack.
    """

    entity: str
    records: list[TriedRecord]
    counts: Counts
    is_all: bool
    unknown: list[str]
    missing: list[str]


def try_sync(
    installation: Installation,
    connection: str,
    entity: str,
    *,
    limit: int = 20,
    window: Range = (None, None),
) -> Tried:
    """Read the first records of an entity's list, and compare them with what is stored.

    Args:
        installation: Where.
        connection: Name or id.
        entity: What to read.
        limit: The most records.
        window: Only of this range; start included, end excluded, either None.

    Raises:
        NotFoundError: No such connection or entity.
        InvalidInputError: The window ends before it begins.
        RefusedError: The connection is paused; or its list has no windows.
        NeedsReauthError: A person has to connect it again.
        ProviderError: The provider refused, or did not answer.
        PluginError: The provider's plugin is at fault.
    """
    check_window(window)
    row = get_connection(installation, connection)
    declared = installation.registry.get(row.provider).entity(entity)
    require_awake(row)
    if any(window):
        make_plan("window", declared, None, window=window, now=installation.clock.now())
    stop = threading.Event()
    opened = installation.engine.opener.open(row.id, stop=stop)
    try:
        return _Tryout(installation, opened, declared, limit).read(window, stop)
    except NeedsReauthError as error:
        hint = error.hint or reauth_hint(row.name)
        raise NeedsReauthError(error.message, hint=hint, code=error.slug) from error
    finally:
        stop.set()
        opened.transport.close()


class _Tryout:
    """Takes pages in, as far as records are wanted."""

    def __init__(
        self, installation: Installation, opened: OpenConnection, entity: Entity, limit: int
    ) -> None:
        self._clock = installation.clock
        self._opened = opened
        self._entity = entity
        self._left = limit
        self._writer = PageWriter(installation.database, opened.connection.id, entity)
        self._records: list[TriedRecord] = []
        self._counts = Counts()
        self._fields: set[str] = set()
        self._lacked: set[str] = set()
        self._promised = {f.data_key or name for name, f in entity.schema.load_fields.items()}

    def read(self, window: Range, stop: threading.Event) -> Tried:
        params = PageParams(window=Window(start=window[0], end=window[1]))
        is_all = False
        fetcher = Fetcher(
            partial(self._page, params),
            cursor=None,
            ahead=0,
            clock=self._clock,
            wake=stop,
            transport=self._opened.transport,
        )
        with fetcher:
            for fetched in fetcher.pages(patience_s=_LOOK_S):
                if fetched is None or not isinstance(fetched.page, Page):
                    continue
                page = fetched.page
                at = (page.as_of or fetched.read_at).astimezone(UTC)
                is_all = page.next is None and len(page.records) <= self._left
                self._take(replace(page, records=page.records[: self._left], deleted=()),
                           rank_of(at), fetched.requests)  # fmt: skip
                if self._left <= 0:
                    break
        return Tried(
            entity=self._entity.name,
            records=self._records,
            counts=self._counts,
            is_all=is_all,
            unknown=sorted(self._fields - self._promised),
            missing=sorted(self._lacked),
        )

    def _page(self, params: PageParams, cursor: str | None) -> Page:
        plugin = self._opened.plugin
        with blamed(plugin, self._entity):
            page = self._entity.page(self._opened.client, params, cursor)
        checked: Page = checked_page(page, Page, plugin.found.distribution, self._entity.name)
        return checked

    def _take(self, page: Page, rank: int, requests: int) -> None:
        self._left -= len(page.records)
        draft = self._writer.draft_page(page, rank=rank)
        plan = self._writer.compare(draft, now=rank_of(self._clock.now()))
        self._counts += replace(plan.counts, requests=requests)
        for each in draft.copies.values():
            shape = set(each[1] or ())
            self._fields |= shape
            self._lacked |= self._promised - shape
        self._records += _outcomes(plan)


def _outcomes(plan: Plan) -> list[TriedRecord]:
    """Say of each record of a page what would become of it."""
    new = {row.record_id: row for row in plan.new}
    bad = [
        TriedRecord(id=each.record_id, outcome="quarantined", code=each.reason_code,
                    reason=each.reason)
        for each in plan.bad
    ]  # fmt: skip
    left_out = {each.record_id for each in plan.bad}
    good = []
    for key in plan.keys:
        row = new.get(key)
        if key in left_out:
            continue
        if row is None or key in plan.asks:
            asks = key in plan.asks
            good.append(TriedRecord(id=key, outcome="read again" if asks else "unchanged"))
            continue
        text = restore(row.payload.decode(), is_escaped=row.is_escaped)
        outcome: Outcome = "created" if row.revision == 1 else "updated"
        good.append(TriedRecord(id=key, outcome=outcome, payload=text))
    return good + bad
