"""Deliver an example to an endpoint of one's own, signed as its provider signs."""

from __future__ import annotations

import secrets as random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from tieline.contract import (
    Event,
    InvalidRecordError,
    PathSecret,
    RequestRejectedError,
    RetryLaterError,
    Scheme,
    Secret,
    Webhooks,
)
from tieline.errors import (
    DependencyError,
    InvalidInputError,
    NotFoundError,
    PluginError,
    RefusedError,
    nearest,
)
from tieline.inbox import (
    SPREAD_S,
    Arrival,
    Endpoint,
    Endpoints,
    Refusal,
    digest_of,
    has_time,
    judge,
    key_of_event,
    new_signing_secret,
    put_text,
    set_values,
    sign,
    signed_by,
)
from tieline.registry import Fixture, list_fixtures
from tieline.services.addresses import is_near, safe_address
from tieline.services.connections import list_connections
from tieline.services.events import list_events
from tieline.services.installation import Installation
from tieline.services.webhooks import declared_webhooks, get_endpoint, new_path_secret
from tieline.store import endpoints as store
from tieline.store.database import Connection as Transaction
from tieline.store.endpoints import EndpointRow
from tieline.store.events import EventRow, EventsWanted
from tieline.store.ids import new_id
from tieline.transport import HttpTransport, Limits

__all__ = ["Sent", "Trial", "Try", "find_fixtures", "send_fixture"]

_ID_BYTES = 12
_DEADLINE_S = 30.0
_ANSWER_BYTES = 65_536
_TOO_LATE = timedelta(minutes=1)
_PATH_SECRET_FOR = timedelta(seconds=60)
_LOOK_S = 0.1
_NOT_AUTHENTIC = frozenset({401, 404})


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What is wrong with a delivery on purpose.

    Attributes:
        is_forged: It is signed with a secret that nobody has.
        is_late: It was signed longer ago than is tolerated.
        is_twice: It comes twice.
    """

    is_forged: bool = False
    is_late: bool = False
    is_twice: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Try:
    """One request.

    Attributes:
        status: Of the answer.
        seconds: How long it took.
    """

    status: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """A delivery and what became of it.

    Attributes:
        fixture: What it was made from.
        endpoint: Whom it was for.
        url: Where it went, less a secret at its end.
        tries: The requests.
        reason: Why this installation refuses it, by slug; empty if it does not.
        event_ids: The provider's ids of what it tells.
        events: What came of them in the inbox; empty if nothing did.
        is_expected: Whether the answers are those that such a delivery deserves.
        remark: What is to be known beside that; empty if nothing is.
    """

    fixture: Fixture
    endpoint: EndpointRow
    url: str
    tries: Sequence[Try]
    reason: str
    event_ids: Sequence[str]
    events: Sequence[EventRow]
    is_expected: bool
    remark: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Letter:
    """A delivery that is ready to go; ``url`` may end in a secret."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    path_secret: str | None


def find_fixtures(installation: Installation, provider: str | None = None) -> list[Fixture]:
    """Return the fixtures of all plugins that work, or of one, by provider and name.

    Raises:
        NotFoundError: There is no such provider.
        PluginError: The plugin asked for is broken, or its fixtures are.
    """
    if provider is not None:
        return list_fixtures(installation.registry.get(provider))
    plugins = [each.plugin for each in installation.registry.list() if each.plugin]
    return [fixture for plugin in plugins for fixture in list_fixtures(plugin)]


