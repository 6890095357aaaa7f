"""A signed message is what Standard Webhooks says; a secret that is none is refused."""

from __future__ import annotations

import base64

import pytest

from tieline.alerts.sinks import read_secret, sign
from tieline.contract import Secret, SettingsError


def test_a_message_is_signed_as_the_published_example_is():
    """Source: svix-webhooks, go/webhook_test.go, TestWebhookSign."""
    key = read_secret(Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    signed = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


SECRETS = {
    "no prefix": base64.b64encode(b"x" * 32).decode(),
    "no base64": "whsec_####",
    "too short": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "too long": "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "words": "whsec_my dog's name",
    "empty": "whsec_",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_secret_that_is_none_is_refused_without_being_shown(text):
    with pytest.raises(SettingsError) as caught:
        read_secret(Secret(text))
    assert "TIELINE_ALERT_WEBHOOK_SECRET" in caught.value.message
    assert text not in caught.value.message + caught.value.hint or text == "whsec_"
