"""A sealed secret opens where it belongs, whole, or not at all."""

from __future__ import annotations

import os
import threading
from base64 import b64decode, b64encode
from random import Random

import orjson
import pytest

from tieline.contract import Secret, SettingsError
from tieline.errors import KeyUnavailableError, SealBrokenError, VaultError
from tieline.vault import Context, LocalKeyRing, Vault, create_key_file, read_keys

CANARY = "sk_test_CANARY03be9a"
HERE = Context(connection_id="con_a", field="api_key")
KEY = bytes(range(32))


@pytest.fixture
def vault() -> Vault:
    return Vault(LocalKeyRing([KEY]))


@pytest.fixture
def sealed(vault) -> str:
    return vault.seal(Secret(CANARY), HERE)[0]


SECRETS = {
    "short": "x",
    "empty": "",
    "long": "x" * 100_000,
    "other scripts": "pässwörd 🔑 שלום",
    "quotes and line breaks": 'a"b\\c\r\n\x00d',
}


@pytest.mark.parametrize("case", SECRETS)
def test_every_text_comes_back(vault, case):
    sealed, _ = vault.seal(Secret(SECRETS[case]), HERE)
    assert vault.open(sealed, HERE).reveal() == SECRETS[case]


def test_a_text_that_cannot_be_written_is_refused_without_showing_it(vault):
    """A terminal hands over bytes that are no UTF-8 as lone surrogates."""
    with pytest.raises(VaultError) as caught:
        vault.seal(Secret(f"{CANARY}\udcff"), HERE)
    assert CANARY not in repr(caught.value)


def test_two_seals_of_one_secret_share_nothing_but_their_key(vault):
    one, other = (orjson.loads(vault.seal(Secret(CANARY), HERE)[0]) for _ in range(2))
    assert one["kid"] == other["kid"]
    assert {name for name in ("dek", "n", "ct") if one[name] == other[name]} == set()


def test_the_sealed_text_shows_neither_secret_nor_key(vault, sealed):
    assert CANARY not in sealed
    assert b64encode(KEY).decode() not in sealed
    assert KEY.hex() not in sealed


