"""Checks of webhooks: forged ones, true ones, repeated ones, ones out of order."""

from __future__ import annotations

import random
import string
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tieline.checks.case import Case, compare
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.reading import require_success
from tieline.checks.site import Site
from tieline.contract import Entity, Event, Hmac, PathSecret, Secret, Webhooks
from tieline.engine import drain_events
from tieline.inbox.sign import new_signing_secret, sign
from tieline.inbox.verify import Keys, digest_of, verify, verify_path
from tieline.registry import list_fixtures
from tieline.store import deliveries
from tieline.store.ids import new_id

__all__: list[str] = []

_FORGERIES = 10_000
_ADDRESS = "https://hooks.example.com/webhooks/acme/whe_1"
_BODY = b'{"id": "evt_1", "type": "x", "data": {"id": "1", "amount": 100}}'
_NOW = 1_790_000_000


def _webhooks(case: Case) -> Webhooks:
    if case.plugin.webhooks is None:
        raise DoesNotApplyError("the provider sends nothing by itself")
    return case.plugin.webhooks


def _scheme(case: Case) -> Hmac:
    scheme = _webhooks(case).scheme
    signed = scheme.also if isinstance(scheme, PathSecret) else scheme
    if signed is None:
        raise DoesNotApplyError("deliveries are not signed")
    return signed


def _sign(scheme: Hmac, secret: Secret, body: bytes, at: int = _NOW) -> dict[str, str]:
    """Sign as the provider does, from the declaration alone; names in lower case."""
    made = sign(scheme, secret, body=body, address=_ADDRESS, at=at, delivery_id="msg_1")
    return {name.lower(): text for name, text in made.items()}


@check(
    "true-deliveries-are-taken",
    "silver",
    "A delivery that is signed as declared is accepted, and so is one that the sandbox signed by"
    " itself.",
    do="compare Hmac(…) with the provider's page on signatures: header, what is signed and in which"
    " order, encoding",
)
def _true(case: Case) -> None:
    scheme = _scheme(case)
    where = case.subject.find(r"Hmac\(|STANDARD_WEBHOOKS")
    secret = new_signing_secret(scheme)
    keys = Keys(secrets=[secret], path_digests=[digest_of("path")])
    said = verify(
        _webhooks(case).scheme,
        keys,
        headers=_sign(scheme, secret, _BODY),
        body=_BODY,
        address=_ADDRESS,
        now=_NOW,
    )
    if said is not None:
        raise WrongError(f"it is refused: {said}", where=where)
    _hold_to_the_sandbox(case, where)


def _hold_to_the_sandbox(case: Case, where: str) -> None:
    """Hold the declaration to a delivery by somebody who never saw it."""
    told = case.guide.delivery
    if not told:
        raise WrongError(
            "the sandbox signs no delivery by itself, so that a wrong scheme would go unseen",
            where=where,
            do="let the sandbox sign one as the provider's page says, and its guide show it as"
            ' "delivery": secret, address, at, headers, body',
        )
    if missing := {"secret", "address", "at", "headers", "body"} - told.keys():
        raise WrongError(f"the delivery of the sandbox's guide has no {min(missing)}")
    said = verify(
        _webhooks(case).scheme,
        Keys(secrets=[Secret(told["secret"])]),
        headers={name.lower(): text for name, text in told["headers"].items()},
        body=told["body"].encode(),
        address=told["address"],
        now=told["at"],
    )
    if said is not None:
        raise WrongError(f"the sandbox's own delivery is refused: {said}", where=where)


@check(
    "forged-deliveries-are-refused",
    "silver",
    f"Of {_FORGERIES:,} forged deliveries none is accepted.",
    do="declare the scheme as the provider's page has it, and sign the body, the time and, where"
    " the"
    " provider does, the id",
    needs="plugin",
)
def _forged(case: Case) -> None:
    declared = _webhooks(case).scheme
    where = case.subject.find(r"Hmac\(|PathSecret\(|STANDARD_WEBHOOKS")
    if isinstance(declared, PathSecret):
        keys = Keys(level="path-secret", path_digests=[digest_of("right")])
        for given in (None, "", "wrong", "Right", "right ", digest_of("right")):
            if verify_path(declared, keys, given):
                raise WrongError(f"the address secret {given!r} is accepted", where=where)
    scheme = _scheme(case)
    chance = random.Random(7)  # noqa: S311 - the same at every run
    secret = new_signing_secret(scheme)
    keys = Keys(secrets=[secret], path_digests=[digest_of("path")])
    true = _sign(scheme, secret, _BODY)
    if "timestamp" not in scheme.signed and (scheme.timestamp or scheme.timestamp_header):
        raise WrongError("a time is sent and not signed: anybody may write another", where=where)
    made = 0
    for how, headers, body in _forgeries(scheme, secret, true, chance):
        made += 1
        if verify(declared, keys, headers=headers, body=body, address=_ADDRESS, now=_NOW) is None:
            raise WrongError(f"a forged delivery is accepted: {how}", where=where)
    nobody = Keys(secrets=[])
    if verify(declared, nobody, headers=true, body=_BODY, address=_ADDRESS, now=_NOW) is None:
        raise WrongError("an endpoint without a secret accepts", where=where)
    assert made >= _FORGERIES


