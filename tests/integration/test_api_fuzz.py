"""Generated calls, good and bad ones: no 5xx, no answer that the document does not know.

`./tie fuzz api` makes thousands of them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from api_kit import callers_of
from market import open_market

_PLACE = Path(__file__).parents[1] / "fuzz" / "fuzz_api.py"


@pytest.fixture
def fuzz_api():
    spec = importlib.util.spec_from_file_location("fuzz_api", _PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_generated_calls_meet_no_fault_of_ours(postgres_url, redis_url, tmp_path, fuzz_api):
    with open_market() as market:
        made = fuzz_api.make_world(postgres_url, redis_url, tmp_path, market)
        try:
            found = fuzz_api.shoot(callers_of(made), market, cases=150, number=3)
        finally:
            made.close()
    assert sum(found.values()) >= 150
    assert found[200] > 20
    assert found[422] > 10
