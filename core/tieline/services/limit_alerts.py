"""Turn what the throttles of all processes met into alerts, and close them when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tieline.alerts import Alerter
from tieline.services.installation import Installation
from tieline.services.limits import Account, accounts_of
from tieline.store import alerts as store
from tieline.store.alerts import AlertRow
from tieline.throttle import Event, Ledger, Standing, Usage
from tieline.throttle.keys import EVENTS, provider_of

__all__ = ["is_any_event", "watch_limits"]

_QUIET = timedelta(minutes=5)
_KINDS = {"near-limit": "limit-near", "refused": "limit-refused"}
_MOST_EVENTS = 1000


def is_any_event(installation: Installation) -> bool:
    """Say whether a throttle has met something that nobody has looked at.

    Raises:
        DependencyError: Redis is away.
    """
    from tieline.coordination import redis_errors  # noqa: PLC0415 - as Installation does

    with redis_errors():
        return bool(installation.redis.llen(EVENTS))


def watch_limits(installation: Installation, *, with_quiet_ones: bool = False) -> None:
    """Raise an alert for each crossing that the throttles noted; close what is over.

    A limit's alert is over when nothing of it was met for five minutes and its
    window is below the alert level; a breaker's when it is closed.

    Args:
        installation: Where.
        with_quiet_ones: Look after those, too, of which nothing is heard.

    Raises:
        DependencyError: Database or Redis does not answer.
    """
    ledger = Ledger(installation.redis)
    if events := ledger.events(_MOST_EVENTS):
        _raise(installation, events)
        ledger.drop_events(events)
    if with_quiet_ones:
        _close_quiet(installation)


def _raise(installation: Installation, events: Iterable[Event]) -> None:
    accounts = list(accounts_of(installation))
    by_place: dict[str, list[Account]] = {}
    for account in accounts:
        by_place.setdefault(account.place, []).append(account)
    by_id = {account.row.id: account for account in accounts}
    alerter = Alerter(installation.database, installation.clock)
    crossed: dict[tuple[str, str, str], Event] = {}  # of a storm, one of each
    for event in events:
        if event.kind.startswith("breaker"):
            _turn_breaker(alerter, event, by_id.get(event.place))
        elif kind := _KINDS.get(event.kind):
            crossed[kind, event.place, event.subject] = event
    for (kind, _, _), event in crossed.items():
        _raise_limit(installation, alerter, kind, event, by_place)


def _turn_breaker(alerter: Alerter, event: Event, account: Account | None) -> None:
    if account is None:
        return
    subject = f"{account.row.id}/{event.subject}"[:255]
    if event.kind == "breaker-closed":
        alerter.close_alert("breaker-open", subject)
        return
    alerter.raise_alert(
        "breaker-open",
        subject,
        f"{account.row.name}: {event.subject} failed again and again; its runs are put off, and"
        " it is probed until it answers",
        connection_id=account.row.id,
        hint=f"tieline limits {account.row.name}",
        facts={"host": event.subject, "at": event.at.isoformat()},
    )


def _raise_limit(
    installation: Installation,
    alerter: Alerter,
    kind: str,
    event: Event,
    by_place: Mapping[str, list[Account]],
) -> None:
    accounts = by_place.get(event.place, [])
    if not accounts:
        return
    first = accounts[0]
    window = _window(installation, first, by_place, event.subject)
    facts: dict[str, Any] = {"counts": event.subject, "at": event.at.isoformat()}
    subject, names = f"{_short(event.place)}/{event.subject}", [each.row.name for each in accounts]
    if window is not None:
        facts |= {"used": window.used, "limit": window.limit, "period_s": window.period_s}
        if window.scope == "application":  # one crossing, whichever account made it
            subject, names = f"{_application(first)}/{event.subject}", []
    facts["connections"] = names
    who = ", ".join(names) or first.title
    if kind == "limit-near":
        level = round(first.policy.alert_at * 100)
        message = f"{who}: {level} % of a limit is used ({event.subject}); calls are paced"
    else:
        message = (
            f"{who}: {first.title} refused a call for its limit ({event.subject}); everybody"
            " holds back"
        )
    alerter.raise_alert(
        kind,
        subject[:255],
        message,
        connection_id=first.row.id if len(names) == 1 else None,
        provider=first.row.provider,
        hint=f"tieline limits {first.row.name}" if names else "tieline limits",
        facts=facts,
    )


def _window(
    installation: Installation, account: Account, by_place: Mapping[str, list[Account]], label: str
) -> Usage | None:
    """Find the window that an event is about; one of the whole application may be another's."""
    ledger = Ledger(installation.redis)
    for found in ledger.standing(account.connection, account.policy).windows:
        if found.label == label:
            return found
    if not any(rate.scope == "application" for rate in account.policy.rates):
        return None
    for others in by_place.values():
        if others[0].row.provider == account.row.provider:
            for found in ledger.standing(others[0].connection, others[0].policy).windows:
                if found.label == label and found.scope == "application":
                    return found
    return None


def _close_quiet(installation: Installation) -> None:
    """Close what is over, of which no throttle tells: a window that emptied, a lost event."""
    with installation.database.read() as transaction:
        rows = store.list_alerts(transaction, limit=1000)
    rows = [row for row in rows if row.kind in {"limit-near", "limit-refused", "breaker-open"}]
    if not rows:
        return
    now = installation.clock.now()
    accounts = list(accounts_of(installation))
    ledger = Ledger(installation.redis)
    alerter = Alerter(installation.database, installation.clock)
    for row in rows:
        found = {_key(row, account): account for account in accounts if _is_of(row, account)}
        if all(
            _is_over(row, ledger.standing(account.connection, account.policy), account, now)
            for account in found.values()
        ):
            alerter.close_alert(row.kind, row.subject)


def _key(row: AlertRow, account: Account) -> str:
    """Look once at an account that several connections have; breakers are a connection's own."""
    return account.row.id if row.kind == "breaker-open" else account.place


def _is_of(row: AlertRow, account: Account) -> bool:
    if row.kind == "breaker-open":
        return row.connection_id == account.row.id
    return row.subject.startswith((f"{_short(account.place)}/", f"{_application(account)}/"))


def _is_over(row: AlertRow, standing: Standing, account: Account, now: datetime) -> bool:
    if row.kind == "breaker-open":
        host = row.facts.get("host")
        return all(each.host != host or each.state == "closed" for each in standing.breakers)
    if now - row.seen_at < _QUIET:
        return False
    if row.kind == "limit-refused":
        return standing.paused_until is None
    return not any(
        each.used >= account.policy.alert_at * each.lowered
        for each in standing.windows
        if each.label == row.facts.get("counts")
    )


def _application(account: Account) -> str:
    return _short(provider_of(account.connection))


def _short(place: str) -> str:
    """Name an account as people do: provider, environment, account."""
    return place.removeprefix("tieline:throttle:")
