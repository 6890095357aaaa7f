"""Mailchimp's own SDK, with its own network, cannot tell the sandbox from Mailchimp."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import mailchimp_marketing
import pytest
import requests
from mailchimp_marketing.api_client import ApiClientError

KEY = "0123456789abcdef0123456789abcdef-us6"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Any]:
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def make(base: str, **credential: str) -> Any:
        client = mailchimp_marketing.Client({**credential, "server": "", "timeout": 5})
        client.api_client.host = f"{base}/3.0"
        return client

    return make


def test_a_key_and_a_token_open_the_same_account(server: Any, connect: Any) -> None:
    base = server()
    with httpx.Client(trust_env=False) as client:
        given = client.post(f"{base}/_sandbox/oauth", json={"grant": {"account": 0}}).json()
    by_key = connect(base, api_key=KEY)
    by_token = connect(base, access_token=given["access_token"])
    assert by_key.ping.get() == {"health_status": "Everything's Chimpy!"}
    fields = ["account_id", "account_name"]
    assert by_key.root.get_root(fields=fields) == by_token.root.get_root(fields=fields)
    assert set(by_key.root.get_root(fields=fields)) == set(fields)


def test_a_dead_key_is_an_error_with_the_document_as_text(server: Any, connect: Any) -> None:
    with pytest.raises(ApiClientError) as caught:
        connect(server(), api_key=KEY.replace("us6", "us7")).ping.get()
    assert caught.value.status_code == 401
    assert json.loads(caught.value.text)["title"] == "API Key Invalid"


def test_a_refusal_without_a_body_looks_like_a_success_to_the_sdk(
    server: Any, connect: Any
) -> None:
    """Why the plugin replaces what the SDK does with answers."""
    base = server()
    with httpx.Client(trust_env=False) as client:
        client.post(f"{base}/_sandbox/faults", json=[{"kind": "status", "status": 429, "body": ""}])
    answer = connect(base, api_key=KEY).ping.get()
    assert isinstance(answer, requests.Response)
    assert answer.status_code == 429


def test_a_cut_connection_is_an_error_of_the_sdk(server: Any, connect: Any) -> None:
    base = server()
    with httpx.Client(trust_env=False) as client:
        client.post(f"{base}/_sandbox/faults", json=[{"kind": "drop"}])
    with pytest.raises(ApiClientError) as caught:
        connect(base, api_key=KEY).ping.get()
    assert isinstance(caught.value.text, requests.exceptions.ConnectionError)
