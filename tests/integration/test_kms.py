"""Data keys from AWS KMS, against moto's over HTTP: what is asked, refused, kept, and let go."""

from __future__ import annotations

import logging
import os
import sys
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import orjson
import pytest

import keys_kit
import kms_server
from kit import make_bench
from kms_server import AWS, REGION, WHO, KmsServer
from tieline.clock import ManualClock
from tieline.contract import Secret, SettingsError
from tieline.errors import KeyUnavailableError, RefusedError, SealBrokenError, VaultError
from tieline.services import keys as keys_service
from tieline.services import rotation
from tieline.vault import Context, KmsKeys, LocalKeyRing, Vault

CANARY = "sk_test_CANARY7d20c4"
HERE = Context(connection_id="con_a", field="api_key")
MAPPING = {"application": "tieline", "connection": "con_a", "field": "api_key"}


@pytest.fixture(scope="module", autouse=True)
def aws():
    """Credentials where boto3 looks first, and none of this machine's."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, text in AWS.items():
            patch.setenv(name, text)
        yield


@pytest.fixture(scope="module")
def server(aws):
    with kms_server.kms_server() as served:
        yield served


@pytest.fixture
def kms(server) -> KmsServer:
    """The server, well and without memories."""
    server.fault = None
    server.calls.clear()
    return server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 11, 1, tzinfo=UTC))


@pytest.fixture
def keys(kms, clock) -> KmsKeys:
    return new_keys(kms, clock=clock)


@pytest.fixture
def vault(keys) -> Vault:
    return Vault(keys)


def new_keys(kms: KmsServer, key_id: str | None = None, **options) -> KmsKeys:
    key_id = kms.key_arn if key_id is None else key_id
    return KmsKeys(key_id, endpoint_url=kms.url, **options)


def new_vault(kms: KmsServer, **options) -> Vault:
    """A vault of another process: it has no data keys yet."""
    return Vault(new_keys(kms, **options))


def test_each_secret_has_a_data_key_of_its_own_bound_to_its_context(kms, vault):
    contexts = [Context(connection_id="con_a", field=name) for name in ("access", "refresh")]
    sealer = vault.prepare(*contexts)
    sealed = [sealer.seal(Secret(CANARY), context) for context in contexts]
    assert [call.body for call in kms.asked("GenerateDataKey")] == [
        {
            "KeyId": kms.key_arn,
            "KeySpec": "AES_256",
            "EncryptionContext": MAPPING | {"field": context.field},
        }
        for context in contexts
    ]
    envelopes = [orjson.loads(text) for text in sealed]
    assert len({envelope["dek"] for envelope in envelopes}) == 2
    assert {envelope["kid"] for envelope in envelopes} == {kms.key_arn} == {sealer.key_id}
    assert all(CANARY not in text for text in sealed)


def test_another_process_opens_it_by_asking_with_the_same_context(kms, vault):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    assert new_vault(kms, key_id="").open(sealed, HERE).reveal() == CANARY
    [call] = kms.asked("Decrypt")
    assert call.context == MAPPING
    assert call.body["KeyId"] == kms.key_arn
    assert call.body["CiphertextBlob"] == orjson.loads(sealed)["dek"]


def test_kms_itself_refuses_another_context(kms, vault):
    """Not only our own associated data does: nobody else with the right to decrypt gets far."""
    wrapped = b64decode(orjson.loads(vault.seal(Secret(CANARY), HERE)[0])["dek"])
    with kms.client() as client:
        asked = {"KeyId": kms.key_arn, "CiphertextBlob": wrapped}
        assert client.decrypt(**asked, EncryptionContext=MAPPING)["Plaintext"]
        for other in ({}, MAPPING | {"connection": "con_b"}, MAPPING | {"more": "x"}):
            with pytest.raises(client.exceptions.InvalidCiphertextException):
                client.decrypt(**asked, EncryptionContext=other)


@pytest.mark.parametrize("form", ["arn", "id", "alias"])
def test_whatever_names_the_key_its_arn_is_what_is_kept(kms, form):
    given = {
        "arn": kms.key_arn,
        "id": kms.key_arn.rpartition("/")[2],
        "alias": f"alias/of-{time.monotonic_ns()}",
    }[form]
    if form == "alias":
        with kms.client() as client:
            client.create_alias(AliasName=given, TargetKeyId=kms.key_arn)
    sealed, key_id = new_vault(kms, key_id=given, region=REGION).seal(Secret(CANARY), HERE)
    assert key_id == orjson.loads(sealed)["kid"] == kms.key_arn
    assert new_vault(kms, key_id="").open(sealed, HERE).reveal() == CANARY


def test_a_thousand_sealed_texts_moved_edited_or_of_another_key_are_refused(kms, vault):
    contexts = [Context(connection_id=f"con_{number}", field="api_key") for number in range(200)]
    sealed = [vault.seal(Secret(CANARY), context)[0] for context in contexts]
    foreign = kms.new_key()
    stranger = Vault(LocalKeyRing([os.urandom(32)]))
    refused = 0
    for number, (text, context) in enumerate(zip(sealed, contexts, strict=True)):
        envelope = orjson.loads(text)
        flipped = bytearray(b64decode(envelope["dek"]))
        flipped[number % len(flipped)] ^= 1
        for case in (
            sealed[number - 1],
            envelope | {"dek": b64encode(flipped).decode()},
            envelope | {"kid": foreign},
            envelope | {"kid": f"{envelope['kid'][:-1]}{'0' if envelope['kid'][-1] != '0' else 1}"},
            stranger.seal(Secret(CANARY), context)[0],
        ):
            broken = case if isinstance(case, str) else orjson.dumps(case).decode()
            with pytest.raises(VaultError):
                vault.open(broken, context)
            refused += 1
    assert refused == 1000
    assert {vault.open(*pair).reveal() for pair in zip(sealed, contexts, strict=True)} == {CANARY}


@pytest.mark.parametrize("field", ["dek", "n", "ct"])
def test_an_edited_part_is_broken_and_not_merely_unavailable(kms, vault, field):
    envelope = orjson.loads(vault.seal(Secret(CANARY), HERE)[0])
    raw = bytearray(b64decode(envelope[field]))
    raw[-1] ^= 1
    with pytest.raises(SealBrokenError):
        vault.open(orjson.dumps(envelope | {field: b64encode(raw).decode()}).decode(), HERE)


NONSENSE = {
    "no ARN": {"kid": "local-0123456789ab"},
    "an ARN of something else": {"kid": f"arn:aws:s3:{REGION}:123456789012:key/0"},
    "no wrapped key": {"dek": ""},
    "a wrapped key that is too long": {"dek": b64encode(b"x" * 6145).decode()},
}


@pytest.mark.parametrize("case", NONSENSE)
def test_kms_is_not_asked_about_nonsense(kms, vault, case):
    envelope = orjson.loads(vault.seal(Secret(CANARY), HERE)[0])
    with pytest.raises(SealBrokenError):
        vault.open(orjson.dumps(envelope | NONSENSE[case]).decode(), HERE)
    assert kms.asked("Decrypt") == []


# What KMS does, how often it is asked, what is raised, and a word of what is said.
FAULTS = {
    "throttled": (("answer", 400, "ThrottlingException"), 2, KeyUnavailableError, "now"),
    "internal": (("answer", 500, "KMSInternalException"), 2, KeyUnavailableError, "now"),
    "overloaded": (("answer", 503, "Whatever"), 2, KeyUnavailableError, "now"),
    "its dependency is slow": (
        ("answer", 503, "DependencyTimeoutException"),
        2,
        KeyUnavailableError,
        "now",
    ),
    "silence": (("silence", 0.6), 2, KeyUnavailableError, "now"),
    "a page of a proxy": (("text", "<html>no</html>"), 1, KeyUnavailableError, "now"),
    "an empty answer": (("text", "{}"), 1, KeyUnavailableError, "now"),
    "disabled": (("answer", 400, "DisabledException"), 1, KeyUnavailableError, "disabled"),
    "to be deleted": (
        ("answer", 400, "KMSInvalidStateException"),
        1,
        KeyUnavailableError,
        "disabled",
    ),
    "denied": (("answer", 400, "AccessDeniedException"), 1, KeyUnavailableError, "refuses"),
    "no such key": (("answer", 400, "NotFoundException"), 1, KeyUnavailableError, "refuses"),
    "old AWS token": (("answer", 400, "ExpiredTokenException"), 1, KeyUnavailableError, "refuses"),
    "wrong ciphertext": (
        ("answer", 400, "InvalidCiphertextException"),
        1,
        SealBrokenError,
        "elsewhere",
    ),
    "wrong key": (("answer", 400, "IncorrectKeyException"), 1, SealBrokenError, "elsewhere"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_kms_is_told_as_what_follows_from_it(kms, vault, case):
    fault, attempts, error, words = FAULTS[case]
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    kms.fault = fault
    with pytest.raises(error) as caught:
        new_vault(kms, key_id="", read_timeout_s=0.2).open(sealed, HERE)
    assert words in caught.value.message
    assert caught.value.hint
    assert len(kms.asked("Decrypt")) == attempts
    shown = f"{caught.value!r} {caught.value.message} {caught.value.hint}"
    assert WHO not in shown
    assert CANARY not in shown


@pytest.mark.parametrize("case", [name for name in FAULTS if not name.startswith("wrong")])
def test_nothing_is_sealed_while_kms_is_at_fault(kms, case):
    kms.fault = FAULTS[case][0]
    with pytest.raises(KeyUnavailableError) as caught:
        new_vault(kms, read_timeout_s=0.2).prepare(HERE)
    assert caught.value.hint


def test_a_kms_that_cannot_be_reached_is_left_alone_for_a_moment(kms, clock):
    """So that sixteen hands do not queue for it, sixteen seconds each."""
    vault = Vault(new_keys(kms, clock=clock))
    kms.fault = ("answer", 503, "ServiceUnavailable")
    for _ in range(16):
        with pytest.raises(KeyUnavailableError):
            vault.prepare(HERE)
    assert len(kms.calls) == 2
    kms.fault = None
    clock.move(5)
    assert vault.prepare(HERE).key_id == kms.key_arn


def test_nobody_at_the_address_is_no_answer(clock):
    vault = Vault(KmsKeys("alias/x", region=REGION, endpoint_url="http://127.0.0.1:1"))
    started = time.monotonic()
    with pytest.raises(KeyUnavailableError, match="does not answer now"):
        vault.prepare(HERE)
    assert time.monotonic() - started < 10


def test_data_keys_serve_five_minutes_of_an_outage_and_not_one_second_more(kms, vault, clock):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    kms.fault = ("answer", 503, "ServiceUnavailable")
    for _ in range(30):
        assert vault.open(sealed, HERE).reveal() == CANARY
        clock.move(10)
    with pytest.raises(KeyUnavailableError, match="does not answer now"):
        vault.open(sealed, HERE)
    kms.fault = None
    clock.move(5)
    assert vault.open(sealed, HERE).reveal() == CANARY


def test_a_credential_in_use_outlasts_an_outage_of_four_minutes_whenever_it_begins(
    kms, vault, clock
):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    for _ in range(29):
        clock.move(10)
        vault.open(sealed, HERE)
    kms.fault = ("answer", 503, "ServiceUnavailable")
    clock.move(235)
    assert vault.open(sealed, HERE).reveal() == CANARY


def test_kms_is_not_asked_again_within_a_minute(kms, clock):
    sealed, _ = new_vault(kms).seal(Secret(CANARY), HERE)
    vault = Vault(new_keys(kms, clock=clock))
    for _ in range(59):
        vault.open(sealed, HERE)
        clock.move(1)
    assert len(kms.asked("Decrypt")) == 1
    clock.move(1)
    vault.open(sealed, HERE)
    assert len(kms.asked("Decrypt")) == 2


def test_a_kept_data_key_opens_nothing_that_was_moved_or_edited(kms, vault):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    assert vault.open(sealed, HERE)
    kms.fault = ("answer", 503, "ServiceUnavailable")
    with pytest.raises(VaultError):
        vault.open(sealed, Context(connection_id="con_b", field="api_key"))
    envelope = orjson.loads(sealed)
    with pytest.raises(SealBrokenError):
        vault.open(orjson.dumps(envelope | {"n": b64encode(b"n" * 12).decode()}).decode(), HERE)


def test_a_key_that_was_switched_off_serves_no_longer_than_in_an_outage(kms, vault, clock):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    kms.fault = ("answer", 400, "DisabledException")
    clock.move(300)
    with pytest.raises(KeyUnavailableError, match="disabled"):
        vault.open(sealed, HERE)


def test_many_threads_share_one_provider(kms, vault):
    contexts = [Context(connection_id=f"con_{number}", field="api_key") for number in range(40)]

    opener = new_vault(kms, key_id="")

    def use(context: Context) -> str:
        sealed, _ = vault.seal(Secret(context.connection_id), context)
        return opener.open(sealed, context).reveal()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, contexts)) == [each.connection_id for each in contexts]


def test_a_fork_talks_on_sockets_of_its_own(kms, keys, monkeypatch):
    mine = keys._client(REGION)
    assert keys._client(REGION) is mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert keys._client(REGION) is not mine


def test_no_data_key_is_logged_even_where_everything_is(kms, caplog):
    for name in ("botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    sealer = new_vault(kms).prepare(HERE)
    new_vault(kms, key_id="").open(sealer.seal(Secret(CANARY), HERE), HERE)
    logging.getLogger("botocore.parsers").debug("a library speaks")
    [(data_key, _)] = sealer._data_keys.values()
    for form in (b64encode(data_key).decode(), data_key.hex(), repr(data_key)):
        assert form not in caplog.text
    assert "a library speaks" not in caplog.text


def test_without_boto3_it_is_said_what_to_install(kms, vault, monkeypatch):
    sealed, _ = vault.seal(Secret(CANARY), HERE)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SettingsError) as caught:
        new_keys(kms)
    assert caught.value.hint == "pip install 'tieline[aws]'"
    opener = new_vault(kms, key_id="")  # whoever opens nothing of KMS needs no boto3
    with pytest.raises(SettingsError) as caught:
        opener.open(sealed, HERE)
    assert caught.value.hint == "pip install 'tieline[aws]'"


def test_aws_credentials_that_come_later_are_found(kms, clock, monkeypatch):
    vault = Vault(new_keys(kms, clock=clock))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(KeyUnavailableError, match="NoCredentialsError") as caught:
        vault.prepare(HERE)
    assert "credentials" in caught.value.hint
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, AWS[name])
    assert vault.prepare(HERE).key_id == kms.key_arn


WRONG = {
    "no region": ({"key_id": "alias/x"}, "TIELINE_KMS_REGION"),
    "no address": ({"key_id": "alias/x", "region": REGION, "endpoint_url": "http:x"}, "ENDPOINT"),
    "no region's name": ({"key_id": "alias/x", "region": "no where"}, "TIELINE_KMS_REGION"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_setting_that_makes_no_sense_is_named(case):
    given, name = WRONG[case]
    with pytest.raises(SettingsError) as caught:
        KmsKeys(**given).new_data_key(HERE)
    assert name in f"{caught.value.message} {caught.value.hint}"


@pytest.fixture
def home(tmp_path, database_url):
    """An installation under a local key, with ten credentials of two fields."""
    made = keys_kit.installed(tmp_path / "home", database_url)
    keys_kit.fill(made, 10)
    yield made
    made.close()


@pytest.fixture
def opened(home):
    """Open it as a process does that starts with other settings."""
    started = []

    def start(**settings: str):
        started.append(keys_kit.again(home, **settings))
        return started[-1]

    yield start
    for each in started:
        each.close()


def test_an_installation_moves_to_kms_and_back(kms, home, opened):
    [local] = keys_service.ring_ids(home)
    in_kms = opened(**kms.settings)
    assert keys_kit.open_all(in_kms) == 0
    done = rotation.rotate(in_kms, actor="test")
    assert (done.key_id, done.resealed, done.left) == (kms.key_arn, 20, {})
    assert done.emptied == [local]
    assert {call.context["field"] for call in kms.asked("GenerateDataKey")} == {
        *keys_kit.FIELDS,
        "none",
    }
    found = keys_service.state(opened(**kms.settings))
    assert (found.provider, found.source, found.key_id) == ("kms", kms.key_arn, kms.key_arn)
    assert [(use.key_id, use.fields, use.can_open) for use in found.keys] == [
        (kms.key_arn, 20, True),
        (local, 0, None),
    ]
    back = opened(kms_endpoint_url=kms.url)
    assert keys_kit.open_all(back) == 0
    done = rotation.rotate(back, actor="test")
    assert (done.key_id, done.resealed, done.emptied) == (local, 20, [kms.key_arn])
    kms.fault = ("answer", 503, "ServiceUnavailable")
    assert keys_kit.open_all(opened()) == 0


def test_an_alias_that_points_elsewhere_is_followed(kms, home, opened):
    alias, second = f"alias/of-{time.monotonic_ns()}", kms.new_key()
    settings = kms.settings | {"kms_key_id": alias, "kms_region": REGION}
    with kms.client() as client:
        client.create_alias(AliasName=alias, TargetKeyId=kms.key_arn)
        first = rotation.rotate(opened(**settings), actor="test")
        client.update_alias(AliasName=alias, TargetKeyId=second)
    done = rotation.rotate(opened(**settings), actor="test")
    assert (first.key_id, done.key_id, done.resealed) == (kms.key_arn, second, 20)
    assert done.emptied[0] == kms.key_arn
    assert keys_kit.open_all(opened(**settings)) == 0


def test_once_kms_seals_every_local_key_may_go(kms, home, opened):
    [local] = keys_service.ring_ids(home)
    in_kms = opened(**kms.settings)
    with pytest.raises(RefusedError, match="20 fields"):
        keys_service.forget(in_kms, local, actor="test")
    rotation.rotate(in_kms, actor="test")
    keys_service.forget(in_kms, local, actor="test")
    assert not home.key_path.exists()
    assert keys_kit.open_all(opened(**kms.settings)) == 0


def test_kms_makes_its_keys_itself_and_none_is_made_beside_it(kms, tmp_path, sqlite_url):
    made = keys_kit.installed(tmp_path / "new", sqlite_url, **kms.settings)
    assert not made.key_path.exists()
    with pytest.raises(RefusedError, match="made by AWS KMS"):
        rotation.rotate(made, makes_key=True, actor="test")
    made.close()


def test_a_rotation_stops_where_kms_does_and_goes_on_later(kms, home, opened):
    in_kms = opened(**kms.settings)
    kms.fault = ("answer", 503, "ServiceUnavailable")
    with pytest.raises(KeyUnavailableError):
        rotation.rotate(in_kms, actor="test")
    assert keys_kit.open_all(home) == 0
    kms.fault = None
    assert rotation.rotate(opened(**kms.settings), actor="test").resealed == 20


def test_what_kms_does_not_give_now_is_no_broken_credential(kms, home, opened):
    rotation.rotate(opened(**kms.settings), actor="test")
    kms.fault = ("answer", 503, "ServiceUnavailable")
    found = keys_service.check(opened(**kms.settings))
    assert found.opened == 0
    assert len(found.unopened) == 20
    assert all(each.is_for_now for each in found.unopened)
    state = keys_service.state(opened(**kms.settings))
    assert state.key_id is None
    assert "does not answer now" in state.reason


def test_production_is_content_with_kms_and_wants_no_data_key_in_clear_on_a_network(opened, kms):
    production = kms.settings | {"env": "production"}
    assert keys_kit.open_all(opened(**production)) == 0
    with pytest.raises(SettingsError, match="TIELINE_KMS_ENDPOINT_URL"):
        _ = opened(**production | {"kms_endpoint_url": "http://kms.example.com"}).vault
    assert opened(**production | {"kms_endpoint_url": "https://kms.example.com"}).vault


def test_a_run_waits_while_its_credential_cannot_be_opened_and_goes_on_then(
    kms, database_url, tmp_path
):
    bench = make_bench(database_url, tmp_path / "home", **kms.settings)
    bench.shelf.put("early")
    kms.fault = ("answer", 503, "ServiceUnavailable")
    assert bench.sync().state == "succeeded"  # the data key of a moment ago
    bench.clock.move(300)
    bench.shelf.put("late")
    run = bench.sync()
    assert run.state in {"waiting", "retrying"}
    assert run.error_code == "key-unavailable"
    assert "late" not in bench.stored_keys()
    kms.fault = None
    bench.clock.move(3600)
    assert bench.help(run.id).state == "succeeded"
    assert "late" in bench.stored_keys()
    bench.installation.close()
