"""What a real Redis remembers of people who are at a consent page, and for how long."""

from __future__ import annotations

import os
import threading
from hashlib import sha256

import orjson
import pytest

from site_of import wait_until
from tieline.auth.states import CONNECTED_S, LINK_S, STATE_S, Intent, Pending, States, new_secret
from tieline.contract import Secret
from tieline.coordination import open_redis
from tieline.errors import DependencyError, RefusedError
from tieline.vault import Context, LocalKeyRing, Vault

OURS = new_secret()
VERIFIER = new_secret()
INTENT = Intent(
    provider="square",
    name="shop",
    environment="sandbox",
    base_url="http://127.0.0.1:1",
    connection_id="",
    actor="test",
    scopes=("A", "B"),
)
PENDING = Pending(
    intent=INTENT,
    redirect_uri="http://127.0.0.1:8377/oauth/callback/square",
    verifier=Secret(VERIFIER),
    link="d" * 64,
    next_url="/done",
)


@pytest.fixture
def redis(redis_url):
    client = open_redis(redis_url)
    yield client
    client.close()


@pytest.fixture
def vault() -> Vault:
    return Vault(LocalKeyRing([os.urandom(32)]))


@pytest.fixture
def states(redis, vault) -> States:
    return States(redis, vault)


def take(states, state, **changes):
    return states.take(state, **({"provider": "square", "bound_to": OURS} | changes))


def test_what_was_put_comes_back_once(states, redis):
    state = states.put(PENDING, bound_to=OURS)
    assert take(states, state) == PENDING
    assert redis.dbsize() == 0
    with pytest.raises(RefusedError):
        take(states, state)


def test_without_a_proof_or_a_link_it_comes_back_so(states):
    bare = Pending(intent=INTENT, redirect_uri="x", verifier=None, link="", next_url="")
    assert take(states, states.put(bare, bound_to=OURS)) == bare


ELSEWHERE = {
    "no secret": {"bound_to": ""},
    "another secret": {"bound_to": new_secret()},
    "the digest": {"bound_to": sha256(OURS.encode()).hexdigest()},
    "a space more": {"bound_to": f"{OURS} "},
    "no text": {"bound_to": "\ud800"},
    "another provider": {"provider": "stripe"},
    "no provider": {"provider": ""},
    "nearly": {"provider": "Square"},
}


@pytest.mark.parametrize("changes", ELSEWHERE.values(), ids=ELSEWHERE)
def test_of_another_browser_or_provider_it_is_refused_and_gone(states, redis, changes):
    state = states.put(PENDING, bound_to=OURS)
    with pytest.raises(RefusedError) as caught:
        take(states, state, **changes)
    assert caught.value.slug == "oauth-state"
    assert redis.dbsize() == 0
    with pytest.raises(RefusedError) as unknown:
        take(states, state)
    assert unknown.value.message == caught.value.message  # it does not say what was wrong


@pytest.mark.parametrize(
    "state", ["", "x", "x" * 201, "x" * 10**6, "*", "\0", "\ud800", "a\r\nFLUSHALL\r\n"], ids=repr
)
def test_what_can_be_no_state_is_refused(states, redis, state):
    states.put(PENDING, bound_to=OURS)
    with pytest.raises(RefusedError):
        take(states, state)
    assert redis.dbsize() == 1


def test_of_many_at_once_one_gets_it(states):
    for _ in range(20):
        state = states.put(PENDING, bound_to=OURS)
        got, refused = [], []
        ready = threading.Barrier(8)

        def race(state=state, ready=ready, got=got, refused=refused) -> None:
            ready.wait()
            try:
                got.append(take(states, state))
            except RefusedError as error:
                refused.append(error)

        threads = [threading.Thread(target=race) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(got), len(refused)) == (1, 7)


def test_a_state_has_ten_minutes_and_vanishes_by_itself(states, redis):
    state = states.put(PENDING, bound_to=OURS)
    (key,) = redis.scan_iter()
    assert 0 < redis.pttl(key) <= STATE_S * 1000 <= 600_000
    redis.pexpire(key, 20)
    wait_until(lambda: redis.dbsize() == 0)
    with pytest.raises(RefusedError):
        take(states, state)


def test_redis_knows_digests_and_no_secret(states, redis):
    state = states.put(PENDING, bound_to=OURS)
    link, digest = states.put_link(INTENT)
    keys = list(redis.scan_iter())
    assert sorted(keys) == sorted(
        [
            f"tieline:oauth:state:{sha256(state.encode()).hexdigest()}".encode(),
            f"tieline:oauth:link:{digest}".encode(),
        ]
    )
    assert digest == sha256(link.encode()).hexdigest()
    values = b" ".join(redis.get(key) for key in keys)
    assert not any(secret.encode() in values for secret in (state, OURS, link, VERIFIER))


