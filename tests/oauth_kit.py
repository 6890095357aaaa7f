"""Accounts that are connected as people do it: applications, sandboxes, a browser, a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import secrets
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import httpx
import pytest

import canary
import issued_plugin
import servers
import zygote
from sinks import ProcessList, Sink, sinks_of
from site_of import Site, make_site, wait_until
from tieline.services import oauth
from tieline.store import connections as store
from tieline.store.connections import ConnectionRow

PROVIDERS = ("stripe", "square", "mailchimp", "quickbooks")
TOKEN_PATHS = {
    "stripe": "/oauth/token",
    "square": "/oauth2/token",
    "mailchimp": "/oauth2/token",
    "quickbooks": "/oauth2/v1/tokens/bearer",
}
AUTHORIZE_PATHS = {
    "stripe": "/oauth/authorize",
    "square": "/oauth2/authorize",
    "mailchimp": "/oauth2/authorize",
    "quickbooks": "/connect/oauth2",
}
ENVIRONMENTS = {
    "stripe": "live",
    "square": "sandbox",
    "mailchimp": "production",
    "quickbooks": "sandbox",
}
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
# Below those that the system gives to clients.
_PORTS = range(15_000, 32_000)
_KEPT: list[IO[str]] = []
"""Locks of the ports that were chosen in this process."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """An application as a provider has it, and where that provider is.

    Attributes:
        url: The sandbox.
        accounts: Id and name of every account that can be connected.
        control: Talks to the sandbox's control surface.
    """

    name: str
    url: str
    client_id: str
    client_secret: str
    accounts: list[tuple[str, str]]
    control: httpx.Client

    def order(self, **orders) -> dict:
        """Give the sandbox orders about sign-ins; return what it knows of them."""
        answer = self.control.post("/_sandbox/oauth", json=orders)
        assert answer.status_code == 200, answer.text
        return self.oracle()

    def oracle(self) -> dict:
        return self.control.get("/_sandbox/oauth").json()

    def fail(self, *faults: Mapping) -> None:
        """Let requests go wrong as described; none: all go well again."""
        answer = self.control.post("/_sandbox/faults", json=list(faults))
        assert answer.status_code == 200, answer.text

    def fail_token(self, **fault) -> None:
        self.fail({"path": TOKEN_PATHS[self.name], "times": 0, **fault})

    def requests(self) -> list[dict]:
        return self.control.get("/_sandbox/log").json()["requests"]

    def tokens(self) -> list[str]:
        """Every token that was ever given."""
        return [
            grant[kind]
            for grant in self.oracle()["grants"]
            for kind in ("access_token", "refresh_token")
            if grant[kind]
        ]


@dataclass(eq=False)
class World:
    """One installation that is known to every provider, and `tieline serve` for it."""

    site: Site
    known: dict[str, Known]
    base: str = ""
    server: subprocess.Popen | None = None

    def __getitem__(self, provider: str) -> Known:
        return self.known[provider]

    def link(self, provider: str, *, name: str = "", next_url: str = "") -> str:
        """Make a link to a new connection, as ``tieline connect --link`` prints it."""
        intent = oauth.intend(
            self.site.installation,
            provider,
            name=name or f"n{secrets.token_hex(4)}",
            base_url=self[provider].url,
            actor="test",
        )
        return self._made(intent, next_url)

    def link_again(self, name: str) -> str:
        """Make a link to connect an account anew."""
        return self._made(oauth.intend_again(self.site.installation, name, actor="test"), "")

    def _made(self, intent, next_url: str) -> str:
        made = oauth.make_link(self.site.installation, intent)
        return f"{made.address}?{urlencode({'next': next_url})}" if next_url else made.address

    def row(self, name: str) -> ConnectionRow | None:
        with self.site.installation.database.read() as transaction:
            return store.find_connection(transaction, name)

    def stored(self) -> dict[str, int | None]:
        """Every connection's name, and which credential it has."""
        with self.site.installation.database.read() as transaction:
            rows = store.list_connections(transaction)
            return {row.name: store.read_sealed(transaction, row.id)[1] for row in rows}

    def redis_keys(self, pattern: str = "tieline:oauth:*") -> list[bytes]:
        return list(self.site.installation.redis.scan_iter(pattern))

    @contextmanager
    def beside(self, **settings: str) -> Iterator[World]:
        """Start another `tieline serve` of the same installation, with other settings."""
        port = free_port()
        given = {"public_url": f"http://127.0.0.1:{port}"} | settings
        changed = {f"TIELINE_{name.upper()}": text for name, text in given.items()}
        site = Site(self.site.environ | changed, self.site.cwd / f"beside-{port}")
        site.cwd.mkdir()
        try:
            server = serve(site, port)
            yield World(site=site, known=self.known, base=f"http://127.0.0.1:{port}", server=server)
        finally:
            site.close()

    def forget(self) -> None:
        """Forget all connections."""
        with self.site.installation.database.write() as transaction:
            for row in store.list_connections(transaction):
                store.delete_connection(transaction, row.id)

    def clean(self) -> None:
        """Forget all connections and sign-ins; every provider is well and says yes."""
        self.forget()
        if keys := self.redis_keys():
            self.site.installation.redis.delete(*keys)
        for known in self.known.values():
            known.fail()
            known.order(consent="auto", login_as=0)

    def all_secrets(self, *browsers: Browser) -> dict[str, str]:
        """Everything that must not show: of the applications, the providers and the browsers."""
        found = {}
        for known in self.known.values():
            found[f"{known.name} client secret"] = known.client_secret
            found |= {f"{known.name} token {n}": text for n, text in enumerate(known.tokens())}
        for number, browser in enumerate(browsers):
            found |= {f"{what} of browser {number}": text for what, text in browser.secrets()}
        return found


