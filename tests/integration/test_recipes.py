"""What the pages for plugins' authors show works, through the real engine and over HTTP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

import recipes
from provider_kit import make_bench
from tieline.contract import InvalidRecordError, Secret
from tieline.inbox.verify import Keys, verify

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/how-to/plugin-cookbook.md", ROOT / "docs/reference/hooks/tieline_alert.md"]
NOW = 1_772_442_900
SECRET = "a-secret-of-many-letters"
ORDERS = [{"id": f"o{n}", "total_cents": n} for n in range(5)]
READINGS = [{"id": f"m{n}", "value": n} for n in range(5)]


class Acme(BaseHTTPRequestHandler):
    """The provider of the recipes, with what makes it odd."""

    protocol_version = "HTTP/1.1"
    state: ClassVar[dict] = {}

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        state = self.state
        if parts.path == "/account":
            self.answer({"id": "a1", "name": "A", "api_endpoint": "https://eu7.api.acme.example"})
        elif parts.path == "/contacts":
            start = 2 * (int(query["page"]) - 1)
            self.answer({"contacts": state["contacts"][start : start + 2]})
        elif parts.path == "/exports/x1":
            self.answer({"state": state["answers"].pop(0) if state["answers"] else "done"})
        elif parts.path == "/exports/x1/lines":
            start, end = int(query["from"]), int(query["from"]) + int(query["limit"])
            self.answer({"lines": READINGS[start:end], "more": end < len(READINGS)})
        else:
            self.answer({}, 404)

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/exports":
            self.state["exports"] += 1
            self.answer({"id": "x1"})
            return
        if self.state["errors"]:
            self.answer({"errors": [{"message": self.state["errors"].pop()}], "data": None})
            return
        start = int(given["variables"].get("cursor", 0))
        info = {"endCursor": str(start + 2), "hasNextPage": start + 2 < len(ORDERS)}
        nodes = ORDERS[start : start + 2]
        self.answer({"data": {"orders": {"nodes": nodes, "pageInfo": info}}})

    def answer(self, body: object, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bench(tmp_path):
    Acme.state = {"contacts": [], "answers": [], "exports": 0, "errors": []}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Acme)
    server.daemon_threads = True  # connections are kept open
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    made = make_bench("acme", "recipes", url, tmp_path, "key-of-acme-eu7", is_sandbox=False)
    yield made
    made.installation.database.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_the_page_is_the_code_that_runs_here(page):
    source = (ROOT / "tests/recipes.py").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        assert block in source, block


def test_a_graphql_list_is_read_to_its_end_and_its_errors_are_no_empty_list(bench):
    Acme.state["errors"] = ["overloaded"]
    run = bench.sync("orders")
    assert run.state == "succeeded"
    assert list(bench.stored("orders").values()) == ORDERS


def test_without_update_times_each_run_reads_all_and_only_what_means_something_changes(bench):
    Acme.state["contacts"] = [{"id": f"c{n}", "name": "A", "score": n} for n in range(5)]
    assert bench.sync("contacts").counts.created == 5
    bench.pass_time(60)
    for contact in Acme.state["contacts"]:
        contact["score"] += 1
    Acme.state["contacts"][0]["name"] = "B"
    del Acme.state["contacts"][4]
    run = bench.sync("contacts")
    counted = run.counts
    assert (counted.created, counted.updated, counted.deleted) == (0, 1, 1)


def test_an_export_is_asked_for_once_and_waited_for(bench):
    Acme.state["answers"] = ["queued", "running"]
    assert bench.sync("readings").state == "succeeded"
    assert list(bench.stored("readings").values()) == READINGS
    assert Acme.state["exports"] == 1


def test_an_export_that_was_given_up_is_asked_for_again(bench):
    Acme.state["answers"] = ["failed"]
    assert bench.sync("readings").state == "succeeded"
    assert len(bench.stored("readings")) == 5
    assert Acme.state["exports"] == 2


def test_a_thin_delivery_names_a_record_and_is_the_same_event_when_it_is_repeated():
    body = b'{"type": "contact.changed", "contact": {"id": "c1"}, "at": "2026-11-01T00:00:00Z"}'
    [first], [again] = recipes.parse(body, {}), recipes.parse(body, {})
    assert (first.entity, first.key, first.record) == ("contacts", "c1", None)
    assert first.id == again.id != recipes.parse(body.replace(b"c1", b"c2"), {})[0].id
    for odd in (b"", b"[]", b'{"contact": "c1"}', b'{"contact": {"id": 1}}', b"<html>"):
        with pytest.raises(InvalidRecordError):
            recipes.parse(odd, {})


BODY, ADDRESS = b'{"id": "evt_1"}', "https://hooks.example.com/webhooks/acme/whe_1"


def hashed(*parts: bytes) -> bytes:
    return hmac.new(SECRET.encode(), b"".join(parts), hashlib.sha256).digest()


# As each of these providers writes it in its reference.
SIGNED = {
    "PLAIN": {"x-acme-hmac-sha256": base64.b64encode(hashed(BODY)).decode()},
    "NAMED": {"x-hub-signature-256": f"sha256={hashed(BODY).hex()}"},
    "TIMED": {"acme-signature": f"t={NOW},v1={hashed(b'%d.' % NOW, BODY).hex()}"},
    "APART": {
        "x-acme-signature": f"v0={hashed(b'v0:%d:' % NOW, BODY).hex()}",
        "x-acme-request-timestamp": str(NOW),
    },
    "ADDRESSED": {
        "x-acme-signature": base64.b64encode(hashed(ADDRESS.encode(), BODY)).decode()
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SIGNED)
def test_a_scheme_of_the_page_takes_what_its_provider_signs_and_nothing_else(name):
    scheme = getattr(recipes, name)
    keys = Keys(secrets=[Secret(SECRET)])

    def verdict(body=BODY, address=ADDRESS, headers=SIGNED[name], now=NOW):
        reason = verify(scheme, keys, headers=headers, body=body, address=address, now=now)
        return reason is None

    assert verdict()
    assert not verdict(body=BODY + b" ")
    assert not verdict(headers={})
    assert verdict(now=NOW + 301) is not ("timestamp" in scheme.signed)
    assert verdict(address=f"{ADDRESS}x") is not ("url" in scheme.signed)


def test_a_key_tells_the_host_of_its_account():
    assert recipes.base_url_of_key("abc-eu7") == "https://eu7.api.acme.example"
    assert recipes.base_url_of_key("abc-e/u") is None
    provider = recipes.tieline_provider()
    assert provider.owns("https://eu7.api.acme.example")
    assert not provider.owns("https://eu7.evil.example")


ALERT = """
import sys, syslog
from datetime import UTC, datetime
sys.path.insert(0, "tests")
import recipes
from tieline.contract import Alert
syslog.openlog("x", syslog.LOG_PERROR)
recipes.tieline_alert(Alert(id="alr_1", kind="needs-reauth", severity="error", subject="con_1",
    message="books needs a person", since=datetime.now(UTC),
    hint="tieline connections reauth books"))
"""


def test_an_alert_goes_to_the_machine_s_log():
    done = subprocess.run([sys.executable, "-c", ALERT], cwd=ROOT, capture_output=True, text=True)
    assert "tieline needs-reauth alr_1: books needs a person tieline connections" in done.stderr