def forged(states, redis, vault) -> bytes:
    """Write a state as who knows the code but not the key would."""
    stranger = States(redis, Vault(LocalKeyRing([os.urandom(32)])))
    own = orjson.loads(moved(states, redis, vault))
    return orjson.dumps(orjson.loads(moved(stranger, redis, vault)) | {"kid": own["kid"]})


def in_plain_text(states, redis, vault) -> bytes:
    return orjson.dumps({"intent": {"base_url": "https://evil.example"}, "bound_to": ""})


def moved(states, redis, vault) -> bytes:
    return redis.getdel(f"tieline:oauth:state:{digest_of(states.put(PENDING, bound_to=OURS))}")


def changed(states, redis, vault) -> bytes:
    value = orjson.loads(moved(states, redis, vault))
    return orjson.dumps(value | {"ct": value["ct"][:-4] + "AAA="})


def of_a_link(states, redis, vault) -> bytes:
    _, digest = states.put_link(INTENT)
    return redis.getdel(f"tieline:oauth:link:{digest}")


def no_text(states, redis, vault) -> bytes:
    return b"\xff\0{"


@pytest.mark.parametrize(
    "write", [forged, in_plain_text, moved, changed, of_a_link, no_text], ids=lambda f: f.__name__
)
def test_who_can_write_to_redis_begins_no_sign_in(states, redis, vault, write):
    """What is remembered says where the application's secret is sent to."""
    raw = write(states, redis, vault)
    state, link = new_secret(), new_secret()
    redis.set(f"tieline:oauth:state:{digest_of(state)}", raw)
    redis.set(f"tieline:oauth:link:{digest_of(link)}", raw)
    with pytest.raises(RefusedError) as caught:
        take(states, state)
    assert caught.value.slug == "oauth-state"
    with pytest.raises(RefusedError) as caught:
        states.find_link(link)
    assert caught.value.slug == "link-over"


def digest_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_states_are_long_and_never_the_same():
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(secret) for secret in made} == {43}  # 256 bits


def test_a_link_is_good_until_it_is_ended_and_tells_what_became_of_it(states, redis):
    link, digest = states.put_link(INTENT)
    assert states.find_link(link) == states.find_link(link) == (INTENT, digest)
    assert states.find_connected(digest) is None
    (key,) = redis.scan_iter()
    assert 0 < redis.ttl(key) <= LINK_S
    states.end_link(digest, connection_id="con_x")
    with pytest.raises(RefusedError) as caught:
        states.find_link(link)
    assert caught.value.slug == "link-over"
    assert states.find_connected(digest) == "con_x"
    (key,) = redis.scan_iter()
    assert 0 < redis.ttl(key) <= CONNECTED_S


def test_a_link_that_was_dropped_or_lost_led_nowhere(states, redis):
    _, dropped = states.put_link(INTENT)
    states.end_link(dropped)
    states.end_link(dropped)
    _, lost = states.put_link(INTENT)
    redis.flushall()
    for digest in (dropped, lost):
        with pytest.raises(RefusedError):
            states.find_connected(digest)
    assert redis.dbsize() == 0


@pytest.mark.parametrize("link", ["", "x", "x" * 201, "*", "\ud800", "d" * 64], ids=repr)
def test_what_can_be_no_link_is_refused(states, link):
    states.put_link(INTENT)
    with pytest.raises(RefusedError):
        states.find_link(link)


def test_a_link_is_no_state_and_a_state_no_link(states):
    link, _ = states.put_link(INTENT)
    state = states.put(PENDING, bound_to=OURS)
    with pytest.raises(RefusedError):
        take(states, link)
    with pytest.raises(RefusedError):
        states.find_link(state)


def test_a_value_of_a_later_version_is_no_reason_to_break(states, redis, vault):
    """Two versions share one Redis during an upgrade."""
    state = states.put(PENDING, bound_to=OURS)
    (key,) = redis.scan_iter()
    context = Context(connection_id=key.decode(), field="sign-in")
    value = orjson.loads(vault.open(redis.get(key).decode(), context).reveal()) | {"added": 1}
    value["intent"]["added"] = 2
    sealed, _ = vault.seal(Secret(orjson.dumps(value).decode()), context)
    redis.set(key, sealed, keepttl=True)
    assert take(states, state) == PENDING


def test_without_redis_it_is_said_so(vault):
    client = open_redis("redis://127.0.0.1:1", timeout_s=0.2)
    states = States(client, vault)
    for call in (
        lambda: states.put(PENDING, bound_to=OURS),
        lambda: take(states, "x"),
        lambda: states.put_link(INTENT),
        lambda: states.find_link("x"),
        lambda: states.end_link("x"),
        lambda: states.find_connected("x"),
    ):
        with pytest.raises(DependencyError) as caught:
            call()
        assert caught.value.slug == "redis-down"
    client.close()
