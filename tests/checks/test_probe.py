"""How long importing a plugin takes is measured as it is where the plugin is installed."""

from __future__ import annotations

import pytest

from tieline.checks.probe import LOAD_S, probe
from tieline.checks.subject import find_subject
from tieline.scaffold import Wanted, make_plugin

# A compiler takes seconds for it, and Python itself none: nothing here is called.
LONG = "\n".join(f"def f{n}(a=1, *b, c=(2, 3), **d): return [a, b, {{c: d}}]" for n in range(12000))
SLOW = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A new plugin, and beside it the SDK that it imports."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    folder = tmp_path / "tieline-acme"
    make_plugin(Wanted(name="acme"), folder)
    module = folder / "tieline_acme" / "__init__.py"
    text = module.read_text()
    assert "\nfrom tieline.contract import" in text
    module.write_text(text.replace("\nfrom tieline", "\nimport acme_sdk\nfrom tieline", 1))
    return folder


def test_the_bytecode_of_an_sdk_is_made_before(plugin, tmp_path):
    (tmp_path / "acme_sdk.py").write_text(LONG)
    found = probe(find_subject(str(plugin)))
    assert found.error == ""
    assert found.cpu_s <= max(LOAD_S, 3 * found.contract_s)
    assert not list((plugin / "tieline_acme").rglob("*.pyc"))


def test_an_sdk_that_is_slow_all_the_same_is_seen(plugin, tmp_path):
    (tmp_path / "acme_sdk.py").write_text(SLOW)
    assert probe(find_subject(str(plugin))).cpu_s >= 0.5
