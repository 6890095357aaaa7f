"""``tieline webhooks send`` and ``listen``: try deliveries out on this machine."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import orjson

from tieline import services
from tieline.cli.commands.serve import DEFAULT_PORT
from tieline.cli.face import (
    flush,
    installation,
    json_option,
    note,
    print_json,
    print_table,
    write_line,
)
from tieline.errors import InvalidInputError

if TYPE_CHECKING:
    from tieline.services.webhook_forward import Forwarded
    from tieline.services.webhook_send import Sent
    from tieline.web.webhooks import Seen

__all__ = ["listen", "send"]

_SERVED = f"http://127.0.0.1:{DEFAULT_PORT}"
_FORGED = frozenset({"signature-wrong", "path-wrong"})


@click.command()
@click.argument("fixture", required=False)
@click.option("--list", "is_list", is_flag=True, help="List the fixtures instead.")
@click.option("--provider", help="Whose fixture [whose endpoints there are].")
@click.option("--endpoint", help="To this endpoint [the provider's only one].")
@click.option(
    "--to",
    default="",
    metavar="URL",
    help=f"Where `tieline serve` is [the endpoint's address if it is on this machine,"
    f" else {_SERVED}]; with a path: exactly there.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PLACE=VALUE",
    help="Put a value into the body, as in data.object.name=Ada; may be repeated."
    " A value that is JSON is taken as such.",
)
@click.option("--forge", is_flag=True, help="Sign with a secret that nobody has: refused.")
@click.option("--late", is_flag=True, help="Sign longer ago than is tolerated: refused.")
@click.option("--twice", is_flag=True, help="Deliver it twice: one event.")
@json_option  # fmt: skip
def send(
    fixture: str | None,
    is_list: bool,
    provider: str | None,
    endpoint: str | None,
    to: str,
    changes: Sequence[str],
    forge: bool,
    late: bool,
    twice: bool,
    as_json: bool,
) -> int:
    """Deliver an example to an endpoint, signed as the provider signs; say what became of it.

    It goes over HTTP to `tieline serve`, `tieline up` or `tieline webhooks
    listen`, with a new id each time, and ends in the records as a real one
    does. Exit code 1: the answer is not the one that such a delivery deserves.

    Example: `tieline webhooks send customer.updated --set data.object.name=Ada`
    """
    if is_list or fixture is None:
        return _list(provider, as_json=as_json)
    placed = dict(_placed(each) for each in changes)
    trial = services.webhook_send.Trial(is_forged=forge, is_late=late, is_twice=twice)
    with installation() as opened:
        sent = services.webhook_send.send_fixture(
            opened,
            fixture,
            provider=provider,
            endpoint_id=endpoint,
            to=to,
            default_base=_SERVED,
            changes=placed,
            trial=trial,
        )
    if as_json:
        print_json({"sent": _facts(sent)})
    else:
        _tell(sent)
    return 0 if sent.is_expected else 1


@click.command()
@click.argument("provider", required=False)
@click.option("--to", default="", metavar="URL", help="Hand them on to this address, signed anew.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to bind; 0 takes a free one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line.")
def listen(provider: str | None, to: str, host: str, port: int, as_json: bool) -> None:
    """Take deliveries in as `tieline serve` does, show each, hand it on.

    For development, in the place of `tieline serve`. Whatever is verified is
    stored and answered as there; then it goes on to --to, once, within ten
    seconds. It is signed anew in its provider's scheme (Standard Webhooks
    where the provider signs nothing) with the development secret, which
    `tieline webhooks secret show dev --raw` prints. What is forged is refused,
    shown, and never handed on. PROVIDER: the others' are taken, but neither
    shown nor handed on.

    Where nothing is connected, every delivery is refused with 404, and shown;
    endpoints that are added meanwhile are known within a second.

    Example: `tieline webhooks listen stripe --to http://localhost:8000/hooks`
    """
    from tieline.services.webhooks import list_endpoints
    from tieline.web import listen as serve_loop

    page = _Page(to, as_json=as_json)
    with installation() as opened:
        _ = opened.engine, opened.redis  # what is not set up is said at the start
        count = len(list_endpoints(opened, is_counted=False))
        serve_loop(
            opened,
            host=host,
            port=port,
            provider=provider,
            to=to,
            on_ready=lambda address: page.ready(address, count),
            on_seen=page.came,
            on_forwarded=page.went,
        )


def _list(provider: str | None, *, as_json: bool) -> int:
    with installation() as opened:
        found = services.webhook_send.find_fixtures(opened, provider)
    if as_json:
        facts = [
            {"name": each.name, "provider": each.provider, "type": each.type} for each in found
        ]
        print_json({"fixtures": facts})
    elif found:
        rows = ((each.name, each.provider, each.type) for each in found)
        print_table(("FIXTURE", "PROVIDER", "TYPE"), rows)
    else:
        note("  no plugin ships any")
    return 0


def _placed(text: str) -> tuple[str, str]:
    place, equals, value = text.partition("=")
    if not equals or not place:
        raise InvalidInputError(
            f"--set wants a place and a value, not {text[:80]!r}",
            hint="--set data.object.name=Ada",
            code="set-path",
        )
    return place, value


def _why(reason: str) -> str:
    from tieline.inbox import REASONS, REFUSALS

    return REASONS.get(reason) or REFUSALS.get(reason) or reason


def _tell(sent: Sent) -> None:
    row = sent.endpoint
    of = row.connection_name or "the application"
    lines = [
        ("sent", f"{sent.fixture.type} of {row.provider}, for {row.id} ({of})"),
        ("to", sent.url),
        *(("answered", f"{each.status} in {_ms(each.seconds)}") for each in sent.tries),
    ]
    if sent.reason:
        lines.append(("refused", f"{sent.reason}: {_why(sent.reason)}"))
    lines += [
        ("event", f"{each.id} {each.event_key}: {each.state}{_also(each.error_message)}")
        for each in sent.events
    ]
    if sent.remark:
        lines.append(("note", sent.remark))
    for label, text in lines:
        print_table((label, text), [])
    if any(each.state == "pending" for each in sent.events):
        note("  next  a worker handles it: tieline up, or tieline worker")
    if not sent.is_expected:
        note("  that is not the answer that it deserves")


def _also(text: str | None) -> str:
    return f", {text}" if text else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _facts(sent: Sent) -> dict[str, Any]:
    return {
        "fixture": sent.fixture.name,
        "type": sent.fixture.type,
        "provider": sent.endpoint.provider,
        "endpoint": sent.endpoint.id,
        "url": sent.url,
        "answers": [{"status": each.status, "seconds": each.seconds} for each in sent.tries],
        "refused": sent.reason or None,
        "event_keys": list(sent.event_ids),
        "events": [
            {
                "id": each.id,
                "key": each.event_key,
                "entity": each.entity,
                "record": each.record_key,
                "state": each.state,
                "error": each.error_message,
            }
            for each in sent.events
        ],
        "is_expected": sent.is_expected,
        "remark": sent.remark or None,
    }


class _Page:
    """What ``listen`` writes: a line for each delivery, and one for each that went on."""

    def __init__(self, to: str, *, as_json: bool) -> None:
        self._to = urlsplit(to).netloc if to else ""
        self._as_json = as_json
        self._lock = threading.Lock()

    def ready(self, address: str, endpoints: int) -> None:
        """Say where providers may deliver."""
        note(f"  Ready     at {address}; Ctrl-C ends it")
        if not endpoints:
            note("  no endpoint yet: all is refused (next: tieline webhooks add CONNECTION)")
        if self._to:
            note("  signed    with the secret of: tieline webhooks secret show dev --raw")

    def came(self, seen: Seen) -> None:
        """Show a delivery; of one that is refused nothing that a stranger wrote."""
        taken = seen.taken
        events = taken.delivery.events if taken.delivery else ()
        if self._as_json:
            self._line(
                direction="in",
                provider=seen.provider if events or taken.endpoint_id else None,
                endpoint=taken.endpoint_id,
                events=[{"id": each.id, "type": each.type} for each in events],
                is_verified=taken.delivery is not None,
                reason=taken.reason or None,
                status=taken.status,
                ms=round(seen.seconds * 1000, 1),
            )
            return
        if taken.delivery is None:
            name = seen.provider if taken.endpoint_id else "-"
            what = "(forged)" if taken.reason in _FORGED else "(not read)"
            self._text(
                f"in   {name} {what}", "refused", taken.status, taken.reason.replace("-", " ")
            )
        else:
            what = _named([f"{each.type} {each.id}" for each in events])
            self._text(f"in   {seen.provider} {what}", "verified", 200, _ms(seen.seconds))

    def went(self, forwarded: Forwarded) -> None:
        """Show what became of one that was handed on."""
        if self._as_json:
            events = forwarded.parcel.delivery.events
            self._line(
                direction="out",
                provider=forwarded.parcel.delivery.endpoint.provider,
                endpoint=forwarded.parcel.delivery.endpoint.id,
                events=[{"id": each.id, "type": each.type} for each in events],
                to=self._to,
                reason=forwarded.words or None,
                status=forwarded.status,
                ms=round(forwarded.seconds * 1000, 1),
            )
        else:
            words = forwarded.words or _ms(forwarded.seconds)
            self._text(f"out  → {self._to}", "", forwarded.status or "-", words)

    def _text(self, what: str, verdict: str, status: object, words: str) -> None:
        line = (
            f"  {datetime.now().astimezone():%H:%M:%S}  {what:<60}  {verdict:<8}  {status}  {words}"
        )
        plain = "".join(
            char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line
        )
        self._write(plain.encode(errors="backslashreplace"))

    def _line(self, **facts: Any) -> None:
        document = {"at": datetime.now().astimezone(), **facts}
        self._write(orjson.dumps(document, option=orjson.OPT_UTC_Z, default=str))

    def _write(self, line: bytes) -> None:
        try:
            with self._lock:
                write_line(line)
                flush()
        except OSError:  # nobody reads any more; the delivery is safe, and its answer is on its way
            signal.raise_signal(signal.SIGTERM)


def _named(events: Sequence[str]) -> str:
    if not events:
        return "(no event)"
    return events[0] if len(events) == 1 else f"{events[0]} (and {len(events) - 1} more)"
