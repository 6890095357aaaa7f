"""Checks of trouble: refusals, outages, a right that is missing, a token that ends."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tieline.auth import auth_of
from tieline.checks.case import Case, compare
from tieline.checks.kinds import DoesNotApplyError, WrongError, check
from tieline.checks.reading import require_success
from tieline.checks.site import MovedClock, Site
from tieline.contract import (
    Credential,
    CursorExpiredError,
    NeedsReauthError,
    PageParams,
    PermissionDeniedError,
    ProviderError,
    RateLimitedError,
    Reply,
    RetryLaterError,
    TielineError,
)

__all__: list[str] = []

_HEAD = 16
_ALWAYS = {"nth": 1, "times": 0}
_OUTAGES: Mapping[str, Mapping[str, Any]] = {
    "a 500": {"kind": "status", "status": 500},
    "a 502 with a page of HTML": {
        "kind": "status",
        "status": 502,
        "body": "<html>Bad gateway</html>",
    },
    "a 503": {"kind": "status", "status": 503},
    "a connection that is cut": {"kind": "drop"},
    "an empty answer": {"kind": "empty"},
    "a page of HTML in place of JSON": {"kind": "html200"},
}


def _refusal(case: Case, name: str, **more: Any) -> Mapping[str, Any]:
    given = case.guide.refusals.get(name)
    if given is None:
        raise DoesNotApplyError(f"the sandbox's guide has no refusal {name!r}")
    headers = {**given.get("headers", {}), **more.pop("headers", {})}
    return {"kind": "status", **given, **_ALWAYS, **more, "headers": headers}


def _raised(call: Any) -> Exception | None:
    """Call a step and return what it raised."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error
    return None


def _told(error: Exception | None) -> str:
    if error is None:
        return "nothing"
    return f"{type(error).__name__} ({str(error)[:120]})"


