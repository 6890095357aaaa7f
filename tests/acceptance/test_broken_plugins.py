"""A broken plugin is named with its cause, and stops nobody but itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import servers
from site_of import KEY, make_site
from tieline.contract import Secret
from tieline.services.connect import connect_api_key


def install(folder: Path, distribution: str, name: str, code: str) -> None:
    """Install a distribution with one module, as a wheel would."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tieline.providers]\n{name} = {module}\n")


TOY = (Path(__file__).parents[1] / "toy_plugin.py").read_text()
# Distribution: the name it wants, its code, what is said of it, and of what to do.
BROKEN = {
    "raises-at-import": (
        "raising",
        "raise RuntimeError('no licence file')",
        "RuntimeError: no licence file at plugins/raises_at_import.py:1",
        "TIELINE_PROVIDERS_DISABLED=raising",
    ),
    "raises-at-call": (
        "calling",
        TOY.replace("    page = by_cursor", "    1 / 0\n    page = by_cursor"),
        "tieline_entities raised ZeroDivisionError: division by zero at plugins/raises_at_call.py:",
        "TIELINE_PROVIDERS_DISABLED=calling",
    ),
    "hangs": (
        "hanging",
        "import time\n\nwhile True:\n    time.sleep(0.1)",
        "hangs is not loaded after 4 s: it hangs at plugins/hangs.py:",
        "take what waits out of it",
    ),
    "returns-rubbish": (
        "rubbish",
        TOY.replace("    return [Entity(", "    return [7, Entity("),
        "tieline_entities holds int, not Entity",
        "tieline plugin check rubbish",
    ),
    "ends-the-process": (
        "ending",
        "import os\n\nos._exit(0)",
        "ends the process while it is loaded, at plugins/ends_the_process.py:3",
        "move it into the function that needs it",
    ),
    "leaves-the-room": (
        "leaving",
        "import sys\n\nsys.exit('goodbye')",
        "SystemExit: goodbye",
        "TIELINE_PROVIDERS_DISABLED=leaving",
    ),
    "starts-a-thread": (
        "threaded",
        f"import threading\n\nthreading.Thread(target=threading.Event().wait).start()\n{TOY}",
        "starts a thread while it is loaded, at plugins/starts_a_thread.py:3",
        "move it into the function that needs it",
    ),
    "changes-the-folder": (
        "moving",
        f"import os\n\nos.chdir('/')\n{TOY}",
        "changes the working directory while it is loaded, at plugins/changes_the_folder.py:3",
        "move it into the function that needs it",
    ),
    "takes-a-name": (
        "stripe",
        TOY,
        "'stripe' is taken: tieline-stripe",
        "uninstall one of them",
    ),
    "misspells-a-hook": (
        "misspelt",
        TOY.replace("def tieline_entities", "def tieline_entitys"),
        "tieline_entitys: did you mean tieline_entities?",
        "tieline plugin check misspelt",
    ),
    "from-the-future": (
        "future",
        TOY.replace("contract=CONTRACT_VERSION", "contract=2"),
        "contract 2; this Tieline has contract 1",
        "install a version of from-the-future for contract 1",
    ),
}
WITHOUT_WAITING = {"TIELINE_PROVIDERS_DISABLED": "hanging"}


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    for distribution, (name, code, _, _) in BROKEN.items():
        install(folder, distribution, name, code.replace('"toy"', f'"{name}"'))
    install(folder, "tieline-toy", "toy", TOY)
    made = make_site(tmp_path / "site", sqlite_url, redis_url, plugin_load_s="4")
    made.environ["PYTHONPATH"] = str(folder)
    yield made
    made.close()


def test_every_broken_plugin_is_named_with_its_cause_and_what_to_do(site):
    shown = site.run("providers")
    assert shown.returncode == 0
    lines = [line for line in shown.stderr.splitlines() if line.startswith("  broken")]
    assert len(lines) == len(BROKEN)
    for _, _, cause, remedy in BROKEN.values():
        [line] = [line for line in lines if cause in line]
        assert remedy in line.partition(" (next: ")[2]


def test_the_others_are_as_they_would_be_without_them(site):
    listed = site.json("providers", **WITHOUT_WAITING)["providers"]
    said = {one["distribution"]: one for one in listed}
    assert {name for name, one in said.items() if one["state"] == "broken"} == BROKEN.keys() - {
        "hangs"
    }
    for distribution in ("tieline-stripe", "tieline-toy"):
        assert said[distribution]["state"] == "ok"
        assert said[distribution]["contract"] == 1
        assert said[distribution]["auth"][0] == "api_key"
        assert said[distribution]["entities"][0]["directions"] == ["inbound"]


