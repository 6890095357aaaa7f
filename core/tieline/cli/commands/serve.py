"""``tieline serve``."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from tieline import services
from tieline.cli.face import actor, flush, installation, write_line
from tieline.contract import TielineError
from tieline.telemetry import get_logger

if TYPE_CHECKING:
    from tieline.services.installation import Installation

__all__ = ["DEFAULT_PORT", "lent_socket", "refuse_address_beside", "serve"]

_log = get_logger(__name__)
DEFAULT_PORT = 8377
_LOOK_S = 0.5
_AFTER_DEADLINE_S = 2


def lent_socket(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option ``--fd``; the command has to :func:`refuse_address_beside` it."""
    return click.option(
        "--fd",
        type=click.IntRange(3),
        help="Serve at a listening socket that is handed over, not at --port; systemd's is 3.",
    )(command)


def refuse_address_beside(fd: int | None) -> None:
    """Refuse an address of one's own beside a socket, which has one.

    Raises:
        click.UsageError: It was given.
    """
    source = click.get_current_context().get_parameter_source
    given = [
        f"--{name}" for name in ("host", "port") if source(name) is ParameterSource.COMMANDLINE
    ]
    if fd is not None and given:
        raise click.UsageError(f"--fd has an address already: leave {given[0]} away, or --fd")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind.")
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to bind; 0 takes a free one.",
)
@lent_socket
@click.option("--parent", type=click.IntRange(1), hidden=True, help="Leave with this process.")
def serve(host: str, port: int, fd: int | None, parent: int | None) -> None:
    """Serve the HTTP API; take webhooks in; answer browsers that come back from a consent page.

    Any number may run. Behind a proxy that ends TLS, set TIELINE_PUBLIC_URL
    to the address that people and providers use. With TIELINE_CONSOLE=true
    people see the console at /console.

    SIGTERM or Ctrl-C: let nobody new in, answer who is in, and leave. With
    --fd nobody is sent away meanwhile: callers wait for the next server.
    """
    refuse_address_beside(fd)
    from tieline.web import ServedSign, create_app
    from tieline.web import serve as serve_app

    def ready(address: str) -> None:
        write_line(f"tieline serve at {address}".encode())
        if has_console:
            _tell_console(opened, address, is_beside_up=parent is not None)
        flush()

    with installation(is_service=True) as opened:
        _ = opened.engine, opened.redis  # what is not set up is said at the start
        has_console = services.console.is_on(opened.settings, beside_up=parent is not None)
        if has_console:
            services.console.require_address(opened.settings)
        if parent is not None:
            threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
        with ServedSign(opened):
            serve_app(
                create_app(opened, has_console=has_console),
                host=host,
                port=port,
                fd=fd,
                on_ready=ready,
                leave_s=opened.settings.api_deadline_s + _AFTER_DEADLINE_S,
            )


def _tell_console(opened: Installation, address: str, *, is_beside_up: bool) -> None:
    """Say where the console is; whoever typed `tieline up` is let in by a link."""
    link = ""
    if is_beside_up and not opened.settings.is_production:
        try:
            link = services.sessions.make_link(opened, None, actor=actor()).reveal()
        except TielineError as error:  # its token was revoked: then another is shown
            _log.warning("there is no link to the console", reason=error.message)
    told = services.console.address_of(opened.settings, address, link)
    write_line(f"  console   {told}".encode())


def _leave_with(parent: int) -> None:
    """End this process as a signal does once the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
