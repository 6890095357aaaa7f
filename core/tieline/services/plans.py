"""Say what a run would do if it were asked for now; nobody is asked, nothing is stored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from tieline.contract import RateLimitPolicy, TielineError
from tieline.engine.plan import Range, RunPlan, make_plan
from tieline.errors import DependencyError
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.limits import account_of, show_limits
from tieline.services.syncs import check_window, require_awake
from tieline.store import connections, records, runs
from tieline.store.connections import ConnectionRow, EntityState
from tieline.store.database import Connection as Transaction
from tieline.store.rows import RunRow
from tieline.store.runs import RunsWanted

__all__ = ["PlannedLimits", "SyncPlan", "plan_syncs"]

_SUCCEEDED = ("succeeded", "succeeded_with_quarantine")
_PERIOD_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedLimits:
    """How fast the provider may be called now, as far as that is known.

    Attributes:
        rates: Of all calls, as ``25/second``; empty: none is known.
        concurrency: Calls under way at once; None: not limited.
        share: Part of that which is allowed now; less than 1 after refusals.
        paused_until: Nobody calls before; None: no pause, or Redis is away.
        breaker_until: Until when nothing is sent, for the provider failed again
            and again; None: it is sent.
    """

    rates: Sequence[str]
    concurrency: int | None
    share: float
    paused_until: datetime | None
    breaker_until: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncPlan:
    """What a run of one entity would do.

    Attributes:
        entity: Which.
        mode: What the run would be: ``incremental``, ``full`` or ``window``.
        reason: Why, if something else was asked for; empty otherwise.
        source: ``feed``, the provider's log of changes, or ``list``.
        window: Start, included, and end, excluded, of what is read; None: open.
        is_split: Whether many hands may read it, window by window.
        synced_until: The provider's time up to which the entity is known.
        records: How many live ones are stored.
        requests: About how many it takes; None: nothing like it was done before.
        basis: The run that this rests on; None: none.
        least_s: The seconds that so many take at least, by the limits.
        active: The run that is under way: asking returns that one.
        trouble: Why asking would be refused now; None: it would not.
    """

    entity: str
    mode: str
    reason: str
    source: str
    window: Range
    is_split: bool
    synced_until: datetime | None
    records: int
    requests: int | None
    basis: RunRow | None
    least_s: float | None
    active: RunRow | None
    trouble: TielineError | None


def plan_syncs(
    installation: Installation,
    connection: str,
    entities: Sequence[str] = (),
    *,
    mode: str = "incremental",
    window: Range = (None, None),
) -> tuple[list[SyncPlan], PlannedLimits]:
    """Say what runs would do.

    Args:
        installation: Where.
        connection: Name or id.
        entities: Which; none: all that the provider has.
        mode: ``incremental``, ``full`` or ``window``.
        window: For mode ``window``: aware start and end, either may be None.

    Raises:
        NotFoundError: No such connection or entity.
        PluginError: The provider's plugin is broken.
        InvalidInputError: The window ends before it begins.
        RefusedError: A window was asked for, and the list of one has none.
    """
    check_window(window)
    row = get_connection(installation, connection)
    plugin = installation.registry.get(row.provider)
    declared = [plugin.entity(name) for name in entities or plugin.entities]
    limits = _limits(installation, row, account_of(installation, row).policy)
    now = installation.clock.now()
    with installation.database.read() as transaction:
        known = {each.entity: each for each in connections.read_entity_states(transaction, row.id)}
        plans = []
        for entity in declared:
            state = known.get(entity.name)
            plan = make_plan(mode, entity, state, window=window, now=now)
            plans.append(_planned(transaction, row, entity.name, plan, state, limits))
    return plans, limits


def _planned(
    transaction: Transaction,
    row: ConnectionRow,
    entity: str,
    plan: RunPlan,
    state: EntityState | None,
    limits: PlannedLimits,
) -> SyncPlan:
    basis = _alike(transaction, row, entity, plan.mode)
    requests = None if basis is None else basis.counts.requests
    return SyncPlan(
        entity=entity,
        mode=plan.mode,
        reason=plan.reason,
        source=plan.part.source,
        window=plan.part.window,
        is_split=plan.may_split,
        synced_until=state.synced_until if state else None,
        records=records.count_live(transaction, row.id, entity),
        requests=requests,
        basis=basis,
        least_s=None if requests is None else _least_s(requests, limits),
        active=runs.active_run(transaction, row.id, entity),
        trouble=_trouble(row),
    )


def _trouble(row: ConnectionRow) -> TielineError | None:
    try:
        require_awake(row)
    except TielineError as error:
        return error
    return None


def _alike(transaction: Transaction, row: ConnectionRow, entity: str, mode: str) -> RunRow | None:
    """Return the last run that did the same; a window says nothing of another."""
    if mode == "window":
        return None
    wanted = RunsWanted(
        connection_ids=(row.id,), entities=(entity,), states=_SUCCEEDED, modes=(mode,)
    )
    return next(iter(runs.list_runs(transaction, wanted, limit=1)), None)


def _limits(
    installation: Installation, row: ConnectionRow, policy: RateLimitPolicy
) -> PlannedLimits:
    share, paused_until, breaker_until = 1.0, None, None
    with suppress(DependencyError):  # without Redis the policy is all that is known
        for each in show_limits(installation, row.id):
            standing = each.standing
            share, paused_until = standing.share, standing.paused_until
            opened = [one.until for one in standing.breakers if one.state == "open" and one.until]
            breaker_until = max(opened, default=None)
    return PlannedLimits(
        rates=[rate.limit for rate in policy.rates if not rate.match],
        concurrency=policy.concurrency,
        share=share,
        paused_until=paused_until,
        breaker_until=breaker_until,
    )


def _least_s(requests: int, limits: PlannedLimits) -> float:
    """Say how long so many take at the slowest of the rates; what it lets pass at once is free."""
    longest = 0.0
    for text in limits.rates:
        count, many, unit = _read_rate(text)
        allowed = max(1.0, count * limits.share)
        longest = max(longest, (requests / allowed - 1) * many * _PERIOD_S[unit])
    return round(longest, 1)


def _read_rate(text: str) -> tuple[int, int, str]:
    found = re.fullmatch(r"(\d+) ?/ ?(?:(\d+) )?([a-z]+?)s?", text)
    assert found is not None  # the declaration has checked it
    return int(found[1]), int(found[2] or 1), found[3]