@contextmanager
def sandboxes() -> Iterator[dict[str, Known]]:
    """Start a sandbox of every provider, each with an application of its own."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(_sandbox(name)) for name in PROVIDERS}


@contextmanager
def world_of(
    known: dict[str, Known], folder: Path, database_url: str, redis_url: str, **settings: str
) -> Iterator[World]:
    """Start `tieline serve` on a site whose applications every provider knows."""
    base = f"http://127.0.0.1:{free_port()}"
    given: dict[str, str] = {"public_url": base, "log_level": "debug"}
    for name, each in known.items():
        given[f"{name}_client_id"] = each.client_id
        given[f"{name}_client_secret"] = each.client_secret
        given[f"{name}_environment"] = ENVIRONMENTS[name]
    site = make_site(folder, database_url, redis_url, **(given | settings))
    try:
        site.installation.redis.flushdb()
        world = World(site=site, known=known, base=base)
        world.server = serve(site, urlsplit(base).port)
        yield world
    finally:
        site.close()


@contextmanager
def attacked_world(folder: Path, redis_url: str, **settings: str) -> Iterator[World]:
    """Start a world on SQLite that has the plugin `issued` too."""
    info = folder / "plugins" / "tieline_issued-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "tieline_issued.py").write_text(Path(issued_plugin.__file__).read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tieline-issued\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tieline.providers]\nissued = tieline_issued\n")
    with pytest.MonkeyPatch.context() as patch, sandboxes() as known:
        patch.setenv("PYTHONPATH", str(info.parent), prepend=os.pathsep)
        given = {
            "token_deadline_s": "2",
            "issued_client_id": known["square"].client_id,
            "issued_client_secret": known["square"].client_secret,
        }
        database_url = f"sqlite:///{folder / 'tieline.db'}"
        with world_of(known, folder / "site", database_url, redis_url, **(given | settings)) as (
            made
        ):
            yield made


@contextmanager
def _sandbox(name: str) -> Iterator[Known]:
    start = {"stripe": "sk_test_"}.get(name, "")
    application = {
        "client_id": f"id-{name}-{secrets.token_hex(8)}",
        "client_secret": f"{start}CANARY{secrets.token_hex(16)}",
    }
    few = {"customers": 5} if name == "stripe" else {}
    with (
        servers.sandbox(name, **application, **few) as url,
        httpx.Client(base_url=url, trust_env=False, timeout=30) as control,
    ):
        facts = control.get("/_sandbox/").json()
        accounts = [(each["id"], each["name"]) for each in facts["accounts"]]
        yield Known(name=name, url=url, accounts=accounts, control=control, **application)


def serve(site: Site, port: int | None, **extra: str) -> subprocess.Popen:
    """Start `tieline serve`; return when it answers."""
    process = site.start("serve", "--port", str(port), **extra)

    def is_up() -> bool:
        assert process.poll() is None, site.logs()[-2000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    wait_until(is_up)
    return process


def free_port() -> int:
    """Choose a port that nobody listens at, that the system gives to no client, and keep it.

    The system's chances, not Python's: a seeded generator has two test processes
    choose the same one. And a lock, until this process ends: a server that is yet to
    start, or is started again, leaves its port to any other test meanwhile.
    """
    folder = Path(tempfile.gettempdir(), f"tieline-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(_PORTS, 100):
        lock = (folder / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            lock.close()
            continue
        _KEPT.append(lock)
        return port
    raise AssertionError("no port is free")


class Browser:
    """Opens addresses as a browser does, with a cookie jar of its own.

    Attributes:
        seen: Every address that it was at.
    """

    def __init__(self) -> None:
        self.client = httpx.Client(trust_env=False, timeout=30)
        self.seen: list[str] = []

    def get(self, url: str) -> httpx.Response:
        """Ask for one address; redirects are not followed."""
        self.seen.append(url)
        return self.client.get(url)

    def open(self, url: str) -> httpx.Response:
        """Follow an address to the page where it ends."""
        answer = self.get(url)
        for _ in range(10):
            if not answer.is_redirect:
                return answer
            answer = self.get(urljoin(self.seen[-1], answer.headers["location"]))
        raise AssertionError(f"it goes in a circle: {self.seen[-3:]}")

    def back_from(self, url: str) -> str:
        """Follow an address to the consent page and over it; return where that sends us.

        What it returns is seen, and not opened: the address of a callback.
        """
        answer = self.get(url)
        if "/oauth/start/" in url:
            assert answer.status_code == 303, answer.text
            answer = self.get(answer.headers["location"])
        assert answer.is_redirect, answer.text
        self.seen.append(answer.headers["location"])
        return self.seen[-1]

    def secrets(self) -> Iterator[tuple[str, str]]:
        for number, url in enumerate(self.seen):
            parts = urlsplit(url)
            found = [pair for pair in parse_qsl(parts.query) if pair[0] in {"state", "code"}]
            if parts.path.startswith("/oauth/start/"):
                found.append(("link", parts.path.rpartition("/")[2]))
            yield from ((f"{name} {number}", text) for name, text in found if _is_random(text))
        for cookie in self.client.cookies.jar:
            yield f"cookie {cookie.name}", cookie.value or ""

    def close(self) -> None:
        self.client.close()


def _is_random(text: str) -> bool:
    """Tell a secret from what a test made up in its place."""
    return re.fullmatch(r"[\w.-]{20,}", text) is not None and len(set(text)) > 8


def assert_page(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert headers_of(answer) == HEADERS
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text
    for each in words:
        assert each in answer.text, answer.text


def assert_refused(world: World, answer: httpx.Response, status: int, *words: str) -> None:
    assert_page(answer, status, "<h1>Not connected</h1>", *words)
    assert world.stored() == {}


def headers_of(answer: httpx.Response) -> dict[str, str | None]:
    """Return those headers that every answer has to have."""
    return {name: answer.headers.get(name) for name in HEADERS}


def assert_no_secret_shows(world: World, browsers: list[Browser], *others: World) -> None:
    """Look for all that is secret in the store, in Redis, in every file and every log."""
    secrets = world.all_secrets(*browsers)
    kinds = {re.sub(r"[ \d]+of browser.*| \d+$", "", name) for name in secrets}
    assert kinds >= {"code", "state", "link", "cookie tieline-oauth"}
    assert kinds >= {f"{name} token" for name in PROVIDERS}
    with ProcessList() as processes:
        sinks = sinks_of(world.site, processes, folder=world.site.cwd)
        blobs = {name: _read(sinks[name]) for name in ("database", "Redis", "files")}
    blobs["logs"] = "".join(each.site.logs() for each in (world, *others)).encode()
    blobs["commands"] = printed_by_commands(world.site)
    for word in ("a sign-in was refused", '"event": "call"', *TOKEN_PATHS.values()):
        assert word.encode() in blobs["logs"]  # it was looked at
    hits = {name: canary.scan(blob, secrets) for name, blob in blobs.items()}
    assert {name: found for name, found in hits.items() if found} == {}


def _read(sink: Sink) -> bytes:
    """Read a sink; once more if something in it lapsed meanwhile, as limits of a second do."""
    for _ in range(5):
        with suppress(AssertionError, FileNotFoundError):
            return sink.read()
    return sink.read()


def with_params(url: str, **changes: str | None) -> str:
    """Change an address's parameters; None takes one away."""
    parts = urlsplit(url)
    params = dict(parse_qsl(parts.query, keep_blank_values=True)) | changes
    query = urlencode({name: text for name, text in params.items() if text is not None})
    return urlunsplit(parts._replace(query=query))


