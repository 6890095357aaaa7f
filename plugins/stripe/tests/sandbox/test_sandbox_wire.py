"""Over a real connection: what breaks on the way, and that the rest is plain HTTP."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

AUTH = {"authorization": "Bearer sk_test_1"}


def order(base: str, *faults: dict[str, Any]) -> None:
    httpx.post(f"{base}/_sandbox/faults", json=list(faults)).raise_for_status()


def test_headers_come_once(server: Any) -> None:
    reply = httpx.get(f"{server(customers=1)}/v1/customers", headers=AUTH)
    names = [name for name, _ in reply.headers.multi_items()]
    assert len(names) == len(set(names))
    assert reply.headers["date"].startswith("Sun, 01 Nov 2026 00:00:0")


def test_a_dropped_connection(server: Any) -> None:
    base = server(customers=1)
    order(base, {"kind": "drop", "path": "/v1/customers"})
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        httpx.get(f"{base}/v1/customers", headers=AUTH)
    assert httpx.get(f"{base}/_sandbox/log").json()["requests"][0]["status"] == 0
    assert httpx.get(f"{base}/v1/customers", headers=AUTH).status_code == 200


def test_a_dropped_request_may_have_been_executed(server: Any) -> None:
    base = server(customers=0)
    order(base, {"kind": "drop", "method": "POST", "executed": True})
    headers = AUTH | {"idempotency-key": "k"}
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        httpx.post(f"{base}/v1/customers", headers=headers, data={"name": "A"})
    again = httpx.post(f"{base}/v1/customers", headers=headers, data={"name": "A"})
    assert again.headers["idempotent-replayed"] == "true"
    assert len(httpx.get(f"{base}/_sandbox/truth").text.splitlines()) == 1


def test_a_lost_answer_of_the_token_endpoint_used_the_code_up(server: Any) -> None:
    base = server(customers=0)
    asked = {
        "response_type": "code",
        "client_id": httpx.get(f"{base}/_sandbox/").json()["client_id"],
        "redirect_uri": "http://127.0.0.1:1/cb",
    }
    location = httpx.get(f"{base}/oauth/authorize", params=asked).headers["location"]
    form = {"grant_type": "authorization_code", "code": httpx.URL(location).params["code"]}
    order(base, {"kind": "drop", "path": "/oauth/token", "executed": True})
    headers = {"authorization": "Bearer sk_test_51TielineSandboxPlatform"}
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        httpx.post(f"{base}/oauth/token", data=form, headers=headers)
    again = httpx.post(f"{base}/oauth/token", data=form, headers=headers)
    assert again.json()["error"] == "invalid_grant"
    told = httpx.get(f"{base}/_sandbox/oauth").json()
    assert (told["token_calls"], told["grants"][0]["state"]) == (2, "reused")


def test_a_truncated_body(server: Any) -> None:
    base = server(customers=100)
    order(base, {"kind": "truncate"})
    with pytest.raises(httpx.RemoteProtocolError, match="closed"):
        httpx.get(f"{base}/v1/customers?limit=100", headers=AUTH)


def test_a_slow_body(server: Any) -> None:
    base = server(customers=10)
    order(base, {"kind": "slow", "seconds": 0.3, "chunks": 6})
    start = time.monotonic()
    assert len(httpx.get(f"{base}/v1/customers", headers=AUTH).json()["data"]) == 10
    assert time.monotonic() - start >= 0.3


def test_a_delayed_answer(server: Any) -> None:
    base = server(customers=1)
    order(base, {"kind": "delay", "seconds": 1})
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{base}/v1/customers", headers=AUTH, timeout=0.1)


def test_who_leaves_while_the_truth_is_streamed_stops_it(server: Any) -> None:
    base = server(customers=1_000_000)
    with httpx.stream("GET", f"{base}/_sandbox/truth") as reply:
        next(reply.iter_lines())
    start = time.monotonic()
    assert httpx.get(f"{base}/v1/customers", headers=AUTH).status_code == 200
    assert time.monotonic() - start < 1
