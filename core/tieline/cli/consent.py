"""Wait for somebody at a provider's consent page, in a terminal.

Where the registered redirect address is on this machine, the browser comes
back to a listener of ours. Where it is a server's, that server finishes, and
we wait for the connection to appear. Either way the address that the browser
ended up at can be pasted, which is what people do over SSH.
"""

from __future__ import annotations

import os
import queue
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import parse_qsl, urlsplit

import click
import orjson

from tieline.auth import redirect_uri_of
from tieline.auth.states import STATE_S, Intent, new_secret
from tieline.cli.face import note, print_json, write_line
from tieline.cli.habits import can_ask
from tieline.cli.pasted import Pasted
from tieline.contract import TielineError
from tieline.errors import DependencyError, InvalidInputError, RefusedError
from tieline.services import oauth
from tieline.services.installation import Installation
from tieline.services.oauth import Connected, Link
from tieline.telemetry import plain_stderr

__all__ = ["ask_consent", "print_link"]

_LOOPBACK = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1", "::1": "::1"}
_POLL_S = 0.5
_PROBE_S = 1.0

Outcomes = queue.Queue[Connected | Exception]


def print_link(opened: Installation, intent: Intent, *, as_json: bool) -> None:
    """Print an address that the account's owner may open anywhere."""
    link = oauth.make_link(opened, intent)
    if as_json:
        print_json({"link": link.address})
        return
    write_line(link.address.encode())
    note("  good for seven days, until the account is connected; `tieline serve` answers it")


def ask_consent(opened: Installation, intent: Intent, *, opens_browser: bool) -> Connected:
    """Send somebody to the consent page, and wait until it is done.

    Raises:
        RefusedError: Consent was denied, or nobody came back in ten minutes.
        InvalidInputError: The redirect address's port is another program's.
        TielineError: As :func:`tieline.services.oauth.finish`.
    """
    outcomes: Outcomes = queue.Queue()
    process_secret = new_secret()
    redirect_uri = redirect_uri_of(opened.settings, intent.provider)

    def finish_by_hand(line: str) -> None:
        _finish_pasted(line, opened, intent, process_secret, outcomes)

    with ExitStack() as stack:
        is_served = stack.enter_context(_served(opened, intent, redirect_uri, outcomes))
        link = stack.enter_context(_link(opened, intent))
        by_hand = oauth.begin(opened, intent, bound_to=process_secret)
        _tell(link.address if is_served else "", by_hand)
        if can_ask():
            stack.enter_context(Pasted(sys.stdin.fileno(), finish_by_hand))
        if is_served and opens_browser and _has_screen():
            webbrowser.open(link.address)
        return _wait(opened, link, outcomes)


@contextmanager
def _link(opened: Installation, intent: Intent) -> Iterator[Link]:
    """Make a link that is good for as long as somebody waits here."""
    link = oauth.make_link(opened, intent)
    try:
        yield link
    finally:
        with suppress(DependencyError):  # it lapses by itself
            oauth.drop_link(opened, link)


def _tell(address: str, by_hand: str) -> None:
    if address:
        note("  Open this address and allow access:")
        _show(address)
        note("  On another machine, open this one, and paste the address that you end up at:")
    else:
        note("  Open this address, allow access, and paste the address that you end up at:")
    _show(by_hand)


def _show(address: str) -> None:
    """Print an address as it is: it has to hold what is kept out of every log."""
    click.echo(f"    {address}", file=plain_stderr())


@contextmanager
def _served(
    opened: Installation, intent: Intent, redirect_uri: str, outcomes: Outcomes
) -> Iterator[bool]:
    """Listen where the browser comes back to, unless a server does; False if nobody can.

    Raises:
        InvalidInputError: Another program has the port, and nobody is there to
            paste an address.
    """
    from tieline.web import Listener, create_app

    parts = urlsplit(redirect_uri)
    host = _LOOPBACK.get(parts.hostname or "")
    if parts.scheme != "http" or host is None:
        yield True
        return
    port = parts.port or 80

    def on_end(ended: Intent, outcome: Connected | Exception) -> None:
        if ended == intent:  # another `tieline connect` may count on this listener too
            outcomes.put(outcome)

    try:
        listener = Listener(
            create_app(opened, on_end=on_end, has_webhooks=False, has_api=False),
            host=host,
            port=port,
        )
    except InvalidInputError:
        is_served = _is_ours(host, port)
        if not is_served and not can_ask():
            raise
        yield is_served
        return
    with listener:
        yield True


def _is_ours(host: str, port: int) -> bool:
    """Tell whether `tieline serve`, or another `tieline connect`, has a port."""
    from tieline.web import SERVICE

    connection = HTTPConnection(host, port, timeout=_PROBE_S)
    try:
        connection.request("GET", "/healthz")
        told = orjson.loads(connection.getresponse().read(1000))
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(told, dict) and told.get("service") == SERVICE


def _finish_pasted(
    line: str, opened: Installation, intent: Intent, secret: str, outcomes: Outcomes
) -> None:
    """Take an address that somebody pasted; one of another sign-in ends nothing."""
    try:
        pairs = parse_qsl(urlsplit(line).query)
    except ValueError:
        pairs = []
    given = dict(pairs)
    if "state" not in given or len(given) != len(pairs):
        note("  that is not the address that the provider sent you to; paste all of it")
        return
    try:
        pending = oauth.take(opened, intent.provider, given, bound_to=secret)
    except RefusedError as error:
        note(f"  {error.message}")
        return
    except TielineError as error:
        outcomes.put(error)
        return
    try:
        outcomes.put(oauth.finish(opened, pending, given))
    except Exception as error:  # noqa: BLE001 - whoever waits raises it
        outcomes.put(error)


def _wait(opened: Installation, link: Link, outcomes: Outcomes) -> Connected:
    until = opened.clock.monotonic() + STATE_S
    found: Connected | None = None
    while opened.clock.monotonic() < until:
        try:
            outcome = outcomes.get(timeout=_POLL_S)
        except queue.Empty:
            if found is not None:  # by another process: ours would have told more by now
                return found
            if (row := oauth.find_connected(opened, link)) is not None:
                found = Connected(row=row, is_new=True, resumed=[], next_url="")
            continue
        if isinstance(outcome, Connected):
            return outcome
        raise outcome
    raise RefusedError(
        "nobody came back from the provider in ten minutes", hint="start again", code="oauth-state"
    )


def _has_screen() -> bool:
    """Tell whether a browser opened here would be seen by whoever types."""
    is_remote = bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
    has_display = sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    )
    return has_display and not is_remote
