"""Checks of writing: it arrives, once, and over nobody else's change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from tieline.checks.case import Case, compare
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.reading import require_success
from tieline.checks.site import Site
from tieline.contract import Entity
from tieline.engine import help_run, sweep
from tieline.engine.basis import in_shape_of
from tieline.services import outbox, syncs
from tieline.services.changes import Change

__all__: list[str] = []

_MOST_TURNS = 60
_OTHERS = 10


def _written(case: Case, kind: str) -> Iterator[tuple[Site, Entity, Any]]:
    looked = [each for each in case.entities if each.write and getattr(each.write, kind)]
    if not looked:
        raise DoesNotApplyError(f"nothing can be written ({kind})")
    with case.site() as site:
        for entity in looked:
            given = site.about(entity).write.get(kind)
            if given is None:
                raise WrongError(
                    f"the guide has no payload to {kind} {entity.name} with",
                    where="the sandbox's guide",
                    do=f'write "write": {{"{kind}": {{…}}}} for the entity',
                )
            require_success(case, entity, site.sync(entity))
            site.move()
            yield site, entity, given


def _push(site: Site, entity: Entity, change: Change) -> Any:
    """Ask for a change, and let workers and time go on until it is done or given up."""
    name = site.row.name
    asked = outbox.ask_changes(site.made, name, entity.name, [change], policy="hold", actor="check")
    for _ in range(_MOST_TURNS):
        sweep(site.made.engine)
        for run in syncs.list_runs(site.made, limit=5):
            if run.direction == "outbound" and not run.is_over:
                help_run(site.made.engine, run.id, threading.Event())
        [row] = outbox.get_operations(site.made, list(asked.ids))
        if row.state not in {"queued", "sending", "unknown"}:
            break
        site.move(site.made.settings.lease_s + 1)
    return row


def _require_done(case: Case, entity: Entity, row: Any, kind: str) -> None:
    if row.state != "done":
        raise WrongError(
            f"to {kind} one of {entity.name} ended {row.state}: {row.error_message}",
            where=case.subject.place_of(getattr(entity.write, kind)),
        )


@check(
    "writes-arrive",
    "silver",
    "What is created and updated here is there, and is here as it is there.",
    do="let the step return Outcome(record=…) with the whole record of the provider's answer",
)
def _arrive(case: Case) -> None:
    for kind in ("create", "update"):
        try:
            _arrive_by(case, kind)
        except DoesNotApplyError:
            if kind == "create":
                raise


def _arrive_by(case: Case, kind: str) -> None:
    for site, entity, given in _written(case, kind):
        before = site.truth(entity)
        key = "" if kind == "create" else next(iter(before))
        row = _push(site, entity, Change(kind=kind, key=key, payload=given))  # type: ignore[arg-type]
        _require_done(case, entity, row, kind)
        where = case.subject.place_of(getattr(entity.write, kind))
        after = site.truth(entity)
        if kind == "create" and len(after) != len(before) + 1:
            raise WrongError(
                f"a create of {entity.name} made {len(after) - len(before)} of them", where=where
            )
        if kind == "update" and before == after:
            raise WrongError(f"an update of {entity.name} changed nothing", where=where)
        if found := compare(site, entity):
            raise WrongError(f"after a {kind}, {entity.name} differ: {found}", where=where)


@check(
    "lost-answers-make-no-second",
    "silver",
    "A create whose answer was lost is made once, however often it is tried.",
    do="send Operation.idempotency_key where the provider takes one and declare Write.idempotency,"
    " or"
    " give Write.find, which looks for what was made",
)
def _lost(case: Case) -> None:
    for site, entity, given in _written(case, "create"):
        before = site.truth(entity)
        site.control.fail(
            {"kind": "drop", "executed": True, "method": "POST", "nth": 1, "times": 1}
        )
        row = _push(site, entity, Change(kind="create", payload=given))
        site.control.fail()
        made = len(site.truth(entity)) - len(before)
        where = case.subject.place_of(entity.write.create if entity.write else None)
        if made != 1:
            raise WrongError(
                f"a create of {entity.name} whose answer was lost made {made}", where=where
            )
        _require_done(case, entity, row, "create")


@check(
    "nobody-is-overwritten",
    "silver",
    "A change here does not undo what somebody changed there meanwhile: it is held.",
    do="send Operation.token with the change as the provider wants it (If-Match, a version in the"
    " body), and raise ConflictError for its refusal; without versions leave Write.token out",
)
def _overwritten(case: Case) -> None:
    looked = 0
    for site, entity, given in _written(case, "update"):
        before = site.truth(entity)
        if not site.order(entity, "update", _OTHERS):
            continue
        theirs = site.truth(entity)
        key = next((each for each in before if _is_other(given, before, theirs, each)), None)
        if key is None:
            continue  # nobody else changes what can be written
        looked += 1
        row = _push(site, entity, Change(kind="update", key=key, payload=given))
        now = in_shape_of(given, site.truth(entity)[key])
        if row.state == "done" or now != in_shape_of(given, theirs[key]):
            raise WrongError(
                f"an update of {entity.name} went over a change that was made there meanwhile, and"
                f" ended {row.state}",
                where=case.subject.place_of(entity.write.update if entity.write else None),
            )
    if not looked:
        raise DoesNotApplyError("the sandbox changes nothing that can be written")


def _is_other(given: Any, before: Any, theirs: Any, key: str) -> bool:
    """Say whether somebody gave a record other values in the fields that we are about to write."""
    if key not in theirs:
        return False
    there = in_shape_of(given, theirs[key])
    return there not in (in_shape_of(given, before[key]), given)