def send_fixture(
    installation: Installation,
    name: str,
    *,
    provider: str | None = None,
    endpoint_id: str | None = None,
    to: str = "",
    default_base: str,
    changes: Mapping[str, str] | None = None,
    trial: Trial | None = None,
    patience_s: float = 10.0,
) -> Sent:
    """Make a delivery of a fixture, sign it with the endpoint's own secret, and deliver it.

    An account that the fixture names becomes that of the connection. Of an
    endpoint that goes by a secret in its address only a hash is kept: it gets
    a further one for as long as the delivery takes.

    Args:
        installation: Where.
        name: The fixture's.
        provider: Whose fixture; None: whose endpoints there are.
        endpoint_id: For whom; None: the provider's only one.
        to: Where to: an address, or what ``tieline serve`` is reached at; empty:
            the endpoint's own if that is on this machine, else ``default_base``.
        default_base: Where ``tieline serve`` usually is.
        changes: Places in the body and what to put there.
        trial: What is wrong with it on purpose.
        patience_s: How long to wait for workers to handle it; they are not
            waited for where there are none.

    Raises:
        NotFoundError: There is no such fixture, provider or endpoint.
        InvalidInputError: It is not clear which is meant; the address or a
            place in the body makes no sense.
        RefusedError: There is no endpoint that takes deliveries; or this is
            production, and it would be taken.
        PluginError: The fixture is broken.
        DependencyError: Nothing answers there.
    """
    trial = trial or Trial()
    if installation.settings.is_production and not trial.is_forged:
        raise RefusedError(
            "in production an example would stand among the real records",
            hint="--forge: the endpoint refuses it, and it leaves nothing",
            code="production-refused",
        )
    fixture, row = _choose(installation, name, provider, endpoint_id)
    webhooks = declared_webhooks(installation.registry.get(row.provider))
    base = _target(row, to, default_base)
    endpoint = _read_endpoint(installation, row)
    now = installation.clock.now()
    new = random.token_hex(_ID_BYTES)
    body = fixture.fill(new_id=new, now=now)
    body, remark = _of_account(installation, webhooks, fixture, row, body)
    body = set_values(body, changes or {}, is_form=fixture.is_form)
    scheme = webhooks.scheme
    has_path = isinstance(scheme, PathSecret) and not _is_elsewhere(to)
    with _path_secret(installation, row, trial) if has_path else nullcontext() as path_secret:
        end = f"/{path_secret}" if path_secret else ""
        address = f"{row.address}{end}"
        letter = _Letter(
            url=f"{base}{end}",
            headers={
                "content-type": fixture.content_type,
                "user-agent": "tieline-webhooks-send",
                **_signature(endpoint, scheme, trial, body, address, now, new),
            },
            body=body,
            path_secret=path_secret,
        )
        tries = [_deliver(letter) for _ in range(2 if trial.is_twice else 1)]
        reason = _verdict(installation, row, letter)
    event_ids = [event.id for event in _parsed(webhooks, fixture, letter.body)]
    return Sent(
        fixture=fixture,
        endpoint=row,
        url=base,
        tries=tries,
        reason=reason,
        event_ids=event_ids,
        events=_handled(installation, row, event_ids, tries, patience_s),
        is_expected=_is_expected(scheme, row, trial, tries),
        remark=_remark(scheme, row, trial) or remark,
    )


def _choose(
    installation: Installation, name: str, provider: str | None, endpoint_id: str | None
) -> tuple[Fixture, EndpointRow]:
    row = get_endpoint(installation, endpoint_id).endpoint if endpoint_id else None
    if row and provider not in {None, row.provider}:
        raise InvalidInputError(f"the endpoint {row.id} is one of {row.provider}, not {provider}")
    every = find_fixtures(installation, row.provider if row else provider)
    found = [each for each in every if each.name == name]
    if not found:
        raise NotFoundError(
            f"there is no fixture {name[:80]!r}",
            hint=nearest(name, {each.name for each in every}) or "the plugin ships none",
            code="fixture-unknown",
        )
    if row:
        return found[0], row
    open_ones = {each.provider: _open_endpoints(installation, each.provider) for each in found}
    served = [each for each in found if open_ones[each.provider]]
    if not served:
        names = " or ".join(each.provider for each in found)
        raise RefusedError(
            f"no endpoint of {names} takes deliveries: there is none, it is disabled, or it has"
            " no secret",
            hint=f"tieline webhooks list; tieline webhooks add CONNECTION|{found[0].provider}",
            code="endpoint-missing",
        )
    if len(served) > 1:
        names = " and ".join(each.provider for each in served)
        raise InvalidInputError(
            f"{names} have a fixture {name}, and endpoints", hint="name one: --provider"
        )
    rows = open_ones[served[0].provider]
    if len(rows) > 1:
        ids = ", ".join(f"{each.id} ({each.connection_name or 'application'})" for each in rows)
        raise InvalidInputError(
            f"{served[0].provider} has several endpoints: {ids}", hint="name one: --endpoint"
        )
    return served[0], rows[0]


