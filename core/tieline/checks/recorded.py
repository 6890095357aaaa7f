"""Hold plugin and sandbox to answers that were recorded of the provider itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tieline.checks.case import Case
from tieline.checks.drift import said_types
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.site import Site
from tieline.contract import (
    Change,
    Credential,
    Entity,
    InvalidRecordError,
    PageParams,
    Record,
    RequestRejectedError,
    Window,
)
from tieline.errors import InvalidInputError
from tieline.recording import Recording, read_recordings
from tieline.records import record_key
from tieline.records.check import RecordCheck

__all__: list[str] = []

_FOLDER = "tests/recorded"
_AGAIN = "record it again: tieline plugin record . --live"


@check(
    "recordings-are-kept",
    "gold",
    "What was recorded of the provider, its list, its log and one record, is read by the plugin,"
    " fits its schema, and the sandbox answers in the same types.",
    do="promise what the provider sends, and let the sandbox send the same; the recordings are in"
    f" {_FOLDER}",
)
def _recorded(case: Case) -> None:
    found = _recordings(case)
    if not found:
        raise DoesNotApplyError(f"nothing of the provider is recorded in {_FOLDER}")
    with case.site() as site:
        for each in found:
            entity = case.plugin.entities.get(each.entity)
            if entity is None:
                raise WrongError(
                    f"{each.entity} is recorded, and no entity of the plugin",
                    where=_place(case, each),
                    do="remove the file, or record what there is now",
                )
            records = _Play(case, each, entity, _client(case, site, each)).everything()
            _require_fit(case, each, entity, records)
            if entity.name in case.guide.entities:
                _require_same_types(case, site, each, entity, records)


def _recordings(case: Case) -> list[Recording]:
    if case.subject.folder is None:
        return []
    try:
        found = read_recordings(case.subject.folder / _FOLDER)
    except InvalidInputError as error:
        raise WrongError(error.message, where=_FOLDER, do=_AGAIN) from None
    return [each for each in found if each.source == "live"]


def _client(case: Case, site: Site, recording: Recording) -> Any:
    """Make the plugin's client at the provider's own address, on a recording."""
    with site.opened() as opened:
        public = next(iter(case.plugin.provider.environments.values()))
        fields = site.made.engine.opener.refresher.hold(site.row.id).fields
        kept = {name: text for name, text in recording.account.items() if name in fields}
        connection = replace(
            opened.connection,
            base_url=public,
            is_redirected=False,
            account=replace(opened.connection.account, id=recording.account["id"] or None),
        )
        return case.plugin.new_client(
            connection=connection,
            credential=Credential({**fields, **kept}),
            transport=recording,
        )


@dataclass(frozen=True, slots=True)
class _Play:
    """Has the plugin's own steps read what was recorded."""

    case: Case
    recording: Recording
    entity: Entity
    client: Any

    def everything(self) -> list[Record]:
        """Play the list, the log of changes and one record; return all records that came."""
        pages = [page.records for page in self._read("page", self.entity.page, PageParams())]
        records = [record for each in pages for record in each]
        return [*records, *self._one(records), *self._changes()]

    def _changes(self) -> Iterator[Record]:
        feed, since = self.entity.feed, self.recording.feed_since
        if feed is None or since is None:
            return
        params = PageParams(window=Window(start=datetime.fromisoformat(since)))
        for page in self._read("feed", feed.page, params):
            for change in page.changes:
                self._require_sense(change)
                if change.record is not None and not change.is_deleted:
                    self._require_key(change.record, change.key, "a change of", feed.page)
                    yield change.record

    def _one(self, records: Sequence[Record]) -> Iterator[Record]:
        get = self.entity.get
        if get is None or not records or not self.recording.bodies("get"):
            return
        key = record_key(records[0], self.entity.key)
        record = self._called("get", get, key)
        if record is not None:
            self._require_key(record, key, "reading one record, that of", get)
            yield record

    def _read(self, name: str, step: Any, params: PageParams) -> Iterator[Any]:
        """Call a step page after page, as far as was recorded."""
        cursor: str | None = None
        for _ in self.recording.bodies(name):
            page = self._called(name, step, params, cursor)
            yield page
            cursor = page.next
            if cursor is None or not self._left(name):
                break
        if left := self._left(name):
            raise WrongError(
                f"{name} ends, and {self.recording.path.name} has {len(left)} more answers to it",
                where=self._at(step),
                do="end only where the answer says so",
            )

    def _left(self, name: str) -> list[Any]:
        """Return the requests of a step that nobody asked yet; one may come twice."""
        exchanges = self.recording.exchanges
        asked = [exchanges[place]["request"] for place in self.recording.asked]
        return [one for one in exchanges if one["step"] == name and one["request"] not in asked]

    def _called(self, name: str, step: Any, *given: Any) -> Any:
        try:
            return step(self.client, *given)
        except RequestRejectedError as error:
            raise WrongError(error.message, where=self._at(step), do=_AGAIN) from None
        except Exception as error:
            raise WrongError(
                f"reading {name} of {self.recording.path.name} raises"
                f" {type(error).__name__}: {error}",
                where=self.case.subject.place_in(error) or self._at(step),
            ) from error

    def _require_sense(self, change: Change) -> None:
        if not change.key or change.at.tzinfo is None:
            raise WrongError(
                f"a change in {self.recording.path.name} has no {'zone' if change.key else 'key'}",
                where=self._at(self.entity.feed and self.entity.feed.page),
                do="give Change.key the record's key, and Change.at the provider's time by utc()",
            )

    def _require_key(self, record: Record, key: str, what: str, step: Any) -> None:
        try:
            found = record_key(record, self.entity.key)
        except InvalidRecordError as error:
            found = error.message
        if found != key:
            raise WrongError(
                f"{what} {key} in {self.recording.path.name} has the record of another: {found}",
                where=self._at(step),
                do="name the record itself, not the entry that tells of it",
            )

    def _at(self, step: Any) -> str:
        return self.case.subject.place_of(step) or self.case.place(self.entity)


