"""What the page shows, asked of the services that `tieline status` and the API ask.

Every list is bounded, so that the page is small whatever there is: of thousands
of connections a page at a time, of the rest what belongs to those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tieline import __version__
from tieline.errors import DependencyError, NotFoundError, PluginError
from tieline.services import (
    alerts,
    connections,
    dead_letters,
    limits,
    readiness,
    schedules,
    setup,
    storage,
    syncs,
    webhooks,
)
from tieline.services.installation import Installation
from tieline.services.overview import Line, Overview, look_over
from tieline.services.runs import RETRYABLE, STATES, RunsWanted
from tieline.services.tokens import TokenRow
from tieline.web.api import OPERATIONS
from tieline.web.api.admission import admit

__all__ = ["FILTERS", "Wish", "gather", "retry_choice"]

_MOST_LINES = 20
_MOST_TROUBLES = 6
_MOST_RUNS = 20
_MOST_ENTITIES = 12
_MOST_ACCOUNTS = 5
_MOST_ENDPOINTS = 6
_MOST_WORKERS = 25
_MOST_BARS = 24
_SINCE = {"1h": timedelta(hours=1), "1d": timedelta(days=1), "7d": timedelta(days=7)}
_RUN_FILTERS = ("connection", "provider", "state", "code")
FILTERS = (*_RUN_FILTERS, "since", "find", "after", "cursor")
"""What of an address says which part is shown; nothing else of it is kept."""

_OPERATIONS = {operation.name: operation for operation in OPERATIONS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """Who looks, and at what.

    Attributes:
        installation: Where.
        token: Whose session it is.
        asked: Of :data:`FILTERS`, what the address has.
    """

    installation: Installation
    token: TokenRow
    asked: Mapping[str, str]

    @property
    def visible(self) -> frozenset[str] | None:
        """The ids of the connections that may be seen; None: all."""
        ids = self.token.connection_ids
        return None if ids is None else frozenset(ids)

    def may(self, name: str) -> bool:
        """Say whether a button of an operation is shown; that it may be pressed is asked again."""
        operation = _OPERATIONS[name]
        is_narrow = operation.is_for_all and self.token.connection_ids is not None
        return operation.is_allowed(self.token.scope) and not is_narrow


def gather(wish: Wish) -> dict[str, Any]:
    """Ask for everything that the page shows.

    Raises:
        Problem: A filter makes no sense, or names what there is not, or not for this token.
        DependencyError: The database does not answer; of Redis alone the page tells.
    """
    found = look_over(wish.installation, visible=wish.visible)
    lines, after = _page_of(found, wish.asked)
    return {
        "now": found.at,
        "found": found,
        "token": wish.token,
        "may": wish.may,
        "asked": {name: wish.asked.get(name, "") for name in FILTERS},
        "health": _health(wish, found),
        "troubles": _troubles(wish, found),
        "lines": lines,
        "after": after,
        "totals": _totals(found),
        "chosen": _chosen(wish, found),
        "runs": _runs(wish),
        "states": STATES,
        "retryable": RETRYABLE,
        "providers": sorted({line.row.provider for line in found.lines}),
        "limits": _limits(wish, lines),
        "endpoints": _endpoints(wish, lines),
        "workers": (found.workers or ())[:_MOST_WORKERS],
    }


def retry_choice(wish: Wish) -> dict[str, Any]:
    """Say how many runs a press of "retry all" would mean, by the operation that does it.

    Raises:
        Problem: The token may not, or the filters name no run that can be tried again.
    """
    operation = _OPERATIONS["retry_runs"]
    given = [*run_pairs(wish), ("dry_run", "true")]
    call = admit(wish.installation, operation, wish.token, path={}, body=given)
    return {"count": operation.does(call)["count"], "given": run_pairs(wish)}


def run_pairs(wish: Wish) -> list[tuple[str, str]]:
    """Write which runs are meant as the API takes it."""
    pairs = [(name, wish.asked[name]) for name in _RUN_FILTERS if wish.asked.get(name)]
    if length := _SINCE.get(wish.asked.get("since", "")):
        pairs.append(("since", (wish.installation.clock.now() - length).isoformat()))
    return pairs


def _runs(wish: Wish) -> dict[str, Any]:
    operation = _OPERATIONS["list_runs"]
    query = [*run_pairs(wish), ("limit", str(_MOST_RUNS))]
    if cursor := wish.asked.get("cursor"):
        query.append(("cursor", cursor))
    call = admit(wish.installation, operation, wish.token, path={}, query=query)
    page: dict[str, Any] = operation.does(call)
    return page


def _page_of(found: Overview, asked: Mapping[str, str]) -> tuple[list[Line], str]:
    """Return a page of connections, by name, and where the next one begins; empty: nowhere."""
    wanted = asked.get("find", "").casefold()
    lines = [
        line
        for line in found.lines
        if line.row.name > asked.get("after", "")
        and (wanted in line.row.name.casefold() or wanted in line.row.provider.casefold())
    ]
    page = lines[:_MOST_LINES]
    return page, page[-1].row.name if len(lines) > len(page) else ""


def _totals(found: Overview) -> dict[str, int]:
    states = [line.state for line in found.lines]
    return {state: states.count(state) for state in sorted(set(states))}


def _health(wish: Wish, found: Overview) -> dict[str, Any]:
    installation = wish.installation
    parts = readiness.look(installation)
    broken = [f"{part.name}: {part.code}" for part in parts if not part.is_ready]
    skew_s = storage.clock_skew_s(installation)
    return {
        "words": ", ".join(broken) or "ready",
        "kind": "bad" if broken else "good",
        "profile": installation.settings.env,
        "version": __version__,
        "schema": setup.schema_facts(installation)["schema"],
        "database": installation.database.dialect,
        "redis": "away" if found.redis_trouble else "answers",
        "skew": f"{skew_s:+.1f} s" if skew_s is not None else "",
    }


def _troubles(wish: Wish, found: Overview) -> dict[str, Any]:
    """Return what somebody should look at: shared, of connections, given up, told as an alert."""
    lines = [line for line in found.lines if line.trouble]
    letters = dead_letters.list_dead_letters(
        wish.installation, visible=wish.visible, limit=_MOST_TROUBLES
    )
    opened = alerts.list_alerts(wish.installation, visible=wish.visible, limit=_MOST_TROUBLES)
    shared = list(_shared_troubles(found))
    return {
        "shared": shared,
        "lines": lines[:_MOST_TROUBLES],
        "more": max(0, len(lines) - _MOST_TROUBLES),
        "letters": letters,
        "alerts": opened,
        "any": bool(shared or lines or letters or opened),
    }


def _shared_troubles(found: Overview) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with no connection alone, and what to do."""
    if found.redis_trouble:
        yield f"Redis does not answer: {found.redis_trouble}", "tieline doctor"
    if found.workers is not None and not found.workers:
        yield "no worker is alive: nothing is synced", "tieline worker, or tieline up"
    if found.stuck:
        yield f"claims that ended and nobody took over: {found.stuck}", "tieline doctor"
    if found.paused:
        yield f"queues that are held: {', '.join(found.paused)}", "tieline queue resume"


