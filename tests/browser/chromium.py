"""A real browser, told what to do over a pipe: no driver, no port, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

__all__ = ["Chromium", "find"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE_S = 30.0
# The browser reads from 3 and writes to 4, which may be in use before.
_AS_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3]]
for there, here in zip(high, (3, 4)):
    os.dup2(there, here)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find() -> str | None:
    """Return the browser of this machine; None if it has none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One page of a headless Chromium, as a context.

    Args:
        binary: The browser.
        profile: An empty folder for its own use.
    """

    def __init__(self, binary: str, profile: Path) -> None:
        self.troubles: list[str] = []
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
                 f"--user-data-dir={profile}", "about:blank")  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AS_3_AND_4, str(to_read), str(to_write), binary, *flags],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self._session = 0, b"", ""

    def __enter__(self) -> Self:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Ask for something; what the page complains of meanwhile is kept in ``troubles``."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": given}
        if self._session:
            asked["sessionId"] = self._session
        os.write(self._write, json.dumps(asked).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser is gone"
            self._rest += part
        raw, _, self._rest = self._rest.partition(b"\0")
        said = json.loads(raw)
        self._note(said.get("method", ""), said.get("params", {}))
        return said

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
            self.troubles.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif event == "Runtime.exceptionThrown":
            self.troubles.append(str(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.troubles.append(str(told["args"]))
        elif event == "Page.javascriptDialogOpening":
            self.troubles.append(f"a dialog: {told['message']}")

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page; a promise is waited for."""
        said = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true in the page, whichever page that is by then."""
        end = time.monotonic() + _PATIENCE_S
        while not self._is(script):
            assert time.monotonic() < end, f"it never was so: {script}"
            time.sleep(0.05)

    def _is(self, script: str) -> bool:
        try:
            return bool(self.run(script))
        except AssertionError:  # between two pages there is nothing to ask
            return False

    def open(self, address: str) -> None:
        """Go to an address, and wait until all of it is there."""
        self.run("window.isOld = true")
        self.call("Page.navigate", url=address)
        self.until("!window.isOld && document.readyState === 'complete'")

    def leave_by(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait for that."""
        self.run("window.isOld = true")
        act()
        self.until("!window.isOld && document.readyState === 'complete'")

    def key(self, name: str, code: int, text: str = "") -> None:
        """Press a key."""
        same = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **same)
        self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def look(self, width: int, *, is_dark: bool = False) -> None:
        """Have a window of a width, in light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path) -> None:
        """Write down how the whole page looks."""
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(taken["data"]))