def _forgeries(
    scheme: Hmac, secret: Secret, true: dict[str, str], chance: random.Random
) -> Iterator[tuple[str, dict[str, str], bytes]]:
    name = scheme.header.lower()
    other = new_signing_secret(scheme)
    late = scheme.tolerance + timedelta(seconds=60)
    yield "with another secret", _sign(scheme, other, _BODY), _BODY
    yield "without its header", {key: text for key, text in true.items() if key != name}, _BODY
    yield "without a body", dict(true), b""
    if "timestamp" in scheme.signed:
        for way in (-1, 1):
            at = _NOW + way * int(late.total_seconds())
            yield "signed too long ago", _sign(scheme, secret, _BODY, at), _BODY
    given = true[name]
    places = [at for at, sign in enumerate(given) if sign in string.hexdigits]
    for number in range(_FORGERIES):
        if number % 3 == 0:
            body = bytearray(_BODY)
            body[chance.randrange(len(body))] ^= 1 << chance.randrange(7)
            yield "with another body", dict(true), bytes(body)
        elif number % 3 == 1:
            at = chance.choice(places)
            sign = chance.choice(
                [each for each in string.hexdigits if each.lower() != given[at].lower()]
            )
            forged = given[:at] + sign + given[at + 1 :]
            yield "with another signature", true | {name: forged}, _BODY
        else:
            cut = chance.randrange(len(given))
            yield "with a cut signature", true | {name: given[:cut]}, _BODY


# --- bodies ---------------------------------------------------------------------------------------


def _fixtures(case: Case) -> Mapping[str, tuple[str, bytes, str]]:
    """Return the example deliveries: name to event type, body and how it is sent."""
    _webhooks(case)
    now = datetime.fromtimestamp(_NOW, UTC)
    return {
        each.name: (each.type, each.fill(new_id="0" * 24, now=now), each.content_type)
        for each in list_fixtures(case.plugin)
    }


@check(
    "deliveries-are-read",
    "silver",
    "Every example delivery says what happened to which record, with a zone, and the same when it"
    " is"
    " read again.",
    do="let parse return an Event with the provider's id of the event (not one made up), its type"
    " as in"
    " Webhooks.types, a declared entity, and occurred_at by utc()",
    needs="plugin",
)
def _read(case: Case) -> None:
    webhooks = _webhooks(case)
    where = case.subject.place_of(webhooks.parse)
    examples = _fixtures(case)
    if not examples:
        raise WrongError(
            "there are no example deliveries",
            where=case.subject.find(r"Webhooks\("),
            do="put bodies from the provider's pages into a folder of the package, each named"
            " after its"
            ' type, and name it: Webhooks(fixtures="tieline_acme.deliveries")',
        )
    for name, (kind, body, sent_as) in examples.items():
        events = [_parsed(case, name, body, sent_as, where) for _ in range(2)]
        if [_facts(event) for event in events[0]] != [_facts(event) for event in events[1]]:
            raise WrongError(f"{name}, read twice, is two different events", where=where)
        for event in events[0]:
            _require_good(case, name, kind, event, where)


def _parsed(case: Case, name: str, body: bytes, sent_as: str, where: str) -> list[Event]:
    try:
        found = list(_webhooks(case).parse(body, {"content-type": sent_as}))
    except Exception as error:
        raise WrongError(
            f"reading {name} raises {type(error).__name__}: {error}",
            where=case.subject.place_in(error) or where,
        ) from error
    if not found:
        raise WrongError(f"{name} says nothing", where=where)
    return found


def _facts(event: Event) -> tuple[Any, ...]:
    return event.id, event.type, event.entity, event.key, event.occurred_at, event.account