def _chosen(wish: Wish, found: Overview) -> dict[str, Any] | None:
    """Return the one connection that the address names, with each of its entities."""
    name = wish.asked.get("connection")
    line = next((each for each in found.lines if name in {each.row.name, each.row.id}), None)
    if line is None:
        return None
    states = {each.entity: each for each in connections.connection_states(
        wish.installation, line.row
    )}  # fmt: skip
    plans = {
        each.row.entity: each
        for each in schedules.list_schedules(wish.installation, connection=line.row.id)
    }
    names = list(dict.fromkeys([*_declared(wish, line), *states, *plans]))
    return {
        "line": line,
        "more": max(0, len(names) - _MOST_ENTITIES),
        "entities": [
            {
                "name": entity,
                "state": states.get(entity),
                "schedule": plans.get(entity),
                "history": _history(wish, line, entity),
            }
            for entity in names[:_MOST_ENTITIES]
        ],
    }


def _declared(wish: Wish, line: Line) -> Sequence[str]:
    """Return what the plugin can read; a connection is shown when its plugin is gone, too."""
    try:
        plugin = wish.installation.registry.get(line.row.provider)
    except (PluginError, NotFoundError):
        return ()
    return [name for name, each in plugin.entities.items() if "inbound" in each.directions]


def _history(wish: Wish, line: Line, entity: str) -> dict[str, Any]:
    """Return the last runs of an entity, oldest first: how they ended, and how long each took."""
    wanted = RunsWanted(connection_ids=[line.row.id], entities=[entity])
    rows = syncs.list_runs(wish.installation, wanted, limit=_MOST_BARS)[::-1]
    took = [
        (run.finished_at - run.started_at).total_seconds()
        if run.finished_at and run.started_at
        else 0.0
        for run in rows
    ]
    longest = max(took, default=0.0) or 1.0
    states = [run.state for run in rows]
    return {
        "bars": [
            (run.state, 6 + round(14 * seconds / longest))
            for run, seconds in zip(rows, took, strict=True)
        ],
        "words": ", ".join(f"{states.count(each)} {each}" for each in dict.fromkeys(states)),
    }


def _limits(wish: Wish, lines: Sequence[Line]) -> Sequence[limits.AccountLimits] | None:
    """Return the accounts of what is listed that are nearest to a limit; None: nobody knows."""
    try:
        found = limits.limits_of(wish.installation, [line.row for line in lines])
    except DependencyError:
        return None
    return sorted(found, key=_room)[:_MOST_ACCOUNTS]


def _room(account: limits.AccountLimits) -> tuple[bool, float]:
    """Order accounts: those that are held first, then by the part of a limit that is left."""
    standing = account.standing
    is_free = not standing.breakers and standing.paused_until is None
    left = [1 - each.used / each.lowered for each in standing.windows if each.lowered]
    return is_free, min(left, default=1.0)


def _endpoints(wish: Wish, lines: Sequence[Line]) -> list[webhooks.Listed]:
    """Return where providers deliver for the connections that are listed, and for applications."""
    owners: set[str | None] = {line.row.id for line in lines}
    if wish.visible is None:
        owners.add(None)
    return webhooks.list_endpoints(wish.installation, owned_by=owners)[:_MOST_ENDPOINTS]
