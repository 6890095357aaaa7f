"""``.env.example`` tells of the applications that installed plugins need."""

from __future__ import annotations

import re

import pytest

from kit import entry_point
from tieline.registry import Registry
from tieline.services.settings import write_env_example
from tieline.settings import load_settings, unknown_names

FIELDS = ["CLIENT_ID", "CLIENT_SECRET", "REDIRECT_URI", "ENVIRONMENT", "SCOPES"]
SIGNED_IN = {
    "mailchimp": "https://admin.mailchimp.com/account/oauth2/",
    "quickbooks": "https://developer.intuit.com/app/developer/dashboard",
    "square": "https://developer.squareup.com/apps",
    "stripe": "https://dashboard.stripe.com/settings/connect",
}


@pytest.fixture(scope="module")
def text():
    return write_env_example(Registry())


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_every_provider_that_takes_oauth_has_its_five_settings(text, provider):
    for field in FIELDS:
        assert len(re.findall(rf"^#TIELINE_{provider.upper()}_{field}=", text, re.MULTILINE)) == 1
    assert SIGNED_IN[provider] in text
    flat = re.sub(r"\n# ", " ", text)
    assert f"http://127.0.0.1:8377/oauth/callback/{provider}" in flat


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_a_secret_of_webhooks_is_set_where_an_application_has_one_address(text, provider):
    has_one = provider != "mailchimp"
    assert (f"#TIELINE_{provider.upper()}_WEBHOOK_SECRET=" in text) is has_one


def test_what_differs_between_development_and_production_is_said(text):
    flat = re.sub(r"\n# ", " ", text)
    assert "develop with sandbox, run with production" in flat
    assert "develop with test, run with live" in flat
    assert "It has one environment, production: for development register a second" in flat
    assert "In production an https address that leads to `tieline serve`" in flat


KEYS_AT = {
    "mailchimp": "https://admin.mailchimp.com/account/api/",
    "square": "https://developer.squareup.com/apps",
    "stripe": "https://dashboard.stripe.com/apikeys",
}


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_every_provider_s_limits_are_there_with_their_default(text, provider):
    found = re.search(rf"^#TIELINE_{provider.upper()}_RATE_LIMITS=(.+)$", text, re.MULTILINE)
    flat = re.sub(r"\n# ", " ", text)
    assert re.search(rf"Default in the environment \w+: {re.escape(found[1])}\.", flat)


@pytest.mark.parametrize("provider", KEYS_AT)
def test_it_says_where_a_key_is_found_and_that_it_is_no_setting(text, provider):
    flat = re.sub(r"\n# ", " ", text)
    assert f"A key of an account, from {KEYS_AT[provider]}" in flat
    assert f"`tieline connect {provider} --name NAME` asks for it" in flat
    assert f"TIELINE_{provider.upper()}_API_KEY" not in text


@pytest.mark.parametrize("provider", SIGNED_IN)
def test_it_says_what_to_do_at_the_provider_for_its_webhooks(text, provider):
    instructions = Registry().get(provider).webhooks.instructions
    assert instructions
    assert " ".join(instructions.split()) in " ".join(re.sub(r"\n# ", " ", text).split())


def test_it_says_what_production_needs(text):
    flat = re.sub(r"\n# ", " ", text)
    for name in ("ENV=production", "DATABASE_URL", "REDIS_URL", "KMS_KEY_ID", "PUBLIC_URL"):
        assert f"TIELINE_{name}" in flat.partition("Where this installation runs.")[0]


def test_a_provider_that_takes_keys_alone_has_none(text):
    registry = Registry(given=[entry_point("shelf", "shelf_plugin")])
    assert "TIELINE_SHELF" not in write_env_example(registry)


def test_a_broken_plugin_spoils_nothing(text):
    points = [entry_point("market", "market_plugin"), entry_point("gone", "no_such_module")]
    said = write_env_example(Registry(given=points))
    assert "#TIELINE_MARKET_CLIENT_ID=" in said
    assert "GONE" not in said


def test_every_line_means_something_and_can_be_taken_as_it_stands(text, tmp_path):
    lines = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#TIELINE_")]
    given = dict(line.split("=", 1) for line in lines)
    assert len(given) == len(lines)
    assert unknown_names(given, tmp_path, providers=SIGNED_IN) == {}
    del given["TIELINE_FAILPOINTS"]  # it is not honoured without a second word
    settings = load_settings(given, tmp_path)
    assert set(settings.applications) == set(SIGNED_IN)
    assert settings.applications["square"].environment == "sandbox"


def test_no_line_is_wider_than_a_page_unless_it_cannot_be_broken(text):
    for line in text.splitlines():
        assert len(line) <= 92 or line.startswith("#TIELINE_") or " " not in line[2:], line