def _open_endpoints(installation: Installation, provider: str) -> list[EndpointRow]:
    with installation.database.read() as transaction:
        rows = store.list_endpoints(transaction, provider=provider)
    active = [row for row in rows if row.state == "active"]
    return [row for row in active if not get_endpoint(installation, row.id).is_closed]


def _target(row: EndpointRow, to: str, default_base: str) -> str:
    """Say where it goes: an address that is whole, or one that the endpoint's path follows."""
    own = urlsplit(row.address)
    base = to.rstrip("/") or (f"{own.scheme}://{own.netloc}" if is_near(own) else default_base)
    hint = f"https, or http on this machine: --to {default_base}"
    safe_address(base, purpose="it could be delivered to", hint=hint)
    return base if _is_elsewhere(base) else f"{base}{own.path}"


def _is_elsewhere(to: str) -> bool:
    """Say whether an address has a path of its own, and so is no installation's."""
    return bool(to) and urlsplit(to).path not in {"", "/"}


def _read_endpoint(installation: Installation, row: EndpointRow) -> Endpoint:
    """Read an endpoint as those who verify do, anew each time."""
    readers = Endpoints(
        installation.database,
        installation.registry,
        installation.vault,
        installation.settings,
        installation.clock,
    )
    try:
        found = readers.read(row.provider, row.id)
    finally:
        readers.close()
    if found.row is None or not found.is_open:
        raise RefusedError(
            "the endpoint takes no deliveries: it is disabled, or its connection is given up",
            hint=f"tieline webhooks enable {row.id}",
            code="endpoint-disabled",
        )
    return found


def _parsed(webhooks: Webhooks, fixture: Fixture, body: bytes) -> list[Event]:
    """Return what a body tells; nothing if the plugin cannot read it."""
    try:
        told = webhooks.parse(body, {"content-type": fixture.content_type})
        return [each for each in told if isinstance(each, Event)]
    except InvalidRecordError:
        return []


def _of_account(
    installation: Installation,
    webhooks: Webhooks,
    fixture: Fixture,
    row: EndpointRow,
    body: bytes,
) -> tuple[bytes, str]:
    """Put our accounts where the fixture has its own."""
    events = _parsed(webhooks, fixture, body)
    if not events:
        raise PluginError(
            f"the fixture {fixture.name} of {fixture.provider} is no delivery that its plugin"
            " can read",
            code="fixture-broken",
        )
    theirs = list(dict.fromkeys(event.account for event in events if event.account))
    ours = _accounts(installation, row)
    if not ours or not theirs:
        is_nobodys = bool(theirs) and row.connection_id is None
        remark = f"no account of {row.provider} is connected, so it is taken and dropped"
        return body, remark if is_nobodys else ""
    for number, account in enumerate(each for each in theirs if each not in ours):
        body = put_text(body, account, ours[number % len(ours)], is_form=fixture.is_form)
    return body, ""


def _accounts(installation: Installation, row: EndpointRow) -> list[str]:
    if row.connection_id is not None:
        return [row.account_id] if row.account_id else []
    return [
        each.account_id
        for each in list_connections(installation)
        if (each.provider, each.environment) == (row.provider, row.environment)
        and each.account_id
        and each.state != "disconnected"
    ]


@contextmanager
def _path_secret(installation: Installation, row: EndpointRow, trial: Trial) -> Iterator[str]:
    """Give the endpoint a further secret for its address, for as long as it is needed."""
    secret, secret_id = new_path_secret().reveal(), new_id("whs")
    if trial.is_forged:
        yield secret
        return

    def add(transaction: Transaction) -> None:
        now = installation.clock.now()
        store.lock_endpoint(transaction, row.id)
        store.add_secret(
            transaction,
            row.id,
            kind="path",
            secret_id=secret_id,
            digest=digest_of(secret),
            now=now,
            retires_at=now + _PATH_SECRET_FOR,
        )
        store.change_endpoint(transaction, row.id, now=now)

    def drop(transaction: Transaction) -> None:
        store.lock_endpoint(transaction, row.id)
        store.drop_secret(transaction, secret_id)
        store.change_endpoint(transaction, row.id, now=installation.clock.now())

    installation.database.transact(add)
    try:
        installation.clock.sleep(SPREAD_S)  # every process knows of it
        yield secret
    finally:
        installation.database.transact(drop)


