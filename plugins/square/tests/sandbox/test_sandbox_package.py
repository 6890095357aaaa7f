"""The package stands alone, and its entry point describes itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys

import pytest

import tieline_square_sandbox
from tieline_square_sandbox import API_KEY, CLIENT_ID, CLIENT_SECRET, create_app
from tieline_square_sandbox.courier import Handling

PROBE = """
import sys
sys.modules["square"] = sys.modules["httpx"] = None
from tieline_square_sandbox import create_app
create_app()
roots = {name.partition(".")[0] for name in sys.modules}
print(sorted(root for root in roots if root == "tieline" or root == "tieline_square"))
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


def test_the_defaults_look_like_square_s():
    assert re.fullmatch(r"sandbox-sq0idb-\w{22}", CLIENT_ID)
    assert re.fullmatch(r"sandbox-sq0csb-\w{43}", CLIENT_SECRET)
    assert re.fullmatch(r"EAAA\w{60}", API_KEY)


@pytest.mark.parametrize(
    "options",
    [
        {"consent": "perhaps"},
        {"accounts": 0},
        {"client_id": ""},
        {"client_secret": ""},
        {"redirect_uris": "http://app.example.com/back"},
        {"redirect_uris": "https://app.example.com/a,javascript:alert(1)"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"^\w+"):
        create_app(**options)


def test_same_seed_same_sellers_and_tokens_and_another_seed_others(sandbox):
    def made(seed):
        caller = sandbox(seed=seed)
        return caller.get("/_sandbox/").json["accounts"], caller.grant()

    assert made(7) == made(7)
    assert made(7)[0] != made(8)[0]
    assert made(7)[1]["access_token"] != made(8)[1]["access_token"]


def test_applications_share_nothing(sandbox):
    one, two = sandbox(), sandbox(seed=2)
    token = one.grant()["access_token"]
    assert one.get("/v2/locations", token=token).status == 200
    assert two.get("/v2/locations", token=token).code == "UNAUTHORIZED"
    assert two.oracle()["grants"] == []


def test_what_it_can_be_told_is_documented():
    text = tieline_square_sandbox.__doc__
    for word in ("/_sandbox/log", "/_sandbox/faults", "/_sandbox/clock", "/_sandbox/oauth"):
        assert word in text
    for field in dataclasses.fields(Handling):
        assert f'"{field.name}"' in text
    for word in ("consent", "login_as", "rotation", "grace_s", "revoke", "grant", "single-use"):
        assert word in text
