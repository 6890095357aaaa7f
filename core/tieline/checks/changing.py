"""Checks of what changes: new, changed and deleted records, at one instant, out of order."""

from __future__ import annotations

from datetime import datetime, timedelta

from tieline.checks.case import Case, compare
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.reading import require_equal, require_success
from tieline.checks.site import Site
from tieline.contract import Change, Entity, PageParams, Window

__all__: list[str] = []

_MANY = 25
_MOST_PAGES = 50
_APART_S = 6 * 3600
_GRACE = timedelta(minutes=2)


def _settled(case: Case, site: Site, entity: Entity, when: str) -> None:
    """Run as a schedule does, some time after a change."""
    site.move(3600)
    run = site.sync(entity, "incremental", allow_deletes=True)
    require_success(case, entity, run, when)


@check(
    "changes-are-seen",
    "bronze",
    "An incremental run brings what was made and changed since the last one.",
    do="let Entity.feed read the range of params.window, its start included; without a log of"
    " changes"
    " leave feed out, and everything is read",
)
def _changes(case: Case) -> None:
    with case.site() as site:
        looked = [each for each in case.entities if _has(site, each, "create", "update")]
        if not looked:
            raise DoesNotApplyError("the sandbox has no order to create or update")
        for entity in looked:
            require_success(case, entity, site.sync(entity))
            site.move(7200)
            site.order(entity, "create", 3)
            site.order(entity, "update", 3)
            _settled(case, site, entity, "after changes")
            where = "feed" if entity.feed else "page"
            require_equal(case, site, entity, "after an incremental run", where=where)


def _has(site: Site, entity: Entity, *verbs: str) -> bool:
    return any(getattr(site.about(entity), verb) for verb in verbs)


@check(
    "deletes-are-seen",
    "silver",
    "A record that was deleted there becomes a tombstone here, by the run that the entity"
    " declares.",
    do='say in Entity.deletes how deletions show: "feed" where the log tells them'
    " (Change(is_deleted="
    'True)), "flag" where a field does, "sweep" where only a full read does; "none" only where'
    " nothing"
    " is ever deleted",
)
def _deletes(case: Case) -> None:
    for site, entity in case.each("delete"):
        require_success(case, entity, site.sync(entity))
        site.move(7200)
        before = site.truth(entity)
        site.order(entity, "delete", 3)
        mode = "incremental" if entity.deletes in {"feed", "flag"} else "full"
        site.move(3600)
        run = site.sync(entity, mode, allow_deletes=True)
        require_success(case, entity, run, "after deletions")
        found = compare(site, entity)
        gone = before.keys() - site.truth(entity).keys()
        left = sorted(gone & site.stored(entity).keys())
        if left:
            raise WrongError(
                f"{len(left)} of {len(gone)} deleted {entity.name} are still there after {mode}"
                " run,"
                f" such as {left[0]}; deletes={entity.deletes!r}",
                where=case.place(entity, "deletes"),
            )
        if found:
            raise WrongError(
                f"after deletions, {entity.name} differ: {found}", where=case.place(entity)
            )


@check(
    "equal-times-lose-nothing",
    "silver",
    "Many records that changed at the same instant, over several pages, all arrive.",
    do="go on behind (time, id), not behind the time alone; or by the provider's own cursor",
)
def _equal_times(case: Case) -> None:
    for site, entity in case.each("update"):
        require_success(case, entity, site.sync(entity))
        site.move(7200)
        site.order(entity, "update", _MANY)
        _settled(case, site, entity, "after many changes at one instant")
        where = "feed" if entity.feed else "page"
        require_equal(case, site, entity, "after many changes at one instant", where=where)


@check(
    "late-is-not-lost",
    "silver",
    "What changes just after a run has looked is brought by the next one.",
    do="let Feed.overlap be as long as an entry may be late, and Change.at be the provider's time",
)
def _late(case: Case) -> None:
    for site, entity in case.each("update"):
        require_success(case, entity, site.sync(entity))
        for _ in range(3):
            site.order(entity, "update", 2)  # within the second of the run before
            site.move(1)
            require_success(case, entity, site.sync(entity, "incremental"))
            site.move(1)
        _settled(case, site, entity, "after changes around runs")
        where = "feed" if entity.feed else "page"
        require_equal(case, site, entity, "after changes around runs", where=where)


@check(
    "changes-tell-their-time",
    "silver",
    "A log tells when each change was made by the provider's clock, none from before the range that"
    " is asked for.",
    do="give Change.at the time that the provider's entry has, by utc(); no clock of this machine,"
    " and send params.window.start",
)
def _times(case: Case) -> None:
    looked = [each for each in case.entities if each.feed]
    if not looked:
        raise DoesNotApplyError("no entity has a log of changes")
    with case.site() as site:
        for entity in looked:
            site.move(2 * _APART_S)
            since = site.clock.now()
            site.move(_APART_S)
            site.order(entity, "update", 3)
            site.move()
            for change in _changes_since(case, site, entity, since):
                if not since - _GRACE <= change.at <= site.clock.now() + _GRACE:
                    raise WrongError(
                        f"of {entity.name} that changed after {since:%H:%M:%S}, one is told as of"
                        f" {change.at:%Y-%m-%d %H:%M:%S}",
                        where=case.subject.place_of(entity.feed.page if entity.feed else None)
                        or case.place(entity, "feed"),
                    )


def _changes_since(case: Case, site: Site, entity: Entity, since: datetime) -> list[Change]:
    assert entity.feed is not None
    params, cursor, found = PageParams(window=Window(start=since)), None, list[Change]()
    with site.opened() as opened:
        for _ in range(_MOST_PAGES):
            page = case.called(opened, entity.feed.page, params, cursor)
            found += page.changes
            cursor = page.next
            if cursor is None:
                break
    return found


@check(
    "missed-deletes-are-found",
    "gold",
    "A repair finds deletions that no run was told of.",
    do="let page read everything, so that absence means deletion",
)
def _missed(case: Case) -> None:
    for site, entity in case.each("delete"):
        require_success(case, entity, site.sync(entity))
        site.move(7200)
        site.order(entity, "delete", 2)
        site.move(3600)
        run = site.sync(entity, "repair", allow_deletes=True)
        require_success(case, entity, run, "after deletions")
        require_equal(case, site, entity, "after a repair")
