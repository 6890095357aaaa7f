"""Secrets are sealed to where they belong, and do not show."""

from __future__ import annotations

import json
import logging
import os
import pickle
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from random import Random

import orjson
import pytest

from tieline.contract import Credential, Secret, SettingsError
from tieline.errors import KeyUnavailableError, VaultError
from tieline.telemetry import configure_logging, get_logger, redact, remember
from tieline.telemetry.redact import tellable
from tieline.vault import Context, LocalKeyRing, Vault, create_key_file, read_keys

CANARY = "sk_test_CANARY91f0c2"
HERE = Context(connection_id="con_a", field="api_key")


def vault() -> Vault:
    return Vault(LocalKeyRing([os.urandom(32)]))


def test_what_is_sealed_opens_where_it_belongs():
    ring = vault()
    sealed, key_id = ring.seal(Secret(CANARY), HERE)
    assert ring.open(sealed, HERE).reveal() == CANARY
    assert key_id.startswith("local-")
    assert CANARY not in sealed
    assert ring.seal(Secret(CANARY), HERE)[0] != sealed


@pytest.mark.parametrize(
    "elsewhere",
    [
        Context(connection_id="con_b", field="api_key"),
        Context(connection_id="con_a", field="other"),
    ],
)
def test_it_opens_nowhere_else(elsewhere):
    ring = vault()
    with pytest.raises(VaultError):
        ring.open(ring.seal(Secret(CANARY), HERE)[0], elsewhere)


def test_another_key_does_not_open_it():
    sealed, _ = vault().seal(Secret(CANARY), HERE)
    with pytest.raises(KeyUnavailableError):
        vault().open(sealed, HERE)


def test_a_thousand_edits_are_all_refused():
    ring = vault()
    sealed, _ = ring.seal(Secret(CANARY), HERE)
    random = Random(7)
    refused = 0
    for _ in range(1000):
        position = random.randrange(len(sealed))
        edited = sealed[:position] + random.choice('abcXYZ019+/={}",:') + sealed[position + 1 :]
        if edited == sealed:
            refused += 1
            continue
        try:
            opened = ring.open(edited, HERE)
        except VaultError:
            refused += 1
        else:  # a base64 text has spare bits at its end that say nothing
            assert opened.reveal() == CANARY
            assert json.loads(edited).keys() == json.loads(sealed).keys()
            refused += 1
    assert refused == 1000


def test_old_keys_of_the_ring_still_open():
    old, new = os.urandom(32), os.urandom(32)
    sealed, _ = Vault(LocalKeyRing([old])).seal(Secret(CANARY), HERE)
    assert Vault(LocalKeyRing([new, old])).open(sealed, HERE).reveal() == CANARY


def test_a_key_file_is_its_owner_s_alone_and_is_made_once(tmp_path):
    path = tmp_path / "keys" / "local.key"
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_key_file(path), range(1)))
    first = path.read_bytes()
    assert made == [True]
    assert create_key_file(path) is False
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_keys(Secret(""), path)[0]) == 32


@pytest.mark.parametrize("text", ["short", "!" * 44, b64encode(b"x" * 31).decode()])
def test_a_wrong_key_is_refused_without_showing_it(text, tmp_path):
    with pytest.raises(SettingsError) as caught:
        read_keys(Secret(text), tmp_path / "none")
    assert text not in caught.value.message


@pytest.mark.parametrize("show", [str, repr, "{}".format, "{!r}".format, lambda s: f"{s}"])
def test_a_secret_does_not_print(show):
    assert CANARY not in show(Secret(CANARY))
    assert CANARY not in show(Credential({"api_key": CANARY}))


def test_a_secret_is_not_written_by_pickle_or_json():
    for write in (pickle.dumps, json.dumps, orjson.dumps):
        with pytest.raises(TypeError):
            write(Secret(CANARY))


def test_what_is_remembered_is_redacted_longest_first():
    remember(CANARY)
    remember(CANARY + "-and-more")
    assert "more" not in redact(f"key {CANARY}-and-more")
    assert CANARY not in redact(f"?key={CANARY}&x=1")
    assert redact("short words stay") == "short words stay"


def test_somebody_else_s_words_become_tellable():
    remember(CANARY)
    told = tellable(f"bad\x00 \ud83d \x1b[31m {CANARY} " + "x" * 1000)
    assert told.isprintable()
    assert CANARY not in told
    assert len(told) <= 501


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_log_line_shows_a_secret(style, capsys, monkeypatch):
    remember(CANARY)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure_logging("debug", style)
        log = get_logger("tieline.test")
        log.info("said %s", CANARY, note=f"has {CANARY}", api_key="0123", nested={"a": CANARY})
        logging.getLogger("elsewhere").warning("foreign %s", CANARY)
        try:
            raise ValueError(CANARY)  # noqa: TRY301 - its text has to reach the log
        except ValueError:
            log.exception("went wrong")
        out = capsys.readouterr()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    text = out.out + out.err
    assert "went wrong" in text
    assert "foreign" in text
    assert CANARY not in text
    assert "0123" not in text