def _require_fit(
    case: Case, recording: Recording, entity: Entity, records: Iterable[Record]
) -> None:
    fits = RecordCheck(entity.schema)
    for number, record in enumerate(records, 1):
        try:
            fits(record)
        except InvalidRecordError as error:
            raise WrongError(
                f"record {number} of {recording.path.name} breaks what the schema promises:"
                f" {error.message}",
                where=case.subject.find(rf"class {type(entity.schema).__name__}\b"),
            ) from None


def _require_same_types(
    case: Case, site: Site, recording: Recording, entity: Entity, records: Iterable[Record]
) -> None:
    """Compare the types of what is promised, where both sides have a value."""
    with site.opened() as opened:
        ours = _types_of(case.called(opened, entity.page, PageParams(), None).records)
    theirs = _types_of(records)
    for name, one in entity.schema.fields.items():
        field = one.data_key or name
        if odd := theirs[field] and ours[field] - theirs[field]:
            raise WrongError(
                f"{entity.name}.{field} is {said_types(odd)} in the sandbox, and"
                f" {said_types(theirs[field])} in {recording.path.name}",
                where=_place(case, recording),
                do="let the sandbox answer as the provider does",
            )


def _types_of(records: Iterable[Record]) -> Mapping[str, set[type]]:
    found: dict[str, set[type]] = defaultdict(set)
    for record in records:
        for name, value in record.items():
            if value is not None:
                kind: type[Any] = type(value)
                found[name].add(float if kind is int else kind)
    return found


def _place(case: Case, recording: Recording) -> str:
    folder = case.subject.folder
    assert folder is not None  # without one there are no recordings
    return f"{recording.path.relative_to(folder)}:1"
