"""What counts as one endpoint: paths that differ by an id, and no others."""

from __future__ import annotations

import pytest

from tieline.throttle.policy import endpoint_of


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/customers", "/v1/customers"),
        ("/v1/customers/cus_L1VEGhqSZ7it01", "/v1/customers/*"),
        ("/v1/subscription_items", "/v1/subscription_items"),
        ("/v2/customers/JDKYHBWT1D4F8MFH63DBMEN8Y4", "/v2/customers/*"),
        (
            "/3.0/lists/abc123def4/members/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
            "/3.0/lists/*/members/*",
        ),
    ],
)
def test_an_id_stands_for_all_ids_and_a_collection_for_itself(path, endpoint):
    assert endpoint_of("GET", path) == f"GET {endpoint}"
