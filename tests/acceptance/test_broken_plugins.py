"""A broken plugin is named with its cause, and stops nobody but itself."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

import servers
from site_of import KEY, make_site

TOY = Path(__file__).parents[1] / "toy_plugin.py"


def install(folder: Path, distribution: str, name: str, code: str) -> None:
    """Install a distribution with one module, as a wheel would."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tieline.providers]\n{name} = {module}\n")


@pytest.fixture
def site(sqlite_url, redis_url, tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    toy = TOY.read_text()
    install(folder, "raises-at-import", "raising", "raise RuntimeError('no licence file')")
    install(
        folder,
        "misspells-a-hook",
        "misspelt",
        toy.replace("def tieline_entities", "def tieline_entitys").replace('"toy"', '"misspelt"'),
    )
    install(
        folder,
        "from-the-future",
        "future",
        toy.replace("contract=CONTRACT_VERSION", "contract=2").replace('"toy"', '"future"'),
    )
    install(folder, "takes-a-name", "stripe", toy.replace('"toy"', '"stripe"'))
    install(folder, "leaves-the-room", "leaving", "import sys\nsys.exit('goodbye')")
    install(folder, "tieline-toy", "toy", toy)
    made = make_site(tmp_path / "site", sqlite_url, redis_url)
    made.environ["PYTHONPATH"] = str(folder)
    yield made
    made.close()


CAUSES = {
    "raises-at-import": "RuntimeError: no licence file",
    "misspells-a-hook": "tieline_entitys: did you mean tieline_entities?",
    "from-the-future": "contract 2; this Tieline has contract 1",
    "takes-a-name": "'stripe' is taken: tieline-stripe",
    "leaves-the-room": "SystemExit: goodbye",
}


def test_every_broken_plugin_is_named_with_its_cause(site):
    said = {one["distribution"]: one for one in site.json("providers")["providers"]}
    for distribution, cause in CAUSES.items():
        assert said[distribution]["state"] == "broken"
        assert cause in said[distribution]["cause"]["message"]
    for distribution in ("tieline-stripe", "tieline-toy"):
        assert said[distribution]["state"] == "ok"
        assert said[distribution]["contract"] == 1
        assert said[distribution]["auth"][0] == "api_key"
        assert said[distribution]["entities"][0]["directions"] == ["inbound"]
    people = site.run("providers")
    assert people.returncode == 0
    for cause in CAUSES.values():
        assert cause in people.stderr


def test_stripe_goes_on(site, shop_sandbox):
    arguments = ("connect", "stripe", "--name", "shop", "--key-stdin", "--base-url", shop_sandbox)
    site.ok(*arguments, stdin=KEY)
    site.ok("sync", "run", "shop", "customers")
    site.ok("worker", "--burst")
    assert site.json("runs")["runs"][0]["state"] == "succeeded"


def test_doctor_is_red_and_says_why(site):
    done = site.run("doctor", "--json")
    assert done.returncode == 7
    messages = " ".join(one["message"] for one in json.loads(done.stdout)["findings"])
    for cause in CAUSES.values():
        assert cause in messages


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


def test_the_forty_line_toy_plugin_syncs_over_http(site):
    import subprocess
    import sys

    assert len([line for line in TOY.read_text().splitlines() if line.strip()]) <= 60
    process = subprocess.Popen(
        [sys.executable, "-c", NOTES], stdout=subprocess.PIPE, env=servers.plain_environ()
    )
    try:
        port = int(process.stdout.readline())
        url = f"http://127.0.0.1:{port}"
        site.ok("connect", "toy", "--name", "box", "--key-stdin", "--base-url", url, stdin="k-1")
        site.ok("sync", "run", "box", "notes")
        site.ok("worker", "--burst")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    out = site.ok("records", "export", "box", "notes")
    assert [json.loads(line)["id"] for line in out.splitlines()] == [f"n{n}" for n in range(5)]