@check(
    "throttling-is-obeyed",
    "silver",
    "A refusal for the rate is a RateLimitedError that says how long to wait, in both forms of"
    " Retry-After, and a run goes on after it.",
    do="raise RateLimitedError(…, retry_after=retry_after(reply.headers)) for the provider's"
    " refusal;"
    " an SDK's error is translated in tieline_classify",
)
def _throttled(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        now = datetime.fromtimestamp(site.control.get("clock")["now"], UTC)
        date = format_datetime(now + timedelta(seconds=7), usegmt=True)
        for form in ("7", date):
            site.control.fail(_refusal(case, "throttled", headers={"Retry-After": form}))
            for what, call, where in (*case.steps(opened), *_writes(case, opened)):
                error = _raised(call)
                place = _place(case, error, where)
                if not isinstance(error, RateLimitedError):
                    raise WrongError(
                        f"{what}, a refusal for the rate raised {_told(error)}", where=place
                    )
                if error.retry_after is None or not 5 <= error.retry_after <= 9:
                    raise WrongError(
                        f"{what}, Retry-After: {form} became {error.retry_after} seconds, not 7",
                        where=place,
                    )
        site.control.fail()
        entity = case.entities[0]
        site.control.fail(_refusal(case, "throttled", nth=2, times=1, headers={"Retry-After": "7"}))
        began = site.clock.now()
        require_success(case, entity, site.sync(entity), "that was throttled once")
        if site.clock.now() - began < timedelta(seconds=7):
            raise WrongError(
                "a run did not wait for as long as the provider asked", where=case.place(entity)
            )
        if found := compare(site, entity).missing:
            raise WrongError(
                f"{len(found)} {entity.name} were lost to a refusal", where=case.place(entity)
            )


def _place(case: Case, error: Exception | None, where: str) -> str:
    return (case.subject.place_in(error) if error else "") or where


@check(
    "outages-are-put-off",
    "silver",
    "A 5xx, a cut connection and an answer that is no JSON are put off and tried again, never a"
    " bug,"
    " and never an end.",
    do="raise ProviderUnavailableError for every 5xx, and read bodies by parse_json, which does",
)
def _outages(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        for name, fault in _OUTAGES.items():
            site.control.fail({**fault, **_ALWAYS})
            for what, call, where in case.steps(opened):
                error = _raised(call)
                if not isinstance(error, RetryLaterError):
                    raise WrongError(
                        f"{what}, {name} raised {_told(error)}", where=_place(case, error, where)
                    )
        for entity in case.entities:
            run_id = site.ask(entity)
            site.control.fail(*({**fault, "nth": 2 * place + 2, "times": 1}
                                for place, fault in enumerate(_OUTAGES.values())))  # fmt: skip
            require_success(case, entity, site.help(run_id), "through outages")
            site.control.fail()
            found = compare(site, entity)
            if found.missing:
                raise WrongError(
                    f"through outages, {entity.name} differ: {found}", where=case.place(entity)
                )


@check(
    "repeats-nothing-by-itself",
    "silver",
    "A step makes one request and no second one when that fails: the core decides what may be"
    " repeated.",
    do="take the loop out, and switch the SDK's own retries off: a call that writes must not be"
    " sent"
    " twice by somebody who does not know whether the first one arrived",
)
def _repeats(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        for name in ("a 503", "a connection that is cut"):
            site.control.fail({**_OUTAGES[name], **_ALWAYS})
            for what, call, where in (*case.steps(opened), *_writes(case, opened)):
                before = site.control.calls()
                _raised(call)
                made = site.control.calls() - before
                if made > 1:
                    raise WrongError(f"{what}, {name} was met by {made} requests", where=where)


def _writes(case: Case, opened: Any) -> Any:
    from tieline.contract import Operation  # noqa: PLC0415 - here alone

    for entity in case.entities:
        given = case.guide.entities[entity.name].write
        for kind in ("create", "update"):
            step = getattr(entity.write, kind, None) if entity.write else None
            if step is None or kind not in given:
                continue
            key = "" if kind == "create" else case.some_key(entity)
            operation = Operation(
                id="op_check000000000000",
                kind=kind,
                key=key,
                payload=given[kind],
                idempotency_key="00000000-0000-4000-8000-000000000000",
            )
            where = case.subject.place_of(step)
            yield (
                f"writing {entity.name} ({kind})",
                lambda step=step, operation=operation: case.called(opened, step, operation),
                where,
            )


@check(
    "denied-is-no-success",
    "silver",
    "A right that is missing fails the run or the change, names the right, and deletes nothing.",
    do="raise PermissionDeniedError for the provider's refusal, never return an empty page or an"
    " Outcome, and name the right in Entity.scope",
)
def _denied(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        for entity in case.entities:
            require_success(case, entity, site.sync(entity))
            before = len(site.stored(entity))
            site.control.fail(_refusal(case, "denied"))
            error = _raised(lambda entity=entity: case.read(opened, entity, None))
            where = _place(case, error, case.place(entity))
            if not isinstance(error, PermissionDeniedError):
                raise WrongError(
                    f"reading {entity.name} without the right raised {_told(error)}", where=where
                )
            run = site.sync(entity)
            site.control.fail()
            if run.state != "failed" or run.error_code != PermissionDeniedError.code:
                raise WrongError(
                    f"a run of {entity.name} without the right {run.state}", where=where
                )
            if len(site.stored(entity)) != before:
                raise WrongError(
                    f"a run of {entity.name} without the right deleted records", where=where
                )
            site.move()
        site.control.fail(_refusal(case, "denied"))
        for what, call, where in _writes(case, opened):
            error = _raised(call)
            if not isinstance(error, PermissionDeniedError):
                raise WrongError(
                    f"{what} without the right raised {_told(error)}",
                    where=_place(case, error, where),
                )


@check(
    "revoked-asks-a-person",
    "silver",
    "A credential that was taken back stops the connection within two calls, and asks a person.",
    do="raise NeedsReauthError for the provider's refusal of the key or the token",
)
def _revoked(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        site.control.fail(_refusal(case, "revoked"))
        for what, call, where in (*case.steps(opened), *_writes(case, opened)):
            error = _raised(call)
            if not isinstance(error, NeedsReauthError):
                raise WrongError(
                    f"{what} with a credential that was taken back raised {_told(error)}",
                    where=_place(case, error, where),
                )
        error = _raised(lambda: opened.identify(auth_of(case.plugin, site.row.auth_kind)))
        if not isinstance(error, NeedsReauthError):
            raise WrongError(
                f"asking whose account it is with a credential that was taken back raised"
                f" {_told(error)}",
                where=_place(case, error, case.subject.find("identify")),
            )
        entity = case.entities[0]
        run_id = site.ask(entity)
        before = site.control.calls()
        if site.row.auth_kind == "oauth2":
            site.control.fail()  # its token endpoint has words of its own
            for grant in site.control.get("oauth")["grants"]:
                site.control.post("oauth", {"revoke": grant["id"]})
        site.help(run_id)
        made = [one for one in site.control.calls_since(before) if int(one["status"]) >= 400]
        with site.made.database.read() as transaction:
            from tieline.store import connections  # noqa: PLC0415 - here alone

            row = connections.find_connection(transaction, site.row.id)
        if row is None or row.state != "needs_reauth":
            raise WrongError(
                f"a run with it left the connection {row.state if row else 'gone'}",
                where=case.place(entity),
            )
        if len(made) > 2:
            raise WrongError(f"it took {len(made)} calls to find out", where=case.place(entity))


@check(
    "expired-cursor-starts-over",
    "silver",
    "A cursor that the provider has forgotten starts the window over, and nothing is lost.",
    do="raise CursorExpiredError for the provider's refusal of a cursor",
)
def _expired(case: Case) -> None:
    given = _refusal(case, "cursor")
    with case.site() as site, site.opened() as opened:
        for entity in case.entities:
            site.control.fail()
            first = case.read(opened, entity, None)
            if first.next is None:
                continue
            site.control.fail(given)
            error = _raised(
                lambda entity=entity, first=first: case.read(opened, entity, first.next)
            )
            where = _place(case, error, case.place(entity))
            if not isinstance(error, CursorExpiredError):
                raise WrongError(
                    f"a forgotten cursor of {entity.name} raised {_told(error)}", where=where
                )
            site.control.fail({**given, "nth": 2, "times": 1})
            require_success(case, entity, site.sync(entity), "whose cursor was forgotten")
            if found := compare(site, entity).missing:
                raise WrongError(f"{len(found)} {entity.name} were lost with a cursor", where=where)


@check(
    "secrets-stay-shut",
    "silver",
    "No error, no printed client and no traceback holds a part of the credential.",
    do="take the secret out of the message, and out of what repr() shows: say what was refused, not"
    " with which key",
)
def _secrets(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        hidden = [text for text in site.secrets if len(text) >= 8]
        _require_shut(case, "the client", f"{opened.client!r} {opened.client}", hidden, "")
        for status in (400, 401, 403, 404, 409, 422, 429, 500):
            site.control.fail({"kind": "status", "status": status, **_ALWAYS})
            for what, call, where in (*case.steps(opened), *_writes(case, opened)):
                error = _raised(call)
                if error is None:
                    continue
                shown = [str(error), repr(error.args), getattr(error, "hint", "")]
                if isinstance(error, ProviderError | TielineError):
                    shown.append(error.message)
                shown += traceback.format_exception(error)
                place = _place(case, error, where)
                _require_shut(
                    case, f"{what}, the error of a {status}", "\n".join(shown), hidden, place
                )
        site.control.fail()


def _require_shut(case: Case, what: str, text: str, hidden: list[str], where: str) -> None:
    if any(secret in text for secret in hidden):
        raise WrongError(
            f"{what} holds the credential", where=where or case.subject.find("tieline_client")
        )


# --- two accounts ---------------------------------------------------------------------------------


@dataclass
class _Tape:
    """A transport that notes what is sent, and answers that nobody is there."""

    sent: list[tuple[str, str, str, bytes]] = field(default_factory=list)

    def send(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None
    ) -> Reply:
        """Answer 503; see the contract's ``Transport``."""
        self.sent.append((method, url, repr(sorted(headers.items())), content or b""))
        return Reply(status=503, headers={}, content=b"", seconds=0.0)


@check(
    "accounts-are-kept-apart",
    "silver",
    "Of two accounts in one process each is asked with its own credential alone.",
    do="keep nothing of a credential or a client in the module: read credential[…] of the client"
    " that tieline_client was asked for",
)
def _apart(case: Case) -> None:
    with case.site() as site, site.opened() as opened:
        held = site.made.engine.opener.refresher.hold(site.row.id).fields
    secrets = [name for name, text in held.items() if text in site.secrets]
    another = {**held} | {name: _turned(held[name]) for name in secrets}
    tapes = _Tape(), _Tape()
    clients = [
        case.plugin.new_client(
            connection=opened.connection, credential=Credential(fields), transport=tape
        )
        for fields, tape in zip((held, another), tapes, strict=True)
    ]
    for entity in case.entities:
        for client, tape in zip(clients, tapes, strict=True):
            tape.sent.clear()
            _raised(lambda client=client, entity=entity: entity.page(client, PageParams(), None))
        first, second = (tape.sent for tape in tapes)
        if first and (first == second or any(held[name] in repr(second) for name in secrets)):
            raise WrongError(
                f"reading {entity.name} of one account is sent with the credential of another",
                where=case.subject.find("tieline_client"),
            )


def _turned(secret: str) -> str:
    """Return another secret of the same form, its end as it is: some tell the host by it."""
    return f"{secret[:_HEAD][::-1]}{secret[_HEAD:]}"


# --- tokens that end ------------------------------------------------------------------------------


def _with_tokens(site: Site) -> timedelta:
    """Return after what time an access token has surely ended."""
    if site.row.auth_kind != "oauth2":
        raise DoesNotApplyError("the credential is no token that ends")
    ends_at = _ends_at(site)
    if ends_at is None:
        raise DoesNotApplyError("access tokens do not end")
    left: timedelta = ends_at - site.clock.now()
    return 2 * left  # it is renewed some time before its end


def _ends_at(site: Site) -> Any:
    return site.made.engine.opener.refresher.hold(site.row.id).ends_at


@check(
    "tokens-are-read-at-each-call",
    "silver",
    "A client that is in use goes on with the new token when the old one has ended.",
    do="read credential[…] at each call, and keep no copy in the client or the SDK",
)
def _tokens(case: Case) -> None:
    with case.site() as site:
        left = _with_tokens(site)
        with site.opened() as opened:
            entity = case.entities[0]
            case.read(opened, entity, None)
            site.move(left.total_seconds() + 120)
            before = site.control.get("oauth")["refreshes"]
            error = _raised(lambda: case.read(opened, entity, None))
            if error is not None:
                raise WrongError(
                    f"after the access token's end, reading raised {_told(error)}",
                    where=_place(case, error, case.subject.find("tieline_client")),
                )
            if site.control.get("oauth")["refreshes"] == before:
                raise WrongError("after the access token's end nothing was renewed")


@check(
    "tokens-are-renewed-once",
    "silver",
    "Eight workers whose token ends at once renew it once, and all go on.",
    do="read credential[…] at each call and renew nothing yourself",
)
def _renewed_once(case: Case) -> None:
    with case.site(clock=MovedClock()) as site:
        left = _with_tokens(site)
        site.move(left.total_seconds() + 120)
        before = site.control.get("oauth")["refreshes"]
        errors: list[Exception] = []

        def work() -> None:
            try:
                with site.opened() as opened:
                    case.read(opened, case.entities[0], None)
            except Exception as error:  # noqa: BLE001 - it is told below
                errors.append(error)

        hands = [threading.Thread(target=work) for _ in range(8)]
        for hand in hands:
            hand.start()
        for hand in hands:
            hand.join(60)
        made = site.control.get("oauth")["refreshes"] - before
        if errors:
            raise WrongError(f"{len(errors)} of 8 workers failed: {_told(errors[0])}",
                             where=_place(case, errors[0], ""))  # fmt: skip
        if made != 1:
            raise WrongError(f"the token was renewed {made} times")
