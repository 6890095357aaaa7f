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
import threading
import webbrowser
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import parse_qsl, urlsplit

import rich_click as click

from tieline.auth import redirect_uri_of
from tieline.auth.states import STATE_S, Intent, new_secret
from tieline.cli.face import note, print_json, write_line
from tieline.contract import TielineError
from tieline.errors import InvalidInputError, RefusedError
from tieline.services import oauth
from tieline.services.installation import Installation
from tieline.services.oauth import Connected
from tieline.telemetry import plain_stderr
from tieline.web import Listener, create_app

__all__ = ["ask_consent", "print_link"]

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_POLL_S = 0.5

Outcome = Connected | TielineError


def print_link(opened: Installation, intent: Intent, *, as_json: bool) -> None:
    """Print an address that the account's owner may open anywhere."""
    address = oauth.make_link(opened, intent)
    if as_json:
        print_json({"link": address})
        return
    write_line(address.encode())
    note("  good for seven days, until the account is connected; `tieline serve` answers it")


def ask_consent(opened: Installation, intent: Intent, *, opens_browser: bool) -> Connected:
    """Send somebody to the consent page, and wait until it is done.

    Raises:
        RefusedError: Consent was denied, or nobody came back in ten minutes.
        InvalidInputError: The redirect address's port is taken.
        TielineError: As :func:`tieline.services.oauth.complete`.
    """
    outcomes: queue.Queue[Outcome] = queue.Queue()
    process_secret = new_secret()
    by_hand = oauth.begin(opened, intent, bound_to=process_secret)
    redirect_uri = redirect_uri_of(opened.settings, intent.provider)
    with _listener(opened, redirect_uri, outcomes) as listener:
        base = listener.address if listener else _server_of(opened, redirect_uri)
        link = oauth.make_link(opened, intent).rpartition("/")[2]
        address = oauth.link_address(base, link)
        _tell(address, by_hand)
        if opens_browser and _has_screen():
            webbrowser.open(address)
        if sys.stdin.isatty():
            paste = (opened, intent, process_secret, outcomes)
            threading.Thread(target=_read_pasted, args=paste, daemon=True).start()
        return _wait(opened, intent, outcomes, watches=listener is None)


def _server_of(opened: Installation, redirect_uri: str) -> str:
    """Return where `tieline serve` answers: the redirect address leads to it."""
    parts = urlsplit(redirect_uri)
    return opened.settings.public_url or f"{parts.scheme}://{parts.netloc}"


def _tell(address: str, by_hand: str) -> None:
    note("  Open this address and allow access:")
    _show(address)
    note("  On another machine, open this one, and paste the address that you end up at:")
    _show(by_hand)


def _show(address: str) -> None:
    """Print an address as it is: it has to hold what is kept out of every log."""
    click.echo(f"    {address}", file=plain_stderr())


def _listener(
    opened: Installation, redirect_uri: str, outcomes: queue.Queue[Outcome]
) -> AbstractContextManager[Listener | None]:
    """Listen where the browser comes back to; None where a server does that."""
    parts = urlsplit(redirect_uri)
    if parts.scheme != "http" or (parts.hostname or "") not in _LOOPBACK:
        return nullcontext()
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "127.0.0.1"
    app = create_app(opened, on_connected=outcomes.put, on_refused=outcomes.put)
    try:
        return Listener(app, host=host, port=parts.port or 80)
    except InvalidInputError:  # a `tieline serve` of this machine listens there already
        return nullcontext()


def _read_pasted(
    opened: Installation, intent: Intent, secret: str, outcomes: queue.Queue[Outcome]
) -> None:
    for line in sys.stdin:
        text = line.strip()
        if not text:
            continue
        pairs = parse_qsl(urlsplit(text).query)
        try:
            if "state" not in dict(pairs) or len(dict(pairs)) != len(pairs):
                raise InvalidInputError(
                    "that is not the address that the provider sent you to", code="oauth-pasted"
                )
            outcomes.put(oauth.complete(opened, intent.provider, dict(pairs), bound_to=secret))
        except TielineError as error:
            outcomes.put(error)


def _wait(
    opened: Installation, intent: Intent, outcomes: queue.Queue[Outcome], *, watches: bool
) -> Connected:
    before = oauth.find_result(opened, intent)
    until = opened.clock.monotonic() + STATE_S
    while opened.clock.monotonic() < until:
        try:
            outcome = outcomes.get(timeout=_POLL_S)
        except queue.Empty:
            after = oauth.find_result(opened, intent) if watches else None
            if after is not None and after != before:
                return Connected(row=after[0], is_new=before is None, resumed=[], next_url="")
            continue
        if isinstance(outcome, Connected):
            return outcome
        if isinstance(outcome, InvalidInputError) and outcome.slug == "oauth-pasted":
            note(f"  {outcome.message}")
            continue
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
