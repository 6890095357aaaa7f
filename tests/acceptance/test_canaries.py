"""Faults S1 to S6: secrets go through everything, and are then looked for everywhere.

A further sink goes into ``sinks.py``, a further secret into ``SECRETS``; both are then
part of every story here.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import click
import httpx
import pytest

import canary
import leaky_plugin
import servers
from sinks import CHANGING, READING, ProcessList, outputs_of, sinks_of
from site_of import Site, wait_until
from tieline.alerts import Alerter
from tieline.contract import hookspecs
from tieline.services import syncs

pytestmark = pytest.mark.timeout(300)

LOUD = {"TIELINE_LOG_LEVEL": "debug", "STRIPE_LOG": "debug"}


def new_secret(start: str) -> str:
    return f"{start}CANARY{secrets.token_hex(12)}"


SECRETS = {
    "an API key": new_secret("sk_test_"),
    "an odd API key": new_secret("k/+=&%7Bq\"'\\<x>;"),
    "what a plugin holds": new_secret("held-"),
}
KEY, HELD = SECRETS["an API key"], SECRETS["what a plugin holds"]


@pytest.fixture
def site(site):
    """Commands that the list of processes shows as they are started."""
    site.may_fork = False
    return site


@pytest.fixture
def processes():
    with ProcessList() as looking:
        yield looking


@pytest.fixture
def key_files(tmp_path_factory) -> dict[str, str]:
    """Files of the keys, outside of what is searched."""
    folder = tmp_path_factory.mktemp("keys")
    for name, key in SECRETS.items():
        (folder / name).write_text(key)
    return {name: str(folder / name) for name in SECRETS}


def assert_clean(site: Site, processes: ProcessList, said: dict[str, bytes]) -> None:
    """Look for every secret in every sink, and in what was said on the way."""
    sinks = sinks_of(site, processes, folder=site.cwd.parent)
    read = {name: sink.read() for name, sink in sinks.items()} | said
    assert [name for name, blob in read.items() if not blob.strip()] == []
    hits = {name: canary.scan(blob, SECRETS) for name, blob in read.items()}
    assert {name: found for name, found in hits.items() if found} == {}


def settle(site: Site, run_id: str) -> str:
    """Wait until a run was tried, and let it go; return its error, or its state."""
    run = wait_until(
        lambda: (run := site.state_of(run_id)).state not in {"queued", "running"} and run
    )
    if run.state in {"waiting", "retrying"}:
        syncs.cancel_run(site.installation, run_id, actor="test")
    return run.error_code or run.state


def start_python(site: Site, code: str, *arguments: str) -> subprocess.Popen:
    """Start Python as ``site.start`` starts a command; it is killed at the end."""
    with (site.cwd / f"process{len(site.processes)}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=site.environ | LOUD,
            cwd=site.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    site.processes.append(process)
    return process


# --- Stripe's sandbox: everything at DEBUG, answers that echo the key, a job that breaks --------


def echoes(key: str) -> dict[int, dict[str, object]]:
    """Script answers that hold the key in every form, in body and headers."""
    every = " ".join(form.decode() for form in canary.forms(key).values())
    error = {"error": {"type": "invalid_request_error", "code": key, "message": every}}
    headers = {"X-Echo": every, "Request-Id": f"req_{key}", "Retry-After": "1"}
    answers = {
        502: {"body": f"<html><h1>{every}</h1></html>", "headers": headers},
        302: {"headers": {"Location": f"https://{key}:{key}@elsewhere.example/?k={key}"}},
        # After the last one, the connection needs a new key.
        **{s: {"body": error, "headers": headers} for s in (429, 403, 400, 401)},
    }
    return {
        status: {"kind": "status", "path": "/v1/*", "status": status, **answer}
        for status, answer in answers.items()
    }


def order(url: str, faults: list[dict[str, object]]) -> None:
    assert httpx.post(f"{url}/_sandbox/faults", json=faults, trust_env=False).status_code == 200


# A worker with a bug outside of all that gives a run an orderly end.
BREAKING = """
from tieline.cli.main import main
from tieline.jobs import functions
from tieline.services import syncs

def break_down(engine, run_id, stop, *, asked_in):
    run = syncs.get_run(functions._installation, run_id)
    key = engine.opener.open(run.connection_id).client._pages._requestor.api_key
    assert key.startswith("sk_test_")
    raise RuntimeError(f"broken down with {key} in its words")

