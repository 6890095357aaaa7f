"""A little provider whose lists are paged in every known shape, over HTTP; rows move meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tieline.contract import RecordNotFoundError, Reply

__all__ = ["PagingServer", "get", "search"]


class PagingServer:
    """Rows ``{"id": "r0001"}`` in the order in which they came, as a context.

    Attributes:
        rows: Numbers of the rows that there are.
        size: Most rows of a page, whatever is asked for.
        moves: What happens to the rows after each answer: ``("drop", place)``, ``("add", 0)``.
        asked: Path and query of each request.
    """

    def __init__(self) -> None:
        self.fill(0, 1)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                server.asked.append(self.path)
                self.answer(*server.read(parts.path, dict(parse_qsl(parts.query))))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                server.asked.append(self.path)
                self.answer(*server.read(self.path, json.loads(body)))

            def answer(self, status: int, body: object, link: str = "") -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                if link:
                    self.send_header("link", link)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        Handler.wbufsize = -1  # head and body leave as one: no delay for each answer
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.client = HTTPConnection("127.0.0.1", self._http.server_port, timeout=10)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def fill(self, count: int, size: int, moves: Sequence[tuple[str, int]] = ()) -> None:
        """Put other rows there, and forget what was asked."""
        self.rows, self.size, self.moves = list(range(1, count + 1)), size, list(moves)
        self.made, self.asked, self.touched = count, [], set()

    def names(self) -> set[str]:
        return {f"r{number:04}" for number in self.rows}

    def read(self, path: str, query: dict[str, Any]) -> tuple:
        """Answer as the list does, then let the next move happen."""
        shapes: dict[str, Callable[..., tuple]] = {
            "/cursor": self._cursor,
            "/token": self._cursor,
            "/keyset": self._keyset,
            "/search": self._search,
            "/offset": self._offset,
            "/page": self._page,
            "/counted": self._page,
            "/strict": self._page,
            "/link": self._link,
            "/v2/linked": self._link,
        }
        answer = shapes[path](path, query)
        if self.moves:
            self._move(*self.moves.pop(0))
        return answer

    def _move(self, what: str, place: int) -> None:
        if what == "add":
            self.made += 1
            self.rows.append(self.made)
        elif what == "drop" and self.rows:
            del self.rows[place % len(self.rows)]

    def _after(self, number: int) -> list[int]:
        return [each for each in self.rows if each > number]

    def _cursor(self, _path: str, query: dict[str, Any]) -> tuple:
        left = self._after(int(query.get("cursor", "c0")[1:]))
        page, rest = left[: self.size], left[self.size :]
        cursor = f"c{page[-1]}" if rest else None
        return 200, {"result": {"list": objects(page)}, "paging": {"next": {"after": cursor}}}

    def _keyset(self, _path: str, query: dict[str, Any]) -> tuple:
        left = self._after(int(query.get("after_id", "r0")[1:]))
        return 200, {"rows": objects(left[: self.size])}

    def _search(self, _path: str, query: dict[str, Any]) -> tuple:
        """Search as HubSpot does: the cursor that it offers is a count, and ends."""
        left = self._after(int(query.get("number above", 0)))
        page, rest = left[: self.size], left[self.size :]
        found = [{"id": f"r{number:04}", "properties": {"number": str(number)}} for number in page]
        paging = {"paging": {"next": {"after": str(self.size)}}} if rest else {}
        return 200, {"results": found, **paging}

    def _offset(self, _path: str, query: dict[str, Any]) -> tuple:
        start = int(query.get("offset", 0))
        return 200, {"rows": objects(self.rows[start : start + self.size])}

    def _page(self, path: str, query: dict[str, Any]) -> tuple:
        start = (int(query["page"]) - 1) * self.size
        rows = self.rows[start : start + self.size]
        if path == "/strict" and not rows and start:
            return 404, {"detail": "Invalid page."}
        pages = -(-len(self.rows) // self.size)
        return 200, {"rows": objects(rows), **({"pages": pages} if path == "/counted" else {})}

    def _link(self, path: str, query: dict[str, Any]) -> tuple:
        left = self._after(int(query.get("from", 0)))
        page, rest = left[: self.size], left[self.size :]
        following = {"from": page[-1], "note": 'a,b; "c" <d>'} if rest else {}
        target = f"https://provider.example{path}?{urlencode(following)}"
        if path == "/v2/linked":
            return 200, {"rows": objects(page), "@odata.nextLink": target if rest else None}
        links = '<https://provider.example/help>; title="next, please"; rel=help'
        return 200, objects(page), links + (f', <{target}>; rel="last NEXT"' if rest else "")


def objects(numbers: list[int]) -> list[dict[str, str]]:
    return [{"id": f"r{number:04}"} for number in numbers]


def get(client: HTTPConnection, path: str, query: dict[str, Any]) -> Reply:
    """Send one read over the connection that is open."""
    client.request("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path)
    return _reply(client)


def search(client: HTTPConnection, path: str, query: dict[str, Any]) -> Reply:
    """Send one read whose parameters are in the body."""
    client.request("POST", path, json.dumps(query))
    return _reply(client)


def _reply(client: HTTPConnection) -> Reply:
    answer = client.getresponse()
    headers = {name.lower(): text for name, text in answer.getheaders()}
    content = answer.read()
    if answer.status == 404:
        raise RecordNotFoundError("the provider answered 404")
    return Reply(status=answer.status, headers=headers, content=content, seconds=0.0)
