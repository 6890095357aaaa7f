"""Places in which pages of the docs are typed, and what may stand in them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
from sqlalchemy.engine import make_url

import servers
from inbox_kit import Told, deliver
from oauth_kit import free_port
from pages import Session
from site_of import KEY, Site, make_site, wait_until
from tieline.contract import Secret
from tieline.services import connections, webhooks
from tieline.services.connect import connect_api_key
from tieline.store import dead_letters, quarantined, runs

__all__ = ["SIGNING", "Stage", "stage_of"]

SIGNING = "whsec_TieExampleSecret0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where a page is typed, with what it may ask for."""

    site: Site
    session: Session
    request: pytest.FixtureRequest
    stack: ExitStack

    def set(self, **settings: str) -> None:
        """Set variables for all that is typed, and for the site's own processes."""
        given = {f"TIELINE_{name.upper()}": text for name, text in settings.items()}
        self.session.environ.update(given)
        self.site.environ.update(given)
        self.site.installation.close()
        del self.site.__dict__["installation"]

    def write(self, name: str, text: str) -> None:
        """Put a file where it is typed."""
        (self.session.cwd / name).write_text(text)

    def sandbox(self, provider: str = "stripe", **options: object) -> str:
        """Serve a sandbox until the page has ended; return its address."""
        return self.stack.enter_context(servers.sandbox(provider, **options))

    def connect(self, provider: str, name: str, url: str, key: str = KEY) -> str:
        """Connect an account by key; return the connection's id."""
        opened = self.site.installation
        connect_api_key(opened, provider, name=name, key=Secret(key), base_url=url, actor="test")
        return self.id_of(name)

    def id_of(self, name: str) -> str:
        return connections.get_connection(self.site.installation, name).id

    def shop(self, **options: int) -> str:
        """Connect a Stripe sandbox of a few customers as `shop`; return its address."""
        few = {"customers": 20, "products": 2, "subscriptions": 2, "charges": 2}
        url = self.sandbox(**(few | options))
        self.connect("stripe", "shop", url)
        return url

    def work(self, *syncs: tuple[str, str]) -> None:
        """Start a worker, and have it sync a connection's entity."""
        self.site.start("worker")
        for connection, entity in syncs:
            self.site.ok("sync", "run", connection, entity, "--wait")

    def serve(self) -> str:
        """Start `tieline serve`; return its address."""
        port = free_port()
        self.site.start("serve", "--port", str(port))
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(answers)
        return url

    def endpoint(self, target: str = "shop", base: str = "https://hooks.example.com") -> str:
        """Make an endpoint that has a secret; return its id."""
        made = webhooks.add_endpoint(
            self.site.installation, target, base=base, secret=Secret(SIGNING), actor="test"
        )
        return made.listed.endpoint.id

    def dead_run(self, entity: str = "customers") -> str:
        """Give a run of the shop up as the engine does; return the dead letter's id."""
        opened = self.site.installation
        run_id = self.site.ask("shop", entity)
        now = opened.clock.now()
        with opened.database.write() as transaction:
            runs.start_run(transaction, run_id, now)
            runs.end_run(
                transaction, run_id, state="failed", now=now, counts=runs.Counts(),
                error=("worker-lost", "three workers died on it", ""),
            )  # fmt: skip
            return dead_letters.add_dead_letter(
                transaction, kind="run", connection_id=self.id_of("shop"), entity=entity,
                run_id=run_id, reason_code="worker-lost", reason="three workers died on it",
                facts={"page": 3}, now=now,
            )  # fmt: skip

    def dead_events(self, *entities: str) -> list[str]:
        """Have events of the shop die, by our own fault; return a dead letter for each entity."""
        self.deliver(*(Told(type="x.updated", key="x1", entity=each) for each in entities))
        without = {"TIELINE_PROVIDERS_DISABLED": "stripe", "TIELINE_RUN_ATTEMPTS": "1"}
        self.site.ok("worker", "--burst", **without)
        return [each["id"] for each in self.site.json("dead", "list")["dead_letters"]]

    def deliver(self, *events: Told) -> list[str]:
        """Put events of the shop into the inbox; return their ids."""
        opened = self.site.installation
        bench = _Inbox(opened.clock, opened.database, self.id_of("shop"))
        return deliver(bench, *events)

    def bad_record(self, raw: bytes, record_id: str | None = None) -> str:
        """Put a customer of the shop into quarantine; return its id there."""
        opened = self.site.installation
        with opened.database.write() as transaction:
            quarantined.add_quarantined(
                transaction,
                self.id_of("shop"),
                "customers",
                [
                    quarantined.BadRecord(
                        record_id=record_id,
                        fingerprint=token_hex(16),
                        raw=raw,
                        rank=1,
                        reason_code="record-invalid",
                        reason="name: not a string",
                    )
                ],
                run_id=None,
                now=opened.clock.now(),
            )
        return self.site.json("records", "quarantine", "list", "shop")["quarantine"][0]["id"]

    def change_member(self, url: str, key: str, member: str) -> None:
        """Have somebody else change a contact at Mailchimp."""
        audience, _, digest = member.partition(":")
        answer = httpx.patch(
            f"{url}/3.0/lists/{audience}/members/{digest}",
            json={"merge_fields": {"FNAME": "Theirs"}},
            auth=("anystring", key),
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text

    def postgres(self) -> None:
        """Have PostgreSQL's own programs, and let them find the server."""
        server = make_url(self.request.getfixturevalue("postgres_server").address)
        facts = {"host": server.host, "port": server.port, **server.query}
        facts |= {"user": server.username, "password": server.password}
        given = {f"PG{name.upper()}": str(each) for name, each in facts.items() if each}
        self.session.environ.update(given)
        with suppress(servers.ServerMissingError):  # a given server has its programs on PATH
            programs = servers.postgres_programs()
            self.session.environ["PATH"] = f"{programs}:{self.session.environ['PATH']}"

    def postgres_name(self) -> str:
        """Choose the name of a database, and of a role, that go with the page."""
        name = f"tieline_page_{token_hex(4)}"
        server = self.request.getfixturevalue("postgres_server")

        def drop() -> None:
            with server.connect() as connection:
                connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                connection.execute(f"DROP ROLE IF EXISTS {name}")

        self.stack.callback(drop)
        return name

    def migrated_postgres(self) -> str:
        """Make a database of PostgreSQL with all tables; return its address."""
        server = self.request.getfixturevalue("postgres_server")
        template = self.request.getfixturevalue("migrated_name")
        return self.stack.enter_context(server.new_database(template))


@dataclass(frozen=True)
class _Inbox:
    """What :func:`inbox_kit.deliver` needs."""

    clock: object
    database: object
    connection_id: str


@contextmanager
def stage_of(request: pytest.FixtureRequest, folder: Path) -> Iterator[Stage]:
    """Make an installation with nothing in it, and a folder to type in."""
    home, cwd = folder / "home", folder / "typed"
    home.mkdir()
    cwd.mkdir()
    shutil.copy(request.getfixturevalue("migrated_file"), home / "tieline.db")
    redis_url = request.getfixturevalue("redis_url")
    site = make_site(home, "", redis_url, lease_s="1", sweep_s="0.2")
    environ = site.environ | {
        "HOME": str(cwd),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with ExitStack() as stack:
        stack.callback(site.close)
        session = Session(cwd=cwd, environ=environ)
        yield Stage(site=site, session=session, request=request, stack=stack)