ELSEWHERE = {
    "another connection": Context(connection_id="con_b", field="api_key"),
    "another field": Context(connection_id="con_a", field="password"),
    "both": Context(connection_id="con_b", field="password"),
    "names that run together": Context(connection_id="con_aapi", field="_key"),
    "nowhere": Context(connection_id="", field=""),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_it_opens_nowhere_else(vault, sealed, case):
    with pytest.raises(SealBrokenError) as caught:
        vault.open(sealed, ELSEWHERE[case])
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("field", ["dek", "n", "ct"])
def test_a_change_of_any_byte_is_noticed(vault, sealed, field):
    envelope = orjson.loads(sealed)
    raw = b64decode(envelope[field])
    for position in range(len(raw)):
        for bit in (1, 128):
            changed = bytearray(raw)
            changed[position] ^= bit
            edited = envelope | {field: b64encode(changed).decode()}
            with pytest.raises(SealBrokenError):
                vault.open(orjson.dumps(edited).decode(), HERE)


def test_a_change_of_any_character_of_the_key_s_name_is_noticed(vault, sealed):
    envelope = orjson.loads(sealed)
    for position, character in enumerate(envelope["kid"]):
        changed = list(envelope["kid"])
        changed[position] = "0" if character != "0" else "1"
        with pytest.raises(KeyUnavailableError):
            vault.open(orjson.dumps(envelope | {"kid": "".join(changed)}).decode(), HERE)


@pytest.mark.parametrize("field", ["dek", "n", "ct"])
def test_parts_of_two_seals_do_not_mix(vault, sealed, field):
    other = orjson.loads(vault.seal(Secret("another secret"), HERE)[0])
    mixed = orjson.loads(sealed) | {field: other[field]}
    with pytest.raises(SealBrokenError):
        vault.open(orjson.dumps(mixed).decode(), HERE)


DAMAGED = {
    "nothing": "",
    "no JSON": "hello",
    "a list": "[]",
    "null": "null",
    "an empty object": "{}",
    "lone surrogate": "\ud800",
    "deep": "[" * 5000,
    "a number": "7",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_what_is_no_envelope_is_refused(vault, case):
    with pytest.raises(SealBrokenError):
        vault.open(DAMAGED[case], HERE)


@pytest.mark.parametrize("value", [None, 7, "", "ä", "AAAA", "A", [], {}], ids=repr)
@pytest.mark.parametrize("field", ["v", "kp", "kid", "dek", "n", "ct"])
def test_a_field_that_is_nonsense_or_missing_is_refused(vault, sealed, field, value):
    envelope = orjson.loads(sealed)
    for edited in (envelope | {field: value}, {k: v for k, v in envelope.items() if k != field}):
        with pytest.raises(VaultError):
            vault.open(orjson.dumps(edited).decode(), HERE)


def test_no_random_edit_of_the_decoded_parts_is_taken(vault, sealed):
    random = Random(11)
    envelope = orjson.loads(sealed)
    for _ in range(1000):
        field = random.choice(["dek", "n", "ct"])
        raw = bytearray(b64decode(envelope[field]))
        how = random.choice(["change", "cut", "add", "swap"])
        place = random.randrange(len(raw))
        if how == "change":
            raw[place] ^= random.randrange(1, 256)
        elif how == "cut":
            del raw[place:]
        elif how == "add":
            raw.insert(place, random.randrange(256))
        else:
            raw.reverse()
        edited = envelope | {field: b64encode(raw).decode()}
        with pytest.raises(VaultError):
            vault.open(orjson.dumps(edited).decode(), HERE)


def test_another_ring_refuses_and_names_what_to_give(sealed):
    with pytest.raises(KeyUnavailableError) as caught:
        Vault(LocalKeyRing([os.urandom(32)])).open(sealed, HERE)
    assert "TIELINE_KEY" in caught.value.hint


def test_a_foreign_key_under_the_right_name_is_refused(sealed):
    ring = LocalKeyRing([KEY])
    ring._keys = dict.fromkeys(ring._keys, os.urandom(32))
    with pytest.raises(SealBrokenError):
        Vault(ring).open(sealed, HERE)


def test_of_several_keys_the_first_seals_and_all_open():
    keys = [os.urandom(32) for _ in range(3)]
    whole = Vault(LocalKeyRing(keys))
    for key in keys:
        sealed, _ = Vault(LocalKeyRing([key])).seal(Secret(CANARY), HERE)
        assert whole.open(sealed, HERE).reveal() == CANARY
    sealed, _ = whole.seal(Secret(CANARY), HERE)
    assert Vault(LocalKeyRing(keys[:1])).open(sealed, HERE).reveal() == CANARY
    with pytest.raises(KeyUnavailableError):
        Vault(LocalKeyRing(keys[1:])).open(sealed, HERE)


def test_a_key_file_is_for_its_owner_s_eyes_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        assert create_key_file(tmp_path / "keys" / "local.key")
    finally:
        os.umask(before)
    assert (tmp_path / "keys" / "local.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_a_key_file_that_is_there_stays(tmp_path):
    path = tmp_path / "local.key"
    path.write_text("somebody's")
    assert create_key_file(path) is False
    assert path.read_text() == "somebody's"
    assert list(tmp_path.iterdir()) == [path]


def test_eight_threads_make_one_key_file(tmp_path):
    for turn in range(20):
        path = tmp_path / f"{turn}.key"
        start = threading.Barrier(8)
        made: list[object] = []

        def make(path=path, start=start, made=made) -> None:
            start.wait()
            try:
                made.append(create_key_file(path))
            except OSError as error:
                made.append(type(error).__name__)

        threads = [threading.Thread(target=make) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(made, key=str) == [False] * 7 + [True]
        assert len(read_keys(Secret(""), path)) == 1


def test_what_a_killed_process_left_does_not_stop_the_next_of_the_same_number(tmp_path):
    """In a container, every start has the same process number."""
    path = tmp_path / "local.key"
    path.with_name(f".{path.name}.{os.getpid()}").write_text("")
    assert create_key_file(path) is True


BAD_KEYS = {
    "too short": b64encode(b"k" * 31).decode(),
    "too long": b64encode(b"k" * 33).decode(),
    "hex": "6b" * 32,
    "no base64": "!" * 44,
    "not ascii": "ключ" * 11,
    "cut": b64encode(b"k" * 32).decode()[:-2],
    "a good one and a bad one": f"{b64encode(b'k' * 32).decode()},{b64encode(b'q' * 30).decode()}",
    "an empty one at the end": f"{b64encode(b'k' * 32).decode()},",
}


@pytest.mark.parametrize("source", ["setting", "file"])
@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_bad_key_is_refused_and_not_shown(tmp_path, case, source):
    path = tmp_path / "local.key"
    text = BAD_KEYS[case]
    if source == "file":
        path.write_text(text.replace(",", "\n") + ("\nx" if text.endswith(",") else ""), "utf-8")
    with pytest.raises(SettingsError) as caught:
        read_keys(Secret(text if source == "setting" else ""), path)
    shown = f"{caught.value.message} {caught.value.hint} {caught.value!r}"
    assert all(part not in shown for part in text.split(",") if part)
    assert caught.value.__cause__ is None


def test_the_setting_comes_before_the_file_and_neither_is_nothing(tmp_path):
    path = tmp_path / "local.key"
    assert read_keys(Secret(""), path) == []
    create_key_file(path)
    given = f" {b64encode(KEY).decode()} , {b64encode(KEY[::-1]).decode()}"
    assert read_keys(Secret(given), path) == [KEY, KEY[::-1]]


def test_a_key_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError) as caught:
        read_keys(Secret(""), tmp_path)
    assert str(tmp_path) in caught.value.message
