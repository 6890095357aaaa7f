"""How long an accepted delivery takes until it stands in the change feed, with real processes."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import time
from contextlib import closing

from site_of import Site, wait_until
from tieline.contract import Secret
from tieline.services import webhooks
from tieline.services.connections import get_connection
from tieline.store import records
from tieline_stripe.client import API_VERSION

SECRET = "whsec_TieExampleSecret0123456789abcdef"


def serve(site: Site) -> int:
    """Start a server and a worker; return the server's port once both are there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    site.start("serve", "--port", str(port))
    site.start("worker")
    wait_until(lambda: _answers(port))
    wait_until(site.installation.presence.alive)
    return port


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as client:
        try:
            client.request("GET", "/healthz")
        except OSError:
            return False
        return client.getresponse().status == 200


def measure(site: Site, port: int, *, count: int, pause_s: float = 0.05) -> list[float]:
    """Deliver customers one by one, each when the one before is there; return the seconds.

    Each is counted from the answer that accepts the delivery.
    """
    made = webhooks.add_endpoint(
        site.installation,
        "shop",
        base="https://hooks.example.com",
        secret=Secret(SECRET),
        actor="test",
    )
    path = made.url.reveal().removeprefix("https://hooks.example.com")
    connection_id = get_connection(site.installation, "shop").id
    taken = []
    for number in range(count):
        key = f"cus_latency{number:06}"
        accepted_at = _deliver(port, path, key)
        while not _is_there(site, connection_id, key):
            assert time.monotonic() - accepted_at < 30, site.logs()
            time.sleep(0.002)
        taken.append(time.monotonic() - accepted_at)
        time.sleep(pause_s)  # the worker is idle again
    return taken


def _deliver(port: int, path: str, key: str) -> float:
    now = int(time.time())
    body = json.dumps(
        {
            "id": f"evt_{key}",
            "object": "event",
            "type": "customer.created",
            "api_version": API_VERSION,
            "created": now,
            "data": {"object": {"id": key, "object": "customer", "created": now}},
        }
    ).encode()
    digest = hmac.new(SECRET.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "Stripe-Signature": f"t={now},v1={digest}"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as client:
        client.request("POST", path, body, headers)
        answer = client.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    return time.monotonic()


def _is_there(site: Site, connection_id: str, key: str) -> bool:
    with site.installation.database.read() as connection:
        return records.read_record(connection, connection_id, "customers", key) is not None
