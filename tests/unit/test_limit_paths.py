"""Which limits count a call, by its path."""

from __future__ import annotations

import pytest

from tieline.contract import Account, Connection, Rate, RateLimitPolicy
from tieline.throttle.policy import windows_of

SHOP = Connection(
    id="con_1",
    name="shop",
    provider="acme",
    environment="live",
    base_url="https://api.acme.example",
    account=Account(id="a1"),
)


def counted(rate: Rate, path: str, method: str = "GET") -> list[tuple[str, ...]]:
    policy = RateLimitPolicy(rates=[rate])
    return [each.by for each in windows_of(policy, SHOP, method=method, path=path)]


@pytest.mark.parametrize("scope", ["account", "application", "endpoint"])
def test_paths_that_share_a_limit_are_counted_in_one_window(scope):
    rate = Rate(limit="4/second", scope=scope, match=["/orders/search", "/people/search"])
    orders, people = counted(rate, "/orders/search"), counted(rate, "/people/search?x=1")
    assert orders == people
    assert len(orders) == 1
    assert counted(rate, "/orders/17") == []


def test_paths_with_limits_of_their_own_are_counted_apart():
    rates = [Rate(limit="2/second", match=match) for match in ("/orders/search", "/people/search")]
    [orders], [people] = counted(rates[0], "/orders/search"), counted(rates[1], "/people/search")
    assert orders != people


def test_two_limits_of_the_same_paths_are_two_windows():
    policy = RateLimitPolicy(
        rates=[
            Rate(limit="4/second", match=["/a", "/b"]),
            Rate(limit="4/second", match=["/a", "/c"]),
        ]
    )
    windows = windows_of(policy, SHOP, method="GET", path="/a")
    assert len({each.by for each in windows}) == 2
    assert [each.label for each in windows] == ["/a /b", "/a /c"]
