"""A plugin's author calls single steps against a sandbox: as over HTTP, but without a server."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import pytest
from marshmallow import Schema, fields

from tieline.contract import (
    Page,
    PageParams,
    Provider,
    ProviderUnavailableError,
    RequestRejectedError,
)
from tieline.scaffold import Wanted, make_plugin
from tieline.testing import SandboxTransport, client_of, pages_of

PROVIDER = Provider(
    name="acme",
    title="Acme",
    contract=1,
    environments={"live": "https://api.acme.example"},
    hosts=["https://*.files.acme.example"],
)
START = {"type": "http.response.start", "status": 203, "headers": [(b"X-Left", b"7")]}


def transport(*messages):
    """Make one to an app that answers so, and remembers what it was called with."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, await receive()))
        for message in messages:
            await send(message)

    return SandboxTransport(app=app, provider=PROVIDER), seen


def test_a_request_is_handed_over_and_an_answer_in_parts_is_put_together():
    parts = [{"type": "http.response.body", "body": b"a", "more_body": True},
             {"type": "http.response.body", "body": b"b"}]  # fmt: skip
    direct, seen = transport(START, *parts)
    url = "https://api.acme.example/things/a%2Fb?q=x%20y&empty="
    reply = direct.send("POST", url, headers={"Authorization": "k"}, content=b"{}")
    assert (reply.status, reply.headers, reply.content) == (203, {"x-left": "7"}, b"ab")
    [(scope, given)] = seen
    assert (scope["method"], scope["path"], scope["raw_path"]) == (
        "POST", "/things/a/b", b"/things/a%2Fb")  # fmt: skip
    assert scope["query_string"] == b"q=x%20y&empty="
    assert (b"authorization", b"k") in scope["headers"]
    assert (b"host", b"api.acme.example") in scope["headers"]
    assert given["body"] == b"{}"
    [asked] = direct.asked
    assert (asked.path, asked.query, asked.content) == (
        "/things/a/b", {"q": "x y", "empty": ""}, b"{}")  # fmt: skip


@pytest.mark.parametrize("url", ["https://evil.example/x", "http://api.acme.example/x"])
def test_what_is_no_host_of_the_provider_is_not_called(url):
    direct, seen = transport(START)
    with pytest.raises(RequestRejectedError):
        direct.send("GET", url, headers={})
    assert seen == direct.asked == []


@pytest.mark.parametrize(
    "messages",
    [(), (START, {"type": "http.response.body", "body": b"a", "more_body": True})],
    ids=["before it began", "in the middle"],
)
def test_an_answer_that_is_broken_off_is_none(messages):
    direct, _ = transport(*messages)
    with pytest.raises(ProviderUnavailableError):
        direct.send("GET", "https://eu1.files.acme.example/x", headers={})


def test_a_client_is_handed_what_its_hook_asks_for_and_settings_loaded():
    class Settings(Schema):
        size = fields.Integer(load_default=5)

    provider = Provider(
        name="acme", title="Acme", contract=1, environments=PROVIDER.environments,
        settings=Settings(),
    )  # fmt: skip
    plugin = SimpleNamespace(
        tieline_provider=lambda: provider,
        tieline_client=lambda connection, credential: (connection, credential["key"].reveal()),
    )
    connection, key = client_of(plugin, None, {"key": "k"}, settings={"size": "7"})
    assert (connection.settings, key) == ({"size": 7}, "k")
    assert client_of(plugin, None, {"key": "k"})[0].settings == {"size": 5}


def test_pages_are_read_to_the_end_and_a_cursor_that_comes_twice_is_told():
    def step(_client, params, cursor):
        number = int(cursor or 0)
        assert params == PageParams()
        return Page(records=[{"id": number}], next=str(number + 1) if number < 3 else None)

    assert [page.records[0]["id"] for page in pages_of(step, None)] == [0, 1, 2, 3]
    with pytest.raises(AssertionError, match="twice"):
        list(pages_of(lambda *_: Page(records=[], next="c"), None))


@pytest.mark.parametrize("auth", ["api_key", "basic", "oauth2"])
def test_a_new_plugin_s_own_test_of_a_step_passes_and_sees_a_page_that_is_lost(
    auth, tmp_path, monkeypatch
):
    make_plugin(Wanted(name="acme", auth=auth, entity="orders"), tmp_path / "made")
    monkeypatch.syspath_prepend(str(tmp_path / "made"))
    monkeypatch.syspath_prepend(str(tmp_path / "made" / "tests"))
    names = ("tieline_acme", "tieline_acme.schema", "tieline_acme_sandbox", "test_contract")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    try:
        written = importlib.import_module("test_contract")
        plugin = importlib.import_module("tieline_acme")
        written.test_every_order_is_read_once()
        [orders] = plugin.tieline_entities()
        lost = Page(records=[], next=None)
        hides = SimpleNamespace(page=lambda *given: (given[2] and lost) or orders.page(*given))
        monkeypatch.setattr(plugin, "tieline_entities", lambda: [hides])
        with pytest.raises(AssertionError):
            written.test_every_order_is_read_once()
    finally:
        for name in names:
            sys.modules.pop(name, None)
