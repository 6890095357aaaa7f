"""``/metrics``, for a Prometheus server that shows the token of the settings."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tieline.errors import DependencyError
from tieline.inbox import read_counts
from tieline.services.alerts import list_alerts
from tieline.services.events import count_backlog
from tieline.services.installation import Installation
from tieline.services.limits import AccountLimits, show_limits
from tieline.web.pages import HEADERS

__all__ = ["Metrics"]

_ACCOUNT = ("provider", "environment", "connection")


class Metrics:
    """Everything that is counted, read from SQL and Redis at each request.

    No process counts for itself: which of many would be asked?

    Args:
        installation: Where.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def answer(self, request: Request) -> Response:
        """Answer in Prometheus' text format, 404 without a token in the settings."""
        token = self._installation.settings.metrics_token.reveal()
        if not token:
            raise HTTPException(404)
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Everything(self._installation))
        return Response(generate_latest(registry), headers=HEADERS, media_type=CONTENT_TYPE_LATEST)


class _Everything(Collector):
    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: registering must not ask the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families; what cannot be read is left out, and ``tieline_up`` says so."""
        up = GaugeMetricFamily("tieline_up", "1 if it answered this request.", labels=["part"])
        for part, reads in (
            ("redis", (self._limits, self._deliveries)),
            ("database", (self._alerts, self._events)),
        ):
            try:
                found = [family for read in reads for family in read()]
            except DependencyError:
                found = []
                up.add_metric([part], 0)
            else:
                up.add_metric([part], 1)
            yield from found
        yield up

    def _limits(self) -> Iterator[Metric]:
        accounts = show_limits(self._installation)
        yield from _windows(accounts)
        yield from _under_way(accounts)
        yield from _counted(accounts)
        yield from _state(accounts, self._installation.clock.now())

    def _deliveries(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "tieline_webhook_deliveries",
            "Deliveries by what became of them: accepted, or why not; and events of theirs that"
            " were there before (repeated) or of accounts that are not ours (account-unknown).",
            labels=["endpoint", "outcome"],
        )
        for endpoint_id, what, count in read_counts(self._installation.redis):
            family.add_metric([endpoint_id or "", what], count)
        yield family

    def _alerts(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("tieline_alerts_open", "Alerts that are open.", labels=["kind"])
        kinds = [alert.kind for alert in list_alerts(self._installation, limit=10_000)]
        for kind in sorted(set(kinds)):
            family.add_metric([kind], kinds.count(kind))
        yield family

    def _events(self) -> Iterator[Metric]:
        events = GaugeMetricFamily(
            "tieline_webhook_events", "Events that are not handled.", labels=["state"]
        )
        age = GaugeMetricFamily(
            "tieline_webhook_oldest_pending_seconds", "How long ago the oldest pending one came."
        )
        backlog = count_backlog(self._installation)
        events.add_metric(["pending"], backlog.pending)
        events.add_metric(["dead"], backlog.dead)
        age.add_metric([], backlog.oldest_s)
        yield from (events, age)


def _windows(accounts: Iterable[AccountLimits]) -> Iterator[Metric]:
    labels = [*_ACCOUNT, "counts", "period_s"]
    used = GaugeMetricFamily("tieline_limit_used", "Calls in the window now.", labels=labels)
    allowed = GaugeMetricFamily("tieline_limit_allowed", "Calls allowed in it now.", labels=labels)
    waiting = GaugeMetricFamily("tieline_limit_waiting", "Calls that wait for it.", labels=labels)
    for account in accounts:
        for window in account.standing.windows:
            by = [*_labels(account), window.label, str(window.period_s)]
            used.add_metric(by, window.used)
            allowed.add_metric(by, window.lowered)
            waiting.add_metric(by, window.waiting)
    yield from (used, allowed, waiting)


def _under_way(accounts: Iterable[AccountLimits]) -> Iterator[Metric]:
    used = GaugeMetricFamily("tieline_calls_under_way", "Calls under way.", labels=_ACCOUNT)
    allowed = GaugeMetricFamily(
        "tieline_calls_under_way_allowed", "Calls that may be under way at once.", labels=_ACCOUNT
    )
    for account in accounts:
        if (flight := account.standing.in_flight) is not None:
            used.add_metric(_labels(account), flight.used)
            allowed.add_metric(_labels(account), flight.lowered)
    yield from (used, allowed)


def _counted(accounts: Iterable[AccountLimits]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "tieline_calls", "Calls that got their turn.", labels=[*_ACCOUNT, "pace"]
    )
    refused = CounterMetricFamily(
        "tieline_calls_refused", "Calls refused for the provider's limit.", labels=_ACCOUNT
    )
    for account in accounts:
        for pace, count in account.standing.calls.items():
            calls.add_metric([*_labels(account), pace], count)
        refused.add_metric(_labels(account), account.standing.refused)
    yield from (calls, refused)


def _state(accounts: Iterable[AccountLimits], now: datetime) -> Iterator[Metric]:
    share = GaugeMetricFamily(
        "tieline_limit_share", "Part of the policy that is allowed now.", labels=_ACCOUNT
    )
    paused = GaugeMetricFamily(
        "tieline_limit_paused_seconds", "Seconds for which nobody may call.", labels=_ACCOUNT
    )
    broken = GaugeMetricFamily(
        "tieline_breaker_open",
        "1 while no calls are made to a host.",
        labels=[*_ACCOUNT, "host"],
    )
    for account in accounts:
        standing, by = account.standing, _labels(account)
        share.add_metric(by, standing.share)
        until = standing.paused_until
        paused.add_metric(by, max(0.0, (until - now).total_seconds()) if until else 0.0)
        for breaker in standing.breakers:
            broken.add_metric([*by, breaker.host], breaker.state == "open")
    yield from (share, paused, broken)


def _labels(account: AccountLimits) -> list[str]:
    first = account.accounts[0].connection
    return [first.provider, first.environment, account.names]
