"""Traces of real processes, as a collector gets them: OTLP over HTTP."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

import canary
from site_of import KEY

pytestmark = pytest.mark.timeout(120)

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = f"00-{TRACE}-b7ad6b7169203331-01"
TOKEN = "CANARY0c9e3b7d5a1f2468"


class Collector:
    """What came in."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.keys: set[str | None] = set()
        self.answers = 200

    def spans(self):
        """Yield each span with the process that sent it."""
        for body in list(self.bodies):
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                who = {each.key: each.value for each in sent.resource.attributes}
                for scope in sent.scope_spans:
                    for each in scope.spans:
                        yield who, each


@contextmanager
def collecting():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.keys.add(self.headers.get("api-key"))
                collector.bodies.append(body)
            self.send_response(collector.answers)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_said):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def settings(collector: Collector) -> dict[str, str]:
    return {
        "TIELINE_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={TOKEN}",
        "OTEL_SERVICE_NAME": "our-tieline",
        "TRACEPARENT": CALLER,
    }


def test_a_command_and_the_work_horse_that_it_rang_for_are_one_trace(site, shop_sandbox):
    with collecting() as collector:
        site.connect(shop_sandbox)
        asked = site.json("sync", "run", "shop", "customers", **settings(collector))
        worker = settings(collector) | {"TRACEPARENT": "", "TIELINE_LOG_LEVEL": "debug"}
        done = site.run("worker", "--burst", TIELINE_LOG_FORMAT="json", **worker)
        assert done.returncode == 0, done.stderr
    run_id = asked["run"]["id"]
    assert site.state_of(run_id).state == "succeeded"
    found = list(collector.spans())
    by_name: dict[str, list] = {}
    for _, each in found:
        by_name.setdefault(each.name, []).append(each)
    assert {each.trace_id.hex() for _, each in found} == {TRACE}
    [command] = by_name["command"]
    [told] = command.attributes
    assert told.value.string_value.endswith("sync run")
    [run] = by_name["run"]
    assert run.parent_span_id == command.span_id
    assert {a.key: a.value.string_value for a in run.attributes}["tieline.run"] == run_id
    assert len(by_name["page.write"]) >= 12
    assert len(by_name["call"]) >= 12
    assert {who["service.name"].string_value for who, _ in found} == {"our-tieline"}
    assert len({who["process.pid"].int_value for who, _ in found}) == 2
    assert collector.keys == {TOKEN}
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert {line["trace_id"] for line in lines if line.get("event") == "call"} == {TRACE}
    sent = b"".join(collector.bodies)
    assert canary.scan(sent + done.stderr.encode(), {"key": KEY, "collector's": TOKEN}) == []
    assert b"limit=" not in sent


def test_a_collector_that_refuses_stops_no_work_and_its_key_is_not_logged(site, shop_sandbox):
    with collecting() as collector:
        collector.answers = 400
        site.connect(shop_sandbox)
        run_id = site.ask()
        done = site.run("worker", "--burst", TIELINE_LOG_LEVEL="debug", **settings(collector))
        assert done.returncode == 0, done.stderr
        assert collector.bodies
    assert site.state_of(run_id).state == "succeeded"
    assert "opentelemetry" in done.stderr
    assert canary.scan(done.stderr.encode(), {"collector's": TOKEN, "key": KEY}) == []