def _require_good(case: Case, name: str, kind: str, event: Event, where: str) -> None:
    entity = case.plugin.entities.get(event.entity or "")
    if not event.id:
        raise WrongError(f"{name} is an event without an id", where=where)
    if event.entity and entity is None:
        raise WrongError(f"{name} is about {event.entity!r}, which is not declared", where=where)
    if entity is not None and event.type not in entity.events:
        raise WrongError(f"{name}: {event.type!r} means nothing to {entity.name}", where=where)
    if (
        entity is not None
        and event.key is not None
        and not (event.key and isinstance(event.key, str))
    ):
        raise WrongError(
            f"{name} is about {entity.name} {event.key!r}, which is no key",
            where=where,
            do="write an id that is a number as str(…): text_of makes an empty text of it",
        )
    if entity is None and event.type != kind:  # one that is meant may be told by another's body
        raise WrongError(f"{name} is of the type {event.type!r}, not {kind!r}", where=where)
    if event.occurred_at is not None and event.occurred_at.utcoffset() is None:
        raise WrongError(f"{name} happened at a time without a zone", where=where)


@check(
    "nonsense-is-no-event",
    "silver",
    "A verified body that is none of the provider's is refused by an error, at once.",
    do="raise InvalidRecordError for a body that is not as the provider's page has it",
    needs="plugin",
)
def _nonsense(case: Case) -> None:
    webhooks = _webhooks(case)
    where = case.subject.place_of(webhooks.parse)
    for body in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b"{",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"id": {}}',
        b"a=b&c",
    ):
        try:
            events = list(webhooks.parse(body, {}))
        except Exception:  # noqa: S112, BLE001 - any error refuses it
            continue
        for event in events:
            if not isinstance(event, Event) or not isinstance(event.id, str) or not event.id:
                raise WrongError(f"{body[:20]!r} became an event without an id", where=where)


@check(
    "all-types-have-examples",
    "gold",
    "There is an example delivery of every type that is asked for.",
    do="put one body of each type into the folder of Webhooks.fixtures",
    needs="plugin",
)
def _examples(case: Case) -> None:
    have = {kind for kind, _, _ in _fixtures(case).values()}
    missing = [name for name in _webhooks(case).types if name not in have]
    if missing:
        raise WrongError(
            f"{len(missing)} types have none, such as {missing[0]}",
            where=_webhooks(case).fixtures or case.subject.find(r"Webhooks\("),
        )


@check(
    "events-in-any-order",
    "silver",
    "Events that come twice, late and in the wrong order leave the records as they are there.",
    do="let events be re-read where the provider sends no whole record, and give Event.occurred_at"
    " and"
    " Entity.version where it does",
)
def _any_order(case: Case) -> None:
    _webhooks(case)
    looked = [each for each in case.entities if each.get and set(each.events.values()) - {"delete"}]
    if not looked:
        raise DoesNotApplyError("no entity has events that are read again")
    with case.site() as site:
        for entity in looked:
            require_success(case, entity, site.sync(entity))
            site.move(600)
            before = site.truth(entity)
            for verb in ("create", "update", "delete"):
                site.order(entity, verb, 3)
            _deliver(site, entity, before)
            site.move(1)
            for _ in range(3):
                drain_events(site.made.engine, site.row.id, threading.Event())
                site.move(600)
            found = compare(site, entity)
            if found:
                raise WrongError(
                    f"after events in the wrong order, {entity.name} differ: {found}",
                    where=case.place(entity, "events"),
                )


def _deliver(site: Site, entity: Entity, before: Mapping[str, Any]) -> None:
    """Put events about everything that changed into the inbox: twice, the newest first."""
    kind = next(name for name, action in entity.events.items() if action != "delete")
    after = site.truth(entity)
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    now = site.clock.now()
    rows = []
    for round_number in range(2):
        for place, key in enumerate(sorted(keys, reverse=True)):
            rows.append(
                deliveries.NewEvent(
                    id=new_id("evt"),
                    endpoint_id="whe_check",
                    event_key=f"{entity.name}-{key}"
                    if place % 2
                    else f"{entity.name}-{key}-{round_number}",
                    connection_id=site.row.id,
                    type=kind,
                    entity=entity.name,
                    record_key=key,
                    occurred_at=now - timedelta(seconds=place + 60 * round_number),
                    received_at=now,
                    delivery_id=new_id("del"),
                    body=b"{}",
                    headers="{}",
                    record=None,
                )
            )
    with site.made.database.write() as connection:
        for row in rows:
            deliveries.insert_events(connection, [row])
