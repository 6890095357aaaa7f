"""Many runs at once: listed by what they have in common, tried again, cancelled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from tieline.contract import TielineError
from tieline.engine import Asked, ask_run
from tieline.errors import DependencyError, InvalidInputError, RefusedError, nearest
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.syncs import cancel_run, get_run, list_runs, require_awake
from tieline.store.choosing import Mark
from tieline.store.rows import RunRow
from tieline.store.runs import RunsWanted
from tieline.store.tables import ACTIVE_STATES

__all__ = [
    "FIELDS",
    "RETRYABLE",
    "STATES",
    "Done",
    "Left",
    "RunsWanted",
    "cancel_runs",
    "choose_runs",
    "retry_run",
    "retry_runs",
    "to_cancel",
    "to_retry",
    "wanted_runs",
]

FIELDS = ("connection", "provider", "entity", "state", "code", "mode", "direction")
"""What runs are chosen by, beside time."""

RETRYABLE = ("failed", "cancelled", "needs_reauth")
STATES = (*ACTIVE_STATES, "succeeded", "succeeded_with_quarantine", *RETRYABLE)
_KNOWN = {"state": STATES, "direction": ("inbound", "outbound")}
_AT_ONCE = 500
_LONGEST = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """A run that was left as it is.

    Attributes:
        run: Which.
        error: Why.
    """

    run: RunRow
    error: TielineError


@dataclass(kw_only=True, slots=True)
class Done:
    """What became of many runs.

    Attributes:
        runs: Those that were asked for anew, or are to stop.
        active: Of runs to be tried again: those whose entity has an active run already.
        left: Those that could not be.
    """

    runs: list[RunRow] = field(default_factory=list)
    active: list[RunRow] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


def wanted_runs(
    installation: Installation,
    given: Mapping[str, Collection[str]],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    visible: Collection[str] | None = None,
) -> RunsWanted:
    """Say which runs are meant.

    Args:
        installation: Where.
        given: One of :data:`FIELDS` to the values that it may have.
        since: Asked for then or later.
        until: Asked for before then.
        visible: Ids of the connections that whoever asks may see; None: all.

    Raises:
        NotFoundError: There is no such connection.
        InvalidInputError: A field, a state or a direction is none; or the time
            ends before it begins.
    """
    if since is not None and until is not None and since >= until:
        raise InvalidInputError("until is not after since", code="window-empty")
    for name, values in given.items():
        if name not in FIELDS:
            raise _odd(f"runs have no {name[:40]!r}", nearest(name, FIELDS))
        for value in values:
            known = _KNOWN.get(name)
            if known and value not in known:
                raise _odd(f"there is no {name} {value[:40]!r}", nearest(value, known))
            if len(value) > _LONGEST or not value.isprintable():
                raise _odd(f"{name} holds what none has", "")
    chosen = {name: tuple(values) for name, values in given.items()}
    ids = [get_connection(installation, each).id for each in chosen.get("connection", ())]
    return RunsWanted(
        connection_ids=ids,
        visible=visible,
        providers=chosen.get("provider", ()),
        entities=chosen.get("entity", ()),
        states=chosen.get("state", ()),
        codes=chosen.get("code", ()),
        modes=chosen.get("mode", ()),
        directions=chosen.get("direction", ()),
        since=since,
        until=until,
    )


def _odd(message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(message, hint=hint, code="runs-choice")


def to_cancel(wanted: RunsWanted) -> RunsWanted:
    """Narrow a choice to what can be cancelled: runs that are not over.

    Raises:
        InvalidInputError: It asks for a state in which none can be.
    """
    return _narrowed(wanted, ACTIVE_STATES, "cancelled")


def to_retry(wanted: RunsWanted) -> RunsWanted:
    """Narrow a choice to what can be tried again: runs that ended without success.

    Raises:
        InvalidInputError: It asks for a state in which none can be.
    """
    return _narrowed(wanted, RETRYABLE, "tried again")


def _narrowed(wanted: RunsWanted, states: Sequence[str], what: str) -> RunsWanted:
    if odd := [state for state in wanted.states if state not in states]:
        raise _odd(
            f"a run that is {odd[0]} cannot be {what}", f"those that are {', '.join(states)}"
        )
    return replace(wanted, states=wanted.states or states)


def choose_runs(installation: Installation, wanted: RunsWanted) -> list[RunRow]:
    """Return every run that is meant, the newest first.

    Of several that ended without success the newest of each entity, direction and
    window alone: trying the others again would do the same.
    """
    found: dict[tuple[object, ...], RunRow] = {}
    for run in _all(installation, wanted):
        window = (run.window_start, run.window_end) if run.mode == "window" else ()
        place = (run.connection_id, run.entity, run.direction, *window)
        found.setdefault(place if run.is_over else (run.id,), run)
    return list(found.values())


def _all(installation: Installation, wanted: RunsWanted) -> Iterator[RunRow]:
    before: Mark | None = None
    while True:
        page = list_runs(installation, wanted, before=before, limit=_AT_ONCE)
        yield from page
        if len(page) < _AT_ONCE:
            return
        before = (page[-1].created_at, page[-1].id)


def retry_run(installation: Installation, run_id: str, *, actor: str) -> Asked:
    """Ask once more for a run that ended without success: same entity, mode and window.

    What that one committed stays, and is not doubled.

    Returns:
        The new run, or the one that is active already.

    Raises:
        NotFoundError: There is none of that id, or its entity is gone.
        RefusedError: It is not over, or succeeded; or its connection is paused.
        NeedsReauthError: The connection waits for a person.
        PluginError: The provider's plugin is broken.
        DependencyError: Database or Redis does not answer; nothing was asked.
    """
    run = get_run(installation, run_id)
    if run.state not in RETRYABLE:
        raise RefusedError(
            f"the run {run_id} is {run.state}: there is nothing to try again",
            hint=f"tieline sync run {run.connection_name} {run.entity}",
            code="run-not-failed",
        )
    row = get_connection(installation, run.connection_id)
    declared = installation.registry.get(row.provider).entity(run.entity)
    require_awake(row)
    _ = installation.redis
    is_window = run.mode == "window"
    return ask_run(
        installation.engine,
        row,
        declared,
        mode=run.mode,
        asked_by=actor,
        allow_deletes=run.allow_deletes,
        window=(run.window_start, run.window_end) if is_window else (None, None),
    )


def retry_runs(installation: Installation, chosen: Sequence[RunRow], *, actor: str) -> Done:
    """Ask once more for many runs; one that cannot be does not keep the others.

    Raises:
        DependencyError: Database or Redis does not answer; those before were asked for.
    """
    done = Done()

    def retry(run: RunRow) -> None:
        asked = retry_run(installation, run.id, actor=actor)
        (done.runs if asked.is_new else done.active).append(asked.run)

    _each(chosen, retry, done)
    return done


def cancel_runs(installation: Installation, chosen: Sequence[RunRow], *, actor: str) -> Done:
    """Ask many runs to stop at their next page; what they committed stays.

    Raises:
        DependencyError: The database does not answer; those before were asked to stop.
    """
    done = Done()
    _each(
        chosen,
        lambda run: done.runs.append(cancel_run(installation, run.id, actor=actor)),
        done,
    )
    return done


def _each(chosen: Sequence[RunRow], work: Callable[[RunRow], None], done: Done) -> None:
    for run in chosen:
        try:
            work(run)
        except DependencyError:
            raise
        except TielineError as error:
            done.left.append(Left(run=run, error=error))
