"""A sealed secret opens where it belongs, whole, or not at all."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from random import Random

import orjson
import pytest

from tieline.contract import Secret
from tieline.errors import KeyUnavailableError, SealBrokenError, VaultError
from tieline.vault import Context, LocalKeyRing, Vault

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


CONTEXTS = [Context(connection_id="con_a", field=field) for field in ("access", "refresh")]


class Counting(LocalKeyRing):
    """Counts how often it is asked, and may change its key meanwhile."""

    def __init__(self, *keys: bytes, calm_after: int = 0) -> None:
        super().__init__(keys)
        self.asked = 0
        self._calm_after = calm_after

    def new_data_key(self, context):
        self.asked += 1
        self.current_id = list(self._keys)[self.asked % 2 if self.asked <= self._calm_after else 0]
        return super().new_data_key(context)


def test_what_was_prepared_is_sealed_without_asking_the_key_provider_again():
    keys = Counting(KEY)
    vault = Vault(keys)
    sealer = vault.prepare(*CONTEXTS)
    asked = keys.asked
    sealed = [sealer.seal(Secret(context.field), context) for context in CONTEXTS]
    assert keys.asked == asked == 2
    assert [vault.open(*pair).reveal() for pair in zip(sealed, CONTEXTS, strict=True)] == [
        "access",
        "refresh",
    ]
    assert {orjson.loads(text)["kid"] for text in sealed} == {sealer.key_id}


def test_a_sealer_seals_for_nothing_that_it_was_not_prepared_for(vault):
    with pytest.raises(VaultError):
        vault.prepare(CONTEXTS[0]).seal(Secret(CANARY), CONTEXTS[1])


def test_a_transaction_that_is_repeated_seals_again_under_another_nonce(vault):
    sealer = vault.prepare(HERE)
    one, other = (orjson.loads(sealer.seal(Secret(CANARY), HERE)) for _ in range(2))
    assert one["n"] != other["n"]
    assert vault.open(orjson.dumps(other).decode(), HERE).reveal() == CANARY


@pytest.mark.parametrize("calm_after", [0, 2, 4])
def test_all_fields_of_a_credential_are_prepared_under_one_key(calm_after):
    """A rotation may come between two of them."""
    vault = Vault(Counting(KEY, KEY[::-1], calm_after=calm_after))
    sealer = vault.prepare(*CONTEXTS)
    sealed = [sealer.seal(Secret(CANARY), context) for context in CONTEXTS]
    assert {orjson.loads(text)["kid"] for text in sealed} == {sealer.key_id}


def test_a_key_that_never_comes_to_rest_seals_nothing():
    with pytest.raises(KeyUnavailableError):
        Vault(Counting(KEY, KEY[::-1], calm_after=1000)).prepare(*CONTEXTS)


def test_a_sealer_shows_no_key(vault):
    sealer = vault.prepare(HERE)
    [(data_key, _)] = sealer._data_keys.values()
    for shown in (repr(sealer), str(sealer)):
        assert repr(data_key) not in shown


class Elsewhere(LocalKeyRing):
    """A key provider of another kind."""

    kind = "elsewhere"


def test_what_another_provider_sealed_opens_where_it_is_named_and_only_there():
    old, new = Elsewhere([KEY]), LocalKeyRing([KEY[::-1]])
    sealed, _ = Vault(old).seal(Secret(CANARY), HERE)
    both = Vault(new, others=[old])
    assert both.open(sealed, HERE).reveal() == CANARY
    assert orjson.loads(both.seal(Secret(CANARY), HERE)[0])["kp"] == both.kind == "local"
    with pytest.raises(SealBrokenError):
        Vault(new).open(sealed, HERE)


def test_a_long_key_id_is_stored_by_its_end_and_kept_whole_in_the_sealed_text():
    """Of the column's 80 characters ARNs of GovCloud and China need more."""
    arn = f"arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/{'0' * 36}"

    class Far(LocalKeyRing):
        def new_data_key(self, context):
            return (arn, *super().new_data_key(context)[1:])

    sealed, key_id = Vault(Far([KEY])).seal(Secret(CANARY), HERE)
    assert len(arn) > 80
    assert key_id == arn[-80:]
    assert orjson.loads(sealed)["kid"] == arn
