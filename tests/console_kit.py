"""The console in a test: a browser without scripts, over ASGI, and its pages taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from sqlalchemy import insert, update

from api_kit import Wire
from kit import Bench, make_bench, names
from tieline.contract import Secret
from tieline.queue import WorkerSign
from tieline.services import syncs
from tieline.services.connect import connect_api_key
from tieline.services.connections import get_connection
from tieline.services.installation import Installation
from tieline.services.tokens import create_token, list_tokens
from tieline.store import alerts, dead_letters, log, tables
from tieline.store.ids import new_id
from tieline.web import create_app

HERE = "http://127.0.0.1:8377"
KEY = "sk_live_CANARY4b1e9c70aa53d2f8"
_VOID = {"meta", "link", "input", "br", "img", "rect", "hr", "path"}


@dataclass(eq=False)
class Node:
    """An element, and what is in it."""

    tag: str
    attributes: dict[str, str]
    children: list[Any] = field(default_factory=list)

    def all(self, tag: str = "", **wanted: str | None) -> list[Node]:
        """Return the elements below, in order; ``_`` in a name is ``-``, None is any value."""
        names = {name.strip("_").replace("_", "-"): text for name, text in wanted.items()}
        found = []
        for child in self.children:
            if not isinstance(child, Node):
                continue
            fits = all(
                name in child.attributes and text in {None, child.attributes[name]}
                for name, text in names.items()
            )
            found += [child] if fits and tag in {"", child.tag} else []
            found += child.all(tag, **wanted)
        return found

    def one(self, tag: str = "", **wanted: str | None) -> Node:
        [found] = self.all(tag, **wanted)
        return found

    @property
    def text(self) -> str:
        parts = [each.text if isinstance(each, Node) else each for each in self.children]
        return " ".join("".join(parts).split())


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute comes twice: {attrs}"
        node = Node(tag, {name: text or "" for name, text in attrs})
        self._open[-1].children.append(node)
        if tag not in _VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1].children.append(Node(tag, {name: text or "" for name, text in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open[-1].tag == tag, f"</{tag}> ends <{self._open[-1].tag}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def bench_with_worker(database_url: str, redis_url: str, tmp_path: Path) -> Bench:
    """Make a bench with three records, and the sign of a worker that is busy."""
    made = make_bench(database_url, tmp_path, redis_url=redis_url, api_calls_per_minute="10000")
    made.shelf.put(*names(3))
    made.installation.presence.announce(
        WorkerSign(name="box:7", queues=("sync",), busy_with="run_x", version="1.2.3"), ttl_s=300
    )
    return made


def parsed(html: str) -> Node:
    """Take a page apart; what is not closed as it was opened fails."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return parser.root


@dataclass(eq=False)
class Browser:
    """Somebody who looks at pages, fills forms in and presses buttons."""

    client: httpx.Client
    address: str = HERE

    def ask(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self.client.request(method, path, **given)

    def get(self, path: str = "/console", status: int = 200, **given: Any) -> Node:
        reply = self.ask("GET", path, **given)
        assert reply.status_code == status, f"{path}: {reply.status_code} {reply.text}"
        return parsed(reply.text)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as a browser does, which tells where it comes from."""
        headers = {"Origin": self.address, "Sec-Fetch-Site": "same-origin"}
        return self.ask("POST", path, data=fields, headers=headers)

    def sign_in(self, token: str) -> Browser:
        reply = self.post("/console/sign-in", token=token)
        assert reply.status_code == 303, reply.text
        return self

    def press(self, page: Node, path: str, **more: str) -> httpx.Response:
        """Press the button that leads to an address, as the form around it says."""
        [button] = page.all("button", formaction=path)
        form = page.one("form", id=button.attributes["form"])
        fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input")}
        return self.post(path, **fields | more)

    def buttons(self, page: Node | None = None) -> set[str]:
        """Name the operations that there is a button of."""
        found = page or self.get()
        return {
            re.match(r"/console/do/(\w+)", each.attributes["formaction"])[1]
            for each in found.all("button", formaction=None)
        }

    @property
    def cookie(self) -> str:
        [found] = self.client.cookies.jar
        return found.value


def browser_of(installation: Installation, address: str = HERE, **options: Any) -> Browser:
    """Open a browser at a server of its own."""
    app = create_app(installation, has_webhooks=False, has_console=True, **options)
    return Browser(httpx.Client(transport=Wire(app), base_url=address), address)


def token_of(installation: Installation, name: str, scope: str = "admin", **given: Any) -> str:
    made = create_token(installation, name, scope=scope, actor="test", **given)
    return made.token.reveal()


def signed_in(installation: Installation, scope: str = "admin", *connections: str) -> Browser:
    name = "-".join(["eyes", scope, *connections])
    if name in {each.name for each in list_tokens(installation)}:
        name += f"-{len(list_tokens(installation))}"
    text = token_of(installation, name, scope, connections=connections)
    return browser_of(installation).sign_in(text)


# --- what there is to see ------------------------------------------------------------------


def another(bench: Bench, name: str = "other") -> str:
    row = get_connection(bench.installation, "shop")
    made = connect_api_key(
        bench.installation, "shelf", name=name, key=Secret(KEY), base_url=row.base_url, actor="test"
    )
    return made.id


def changed(bench: Bench, table: str, row_id: str, **values) -> None:
    columns = tables.metadata.tables[table]
    with bench.database.write() as transaction:
        transaction.execute(update(columns).where(columns.c.id == row_id).values(**values))


def failed(bench: Bench, entity: str = "items", connection_id: str = "", **values) -> str:
    """Leave a run that ended without success."""
    connection = connection_id or bench.connection_id
    run = syncs.start_sync(bench.installation, connection, entity, actor="test").run
    ended = {
        "state": "failed",
        "finished_at": bench.clock.now(),
        "error_code": "provider-unavailable",
        "error_message": "it says no",
    }
    changed(bench, "runs", run.id, **ended | values)
    bench.clock.move(60)
    return run.id


def planted(bench: Bench, connection_id: str, words: str = "three workers died") -> SimpleNamespace:
    """Give a connection one of everything that the page shows beside runs."""
    now = bench.clock.now()
    endpoint = new_id("whe")
    with bench.database.write() as transaction:
        letter = dead_letters.add_dead_letter(
            transaction, kind="run", connection_id=connection_id, entity="items", run_id=None,
            reason_code="worker-lost", reason=words, facts={}, now=now,
        )  # fmt: skip
        alerts.open_alert(
            transaction, kind="webhooks-silent", subject=connection_id, severity="warning",
            provider="shelf", connection_id=connection_id, message=words, hint="look", facts={},
            now=now,
        )  # fmt: skip
        transaction.execute(
            insert(tables.webhook_endpoints).values(
                id=endpoint, provider="shelf", environment="live", connection_id=connection_id,
                address="https://t.example", state="active", scheme_level="signed", generation=1,
                created_at=now, updated_at=now,
            )
        )  # fmt: skip
    return SimpleNamespace(letter=letter, endpoint=endpoint)


def newest(bench: Bench, count: int = 1) -> list[tuple[str, str]]:
    with bench.database.read() as transaction:
        entries = log.newest_entries(transaction, limit=count)
    return [(each["actor"], each["event"]) for each in entries]
