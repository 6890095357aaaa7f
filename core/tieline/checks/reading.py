"""Checks of reading: all of it, once and again, from any checkpoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tieline.checks.case import Case, Difference, compare
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.site import Site
from tieline.contract import Entity, Money, PageParams, Window
from tieline.errors import PluginError, TielineError
from tieline.failpoints import Crash, set_failpoints
from tieline.records import canonical
from tieline.registry import Registry
from tieline.services.records import list_records
from tieline.store.rows import RunRow

__all__ = ["require_equal", "require_success"]

_IDENTIFY_S = 3.0
_MOST_CHECKPOINTS = 8


def require_success(case: Case, entity: Entity, run: RunRow, when: str = "") -> None:
    """Fail a check over a run that failed."""
    if run.state == "succeeded":
        return
    article = "an" if run.mode == "incremental" else "a"
    what = f"{article} {run.mode} run of {entity.name} {when} {run.state}".replace("  ", " ")
    if run.error_code == PluginError.code and (bug := case.bug_in(entity)) is not None:
        words, where = bug
        raise WrongError(f"{what}: {words}", where=where or case.place(entity), do="mend that line")
    bad = case.here.quarantined(entity) if case.here is not None else []
    if run.error_code == "quarantine-share" and bad:
        raise WrongError(
            f"{what}: {len(bad)} records break what the schema promises, the first by"
            f" {bad[0]['reason']}",
            where=case.subject.find(rf"class {type(entity.schema).__name__}\b"),
            do="promise what the provider's reference does and no more",
        )
    raise WrongError(
        f"{what}: {run.error_message}", where=case.place(entity), do=run.error_hint or ""
    )


def require_equal(
    case: Case, site: Site, entity: Entity, when: str, *, where: str = "page"
) -> Difference:
    """Fail a check over records that are not those of the sandbox."""
    found = compare(site, entity)
    if found:
        raise WrongError(f"{when}, {entity.name} differ: {found}", where=case.place(entity, where))
    return found


@check(
    "account-is-named",
    "bronze",
    f"Connecting says whose account it is, within {_IDENTIFY_S:.0f} seconds.",
    do="let identify(client) return Account(id=…, name=…) by one call of the provider's API",
)
def _account(case: Case) -> None:
    try:
        with case.site() as site:
            seconds = []
            for _ in range(3):
                began = time.monotonic()
                site.again()
                seconds.append(time.monotonic() - began)
            if min(seconds) > _IDENTIFY_S:
                raise WrongError(
                    f"connecting an account takes {min(seconds):.1f} s",
                    where=case.subject.find("identify"),
                )
            if not site.row.account_id:
                raise WrongError(
                    "identify names no account id", where=case.subject.find("identify")
                )
    except TielineError as error:
        raise WrongError(
            f"an account of the sandbox cannot be connected: {error.message}",
            where=case.subject.place_in(error) or case.subject.find("identify"),
            do=error.hint,
        ) from error


@check(
    "sandbox-has-it-all",
    "bronze",
    "The sandbox has every entity that the plugin declares, and several pages of each.",
    do="let the sandbox's guide name the entity, and its options make few records on small pages",
)
def _has_it_all(case: Case) -> None:
    missing = case.plugin.entities.keys() - case.guide.entities.keys()
    if missing:
        raise WrongError(
            f"the guide does not name {', '.join(sorted(missing))}", where="the sandbox's guide"
        )
    with case.site() as site:
        for entity in case.entities:
            if not site.truth(entity):
                raise WrongError(f"the sandbox has no {entity.name}", where="the sandbox's guide")
            run = site.sync(entity)
            require_success(case, entity, run)
            if run.counts.requests < 2 and not site.about(entity).is_small:
                raise WrongError(
                    f"the sandbox has one page of {entity.name}: paging shows nothing",
                    where="the sandbox's guide",
                )


@check(
    "pages-completely",
    "bronze",
    "A full run brings all that the provider shows, once.",
    do="begin without a cursor, ask for the next page with what the answer gave for it, and end"
    " only"
    " where the answer says so; by_cursor and after_last_key do that",
)
def _pages(case: Case) -> None:
    with case.site() as site:
        for entity in case.entities:
            run = site.sync(entity)
            require_success(case, entity, run)
            found = compare(site, entity)
            seen = site.truth(entity)
            hidden = site.about(entity).hidden
            missing = [key for key in found.missing if not _is_hidden(seen[key], hidden)]
            if missing or found.extra:
                shown = Difference(missing=missing, extra=found.extra, changed={})
                raise WrongError(f"of {len(seen)} {entity.name} {shown}", where=case.place(entity))
            total = len(site.stored(entity)) + run.counts.quarantined
            if run.counts.seen > 2 * total:
                raise WrongError(
                    f"{run.counts.seen} {entity.name} were read, and there are {total}: pages"
                    " repeat",
                    where=case.place(entity),
                )


def _is_hidden(thing: Mapping[str, Any], hidden: Mapping[str, Any]) -> bool:
    return bool(hidden) and all(thing.get(name) == value for name, value in hidden.items())


@check(
    "nothing-is-hidden",
    "bronze",
    "What the provider's list hides by default, such as archived records, is asked for.",
    do="add the parameter that shows hidden rows to every page (such as status=all or"
    " archived=true),"
    " and say in Entity.hides what is hidden by default",
)
def _nothing_hidden(case: Case) -> None:
    looked = [entity for entity in case.entities if case.guide.entities[entity.name].hidden]
    if not looked:
        raise DoesNotApplyError("the provider's lists hide nothing by default")
    with case.site() as site:
        for entity in looked:
            hidden = site.about(entity).hidden
            there = [key for key, thing in site.truth(entity).items() if _is_hidden(thing, hidden)]
            if not there:
                raise WrongError(
                    f"the sandbox has no hidden {entity.name}", where="the sandbox's guide"
                )
            site.sync(entity)
            missing = sorted(set(there) - set(site.stored(entity)))
            if missing:
                said = " and ".join(f"{name}={value!r}" for name, value in hidden.items())
                raise WrongError(
                    f"{len(missing)} of {len(there)} {entity.name} with {said} are not read,"
                    f" such as {missing[0]}",
                    where=case.place(entity),
                )


@check(
    "records-fit-their-schema",
    "bronze",
    "No record of the sandbox is quarantined.",
    do="promise what the provider's reference does and no more: allow_none=True where it may be"
    " null",
)
def _fit(case: Case) -> None:
    with case.site() as site:
        for entity in case.entities:
            site.sync(entity)
            if bad := site.quarantined(entity):
                raise WrongError(
                    f"{len(bad)} {entity.name} are quarantined, such as {bad[0]['record_id']}:"
                    f" {bad[0]['reason']}",
                    where=case.subject.place_of(type(entity.schema)) or case.place(entity),
                )


@check(
    "records-come-as-received",
    "bronze",
    "A record is stored with the values and types that the provider sent.",
    do="return records as parse_json gave them: no renaming, rounding or converting in a step; what"
    " they mean is for Entity.canonical",
)
def _as_received(case: Case) -> None:
    with case.site() as site:
        for entity in case.entities:
            site.sync(entity)
            if changed := compare(site, entity).changed:
                key, names = next(iter(changed.items()))
                theirs, ours = site.truth(entity)[key], site.stored(entity)[key]
                raise WrongError(
                    f"{names[0]} of {entity.name} {key} is {theirs[names[0]]!r} there and"
                    f" {ours.get(names[0])!r} here",
                    where=case.place(entity),
                )


@check(
    "twice-equals-once",
    "bronze",
    "A second run without a change there writes nothing here.",
    do="name what changes without meaning in Entity.volatile, and add nothing of your own to"
    " records",
)
def _twice(case: Case) -> None:
    with case.site() as site:
        for entity in case.entities:
            require_success(case, entity, site.sync(entity))
            before = site.stored(entity)
            for mode in ("full", "incremental"):
                site.move()
                run = site.sync(entity, mode)
                require_success(case, entity, run, "the second time")
                wrote = run.counts.created + run.counts.updated + run.counts.deleted
                if wrote:
                    after = site.stored(entity)
                    names = [name for key in before.keys() & after.keys() for name in before[key]
                             if before[key][name] != after[key].get(name)]  # fmt: skip
                    raise WrongError(
                        f"a second {mode} run of {entity.name} writes {wrote} records"
                        + (f": {names[0]} is another each time" if names else ""),
                        where=case.place(entity),
                    )


@check(
    "records-outlive-the-plugin",
    "bronze",
    "Records can be read when the plugin is gone.",
    do="tell the authors of Tieline: it is theirs to keep",
)
def _outlive(case: Case) -> None:
    with case.site() as site:
        entity = case.entities[0]
        site.sync(entity)
        bare = case.grounds.install(Registry(given=[]), case.guide, case.subject.name)
        if not list_records(bare, site.row.name, entity.name, limit=10):
            raise WrongError(f"no {entity.name} can be read without the plugin")


@check(
    "meanings-hold",
    "bronze",
    "Every record has the canonical shape that its entity declares, or none, and its times have"
    " zones.",
    do="return None for a record that has no such shape; use money() and utc() of tieline.contract",
)
def _meanings(case: Case) -> None:
    looked = [entity for entity in case.entities if entity.canonical]
    if not looked:
        raise DoesNotApplyError("no canonical shapes are declared")
    with case.site() as site:
        for entity in looked:
            assert entity.canonical is not None
            site.sync(entity)
            where = case.place(entity, "canonical")
            made = 0
            for key, record in site.stored(entity).items():
                try:
                    shape = entity.canonical(record)
                except Exception as error:
                    raise WrongError(
                        f"what {entity.name} {key} means raises {type(error).__name__}: {error}",
                        where=case.subject.place_in(error) or where,
                    ) from error
                made += shape is not None
                _require_sound(shape, f"{entity.name} {key}", where)
            if not made:
                raise WrongError(f"no record of {entity.name} means anything", where=where)


def _require_sound(shape: Any, whose: str, where: str) -> None:
    for name in getattr(type(shape), "__slots__", ()) if shape is not None else ():
        value = getattr(shape, name, None)
        if isinstance(value, datetime) and value.utcoffset() is None:
            raise WrongError(f"{name} of {whose} has no zone", where=where)
        if isinstance(value, Money) and type(value.amount_minor) is not int:
            raise WrongError(f"{name} of {whose} is no whole number of minor units", where=where)


@check(
    "one-record-can-be-read",
    "silver",
    "Reading one record gives what the list gives; of one that is gone, None.",
    do="read the same representation as the list (same version, same expansions), and return None"
    " for"
    " the provider's 404",
)
def _get(case: Case) -> None:
    looked = [entity for entity in case.entities if entity.get]
    if not looked:
        raise DoesNotApplyError("no entity has a get")
    with case.site() as site, site.opened() as opened:
        for entity in looked:
            where = case.place(entity, "get")
            site.sync(entity)
            stored = site.stored(entity)
            for key in list(stored)[:: max(1, len(stored) // 4)]:
                found = _read_one(case, opened, entity, key, where)
                if found is None:
                    raise WrongError(
                        f"get says that {entity.name} {key} is gone, and it is there", where=where
                    )
                listed = canonical(stored[key], tuple(entity.volatile))
                if canonical(found, tuple(entity.volatile)).digest != listed.digest:
                    names = [name for name in {*found, *stored[key]} - set(entity.volatile)
                             if found.get(name) != stored[key].get(name)]  # fmt: skip
                    raise WrongError(
                        f"get gives other {entity.name} than the list:"
                        f" {', '.join(sorted(names)[:4])} of {key}",
                        where=where,
                    )
            if site.order(entity, "delete", 1):
                gone = sorted(stored.keys() - site.truth(entity).keys())
                if gone and (found := _read_one(case, opened, entity, gone[0], where)) is not None:
                    raise WrongError(
                        f"get still gives {entity.name} {gone[0]}, which is gone", where=where
                    )


def _read_one(case: Case, opened: Any, entity: Entity, key: str, where: str) -> Any:
    try:
        return case.called(opened, entity.get, key)
    except Exception as error:
        raise WrongError(
            f"reading one of {entity.name} raises {type(error).__name__}: {error}",
            where=case.subject.place_in(error) or where,
            do="catch the error of the provider's 404 and return None",
        ) from error


@check(
    "resumes-from-every-checkpoint",
    "silver",
    "A worker that dies at any page costs that page at most, and loses nothing.",
    do="begin where the cursor argument says, and keep nothing between two calls: no cursor in the"
    " client, the module or a file",
)
def _resumes(case: Case) -> None:
    with case.site() as first:
        for entity in case.entities:
            whole = first.again().sync(entity)
            pages = whole.counts.requests
            last = min(pages, _MOST_CHECKPOINTS)
            chosen = range(1, last + 1) if entity is case.entities[0] else {1, last}
            for page in sorted(chosen):
                for point in ("sync.page.before_commit", "sync.page.after_commit"):
                    _resume(case, first.again(), entity, f"{point}=raise@{page}", pages)


def _resume(case: Case, site: Site, entity: Entity, death: str, pages: int) -> None:
    run_id = site.ask(entity)
    set_failpoints(death)
    try:
        site.help(run_id)
    except Crash:
        site.clock.move(site.made.settings.lease_s + 1)
    finally:
        set_failpoints("")
    run = site.help(run_id)
    point, _, page = death.partition("=raise@")
    when = f"after a death {point.split('.')[-1].replace('_', ' the ')} of page {page}"
    require_success(case, entity, run, when)
    found = compare(site, entity)
    if found.missing or found.extra:
        raise WrongError(f"{when}, {entity.name} differ: {found}", where=case.place(entity))
    if run.counts.requests > pages + 2 + pages // 4:
        raise WrongError(
            f"{when}, {run.counts.requests} pages of {entity.name} were read in all, not {pages}",
            where=case.place(entity),
        )


@check(
    "windows-hold",
    "silver",
    "The pieces that history is cut into hold together what is there, each what belongs into it.",
    do="honour params.window on both sides: start included, end excluded, by the very field that"
    " Windows names",
)
def _windows(case: Case) -> None:
    looked = [entity for entity in case.entities if entity.windows]
    if not looked:
        raise DoesNotApplyError("no entity has windows")
    with case.site() as site, site.opened() as opened:
        for entity in looked:
            assert entity.windows is not None
            where = case.place(entity)
            times = sorted(filter(None, map(entity.windows.time_of, site.truth(entity).values())))
            if not times:
                raise WrongError(
                    f"no record of {entity.name} has a time in {entity.windows.field}", where=where
                )
            middle = times[len(times) // 2]
            found: list[str] = []
            for window in (
                Window(end=middle),
                Window(start=middle, end=times[-1] + entity.windows.step),
            ):
                for record in _all(case, opened, entity, window):
                    at = entity.windows.time_of(record)
                    key = site.about(entity).key_of(record)
                    if at and not (window.start or at) <= at < (
                        window.end or at + timedelta(days=1)
                    ):
                        raise WrongError(
                            f"{entity.name} {key} of {at:%Y-%m-%d %H:%M:%S} is outside of its"
                            " window",
                            where=where,
                        )
                    found.append(key)
            whole = [
                site.about(entity).key_of(each) for each in _all(case, opened, entity, Window())
            ]
            if sorted(found) != sorted(whole):
                raise WrongError(
                    f"two windows of {entity.name} hold {len(found)} records, all of it"
                    f" {len(whole)}",
                    where=where,
                )


def _all(case: Case, opened: Any, entity: Entity, window: Window) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(1000):
        page = case.called(opened, entity.page, PageParams(window=window), cursor)
        found += page.records
        if (cursor := page.next) is None:
            return found
    raise WrongError(f"the pages of {entity.name} do not end", where=case.place(entity))


@check(
    "pages-may-move",
    "silver",
    "What is made, changed or deleted while pages are read is not lost: the next runs bring it.",
    do="page by a mark that stays (an id, the provider's cursor), not by counting: behind a deleted"
    " record an offset skips one",
)
def _pages_move(case: Case) -> None:
    looked = [entity for entity in case.entities if case.guide.entities[entity.name].delete]
    for entity in looked or case.entities:
        with case.site() as site:
            run_id = site.ask(entity)
            _read_first(site, run_id)
            untouched = set(site.truth(entity))
            for verb in ("delete", "create", "update"):
                site.order(entity, verb, 2)
            untouched &= set(site.truth(entity))
            require_success(case, entity, site.help(run_id), "while things change")
            missing = sorted(untouched - site.stored(entity).keys())
            if missing:
                raise WrongError(
                    f"{len(missing)} {entity.name} that nobody touched are missing after a run"
                    " during"
                    f" which others changed, such as {missing[0]}",
                    where=case.place(entity),
                )
            site.move()
            require_success(case, entity, site.sync(entity, "incremental"))


def _read_first(site: Site, run_id: str) -> None:
    """Read one page, and leave the rest to somebody else."""
    set_failpoints("sync.page.after_commit=raise@1")
    try:
        site.help(run_id)
    except Crash:
        site.clock.move(site.made.settings.lease_s + 1)
    finally:
        set_failpoints("")
