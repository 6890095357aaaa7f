"""From bytes to an answer: endpoint, authenticity, meaning, commit, in this order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime

from tieline.clock import Clock
from tieline.contract import Event, InvalidRecordError, Webhooks
from tieline.errors import DependencyError, VaultError
from tieline.inbox.after import Afterwards
from tieline.inbox.committer import Committer
from tieline.inbox.delivery import Arrival, Delivery, Outcome, Refusal
from tieline.inbox.endpoint import Endpoint, Endpoints
from tieline.inbox.verify import verified_with, verify, verify_path
from tieline.telemetry import get_logger

__all__ = ["REFUSALS", "Inbox", "ReadEndpoint", "Taken", "judge"]

REFUSALS = {
    "endpoint-unknown": "no endpoint has this address",
    "endpoint-disabled": "the endpoint is disabled, or its connection is disconnected",
    "path-wrong": "the secret in the address is wrong or missing",
    "account-other": "an event is of another account than the endpoint's connection",
    "body-unreadable": "it is authentic, but no delivery that the plugin can read",
    "plugin-error": "the plugin failed to read it",
    "encoded": "the body is compressed",
    "too-large": "the body is beyond the limit",
    "too-slow": "the body took too long to arrive",
    "crowded": "too many deliveries at once",
    "database-down": "the database does not answer",
}
"""Reasons beside those of the verifier, by slug."""

_log = get_logger(__name__)
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadEndpoint:
    """Asks whoever drives :meth:`Inbox.take` for an endpoint.

    Attributes:
        since: As for :meth:`Endpoints.read`.
    """

    since: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """How the taking of a delivery ended.

    Attributes:
        status: To answer with. 200: it is safe.
        reason: Why it was refused, by slug; empty if it was not.
        endpoint_id: Whose it was; None: no endpoint's of ours.
        delivery: What was stored; None of a refusal.
    """

    status: int
    reason: str = ""
    endpoint_id: str | None = None
    delivery: Delivery | None = None


Taking = Generator[ReadEndpoint | Delivery, Endpoint | Outcome, Taken]


class Inbox:
    """Takes deliveries in.

    Args:
        endpoints: Who may deliver, and how it is checked.
        committer: Commits what was verified.
        after: Counts.
        clock: Now.
    """

    def __init__(
        self, endpoints: Endpoints, committer: Committer, after: Afterwards, clock: Clock
    ) -> None:
        self.endpoints = endpoints
        self.committer = committer
        self.after = after
        self._clock = clock

    def accept(self, arrival: Arrival) -> int:
        """Take a delivery in, and wait until it is committed.

        Returns:
            The status to answer with. 200: it is safe.
        """
        taking = self.take(arrival)
        try:
            step = next(taking)
            while True:
                if isinstance(step, Delivery):
                    step = taking.send(self.committer.commit(step))
                    continue
                try:
                    endpoint = self.endpoints.read(
                        arrival.provider, arrival.endpoint_id, since=step.since
                    )
                except (DependencyError, VaultError) as error:
                    step = taking.throw(error)
                else:
                    step = taking.send(endpoint)
        except StopIteration as end:
            taken: Taken = end.value
            return taken.status

    def take(self, arrival: Arrival) -> Taking:
        """Take a delivery in, step by step; whoever drives this may wait as he likes.

        Yields:
            :class:`ReadEndpoint`, which wants an endpoint back (or to have
            thrown what reading it raised), and a :class:`Delivery`, which wants
            what became of it.

        Returns:
            How it ended.
        """
        endpoint = self.endpoints.known(arrival.provider, arrival.endpoint_id)
        since: float | None = None
        for _ in range(_ROUNDS):
            if endpoint is None:
                try:
                    found = yield ReadEndpoint(since=since)
                except (DependencyError, VaultError):
                    return self._refused(None, 503, "database-down")
                assert isinstance(found, Endpoint)
                endpoint = found
            verdict = self.judge(endpoint, arrival)
            endpoint_id = endpoint.row.id if endpoint.row else None
            if isinstance(verdict, Refusal):
                return self._refused(endpoint_id, verdict.status, verdict.reason)
            assert endpoint_id is not None  # nobody's delivery is refused
            outcome = yield verdict
            if outcome == "stored":
                self.after.accepted(endpoint_id)
                return Taken(status=200, endpoint_id=endpoint_id, delivery=verdict)
            if outcome != "stale":
                reason = "database-down" if outcome == "down" else "crowded"
                return self._refused(endpoint_id, 503, reason)
            endpoint, since = None, self._clock.monotonic()
        return self._refused(None, 503, "crowded")

    def judge(self, endpoint: Endpoint, arrival: Arrival) -> Delivery | Refusal:
        """Check and read a delivery as of now; see :func:`judge`."""
        now = self._clock.now()
        verdict = judge(endpoint, arrival, now)
        if isinstance(verdict, Delivery) and verdict.verified_with in endpoint.ending:
            self.after.used_old_secret(verdict.endpoint.id, now.timestamp())
        return verdict

    def _refused(self, endpoint_id: str | None, status: int, reason: str) -> Taken:
        self.after.refused(endpoint_id, reason)
        return Taken(status=status, reason=reason, endpoint_id=endpoint_id)


def judge(endpoint: Endpoint, arrival: Arrival, now: datetime) -> Delivery | Refusal:
    """Check and read a delivery; asks nobody.

    As much is done for an address that does not exist as for one that
    does, so that the time of the answer tells nothing.
    """
    row = endpoint.row
    reason = verify(
        endpoint.scheme,
        endpoint.keys,
        headers=arrival.headers,
        body=arrival.body,
        address=row.address if row else _NOWHERE,
        now=now.timestamp(),
    )
    is_way_right = verify_path(endpoint.scheme, endpoint.keys, arrival.path_secret)
    if row is None:
        return Refusal(status=404, reason="endpoint-unknown")
    if not endpoint.is_open:
        return Refusal(status=404, reason="endpoint-disabled")
    if not is_way_right:
        return Refusal(status=404, reason="path-wrong")
    if reason is not None or endpoint.webhooks is None:
        return Refusal(status=401, reason=reason or "scheme-unknown")
    events = _read(endpoint.webhooks, arrival)
    if isinstance(events, Refusal):
        return events
    if any(_is_of_another(endpoint, event) for event in events):
        return Refusal(status=404, reason="account-other")
    kept = [name.lower() for name in endpoint.webhooks.keeps]
    return Delivery(
        endpoint=row,
        events=events,
        body=arrival.body,
        headers={name: arrival.headers[name] for name in kept if name in arrival.headers},
        received_at=now,
        verified_with=_verified_with(endpoint, arrival, now),
    )


def _verified_with(endpoint: Endpoint, arrival: Arrival, now: datetime) -> str | None:
    """Name the secret that let an authentic delivery in; one that is to end rather than another."""
    names = verified_with(
        endpoint.scheme,
        endpoint.keys,
        headers=arrival.headers,
        body=arrival.body,
        address=endpoint.row.address if endpoint.row else _NOWHERE,
        given=arrival.path_secret,
        now=now.timestamp(),
    )
    return next((name for name in names if name in endpoint.ending), next(iter(names), None))


_NOWHERE = "https://example.com/webhooks/nobody/whe_aaaaaaaaaaaaaaaa"


def _read(webhooks: Webhooks, arrival: Arrival) -> Sequence[Event] | Refusal:
    try:
        events = list(webhooks.parse(arrival.body, arrival.headers))
    except InvalidRecordError:
        return Refusal(status=400, reason="body-unreadable")
    except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the request
        _log.error(
            "a plugin failed to read a delivery",
            provider=arrival.provider,
            error=type(error).__name__,
        )
        return Refusal(status=400, reason="plugin-error")
    if all(isinstance(event, Event) and isinstance(event.id, str) and event.id for event in events):
        return events
    return Refusal(status=400, reason="plugin-error")


def _is_of_another(endpoint: Endpoint, event: Event) -> bool:
    """Say whether an event is of somebody else than the endpoint's connection."""
    row = endpoint.row
    if row is None or endpoint.is_application or row.account_id is None or event.account is None:
        return False
    return event.account != row.account_id