def param(url: str, name: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))[name]


class Terminal:
    """Runs a command in a terminal of its own, as a context."""

    def __init__(self, site: Site, *arguments: str, **extra: str) -> None:
        self.text = ""
        self._own, theirs = pty.openpty()
        self.process = zygote.start(
            list(arguments),
            env=site.environ | {"TERM": "dumb"} | extra,
            cwd=site.cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            is_leader=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._own)

    def wait_for(self, pattern: str, *, seconds: float = 30) -> str:
        """Read until something shows; return its first group."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < until, self.text
            assert self._read(), self.text
        return found[1]

    def type(self, text: str) -> None:
        os.write(self._own, text.encode())

    def end(self, *, seconds: float = 30) -> int:
        """Read to the end; return the exit code."""
        until = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < until, self.text
        return self.process.wait(10)

    def _read(self) -> bool:
        if not select.select([self._own], [], [], 0.5)[0]:
            return True
        try:
            got = os.read(self._own, 65536)
        except OSError:  # nobody has the other end any more
            return False
        self.text += got.decode(errors="replace").replace("\r\n", "\n")
        return bool(got)


def printed_by_commands(site: Site) -> bytes:
    """Return what all commands without a terminal printed, but for the addresses to open."""
    paths = sorted((site.cwd.parent / "commands").glob("*/*"))
    lines = (line for path in paths for line in path.read_bytes().splitlines())
    return b"\n".join(line for line in lines if not line.startswith(b"    http"))


@dataclass(eq=False)
class Command:
    """A command that goes on without a terminal; what it prints is in files."""

    process: subprocess.Popen
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def wait_for(self, pattern: str) -> str:
        def found() -> re.Match | None:
            there = re.search(pattern, self.err)
            assert there or self.process.poll() is None, self.err
            return there

        return wait_until(found)[1]

    def end(self) -> int:
        return self.process.wait(30)


def start_command(site: Site, *arguments: str, **extra: str) -> Command:
    """Start a command whose stdin is closed; it is killed with the site."""
    folder = site.cwd.parent / "commands" / secrets.token_hex(4)
    folder.mkdir(parents=True)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = zygote.start(
            list(arguments),
            env=site.environ | extra,
            cwd=site.cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            is_leader=True,
        )
    site.processes.append(process)
    return Command(process, folder)
