"""Local keys: a file that is never half, and a ring that follows it."""

from __future__ import annotations

import os
import stat
import threading
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import pytest

from tieline.contract import Secret, SettingsError
from tieline.errors import KeyUnavailableError
from tieline.vault import (
    Context,
    LocalKeyRing,
    Vault,
    add_key,
    create_key_file,
    drop_key,
    key_id_of,
    read_keys,
    sealing_since,
)

HERE = Context(connection_id="con_a", field="api_key")
KEY = bytes(range(32))
NONE = Secret("")


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "keys" / "local.key"
    create_key_file(made)
    return made


def ids(path) -> list[str]:
    return [key_id_of(key) for key in read_keys(NONE, path)]


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


def test_a_new_key_stands_in_front_and_the_old_ones_stay(path):
    first = ids(path)
    second = add_key(path)
    third = add_key(path)
    assert ids(path) == [third, second, *first]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_key_file_that_others_could_read_is_closed_when_it_is_written_anew(path):
    path.chmod(0o644)
    add_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(path, tmp_path):
    """Secrets that are mounted are links."""
    link = tmp_path / "link.key"
    link.symlink_to(path)
    added = add_key(link)
    assert link.is_symlink()
    assert ids(path)[0] == added


def test_what_a_killed_rotation_left_is_overwritten(path):
    left = path.with_name(".local.key.new")
    left.write_text("half a k")
    left.chmod(0o644)
    added = add_key(path)
    assert ids(path)[0] == added
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_many_that_add_keys_at_once_none_loses_one(path):
    first = ids(path)
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: add_key(path), range(24)))
    assert sorted(ids(path)) == sorted([*added, *first])


def test_a_key_is_dropped_alone_and_the_others_keep_their_age(path):
    [first] = ids(path)
    second = add_key(path)
    os.utime(path, (1_000, 1_000))
    assert drop_key(path, first) is True
    assert ids(path) == [second]
    assert sealing_since(path).timestamp() == 1_000
    assert drop_key(path, first) is False


def test_a_new_key_in_front_is_young(path):
    os.utime(path, (1_000, 1_000))
    add_key(path)
    assert sealing_since(path).timestamp() > 1_000_000_000


def test_the_file_goes_with_its_last_key(path):
    [only] = ids(path)
    assert drop_key(path, only) is True
    assert not path.exists()


@pytest.mark.parametrize("change", [add_key, lambda path: drop_key(path, "local-0")])
def test_a_key_file_that_is_missing_or_damaged_is_not_changed(tmp_path, change):
    path = tmp_path / "local.key"
    with pytest.raises(SettingsError):
        change(path)
    path.write_text("damaged")
    with pytest.raises(SettingsError):
        change(path)
    assert path.read_text() == "damaged"


def test_a_living_ring_seals_under_a_new_key_at_once(path):
    vault = Vault(LocalKeyRing.of_file(path))
    old = vault.seal(Secret("x"), HERE)[0]
    added = add_key(path)
    assert vault.seal(Secret("x"), HERE)[1] == added
    assert vault.open(old, HERE).reveal() == "x"


def test_a_living_ring_opens_what_another_process_sealed_under_a_new_key(path):
    before = Vault(LocalKeyRing.of_file(path))
    add_key(path)
    sealed, _ = Vault(LocalKeyRing.of_file(path)).seal(Secret("x"), HERE)
    assert before.open(sealed, HERE).reveal() == "x"


def test_a_living_ring_still_opens_what_it_read_before_the_old_key_went(path):
    vault = Vault(LocalKeyRing.of_file(path))
    read, old = vault.seal(Secret("x"), HERE)
    add_key(path)
    drop_key(path, old)
    vault.seal(Secret("y"), HERE)
    assert vault.open(read, HERE).reveal() == "x"
    with pytest.raises(KeyUnavailableError):
        Vault(LocalKeyRing.of_file(path)).open(read, HERE)


@pytest.mark.parametrize("loss", ["gone", "empty", "damaged"])
def test_nothing_is_sealed_under_a_key_that_is_on_no_disk_any_more(path, loss):
    vault = Vault(LocalKeyRing.of_file(path))
    sealed, _ = vault.seal(Secret("x"), HERE)
    if loss == "gone":
        path.unlink()
    else:
        path.write_text("" if loss == "empty" else "damaged")
    with pytest.raises(KeyUnavailableError) as caught:
        vault.seal(Secret("y"), HERE)
    assert str(path) in caught.value.message
    assert vault.open(sealed, HERE).reveal() == "x"


def test_a_ring_without_a_file_is_refused_or_said_to_be_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        LocalKeyRing.of_file(tmp_path / "none")
    empty = tmp_path / "empty.key"
    empty.write_text("\n")
    for path in (empty, tmp_path, empty / "below"):
        with pytest.raises(SettingsError):
            LocalKeyRing.of_file(path)
