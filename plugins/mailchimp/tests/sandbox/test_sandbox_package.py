"""The package stands alone, and its entry point describes itself."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import tieline_mailchimp_sandbox
from tieline_mailchimp_sandbox import create_app
from tieline_mailchimp_sandbox.faults import KINDS

PROBE = """
import sys
sys.modules["mailchimp_marketing"] = None
from tieline_mailchimp_sandbox import create_app
create_app()
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(root for root in roots if root in ("tieline", "tieline_mailchimp", "requests")))
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


def test_what_the_control_surface_offers_is_documented(sandbox: object) -> None:
    control = sandbox().app._control  # type: ignore[operator]
    for name in control._reads:
        assert f"GET /_sandbox/{name}" in (tieline_mailchimp_sandbox.__doc__ or "")
    for name in control._orders:
        assert f"POST /_sandbox/{name}" in (tieline_mailchimp_sandbox.__doc__ or "")


def test_the_kinds_of_faults_are_shown(sandbox: object) -> None:
    assert sandbox().facts()["fault_kinds"] == KINDS  # type: ignore[operator]