def test_stripe_goes_on(site, shop_sandbox):
    arguments = ("connect", "stripe", "--name", "shop", "--key-stdin", "--base-url", shop_sandbox)
    site.ok(*arguments, stdin=KEY)
    site.ok("sync", "run", "shop", "customers")
    site.ok("worker", "--burst")
    assert site.json("runs")["runs"][0]["state"] == "succeeded"


def test_doctor_is_red_and_says_why(site):
    done = site.run("doctor", "--json", **WITHOUT_WAITING)
    assert done.returncode == 7
    found = [one for one in json.loads(done.stdout)["findings"] if one["subject"] == "plugins"]
    for distribution, (_, _, cause, remedy) in BROKEN.items():
        if distribution != "hangs":
            [one] = [one for one in found if cause in one["message"]]
            assert remedy in one["fix"]


NOTES = textwrap.dedent(
    """
    import json, sys
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Notes(BaseHTTPRequestHandler):
        def do_GET(self):
            after = int((self.path.split("cursor=") + ["0"])[1] or 0)
            notes = [{"id": f"n{n}", "text": None} for n in range(after, min(after + 2, 5))]
            body = {"notes": notes, "next": str(after + 2) if after + 2 < 5 else None}
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    print(server.server_port, flush=True)
    server.serve_forever()
    """
)


@pytest.fixture
def notes():
    """Serve five notes on three pages; return the address."""
    process = subprocess.Popen(
        [sys.executable, "-c", NOTES], stdout=subprocess.PIPE, env=servers.plain_environ()
    )
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_forty_line_toy_plugin_syncs_over_http(site, notes):
    assert len([line for line in TOY.splitlines() if line.strip()]) <= 60
    site.ok("connect", "toy", "--name", "box", "--key-stdin", "--base-url", notes, stdin="k-1")
    site.ok("sync", "run", "box", "notes")
    site.ok("worker", "--burst", **WITHOUT_WAITING)
    out = site.ok("records", "export", "box", "notes")
    assert [json.loads(line)["id"] for line in out.splitlines()] == [f"n{n}" for n in range(5)]


# What a step does, and how its run ends: its state, its error's slug, words of that.
BAD_STEPS = {
    "raising": ("1 / 0", "failed", "plugin-broken", "ZeroDivisionError at plugins/bad_raising.py:"),
    "leaving": ("raise SystemExit(0)", "failed", "plugin-broken", "SystemExit at plugins/bad_leav"),
    "rubbish": ("return 'notes'", "failed", "plugin-declaration", "returned str, not Page"),
    "ending": ("__import__('os')._exit(0)", "failed", "worker-lost", "workers in a row died"),
    "hanging": (
        "__import__('time').sleep(3600)",
        "failed",
        "worker-lost",
        "workers in a row died",
    ),
    "threaded": ("__import__('threading').Timer(3600, print).start()", "succeeded"),
    "moving": ("__import__('os').chdir('/')", "succeeded"),
}


BAD = textwrap.dedent(
    """
    def bad(page):
        def step(client, params, cursor):
            %s
            return page(client, params, cursor)
        return step
    """
)


@pytest.mark.slow
def test_a_step_that_goes_out_of_its_bounds_ends_its_own_run_and_no_other(
    sqlite_url, redis_url, tmp_path, notes, monkeypatch
):
    folder = tmp_path / "plugins"
    folder.mkdir()
    for name, (line, *_) in BAD_STEPS.items():
        code = TOY.replace('"toy"', f'"{name}"')
        code = code.replace("class Client:", f"{BAD % line}\n\nclass Client:")
        code = code.replace("page=page)]", "page=bad(page))]")
        install(folder, f"bad-{name}", name, code)
    install(folder, "tieline-toy", "toy", TOY)
    monkeypatch.syspath_prepend(str(folder))  # a command for each takes its time
    site = make_site(tmp_path / "site", sqlite_url, redis_url, page_deadline_s="2", lease_s="1")
    site.environ["PYTHONPATH"] = str(folder)
    try:
        for name in [*BAD_STEPS, "toy"]:
            given = {"name": name, "key": Secret("k-1"), "base_url": notes, "actor": "test"}
            connect_api_key(site.installation, name, **given)
            site.ask(name, "notes")
        site.ok("worker", "--burst", timeout=120)
        runs = {one["connection"]: one for one in site.json("runs")["runs"]}
    finally:
        site.close()
    assert runs["toy"]["state"] == "succeeded"
    for name, (_, state, *why) in BAD_STEPS.items():
        assert runs[name]["state"] == state, name
        if why:
            assert runs[name]["error"]["code"] == why[0]
            assert why[1] in runs[name]["error"]["message"]
