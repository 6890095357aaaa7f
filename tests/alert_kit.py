"""Somebody who is alerted: a tiny server that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of the operator").decode()


@dataclass
class Ops:
    """What came in, and what is answered: the statuses in turn, then 204."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def alerts(self) -> list[dict]:
        """What was told, every signature checked."""
        with self.lock:
            got = list(self.got)
        return [verified(headers, body, SECRET)["data"] for headers, body in got]

    @property
    def times(self) -> Counter[str]:
        """How often each alert came."""
        return Counter(alert["id"] for alert in self.alerts)


def verified(headers: dict[str, str], body: bytes, secret: str) -> dict:
    """Check a message as its receiver does, by the text of Standard Webhooks alone."""
    key = base64.b64decode(secret.split("_", 1)[1])
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    versions = dict(part.split(",", 1) for part in headers["webhook-signature"].split(" "))
    assert hmac.compare_digest(versions["v1"], wanted)
    message = json.loads(body)
    assert message["data"]["id"] == headers["webhook-id"]
    return message


@contextmanager
def running_ops():
    """Run the server on a free port."""
    ops = Ops()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with ops.lock:
                ops.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = ops.statuses.pop(0) if ops.statuses else 204
            self.send_response(status)
            for name, text in ops.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ops.url = f"http://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield ops
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
