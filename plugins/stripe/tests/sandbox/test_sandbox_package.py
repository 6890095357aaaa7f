"""The package stands alone, and its entry point describes itself."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tieline_stripe_sandbox import create_app

PROBE = """
import sys
sys.modules["stripe"] = None
from tieline_stripe_sandbox import create_app
create_app(customers=10)
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(root for root in roots if root == "tieline" or root == "tieline_stripe"))
"""


def test_it_imports_neither_tieline_nor_its_plugin_nor_the_sdk() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", inspect.signature(create_app).parameters)
def test_every_option_can_be_offered_by_the_command_line(name: str) -> None:
    option = inspect.signature(create_app, eval_str=True).parameters[name]
    assert option.kind is option.KEYWORD_ONLY
    assert option.annotation in {int, float, str, bool}
    assert type(option.default) is option.annotation
    arguments = (create_app.__doc__ or "").partition("Args:")[2].partition("Returns:")[0]
    assert f"        {name}: " in arguments
