"""A plugin fails alone, and says why in words that its author understands."""

from __future__ import annotations

import os
import sys
import threading
import uuid
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path

import pytest

from tieline.errors import NotFoundError, PluginError
from tieline.registry import Registry, find_plugins

TOY = (Path(__file__).parents[1] / "toy_plugin.py").read_text()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install code as a module; return its entry point, with a distribution of its own."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(code: str, *, name: str = "toy", distribution: str = "") -> EntryPoint:
        module = f"plugin_{uuid.uuid4().hex}"
        (tmp_path / f"{module}.py").write_text(code)
        distribution = distribution or module.replace("_", "-")
        info = tmp_path / f"{module}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[tieline.providers]\n{name} = {module}\n")
        [point] = PathDistribution(info).entry_points
        return point

    return make


BROKEN = {
    "raises": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "syntax": ("def broken(:", "SyntaxError"),
    "exits": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "misspelt": (TOY.replace("def tieline_auth", "def tieline_auht"), "did you mean tieline_auth"),
    "missing": (TOY.replace("@hookimpl\ndef tieline_auth", "def tieline_auth"), "lacks the hook"),
    "future": (TOY.replace("contract=CONTRACT_VERSION", "contract=9"), "contract 9"),
    "other name": (TOY.replace('name="toy"', 'name="boy"'), "entry point is 'toy'"),
    "none": (TOY.replace("    return [Entity(", "    [Entity("), "returned NoneType"),
    "text": (TOY.replace("    return [Entity(", "    return 'x' or [Entity("), "returned str"),
    "wrong item": (TOY.replace("    return [Entity(", "    return [1, Entity("), "holds int"),
    "coroutine": (
        TOY.replace("def tieline_provider", "async def tieline_provider"),
        "returned coroutine",
    ),
    "twice": (TOY.replace("page=page)]", "page=page)] * 2"), "declares 'notes' twice"),
    "bad declaration": (TOY.replace('name="notes"', 'name="My Notes"'), "lower case letters"),
    "raises in a hook": (
        TOY.replace("    environments = ", "    1 / 0\n    environments = "),
        "tieline_provider raised ZeroDivisionError",
    ),
}


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("case", BROKEN, ids=list(BROKEN))
def test_a_broken_plugin_is_named_with_its_cause_and_stops_no_other(plugin, case):
    code, words = BROKEN[case]
    good = plugin(TOY.replace('"toy"', '"good"'), name="good")
    registry = Registry(given=[plugin(code), good])
    listed = {one.found.name: one for one in registry.list()}
    assert words in listed["toy"].error.message
    assert listed["toy"].found.distribution in listed["toy"].error.message
    assert listed["good"].plugin is not None
    with pytest.raises(PluginError):
        registry.get("toy")
    assert registry.get("good").name == "good"


def test_names_are_known_without_importing_anything(plugin):
    point = plugin("raise RuntimeError")
    assert Registry(given=[point]).names() == ["toy"]
    assert point.value not in sys.modules


def test_a_disabled_provider_is_not_imported(plugin):
    point = plugin("raise RuntimeError")
    registry = Registry(disabled=["toy"], given=[point])
    [listed] = registry.list()
    assert listed.is_disabled
    assert point.value not in sys.modules
    with pytest.raises(NotFoundError):
        registry.get("toy")


def owners(points, pins=None) -> dict[str, bool]:
    return {found.distribution: not found.holder for found in find_plugins(points, pins)}


def test_a_name_that_two_claim_is_nobody_s_unless_it_is_decided(plugin):
    points = [plugin(TOY, distribution="one-toy"), plugin(TOY, distribution="two-toy")]
    assert owners(points) == {"one-toy": False, "two-toy": False}
    assert owners(points, {"toy": "two-toy"}) == {"one-toy": False, "two-toy": True}
    points.append(plugin(TOY, distribution="tieline-toy"))
    assert owners(points) == {"one-toy": False, "tieline-toy": True, "two-toy": False}
    assert Registry(given=points).get("toy").found.distribution == "tieline-toy"


def test_an_unknown_provider_suggests_the_nearest(plugin):
    with pytest.raises(NotFoundError) as caught:
        Registry(given=[plugin(TOY)]).get("tyo")
    assert "did you mean toy?" in caught.value.hint


OUT_OF_BOUNDS = {
    "hangs": (
        "import threading\nthreading.Event().wait()",
        "is not loaded after 0.05 s: it hangs at",
    ),
    "counts for ever": ("while True: pass", "it hangs at"),
    "hangs in a hook": (
        TOY.replace("    environments = ", "    __import__('time').sleep(60)\n    environments = "),
        "it hangs at",
    ),
    "ends the process": ("import os\nos._exit(3)", "ends the process while it is loaded, at"),
    "starts a thread": (
        f"import threading\nthreading.Thread(target=print).start()\n{TOY}",
        "starts a thread while it is loaded, at",
    ),
    "starts a thread all the same": (
        "import threading\n"
        "try:\n    threading.Thread(target=print).start()\nexcept Exception: pass\n" + TOY,
        "starts a thread while it is loaded, at",
    ),
    "moves": (f"import os\nos.chdir('/')\n{TOY}", "changes the working directory while it is load"),
    "is interrupted": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
}


@pytest.mark.parametrize("case", OUT_OF_BOUNDS, ids=list(OUT_OF_BOUNDS))
def test_what_a_plugin_does_while_it_is_loaded_stays_its_own_affair(plugin, case):
    code, words = OUT_OF_BOUNDS[case]
    point = plugin(code)
    good = plugin(TOY.replace('"toy"', '"good"'), name="good")
    folder, threads = Path.cwd(), set(threading.enumerate())
    hanging = {"load_s": 0.05} if "hangs" in words else {}
    listed = {one.found.name: one for one in Registry(given=[point], **hanging).list()}
    listed |= {one.found.name: one for one in Registry(given=[good]).list()}
    assert words in listed["toy"].error.message
    assert f"{point.value}.py:" in listed["toy"].error.message
    assert "TIELINE_PROVIDERS_DISABLED=toy" in listed["toy"].error.hint
    assert listed["good"].plugin is not None
    assert Path.cwd() == folder
    left = {one for one in threading.enumerate() if not one.name.startswith("load ")}
    assert left <= threads


def test_a_plugin_that_counts_for_ever_is_made_to_end(plugin):
    Registry(given=[plugin("while True: pass", name="counting")], load_s=0.05).list()
    for loading in [one for one in threading.enumerate() if one.name == "load counting"]:
        loading.join(10)
        assert not loading.is_alive()


def test_what_is_kept_from_a_plugin_is_open_to_others_meanwhile_and_to_all_afterwards(plugin):
    before = os._exit, os.chdir, threading.Thread.start
    point = plugin("import time\ntime.sleep(0.1)\n" + TOY)
    registry = Registry(given=[point])
    loading = threading.Thread(target=registry.list)
    loading.start()
    while threading.Thread.start is before[2]:
        pass
    beside = threading.Thread(target=print)
    beside.start()
    beside.join()
    loading.join()
    assert registry.get("toy").name == "toy"
    assert (os._exit, os.chdir, threading.Thread.start) == before
