"""A provider with accounts, keys, passwords and grants, served over real HTTP by a thread."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from market_goods import Goods, new_goods

APPLICATION = {"market_client_id": "market-app", "market_client_secret": "market-app-secret-1"}


@dataclass
class Market:
    """What the provider has, whom it lets in, and what it was asked.

    Attributes:
        url: Where it is.
        members: Key, token or ``user:password`` to the account that it opens.
        grants: Refresh token to account.
        things: Name of the list to its records' keys.
        before: Called with the path of every request, before it is looked at.
        after: Called with it when all is done and nothing is answered yet.
        calls: How often each path was asked.
        page_size: Records on a page.
        goods: The lists that can be written, by name.
    """

    url: str = ""
    members: dict[str, str] = field(default_factory=dict)
    grants: dict[str, str] = field(default_factory=dict)
    things: dict[str, list[str]] = field(default_factory=dict)
    before: Callable[[str], None] = lambda _path: None
    after: Callable[[str], None] = lambda _path: None
    calls: Counter[str] = field(default_factory=Counter)
    page_size: int = 3
    goods: dict[str, Goods] = field(default_factory=new_goods)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _issued: int = 0

    def put(self, entity: str, count: int) -> None:
        self.things[entity] = [f"{entity}-{number:04d}" for number in range(count)]

    def answer(self, method: str, path: str, query: dict[str, str], who: str, body: bytes):
        """Return status and body of an answer."""
        with self.lock:
            self.calls[path] += 1
        self.before(path)
        if path.startswith("/_sandbox/"):
            return 200, self._control(method, body)
        if path in {"/token", "/revoke"}:
            return self._oauth(path, {k: v[0] for k, v in parse_qs(body.decode()).items()})
        account = self.members.get(who)
        if account is None:
            return 401, {"error": "the market does not know this credential"}
        if path == "/me":
            return 200, {"id": account, "name": f"Stall {account}"}
        if path.startswith("/goods/"):
            name, *rest = path.split("/")[2:]
            return self.goods[name].answer(method, rest, query, body)
        if path.startswith("/thing/"):
            _, _, entity, key = path.split("/")
            is_there = key in self.things.get(entity, [])
            return 200, {"thing": {"id": key, "name": f"name of {key}"} if is_there else None}
        keys = self.things.get(path.rpartition("/")[2], [])
        rest = [key for key in keys if key > query.get("after", "")]
        page, more = rest[: self.page_size], len(rest) > self.page_size
        records = [{"id": key, "name": f"name of {key}"} for key in page]
        return 200, {"things": records, "next": page[-1] if more else None}

    def _oauth(self, path: str, given: dict[str, str]):
        if path == "/revoke":
            account = self.grants.pop(given["token"], None)
            if account is None:
                return 400, {
                    "error": "invalid_grant",
                    "error_description": "there is no such token",
                }
            self.members = {k: v for k, v in self.members.items() if v != account}
            return 200, {}
        account = self.grants.get(given.get("refresh_token", ""))
        if account is None:
            return 400, {"error": "invalid_grant", "error_description": "Token revoked"}
        return 200, self._tokens(account, given["refresh_token"])

    def _control(self, method: str, body: bytes):
        if method == "GET":
            return {"accounts": [{"id": f"m{number}"} for number in range(20)]}
        asked = json.loads(body)["grant"]
        account = f"m{asked['account']}"
        refresh_token = f"market-refresh-{account}-{len(self.grants)}"
        self.grants[refresh_token] = account
        return self._tokens(account, refresh_token)

    def _tokens(self, account: str, refresh_token: str) -> dict[str, object]:
        with self.lock:
            self._issued += 1
            access_token = f"market-access-{self._issued:06d}"
        self.members[access_token] = account
        return {"access_token": access_token, "refresh_token": refresh_token, "expires_in": 3600}


class _Requests(BaseHTTPRequestHandler):
    market: Market
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: its second one would wait 40 ms for an ACK

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: texts[0] for name, texts in parse_qs(parts.query).items()}
        scheme, _, who = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            who = b64decode(who).decode()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, said = self.market.answer(self.command, parts.path, query, who, body)
        self.market.after(parts.path)
        if status is None:  # the answer is lost on its way
            self.close_connection = True
            return
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def log_message(self, *_args) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, _request, _client) -> None:
        """A client that went away is no news."""


@contextmanager
def open_market(**options) -> Iterator[Market]:
    """Serve a market for a while."""
    market = Market(**options)
    handler = type("Requests", (_Requests,), {"market": market})
    with _Server(("127.0.0.1", 0), handler) as server:
        market.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield market
        finally:
            server.shutdown()
            thread.join()


def install_plugins(folder: Path, *names: str) -> str:
    """Install test plugins for other processes; return what PYTHONPATH has to name."""
    for name in names:
        source = Path(__file__).with_name(f"{name}_plugin.py")
        (folder / f"tieline_{name}.py").write_text(source.read_text())
        info = folder / f"tieline_{name}-1.0.dist-info"
        info.mkdir()
        said = f"Metadata-Version: 2.1\nName: tieline-{name}\nVersion: 1.0\n"
        (info / "METADATA").write_text(said)
        (info / "entry_points.txt").write_text(f"[tieline.providers]\n{name} = tieline_{name}\n")
    return str(folder)
