"""Hold plugin and sandbox to answers that were recorded of the provider itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tieline.checks.case import Case
from tieline.checks.drift import said_types
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.site import Site
from tieline.contract import (
    Credential,
    Entity,
    InvalidRecordError,
    PageParams,
    Record,
    RequestRejectedError,
)
from tieline.errors import InvalidInputError
from tieline.recording import Recording, read_recordings
from tieline.records.check import RecordCheck

__all__: list[str] = []

_FOLDER = "tests/recorded"
_AGAIN = "record it again: tieline plugin record . --live"


@check(
    "recordings-are-kept",
    "gold",
    "What was recorded of the provider is read by the plugin, fits its schema, and the sandbox"
    " answers in the same types.",
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
            records = _played(case, site, each, entity)
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


def _played(case: Case, site: Site, recording: Recording, entity: Entity) -> list[Record]:
    """Have the plugin's own step read what was recorded."""
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
        client = case.plugin.new_client(
            connection=connection,
            credential=Credential({**fields, **kept}),
            transport=recording,
        )
    records: list[Record] = []
    cursor: str | None = None
    for _ in recording.bodies("page"):
        try:
            page = entity.page(client, PageParams(), cursor)
        except RequestRejectedError as error:
            raise WrongError(error.message, where=case.place(entity), do=_AGAIN) from None
        except Exception as error:
            raise WrongError(
                f"reading {recording.path.name} raises {type(error).__name__}: {error}",
                where=case.subject.place_in(error) or case.place(entity),
            ) from error
        records += page.records
        cursor = page.next
        if cursor is None:
            break
    return records


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
