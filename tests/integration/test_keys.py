"""Sealed credentials in a database: what is broken is found, and keys are changed under load."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import orjson
import pytest
from sqlalchemy import select, update

import keys_kit
import servers
from tieline.contract import Secret, SettingsError
from tieline.errors import NotFoundError, RefusedError
from tieline.services import keys, rotation
from tieline.store import log
from tieline.store.tables import credentials
from tieline.vault import Context, LocalKeyRing, Vault, add_key, create_key_file, read_keys


@pytest.fixture
def made(database_url, tmp_path):
    installation = keys_kit.installed(tmp_path / "home", database_url)
    yield installation
    installation.close()


@pytest.fixture
def again(made):
    """Open the installation as another process does, with other settings if need be."""
    opened = []

    def one_more(**settings):
        opened.append(keys_kit.again(made, **settings))
        return opened[-1]

    yield one_more
    for each in opened:
        each.close()


def rows(made) -> list:
    with made.database.read() as transaction:
        return transaction.execute(select(credentials).order_by(*credentials.primary_key)).all()


def set_sealed(made, texts: dict) -> None:
    """Put sealed texts, by connection and field, where they may not belong."""
    with made.database.write() as transaction:
        for (connection_id, field), text in texts.items():
            transaction.execute(
                update(credentials)
                .where(credentials.c.connection_id == connection_id, credentials.c.field == field)
                .values(sealed=text)
            )


def events(made) -> list[tuple[str, str]]:
    with made.database.read() as transaction:
        entries = log.list_entries(transaction)
    return [(entry["event"], entry["detail"]) for entry in entries]


def let_time_pass(made) -> None:
    """Make the key file as old as it has to be for an old key to be forgotten."""
    before = time.time() - 3600
    os.utime(made.key_path, (before, before))


def test_a_thousand_sealed_texts_moved_edited_or_of_another_key_are_refused(made):
    keys_kit.fill(made, 1000)
    stranger = Vault(LocalKeyRing([os.urandom(32)]))
    of_access = [row for row in rows(made) if row.field == "access_token"]
    changed = {}
    for number, row in enumerate(of_access):
        context = Context(connection_id=row.connection_id, field=row.field)
        if number % 3 == 0:
            text = of_access[number - 1].sealed
        elif number % 3 == 1:
            place = row.sealed.index('"ct":"') + 6 + number % 20
            other = "A" if row.sealed[place] != "A" else "B"
            text = row.sealed[:place] + other + row.sealed[place + 1 :]
        else:
            text, _ = stranger.seal(Secret("x"), context)
        changed[row.connection_id, row.field] = text
    set_sealed(made, changed)
    found = keys.check(made)
    assert found.opened == 1000
    assert found.is_whole
    assert [(each.connection_id, each.field) for each in found.unopened] == list(changed)
    assert not any(each.is_for_now for each in found.unopened)
    assert {each.code for each in found.unopened} == {"seal-broken", "key-unavailable"}


def test_a_rotation_does_all_but_the_broken_and_names_them(made):
    keys_kit.fill(made, 130)
    before = {(row.connection_id, row.field): row for row in rows(made)}
    broken = list(before)[7::50]
    set_sealed(
        made, {place: before[place].sealed.replace('"ct":"', '"ct":"AAAA') for place in broken}
    )
    [old] = keys.ring_ids(made)
    progress = []
    done = rotation.rotate(
        made, makes_key=True, actor="test", on_progress=lambda *told: progress.append(told)
    )
    assert keys.ring_ids(made) == [done.key_id, old]
    assert done.resealed == 260 - len(broken)
    assert done.left == {old: len(broken)}
    assert done.emptied == []
    assert [(each.connection_id, each.field) for each in done.unopened] == broken
    assert progress[-1][0] == done.resealed
    assert progress[0] == (98, 260)
    for row in rows(made):
        place = row.connection_id, row.field
        was = before[place]
        assert (row.generation, row.updated_at) == (was.generation, was.updated_at)
        if place not in broken:
            assert row.key_id == done.key_id == orjson.loads(row.sealed)["kid"]
            assert orjson.loads(row.sealed)["dek"] != orjson.loads(was.sealed)["dek"]
    assert keys_kit.open_all(made) == len(broken)


def test_a_second_rotation_finds_nothing_to_do(made):
    keys_kit.fill(made, 3)
    [old] = keys.ring_ids(made)
    first = rotation.rotate(made, makes_key=True, actor="test")
    assert first.emptied == [old]
    stored = rows(made)
    second = rotation.rotate(made, actor="test")
    assert (second.resealed, second.left, second.unopened) == (0, {}, [])
    assert second.emptied == [old]
    assert rows(made) == stored
    assert [event for event, _ in events(made)] == ["keys.added", "keys.rotated"]
    assert events(made)[1][1] == f"6 fields to {first.key_id}"


def test_nothing_that_is_sealed_is_no_trouble(made):
    done = rotation.rotate(made, makes_key=True, actor="test")
    assert (done.resealed, done.left) == (0, {})
    assert keys.check(made) == keys.KeysCheck(opened=0, unopened=[], is_whole=True)


def test_a_credential_that_was_replaced_meanwhile_is_left_alone(made, again):
    keys_kit.fill(made, 4)
    other = again()
    add_key(made.key_path)
    replaced = keys_kit.row_of(2).id
    real_open = made.vault.open

    def open_slowly(text, context):
        secret = real_open(text, context)
        if context == Context(connection_id=replaced, field="access_token"):
            keys_kit.replace(other, replaced)
        return secret

    made.vault.open = open_slowly
    done = rotation.rotate(made, actor="test")
    made.vault.open = real_open
    stored = {(row.connection_id, row.field): row for row in rows(made)}
    assert stored[replaced, "access_token"].generation == 2
    assert done.resealed == 6
    assert done.left == {}
    assert keys_kit.open_all(made) == 0
    other.close()


def test_a_field_that_claims_another_key_than_it_has_is_sealed_again(made, again):
    """A key that something needs must never look unused."""
    keys_kit.fill(made, 2)
    [old] = keys.ring_ids(made)
    new = add_key(made.key_path)
    let_time_pass(made)
    with made.database.write() as transaction:
        transaction.execute(update(credentials).values(key_id=new))
    with pytest.raises(RefusedError, match="4 fields"):
        keys.forget(made, old, actor="test")
    assert rotation.rotate(made, actor="test").resealed == 4
    keys.forget(made, old, actor="test")
    assert keys_kit.open_all(again()) == 0


def test_an_old_key_goes_only_when_nothing_needs_it(made, again):
    keys_kit.fill(made, 2)
    [old] = keys.ring_ids(made)
    with pytest.raises(RefusedError, match="seals now"):
        keys.forget(made, old, actor="test")
    new = add_key(made.key_path)
    let_time_pass(made)
    with pytest.raises(RefusedError, match="4 fields") as caught:
        keys.forget(made, old, actor="test")
    assert caught.value.hint == "tieline keys rotate"
    rotation.rotate(made, actor="test")
    with pytest.raises(NotFoundError, match="local-x"):
        keys.forget(made, "local-x", actor="test")
    keys.forget(made, old, actor="test")
    assert keys.ring_ids(made) == [new]
    assert events(made)[-1] == ("keys.forgotten", old)
    with pytest.raises(NotFoundError):
        keys.forget(made, old, actor="test")
    assert keys_kit.open_all(again()) == 0


def test_a_key_that_sealed_a_moment_ago_stays_for_who_is_still_at_it(made):
    """A token that is being renewed is sealed with a data key taken before the call."""
    keys_kit.fill(made, 1)
    [old] = keys.ring_ids(made)
    context = Context(connection_id=keys_kit.row_of(0).id, field="access_token")
    sealer = made.vault.prepare(context)
    rotation.rotate(made, makes_key=True, actor="test")
    with pytest.raises(RefusedError, match="until a moment ago") as caught:
        keys.forget(made, old, actor="test")
    assert caught.value.slug == "key-lately-used"
    late = sealer.seal(Secret("late"), context)
    assert made.vault.open(late, context).reveal() == "late"


KEYS_FROM_A_VARIABLE = {
    "rotate --new": lambda made: rotation.rotate(made, makes_key=True, actor="test"),
    "forget": lambda made: keys.forget(made, keys.ring_ids(made)[1], actor="test"),
}


@pytest.mark.parametrize("case", KEYS_FROM_A_VARIABLE)
def test_keys_of_a_variable_are_changed_there(made, case, again):
    keys_kit.fill(made, 1)
    old = made.key_path.read_text().strip()
    add_key(made.key_path)
    new = made.key_path.read_text().split()[0]
    by_variable = again(key=f"{new},{old}")
    with pytest.raises(RefusedError) as caught:
        KEYS_FROM_A_VARIABLE[case](by_variable)
    assert "TIELINE_KEY" in caught.value.hint
    assert rotation.rotate(by_variable, actor="test").resealed == 2
    assert keys_kit.open_all(again(key=new)) == 0


def test_the_state_says_what_is_under_which_key_and_whether_it_opens(made, again):
    keys_kit.fill(made, 3)
    [lost] = keys.ring_ids(made)
    new = add_key(made.key_path)
    keys_kit.replace(made, keys_kit.row_of(0).id)
    unused = add_key(made.key_path)
    kept = [line for line in made.key_path.read_text().split() if line]
    made.key_path.write_text("\n".join(kept[:2]))
    found = keys.state(again())
    assert (found.provider, found.source, found.key_id) == ("local", str(made.key_path), unused)
    assert [(use.key_id, use.fields, use.is_present, use.can_open) for use in found.keys] == [
        (unused, 0, True, None),
        (new, 2, False, True),
        (lost, 4, False, False),
    ]
    assert lost in found.keys[2].reason


def test_a_check_of_many_stops_where_it_was_told_to(made):
    keys_kit.fill(made, 120)
    found = keys.check(made, most=150)
    assert (found.opened, found.is_whole) == (200, False)


def test_a_check_is_not_misled_by_a_rotation_that_goes_on(made, again):
    """What it read before may be under a key that is gone by the time it opens."""
    keys_kit.fill(made, 150)
    [old] = keys.ring_ids(made)
    slow = again()
    opened = []

    def open_after_the_key_is_gone(text, context):
        if not opened:
            rotation.rotate(made, makes_key=True, actor="test")
            let_time_pass(made)
            keys.forget(made, old, actor="test")
            slow.__dict__["vault"] = Vault(LocalKeyRing.of_file(made.key_path))
        opened.append(text)
        return slow.__dict__["vault"].open(text, context)

    slow.vault.open = open_after_the_key_is_gone
    found = keys.check(slow)
    assert (found.opened, found.unopened) == (300, [])


def test_production_refuses_a_local_key_unless_it_is_allowed(made, again):
    keys_kit.fill(made, 1)
    with pytest.raises(SettingsError) as caught:
        _ = again(env="production").vault
    assert caught.value.slug == "local-key-refused"
    allowed = again(env="production", allow_local_key="true")
    assert keys_kit.open_all(allowed) == 0


@pytest.fixture
def start(made):
    """Start a process that reads or replaces until it is told to stop."""
    home = made.settings.home
    (home / "stop").unlink(missing_ok=True)
    environ = servers.plain_environ() | keys_kit.settings_of(home, made.database_url.reveal())
    started = []

    def run(what: str, count: int) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, keys_kit.__file__, str(home), what, str(count)],
            env=environ,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_keys_are_changed_under_load_and_the_old_ones_go_without_one_failed_opening(
    made, start, again
):
    keys_kit.fill(made, 60)
    started = [start("read", 60), start("write", 60)]
    failed = []
    is_over = threading.Event()

    def read() -> None:
        own = again()
        while not is_over.is_set():
            failed.append(keys_kit.open_all(own))
        own.close()

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = keys.ring_ids(made)
            done = rotation.rotate(made, makes_key=True, actor="test")
            assert (done.unopened, done.key_id) == ([], keys.ring_ids(made)[0])
            await_two_replacements(made)
            let_time_pass(made)
            for key_id in before:
                forget_when_it_is_unused(made, key_id)
            assert keys.ring_ids(made) == [done.key_id]
    finally:
        is_over.set()
        for thread in threads:
            thread.join(30)
        (made.settings.home / "stop").touch()
    rounds = [tuple(map(int, each.communicate(timeout=30)[0].split())) for each in started]
    assert [failures for _, failures in rounds] == [0, 0]
    assert all(count > 3 for count, _ in rounds)
    assert len(failed) > 3
    assert sum(failed) == 0
    assert keys.check(again()).unopened == []


def await_two_replacements(made) -> None:
    """Wait until the one writer stores nothing more that it sealed under an old key."""

    def counted() -> int:
        return sum(row.generation for row in rows(made))

    before = counted()
    assert servers.wait_until(lambda: counted() >= before + 2 * len(keys_kit.FIELDS), 30)


def forget_when_it_is_unused(made, key_id: str) -> None:
    """The writer may have stored what it began before the new key came: then once more."""
    for _ in range(20):
        try:
            keys.forget(made, key_id, actor="test")
        except RefusedError as error:
            if error.hint != "tieline keys rotate":
                raise
            rotation.rotate(made, actor="test")
        else:
            return
    pytest.fail(f"{key_id} is used without end")


ROTATE_AND_DIE = textwrap.dedent(
    """
    import os, signal, sys, threading
    from tieline.services.installation import Installation
    from tieline.services.rotation import rotate

    def die(done, total):
        threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGKILL)).start()

    rotate(Installation(), makes_key=True, actor="test", on_progress=die)
    """
)


def test_a_rotation_that_is_killed_anywhere_is_taken_up_again(made, again):
    keys_kit.fill(made, 250)
    environ = servers.plain_environ() | keys_kit.settings_of(
        made.settings.home, made.database_url.reveal()
    )
    dice = random.Random(5)
    halves = 0
    for _ in range(4):
        died = subprocess.run(
            [sys.executable, "-c", ROTATE_AND_DIE, str(dice.uniform(0, 0.1))],
            env=environ,
            cwd=made.settings.home,
            timeout=60,
        )
        assert died.returncode in {-signal.SIGKILL, 0}
        halves += len({row.key_id for row in rows(made)}) > 1
        assert keys_kit.open_all(again()) == 0
    assert halves > 0, "none was killed half way"
    done = rotation.rotate(made, actor="test")
    assert {row.key_id for row in rows(made)} == {done.key_id} == {keys.ring_ids(made)[0]}
    let_time_pass(made)
    for key_id in keys.ring_ids(made)[1:]:
        keys.forget(made, key_id, actor="test")
    assert keys_kit.open_all(again()) == 0


ADD_KEYS = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from tieline.vault import add_key

    print("ready", flush=True)
    while True:
        add_key(Path(sys.argv[1]))
    """
)


def test_a_key_file_survives_a_kill_at_any_moment(tmp_path):
    path = tmp_path / "local.key"
    create_key_file(path)
    first = read_keys(Secret(""), path)
    dice = random.Random(9)
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", ADD_KEYS, str(path)],
            env=servers.plain_environ(),
            stdout=subprocess.PIPE,
        )
        process.stdout.readline()
        time.sleep(dice.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert read_keys(Secret(""), path)[-1:] == first
    assert len(read_keys(Secret(""), path)) > 8
    assert path.stat().st_mode & 0o777 == 0o600
