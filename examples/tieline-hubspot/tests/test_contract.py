"""HubSpot's plugin keeps its promises: each check of Tieline's is a test of its own here."""

from tieline.testing import contract_tests

test_contract = contract_tests("hubspot", level="gold")
