"""Grants without a browser: sandboxes in this process, applications, connections by OAuth 2."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from kit import entry_point
from tieline.auth import Opener, auth_of
from tieline.clock import ManualClock
from tieline.engine import Engine
from tieline.registry import Registry
from tieline.services import oauth
from tieline.services.connect import identify, prepare, store_connection, with_account
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.sandbox import load_sandbox
from tieline.settings import load_settings
from tieline.store import schema
from tieline.store.connections import ConnectionRow
from tieline.store.database import open_database

NO_REDIS = "redis://127.0.0.1:1"


def application(provider: str) -> dict[str, str]:
    """The sandbox's registered application, as ``make_site`` and ``make_bench`` take settings."""
    given = inspect.signature(load_sandbox(provider)).parameters
    return {
        f"{provider}_client_id": given["client_id"].default,
        f"{provider}_client_secret": given["client_secret"].default,
    }


@contextmanager
def served(provider: str, **options: Any) -> Iterator[str]:
    """Serve a sandbox in this process, its clock at the present; yield its address."""
    app = load_sandbox(provider)(**options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_level="critical", date_header=False, server_header=False, lifespan="off"
        )
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not running.started:
                assert thread.is_alive()
                time.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            if time.time() - told(url, "clock")["now"] > 60:  # some begin on a fixed day
                order(url, "clock", now=time.time())
            yield url
        finally:
            running.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def told(url: str, name: str = "oauth", **query: str) -> Any:
    """Ask a sandbox's control surface."""
    return httpx.get(f"{url}/_sandbox/{name}", params=query, trust_env=False).json()


def order(url: str, name: str = "oauth", /, **given: Any) -> Any:
    """Give a sandbox an order."""
    answer = httpx.post(f"{url}/_sandbox/{name}", json=given, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def script(url: str, *faults: Mapping[str, Any]) -> None:
    """Tell a sandbox what to do wrong; nothing more without any."""
    answer = httpx.post(f"{url}/_sandbox/faults", json=list(faults), trust_env=False)
    assert answer.status_code == 200, answer.text


def calls_of(url: str, path: str) -> int:
    """Count the requests that a sandbox answered at a path."""
    return sum(each["path"] == path for each in told(url, "log")["requests"])


def connect_grant(
    where: Any, provider: str, url: str, *, name: str, account: int = 0, **wanted: Any
) -> ConnectionRow:
    """Connect an account that consents without a browser.

    Args:
        where: An :class:`Installation`, or what has one: a site, a bench.
        provider: Its application must be set: see :func:`application`.
        url: The sandbox.
        name: Of the connection. Unlike a sign-in, this may connect an account twice.
        account: Index of the account.
        wanted: Further wishes for the sandbox's ``grant``.
    """
    installation: Installation = getattr(where, "installation", where)
    intent = oauth.intend(installation, provider, name=name, base_url=url, actor="test")
    row = oauth._row(intent, installation)
    plugin = installation.registry.get(provider)
    declared = auth_of(plugin, "oauth2")
    owner = told(url, "")["accounts"][account]
    answer = order(url, grant={"account": account, **wanted})
    # What the provider adds to the redirect is the account's id, under whatever name.
    given = dict.fromkeys(declared.keep_redirect, owner["id"])
    endpoint = installation.engine.opener.endpoint(row, declared)
    grant = endpoint._grant(answer, installation.clock.now(), given=given, is_new=True)
    row = with_account(plugin, row, identify(installation, declared, row, grant.fields))
    prepared = prepare(installation, row.id, grant.fields)
    store_connection(installation, row, grant.fields, prepared, actor="test", grant=grant)
    return get_connection(installation, row.id)


def installed(
    database_url: str,
    home: Path,
    *,
    modules: Mapping[str, str] | None = None,
    redis_url: str = NO_REDIS,
    clock: ManualClock | None = None,
    **settings: str,
) -> Installation:
    """Make an installation on an empty database; nobody hears its bells.

    Args:
        database_url: Where.
        home: Where its key is.
        modules: Provider to the module of its plugin, in place of the installed ones.
        redis_url: Sign-ins need one.
        clock: Now and sleep; one that stands at the present if None.
        settings: As lower-case names.
    """
    environ = {
        "TIELINE_HOME": str(home),
        "TIELINE_DATABASE_URL": database_url,
        "TIELINE_REDIS_URL": redis_url,
        **{f"TIELINE_{name.upper()}": text for name, text in settings.items()},
    }
    registry = None
    if modules is not None:
        registry = Registry(given=[entry_point(*each) for each in modules.items()])
    made = Installation(
        load_settings(environ, home), clock=clock or ManualClock(present()), registry=registry
    )
    made.make_key()
    schema.upgrade(made.raw_database)
    made.__dict__["engine"] = engine_of(made)
    return made


def engine_of(made: Installation, *, is_another: bool = False) -> Engine:
    """Make an engine without limits and bells: of this process, or as another has it."""
    database = open_database(made.database_url) if is_another else made.database
    opener = Opener(database, made.registry, made.vault, made.settings, clock=made.clock)
    return Engine(
        database=database,
        registry=made.registry,
        opener=opener,
        clock=made.clock,
        settings=made.settings,
        ring=lambda run_id, number: None,
    )


def present() -> datetime:
    """The present, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def move(made: Installation, seconds: float | timedelta, *urls: str) -> None:
    """Move an installation's clock, and those of sandboxes to the same instant."""
    length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    made.clock.move(length)
    for url in urls:
        order(url, "clock", now=made.clock.now().timestamp(), frozen=True)
