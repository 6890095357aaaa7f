"""``./tie browser``: the console in a real Chromium, with pictures to look at.

A lane of its own: CI needs no browser, since tests/integration/test_console*.py say
the same of the pages' text. Here is what only a browser can say: that nothing is
complained of, that nothing sticks out, that keys suffice, that it works without scripts.
Exit 0: all was so. Exit 2: there is no browser here, and nothing was looked at.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from browser.chromium import Chromium, find
from console_kit import another, changed, failed, planted
from kit import Bench, make_bench, names
from tieline.coordination import EmbeddedServer
from tieline.queue import WorkerSign
from tieline.services import connections, console
from tieline.web import create_app
from tieline.web.serve import Listener

WIDTHS = (360, 1440)
HOSTILE = '<img src=x onerror="alert(1)"> \u202egnp.exe 🦊 ' + "long" * 70


@contextmanager
def stage(folder: Path) -> Iterator[Bench]:
    """Make an installation in which there is something to see of everything."""
    folder.mkdir()
    server = EmbeddedServer(folder, binary="")
    url = f"sqlite:///{folder / 'tieline.db'}"
    (folder / "tieline.db").touch()
    bench = make_bench(url, folder, redis_url=server.ensure(), shelf_rate_limits="20/minute")
    bench.shelf.put(*names(30))
    for entity in ("items", "kept"):
        bench.sync(entity)
        bench.clock.move(300)
    failed(bench)
    for name in ("books", "news", "till"):
        another(bench, name)
    row = connections.get_connection(bench.installation, "books")
    changed(bench, "connections", row.id, state="needs_reauth", account_name=HOSTILE,
            trouble=HOSTILE, trouble_at=bench.clock.now())  # fmt: skip
    planted(bench, bench.connection_id, "three workers died on page 17")
    failed(bench, "versioned", error_message=HOSTILE)
    connections.pause_connection(bench.installation, "till", actor="cli:ada")
    bench.installation.presence.announce(
        WorkerSign(name="box:7", queues=("sync",), busy_with="", version="0.1.0"), ttl_s=300
    )
    try:
        yield bench
    finally:
        bench.installation.close()
        server.stop()


def look(bench: Bench, browser: Chromium, address: str, pictures: Path) -> None:
    """Go through all of it; raises AssertionError where it is not as it should be."""
    browser.look(1440)
    browser.open(console.link_to(bench.installation, address, None, actor="cli:ada"))
    browser.leave_by(lambda: browser.key("Enter", 13, "\r"))  # its only button has the focus
    assert browser.run("location.pathname") == "/console", "keys alone do not sign in"
    browser.until("document.getElementById('refresh-state').textContent === 'live'")
    assert browser.run("document.cookie") == "", "a script can read the cookie"
    assert browser.run("document.querySelectorAll('main img').length") == 0
    for width in WIDTHS:
        for is_dark in (False, True):
            browser.look(width, is_dark=is_dark)
            browser.open(f"{address}/console?connection=shop")
            wide = browser.run("document.documentElement.scrollWidth")
            assert wide <= width, f"at {width} px the page is {wide} px wide"
            kind = "dark" if is_dark else "light"
            browser.picture(pictures / f"console-{width}-{kind}.png")
    refresh(bench, browser)
    keys(browser)
    without_scripts(bench, browser, address)
    assert browser.troubles == [], browser.troubles


def refresh(bench: Bench, browser: Chromium) -> None:
    """See that a change is shown without anybody's doing, and that the focus stays."""
    browser.run("document.querySelector('[formaction*=test_connection]').focus()")
    before = browser.run("document.activeElement.getAttribute('formaction')")
    connections.pause_connection(bench.installation, "shop", actor="cli:ada")
    browser.until("document.getElementById('r-connections').textContent.includes('2 paused')")
    assert browser.run("document.activeElement.getAttribute('formaction')") == before
    connections.resume_connection(bench.installation, "shop", actor="cli:ada")


def keys(browser: Chromium) -> None:
    """See that everything that can be pressed is reached by Tab, and the focus is seen."""
    every = "document.querySelectorAll('a[href], button:not([hidden]):not([disabled]),"
    every += " select, input:not([type=hidden])').length"
    browser.run("document.activeElement.blur(); window.reached = new Set()")
    for _ in range(browser.run(every) + 1):
        browser.key("Tab", 9)
        browser.run("window.reached.add(document.activeElement)")
        style = browser.run("getComputedStyle(document.activeElement).outlineStyle")
        assert style in {"solid", "none"}
    reached = browser.run("[...window.reached].filter(e => e !== document.body).length")
    assert reached == browser.run(every), f"{reached} of {browser.run(every)} are reached by Tab"


def without_scripts(bench: Bench, browser: Chromium, address: str) -> None:
    """Press a button where no script runs."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(f"{address}/console")
    browser.leave_by(
        lambda: browser.run("document.querySelector('[formaction*=pause_connection]').click()")
    )
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "done=pause_connection" in browser.run("location.search")


def main() -> int:
    """Look, and say where the pictures are."""
    parser = argparse.ArgumentParser(prog="./tie browser", description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=Path, help="Where pictures go; else they are removed.")
    given = parser.parse_args()
    binary = find()
    if binary is None:
        sys.stderr.write("tie browser: there is no Chromium here (apt-get install chromium)\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="tieline-browser-") as raw:
        folder = Path(raw)
        pictures = given.pictures or folder
        pictures.mkdir(parents=True, exist_ok=True)
        with stage(folder / "home") as bench:
            app = create_app(bench.installation, has_webhooks=False, has_console=True)
            with (
                Listener(app, host="127.0.0.1", port=0) as listener,
                Chromium(binary, folder / "profile") as browser,
            ):
                look(bench, browser, listener.address, pictures)
    sys.stdout.write("browser: all is as it should be\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
