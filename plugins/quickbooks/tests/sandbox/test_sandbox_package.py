"""The package stands alone, and its entry point describes itself."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tieline_quickbooks_sandbox import create_app

PROBE = """
import sys
sys.modules["quickbooks"] = sys.modules["intuitlib"] = None
from tieline_quickbooks_sandbox import create_app
create_app()
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(roots & {"tieline", "tieline_quickbooks", "requests", "httpx"}))
"""


def test_it_imports_neither_tieline_nor_its_plugin_nor_the_sdk():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", inspect.signature(create_app).parameters)
def test_every_option_can_be_offered_by_the_command_line(name):
    option = inspect.signature(create_app, eval_str=True).parameters[name]
    assert option.kind is option.KEYWORD_ONLY
    assert option.annotation in {int, float, str, bool}
    assert type(option.default) is option.annotation
    arguments = (create_app.__doc__ or "").partition("Args:")[2].partition("Returns:")[0]
    assert f"        {name}: " in arguments


@pytest.mark.parametrize(
    "options", [{"accounts": 0}, {"consent": "maybe"}, {"rotation": "weekly"}], ids=str
)
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match="at least one account"):
        create_app(**options)


def test_the_same_seed_makes_the_same_companies_and_tokens(sandbox):
    def first(seed):
        caller = sandbox(seed=seed)
        caller.order("clock", {"now": 1_800_000_000, "frozen": True})
        caller.get("/nothing")
        return caller.accounts(), caller.connected()["refresh_token"]

    assert first(7) == first(7)
    accounts, token = first(8)
    assert accounts[0]["id"] != first(7)[0][0]["id"]
    assert token != first(7)[1]


def test_applications_share_nothing(sandbox):
    one, other = sandbox(), sandbox()
    one.connected()
    assert len(one.grants()) == 1
    assert other.grants() == []