functions.work_on = break_down
main(["worker"])
"""


def test_no_secret_shows_anywhere(site, processes, key_files):
    answers = echoes(KEY)
    with servers.sandbox(customers=230) as url:

        def connecting(name: str) -> list[str]:
            key = ["--key-file", key_files["an API key"]]
            return ["connect", "stripe", "--name", name, *key, "--base-url", url]

        said = {"connect": outputs_of(site, [connecting("shop")], **LOUD)}
        assert b"connected  stripe" in said["connect"]
        assert b"Request to Stripe api" in said["connect"]  # the SDK is as loud as it can be
        said["a key as an argument"] = outputs_of(
            site, [["connect", "stripe", KEY], ["connect", "stripe", "--key-stdin", KEY]]
        )
        run_id = site.ask()
        breaking = start_python(site, BREAKING)
        wait_until(lambda: list(site.installation.redis.scan_iter("rq:results:*")))
        wait_until(lambda: "broken down with" in site.logs())  # it is told after it is noted
        breaking.kill()
        syncs.cancel_run(site.installation, run_id, actor="test")
        site.start("scheduler", **LOUD)
        site.start("worker", **LOUD)
        assert settle(site, site.ask()) == "succeeded"
        order(url, [{**each, "nth": n} for n, each in enumerate(answers.values(), start=1)])
        said["connect, answered with the key"] = outputs_of(
            site, [connecting(f"x{status}") for status in answers], **LOUD
        )
        became = {}
        for status, each in answers.items():
            order(url, [{**each, "times": 0}])
            became[status] = settle(site, site.ask(mode="full"))
            site.ok("limits", "reset-breaker", "shop")  # five 5xx in a row have opened it
    assert became == {
        502: "provider-unavailable",
        302: "redirect-refused",
        429: "rate-limited",
        403: "permission-denied",
        400: "request-rejected",
        401: "needs-reauth",
    }
    logs = site.logs()
    assert "broken down with [redacted] in its words" in logs
    assert "Stripe v1 API error received" in logs
    assert '"level": "debug"' in logs
    assert b"-m tieline worker" in processes.read()
    assert_clean(site, processes, said)


# --- a plugin that fails in every hook, with secrets at hand -------------------------------------


@contextmanager
def echoing():
    """Serve notes; under /answer, a refusal that says all that was sent to it."""

    class Notes(BaseHTTPRequestHandler):
        def do_GET(self):
            refuses = self.path.startswith("/answer")
            said = f"{self.path} {self.headers}".encode()
            body = said if refuses else b'{"notes": [{"id": "n1"}, {"id": 5, "text": "bad"}]}'
            self.send_response(400 if refuses else 200)
            if refuses:
                self.send_header("X-Echo", self.headers["Authorization"])
                self.send_header("X-Echo-Key", self.headers["X-Api-Key"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def leaky(site, tmp_path_factory):
    """Install the leaky plugin for the site's processes; return who gives it its orders."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "tieline_leaky.py").write_text(Path(leaky_plugin.__file__).read_text())
    info = folder / "tieline_leaky-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tieline-leaky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tieline.providers]\nleaky = tieline_leaky\n")
    orders = folder / "orders"
    orders.touch()
    site.environ |= {"PYTHONPATH": str(folder), "LEAKY_ORDERS": str(orders), "LEAKY_HELD": HELD}
    return orders


def test_a_plugin_that_fails_in_any_hook_shows_no_secret(site, processes, key_files, leaky):
    places = {*leaky_plugin.AT_LOAD, *leaky_plugin.AT_CONNECT, *leaky_plugin.AT_WORK}
    assert places | {leaky_plugin.AT_ALERT, *leaky_plugin.NEVER} >= {
        *hookspecs.REQUIRED,
        *hookspecs.OPTIONAL,
        *hookspecs.OBSERVERS,
    }
    key = ["--key-file", key_files["an odd API key"]]
    with echoing() as url:

        def connecting(name: str) -> list[str]:
            # Without an address, the key is asked for one.
            address = ["--base-url", url] if name != "base_url" else []
            return ["connect", "leaky", "--name", name, *key, *address]

        commands = []
        for place in leaky_plugin.AT_LOAD:
            commands += [["write", str(leaky), place], ["providers"], ["providers", "--json"]]
            commands += [["doctor"], connecting("x")]
        for place in leaky_plugin.AT_CONNECT:
            commands += [["write", str(leaky), place], connecting(place)]
            commands += [[*connecting(place), "--json"]]
        said = {"failed hooks": outputs_of(site, commands)}
        leaky.write_text("")
        said["connect"] = outputs_of(site, [connecting("box")])
        assert b"connected  leaky" in said["connect"]
        site.start("worker", **LOUD)
        told = {}
        for place in leaky_plugin.AT_WORK:
            leaky.write_text(place)
            run_id = site.json("sync", "run", "box", place)["run"]["id"]
            settle(site, run_id)
            told[place] = site.state_of(run_id).error_message
        leaky.write_text(leaky_plugin.AT_ALERT)
        alerter = Alerter(site.installation.database, site.installation.clock)
        alerter.raise_alert("run-dead", "run_x", "it died")
        wait_until(lambda: leaky_plugin.AT_ALERT in leaky.with_suffix(".obeyed").read_text())
        leaky.write_text("")
        settle(site, site.json("sync", "run", "box", "notes")["run"]["id"])
    obeyed = set(leaky.with_suffix(".obeyed").read_text().split())
    assert obeyed == (places | {leaky_plugin.AT_ALERT}) - {"answer"}
    assert {place: words for place, words in told.items() if place not in words} == {}
    assert "answered 400" in told["answer"]
    assert_clean(site, processes, said)


# --- the search itself ---------------------------------------------------------------------------


def test_what_is_planted_is_found_in_every_form_in_every_sink(site, processes):
    with servers.sandbox(customers=5) as url:
        site.connect(url)
        site.ask()
        site.ok("worker", "--burst")
    missed = {}
    for name, sink in sinks_of(site, processes, folder=site.cwd.parent).items():
        for way, plant in sink.plants.items():
            planted = {form: new_secret("p/+=&%7B\"'\\<ä>;") for form in canary.forms(KEY)}
            plant([canary.forms(secret)[form] for form, secret in planted.items()])
            found = {hit.secret for hit in canary.scan(sink.read(), planted)}
            if lost := planted.keys() - found:
                missed[name, way] = lost
    assert missed == {}


def leaves(command: click.Command, *path: str):
    if isinstance(command, click.Group) and path != ("sandbox",):
        if command.invoke_without_command:
            yield " ".join(path)
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
    else:
        yield " ".join(path)


def test_every_command_is_known_to_read_or_to_change():
    """Mend: put a new command into READING (with its arguments) or CHANGING of sinks.py."""
    there = set()
    for name, (module, _) in import_module("tieline.cli.main")._TREE.items():
        command = getattr(import_module(f"tieline.cli.commands.{module}"), name)
        there |= set(leaves(command, name))
    assert there == READING.keys() | CHANGING
