"""An observer that raises or hangs harms nobody else."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tieline.contract import Alert
from tieline.registry import Registry

TOY = (Path(__file__).parents[1] / "toy_plugin.py").read_text()
HOOK = """

import threading
SEEN, GO = [], threading.Event()


@hookimpl
def tieline_alert(alert):
    {does}
"""
GOOD = "SEEN.append(alert.id)"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name: str, does: str | None) -> EntryPoint:
        module = f"observer_{uuid.uuid4().hex}"
        code = TOY.replace('"toy"', f'"{name}"') + (HOOK.format(does=does) if does else "")
        (tmp_path / f"{module}.py").write_text(code)
        return EntryPoint(name=name, value=module, group="tieline.providers")

    return make


def alert(number: int = 1) -> Alert:
    return Alert(
        id=f"alr_{number}",
        kind="needs-reauth",
        severity="error",
        subject="con_1",
        message="shop needs a person",
        since=datetime(2026, 11, 1, tzinfo=UTC),
    )


def module_of(registry: Registry, name: str):
    return registry.get(name).found.entry_point.load()


FAULTS = {
    "raises": "raise ValueError('sk_live_secret')",
    "exits": "raise SystemExit(3)",
    "interrupts": "raise KeyboardInterrupt",
    "has not the hook": None,
}


@pytest.mark.parametrize("case", FAULTS, ids=FAULTS)
def test_an_observer_that_fails_harms_nobody(plugin, case, caplog):
    points = [plugin("alpha", GOOD), plugin("bad", FAULTS[case]), plugin("omega", GOOD)]
    registry = Registry(given=points)
    assert registry.observe("tieline_alert", within_s=5, alert=alert()) == []
    assert [module_of(registry, name).SEEN for name in ("alpha", "omega")] == [["alr_1"]] * 2
    assert "sk_live_secret" not in caplog.text
    assert ("an observer raised" in caplog.text) is (FAULTS[case] is not None)


def test_an_observer_that_hangs_is_left_behind_and_passed_over_until_it_is_done(plugin):
    registry = Registry(given=[plugin("bad", f"{GOOD}; GO.wait(30)"), plugin("good", GOOD)])
    began = time.monotonic()
    assert registry.observe("tieline_alert", within_s=0.2, alert=alert(1)) == ["bad"]
    before = threading.active_count()
    assert registry.observe("tieline_alert", within_s=0.2, alert=alert(2)) == ["bad"]
    assert time.monotonic() - began < 5
    assert threading.active_count() == before
    bad, good = module_of(registry, "bad"), module_of(registry, "good")
    assert (bad.SEEN, good.SEEN) == (["alr_1"], ["alr_1", "alr_2"])

    bad.GO.set()
    registry._observers._busy["bad"].join(5)
    assert registry.observe("tieline_alert", within_s=5, alert=alert(3)) == []
    assert (bad.SEEN[-1], good.SEEN[-1]) == ("alr_3", "alr_3")


def test_a_broken_plugin_is_passed_over(plugin):
    registry = Registry(given=[plugin("bad", "1 +"), plugin("good", GOOD)])
    assert registry.observe("tieline_alert", within_s=5, alert=alert()) == []
    assert module_of(registry, "good").SEEN == ["alr_1"]