def _signature(
    endpoint: Endpoint,
    scheme: Scheme,
    trial: Trial,
    body: bytes,
    address: str,
    now: datetime,
    delivery_id: str,
) -> dict[str, str]:
    signed = signed_by(scheme)
    if signed is None or endpoint.keys.level == "path-secret":
        return {}
    if not endpoint.keys.secrets:
        raise RefusedError(
            "the endpoint is closed: it has no secret to sign with",
            hint=f"tieline webhooks secret rotate {endpoint.row.id if endpoint.row else ''}"
            " --secret-stdin",
            code="endpoint-closed",
        )
    secret: Secret = endpoint.keys.secrets[0]
    if trial.is_forged:
        secret = new_signing_secret(signed)
    at = now - signed.tolerance - _TOO_LATE if trial.is_late else now
    return sign(
        signed,
        secret,
        body=body,
        address=address,
        at=int(at.timestamp()),
        delivery_id=delivery_id,
    )


def _deliver(letter: _Letter) -> Try:
    transport = HttpTransport(
        connection_id="webhooks-send",
        origins=[letter.url],
        limits=Limits(deadline_s=_DEADLINE_S, body_bytes=_ANSWER_BYTES, connections=1),
        allows_private=True,
    )
    parts = urlsplit(letter.url)
    try:
        reply = transport.send("POST", letter.url, headers=letter.headers, content=letter.body)
    except RetryLaterError:
        raise DependencyError(
            f"nothing answers at {parts.scheme}://{parts.netloc}",
            hint="start `tieline serve` or `tieline up` there, or say where it is: --to URL",
            code="endpoint-unreachable",
        ) from None
    except RequestRejectedError as error:
        raise InvalidInputError(error.message, hint="--to URL", code=error.slug) from None
    finally:
        transport.close()
    return Try(status=reply.status, seconds=reply.seconds)


def _verdict(installation: Installation, row: EndpointRow, letter: _Letter) -> str:
    """Say what this installation makes of it: whoever answers tells nobody why."""
    arrival = Arrival(
        provider=row.provider,
        endpoint_id=row.id,
        path_secret=letter.path_secret,
        headers={name.lower(): text for name, text in letter.headers.items()},
        body=letter.body,
    )
    found = judge(_read_endpoint(installation, row), arrival, installation.clock.now())
    return found.reason if isinstance(found, Refusal) else ""


def _handled(
    installation: Installation,
    row: EndpointRow,
    event_ids: Sequence[str],
    tries: Sequence[Try],
    patience_s: float,
) -> list[EventRow]:
    """Return what became of the events, once workers have seen to them if there are any."""
    if not event_ids or all(each.status in _NOT_AUTHENTIC for each in tries):
        return []
    wanted = EventsWanted(endpoint_id=row.id, keys=[key_of_event(each) for each in event_ids])
    clock = installation.clock
    until = clock.monotonic() + (patience_s if _has_workers(installation) else 0)
    while True:
        rows = list_events(installation, wanted, limit=100)
        is_over = all(each.state != "pending" for each in rows)
        if is_over or clock.monotonic() > until:
            return rows
        clock.sleep(_LOOK_S)


def _has_workers(installation: Installation) -> bool:
    try:
        return bool(installation.presence.alive())
    except DependencyError:
        return False


def _is_late_seen(scheme: Scheme, row: EndpointRow) -> bool:
    """Say whether a late delivery can be told from one that is not."""
    signed = signed_by(scheme)
    return signed is not None and has_time(signed) and row.scheme_level == "signature"


def _is_expected(scheme: Scheme, row: EndpointRow, trial: Trial, tries: Sequence[Try]) -> bool:
    is_wrong = trial.is_forged or (trial.is_late and _is_late_seen(scheme, row))
    allowed = _NOT_AUTHENTIC if is_wrong else {200}
    return all(each.status in allowed for each in tries)


def _remark(scheme: Scheme, row: EndpointRow, trial: Trial) -> str:
    if trial.is_late and not trial.is_forged and not _is_late_seen(scheme, row):
        return "its scheme signs no time, so an old delivery is as good as a new one"
    if trial.is_forged and isinstance(scheme, PathSecret):
        return "the secret in its address is wrong, too: that is answered as no such address"
    return ""
