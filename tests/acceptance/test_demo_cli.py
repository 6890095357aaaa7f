"""A sandbox that goes on in the background: found, connected to, broken, mended, stopped."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cli_kit import run_cli, use_environment
from servers import wait_until
from tieline.errors import DependencyError, InvalidInputError, RefusedError
from tieline.services import demo_sandbox as service
from tieline.services.installation import Installation
from tieline.services.setup import initialise

FEW = {"customers": "3", "products": "1", "subscriptions": "1", "charges": "1"}
PAIRS = tuple(word for name, text in FEW.items() for word in ("--set", f"{name}={text}"))


@pytest.fixture
def home(tmp_path, redis_url, monkeypatch):
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    use_environment(monkeypatch, folder, f"sqlite:///{folder}/tieline.db", redis_url)
    opened = Installation()
    initialise(opened)
    opened.close()
    yield folder
    service.stop_sandbox(folder)


def started(*words: str) -> dict:
    done = run_cli("demo", "start", *words, "--json")
    assert done.code == 0, done.stderr
    return done.json


def customers(url: str) -> httpx.Response:
    key = {"authorization": "Bearer sk_test_anything0000"}
    return httpx.get(f"{url}/v1/customers", headers=key, trust_env=False)


def test_it_goes_on_is_found_and_comes_back_where_it_was(home):
    first = started(*PAIRS)
    assert first["is_new"]
    found = first["sandbox"]
    assert len(customers(found["url"]).json()["data"]) == 3
    assert started() == {"sandbox": found, "is_new": False}
    stopped = run_cli("demo", "stop", "--json")
    assert stopped.json == {"stopped": True}
    assert run_cli("demo", "stop", "--json").json == {"stopped": False}
    with pytest.raises(httpx.ConnectError):
        customers(found["url"])
    again = started(*PAIRS)["sandbox"]
    assert (again["url"], again["pid"] != found["pid"]) == (found["url"], True)


def test_where_its_place_is_taken_it_says_so_and_another_is_to_be_had(home):
    found = service.start_sandbox(home, "stripe", options=FEW).sandbox
    service.stop_sandbox(home)
    with socket.create_server(("127.0.0.1", found.port)):
        said = run_cli("demo", "start", *PAIRS)
        assert (said.code, "cannot be bound" in said.stderr) == (9, True)
        assert started("--port", "0", *PAIRS)["sandbox"]["port"] != found.port


def test_a_folder_that_it_makes_is_its_owner_s_alone(tmp_path):
    home = tmp_path / "new"
    service.start_sandbox(home, "stripe", options=FEW)
    try:
        assert home.stat().st_mode & 0o077 == 0
    finally:
        service.stop_sandbox(home)


def test_many_that_start_one_at_once_get_the_same(home):
    with ThreadPoolExecutor(4) as hands:
        made = list(
            hands.map(lambda _: service.start_sandbox(home, "stripe", options=FEW), range(4))
        )
    assert len({each.sandbox.url for each in made}) == 1
    assert sum(each.is_new for each in made) == 1


def test_one_that_was_killed_is_not_taken_for_alive(home):
    found = service.start_sandbox(home, "stripe", options=FEW).sandbox
    os.kill(found.pid, signal.SIGKILL)
    wait_until(lambda: service.find_sandbox(home) is None)
    assert service.stop_sandbox(home) is False
    said = run_cli("demo", "break", "down")
    assert (said.code, "error[sandbox-missing]" in said.stderr) == (6, True)


def test_one_of_which_nobody_knows_where_it_is_makes_way(home):
    found = service.start_sandbox(home, "stripe", options=FEW).sandbox
    (home / "sandbox" / "standing.json").unlink()  # as if its starter had been killed
    assert service.find_sandbox(home) is None
    again = service.start_sandbox(home, "stripe", options=FEW)
    assert again.is_new
    assert again.sandbox.pid != found.pid
    assert service.stop_sandbox(home)


def test_connecting_takes_no_key_and_syncs(home):
    started(*PAIRS)
    done = run_cli("connect", "stripe", "--sandbox", "--name", "shop", "--json")
    assert done.code == 0, done.stderr
    assert done.json["connection"]["account"]["name"]
    assert run_cli("connections", "test", "shop").code == 0
    again = run_cli("connect", "stripe", "--sandbox", "--name", "shop", "--replace")
    assert again.code == 0, again.stderr


def test_what_the_sandbox_says_by_itself_is_not_said_to_it(home):
    for words in (["--base-url", "http://127.0.0.1:1"], ["--oauth"], ["--key-stdin"]):
        said = run_cli("connect", "stripe", "--sandbox", *words, stdin="sk_test_x")
        assert (said.code, "--sandbox" in said.stderr) == (2, True), words


def test_an_account_that_signs_in_is_connected_without_anybody(home, monkeypatch):
    url = started("quickbooks", "--set", "customers=2", "--set", "invoices=1")["sandbox"]["url"]
    named = httpx.get(f"{url}/_sandbox/guide", trust_env=False).json()["auth"]
    monkeypatch.setenv("TIELINE_QUICKBOOKS_CLIENT_ID", named["client_id"])
    monkeypatch.setenv("TIELINE_QUICKBOOKS_CLIENT_SECRET", named["client_secret"])
    done = run_cli("connect", "quickbooks", "--sandbox", "--name", "books")
    assert done.code == 0, done.stderr
    assert run_cli("connections", "test", "books").code == 0
    service.break_sandbox(home, "revoked")
    assert run_cli("connections", "test", "books").code == 4


@pytest.mark.parametrize(
    ("fault", "codes", "code"),
    [
        ("throttle", [429, 429, 429, 200], 5),
        ("down", [503, 503, 503, 503], 5),
        ("denied", [403, 403, 403, 403], 4),
        ("revoked", [401, 401, 401, 401], 4),
    ],
)
def test_it_goes_wrong_as_ordered_until_it_is_mended(home, fault, codes, code):
    url = started(*PAIRS)["sandbox"]["url"]
    run_cli("connect", "stripe", "--sandbox", "--name", "shop")
    assert run_cli("demo", "break", fault).code == 0
    assert [customers(url).status_code for _ in codes] == codes
    run_cli("demo", "break", fault, "--times", "0")
    assert run_cli("connections", "test", "shop").code == code
    assert run_cli("demo", "mend", "--json").code == 0
    assert customers(url).status_code == 200


def test_answers_that_are_none_can_be_ordered_too(home):
    url = started(*PAIRS)["sandbox"]["url"]
    run_cli("demo", "break", "garbage")
    assert customers(url).headers["content-type"].startswith("text/html")
    run_cli("demo", "break", "cut")
    with pytest.raises(httpx.RemoteProtocolError):
        customers(url)
    broken = run_cli("demo", "break", "down", "--json")
    assert broken.json == {"fault": "down", "times": 0}
    run_cli("demo", "break", "slow", "--times", "1")
    began = httpx.Client(trust_env=False)
    assert customers(url).elapsed.total_seconds() > 1.9
    began.close()


def test_each_provider_s_sandbox_knows_every_fault_or_says_that_it_does_not(home):
    for name in ("mailchimp", "square"):
        service.start_sandbox(home, name)
        for fault in service.FAULTS:
            service.break_sandbox(home, fault)
        service.mend_sandbox(home)
        service.stop_sandbox(home)


def test_what_makes_no_sense_is_refused_before_anything_starts(home):
    with pytest.raises(InvalidInputError, match="no option 'costumers'") as refused:
        service.start_sandbox(home, "stripe", options={"costumers": "3"})
    assert "customers" in refused.value.hint
    assert service.find_sandbox(home) is None
    with pytest.raises(DependencyError, match="customers") as refused:
        service.start_sandbox(home, "stripe", options={"customers": "many"})
    assert service.find_sandbox(home) is None


def test_one_provider_at_a_time(home):
    service.start_sandbox(home, "stripe", options=FEW)
    with pytest.raises(RefusedError, match="stripe"):
        service.start_sandbox(home, "square")
    said = run_cli("connect", "square", "--sandbox")
    assert (said.code, "error[sandbox-runs]" in said.stderr) == (6, True)
