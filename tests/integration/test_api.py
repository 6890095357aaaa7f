"""The frame of the HTTP API: who may call, what is refused and how, what is done once."""

from __future__ import annotations

import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from api_kit import callers_of, document
from kit import make_bench
from tieline.contract import Secret
from tieline.errors import DependencyError
from tieline.services import connections, tokens
from tieline.services.connect import connect_api_key
from tieline.services.connections import get_connection
from tieline.store import log
from tieline.web.api import OPERATIONS
from tieline.web.api.cursors import write_cursor
from tieline.web.api.subjects import SUBJECTS


@pytest.fixture
def bench(sqlite_url, redis_url, tmp_path):
    made = make_bench(
        sqlite_url, tmp_path, redis_url=redis_url, shelf_rate_limits="20/minute; concurrency=3"
    )
    yield made
    made.installation.close()


@pytest.fixture
def callers(bench):
    return callers_of(bench.installation)


@pytest.fixture
def admin(callers):
    return callers.new("admin", name="boss")


def example_path(operation) -> str:
    return re.sub(r"{(\w+)}", lambda found: SUBJECTS[found[1]].example or "x", operation.path)


@pytest.fixture(scope="module")
def quiet(redis_server, tmp_path_factory):
    """Callers of an installation that the tests of refusals share: they change nothing."""
    home = tmp_path_factory.mktemp("quiet")
    made = make_bench(
        f"sqlite:///{home / 'tieline.db'}",
        home,
        redis_url=redis_server.ensure(),
        api_calls_per_minute="100000",
    )
    yield callers_of(made.installation)
    made.installation.close()


@pytest.fixture(scope="module")
def asking(quiet):
    return quiet.new("admin", name="asking")


EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


@EACH
def test_no_operation_answers_without_a_token(quiet, operation):
    said = quiet.nobody.refused(operation.method, example_path(operation), 401)
    assert said["code"] == "token-missing"


def test_a_token_of_too_narrow_a_scope_is_refused_by_every_operation(quiet):
    by_scope = {scope: quiet.new(scope) for scope in tokens.SCOPES}
    for operation in OPERATIONS:
        path = example_path(operation)
        for scope, caller in by_scope.items():
            said = caller.ask(operation.method, path)
            is_refused = said.status_code == 403
            assert is_refused is not operation.is_allowed(scope), (operation.name, scope)
            if is_refused:
                assert said.json()["code"] == "scope"


def test_a_token_is_refused_alike_if_it_is_wrong_over_or_revoked(bench, callers):
    caller = callers.new("read")
    caller.get("/providers")
    other = "y" if caller.token[-7] == "x" else "x"
    wrong = {
        "another's letters": caller.token[:-7] + other + caller.token[-6:],
        "a piece": caller.token[:-1],
        "too much": caller.token + "x",
        "no token": "sk_live_123",
    }
    answers = set()
    for text in wrong.values():
        reply = caller.ask("GET", "/providers", headers={"Authorization": f"Bearer {text}"})
        answers.add((reply.status_code, reply.text, reply.headers["www-authenticate"]))
    revoked = callers.new("read", name="revoked")
    tokens.revoke_token(bench.installation, "revoked", actor="test")
    over = tokens.create_token(
        bench.installation, "over", scope="read", expires_in="1h", actor="test"
    )
    bench.clock.move(3600)
    for text in (revoked.token, over.token.reveal()):
        reply = caller.ask("GET", "/providers", headers={"Authorization": f"Bearer {text}"})
        answers.add((reply.status_code, reply.text, reply.headers["www-authenticate"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_a_token_is_stored_as_a_hash_and_its_use_is_noted_rarely(bench, callers):
    caller = callers.new("read", name="reader")
    text = caller.token
    assert re.fullmatch(r"tln_[0-9A-Za-z]{38}", text)
    with bench.database.read() as transaction:
        rows = transaction.exec_driver_sql("SELECT * FROM api_tokens").mappings().all()
    assert text not in json.dumps([dict(row) for row in rows])

    def used():
        [row] = tokens.list_tokens(bench.installation)
        return row.last_used_at

    assert used() is None
    caller.get("/providers")
    first = used()
    assert first == bench.clock.now()
    bench.clock.move(60)
    caller.get("/providers")
    assert used() == first
    bench.clock.move(600)
    caller.get("/providers")
    assert used() == first + timedelta(seconds=660)


def test_what_a_caller_does_is_logged_under_the_name_of_its_token(bench, admin):
    admin.post("/connections/shop/pause")
    with bench.database.read() as transaction:
        entries = log.list_entries(transaction)
    assert [entry["actor"] for entry in entries if entry["event"] == "connection.paused"] == [
        "api:boss"
    ]


def test_a_limited_token_sees_no_other_connection_and_is_told_the_same_as_of_none(bench, callers):
    other = connect_api_key(
        bench.installation,
        "shelf",
        name="other",
        key=Secret("k-1"),
        base_url=get_connection(bench.installation, "shop").base_url,
        actor="test",
    )
    caller = callers.new("admin", "shop")
    assert [row["name"] for row in caller.get("/connections")["data"]] == ["shop"]
    assert [row["connections"] for row in caller.get("/limits")["data"]] == [["shop"]]
    for name in (other.id, "other"):
        hidden = caller.refused("GET", f"/connections/{name}", 404)
        absent = caller.refused("GET", f"/connections/{'x' * len(name)}", 404)
        assert json.dumps(hidden).replace(name, "?") == json.dumps(absent).replace(
            "x" * len(name), "?"
        )
        assert caller.refused("GET", f"/limits?connection={name}", 404)["code"] == (
            "connection-unknown"
        )
    said = caller.refused("GET", "/tokens", 403)
    assert said["code"] == "scope-connections"


BAD_BODIES = {
    "no JSON": ("{", 400, "body-malformed", ""),
    "not UTF-8": (b'{"name": "\xff"}', 400, "body-malformed", ""),
    "too deep": ("[" * 100 + "]" * 100, 400, "body-malformed", ""),
    "far too deep": ("[" * 100_000, 400, "body-malformed", ""),
    "a name twice": ('{"name": "a", "name": "b"}', 400, "body-malformed", ""),
    "NaN": ('{"name": NaN}', 400, "body-malformed", ""),
    "beyond a float": ('{"name": 1e400}', 400, "body-malformed", ""),
    "far below": ('{"name": {"a": [-1e400]}}', 400, "body-malformed", ""),
    "half a character": ('{"name": "\\ud800"}', 400, "body-malformed", ""),
    "a list": ("[]", 422, "invalid-input", ""),
    "nothing": ("", 422, "invalid-input", "/name"),
    "unknown": ('{"name": "a", "scope": "read", "x/y~": 1}', 422, "invalid-input", "/x~1y~0"),
    "a number": ('{"name": 1, "scope": "read"}', 422, "invalid-input", "/name"),
    "NUL": ('{"name": "a\\u0000", "scope": "read"}', 422, "invalid-input", "/name"),
    "too long": (json.dumps({"name": "a" * 61, "scope": "read"}), 422, "invalid-input", "/name"),
    "no scope": ('{"name": "a", "scope": "root"}', 422, "invalid-input", "/scope"),
    "inside": (
        '{"name": "a", "scope": "read", "connections": ["shop", 7]}',
        422,
        "invalid-input",
        "/connections/1",
    ),
}


@pytest.mark.parametrize("case", BAD_BODIES, ids=BAD_BODIES)
def test_a_bad_body_is_refused_with_a_pointer_to_each_bad_field(asking, case):
    body, status, code, pointer = BAD_BODIES[case]
    headers = {"Content-Type": "application/json"}
    said = asking.refused("POST", "/tokens", status, content=body, headers=headers)
    assert said["code"] == code
    assert pointer in [each["pointer"] for each in said["errors"]]


def test_every_bad_field_is_named_at_once(asking):
    said = asking.refused("POST", "/tokens", 422, json={"name": "", "scope": "", "a": 1, "b": 2})
    assert {each["pointer"] for each in said["errors"]} == {"/name", "/scope", "/a", "/b"}


BAD_QUERIES = {
    "unknown": ("x=1", "x"),
    "twice": ("limit=1&limit=2", "limit"),
    "no number": ("limit=many", "limit"),
    "too many": ("limit=201", "limit"),
    "none": ("limit=0", "limit"),
    "no cursor": ("cursor=abc", "cursor"),
    "another list's": ("cursor=WyJsaXN0X3Rva2VucyIsImEiXQ", "cursor"),
    "endless": (f"cursor={'a' * 601}", "cursor"),
}


@pytest.mark.parametrize("case", BAD_QUERIES, ids=BAD_QUERIES)
def test_a_bad_query_is_refused_with_the_parameter(asking, case):
    query, name = BAD_QUERIES[case]
    said = asking.refused("GET", f"/connections?{query}", 422)
    assert name in [each["parameter"] for each in said["errors"]]


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_cursor_at_the_end_of_time_is_none(asking, when):
    cursor = write_cursor("list_runs", [when, "run_a"])
    said = asking.refused("GET", f"/runs?cursor={cursor}", 422)
    assert said["code"] == "cursor-invalid"


EMPTY = {
    "a token for nothing": ("/tokens", {"name": "x", "scope": "read", "connections": []}),
    "no event": ("/webhook-events/replay", {"since": "2026-01-01T00:00:00Z", "ids": []}),
    "no type": ("/webhook-events/replay", {"since": "2026-01-01T00:00:00Z", "types": []}),
    "in no state": ("/webhook-events/replay", {"since": "2026-01-01T00:00:00Z", "states": []}),
    "runs in no state": ("/runs/cancel", {"entity": "plain", "state": []}),
    "runs to retry": ("/runs/retry", {"entity": "plain", "state": []}),
}


@pytest.mark.parametrize("case", EMPTY, ids=EMPTY)
def test_an_empty_list_is_not_taken_for_everything(asking, case):
    path, body = EMPTY[case]
    said = asking.refused("POST", path, 422, json=body)
    assert len(said["errors"]) == 1
    assert body[said["errors"][0]["pointer"][1:]] == []


def test_a_list_that_is_too_long_is_refused_before_it_is_gone_through(asking):
    """To go through a megabyte of them took many seconds, in which nobody else was answered."""
    body = {"name": "x", "scope": "read", "connections": [""] * 100_000}
    said = asking.refused("POST", "/tokens", 422, json=body)
    assert [each["pointer"] for each in said["errors"]] == ["/connections"]


WRONG = {
    "form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "body-type"),
    "other letters": ({"Content-Type": "application/json; charset=latin-1"}, 415, "body-type"),
    "nothing said": ({"Content-Type": ""}, 415, "body-type"),
    "packed": (
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        415,
        "body-encoded",
    ),
    "wants HTML": ({"Accept": "text/html"}, 406, "not-acceptable"),
    "wants no JSON": ({"Accept": "application/json;q=0"}, 406, "not-acceptable"),
}


@pytest.mark.parametrize("case", WRONG, ids=WRONG)
def test_what_is_no_json_is_refused(asking, case):
    headers, status, code = WRONG[case]
    said = asking.refused("POST", "/tokens", status, content=b"{}", headers=headers)
    assert said["code"] == code


def test_a_body_is_bounded_and_none_is_taken_where_none_is_wanted(asking):
    headers = {"Content-Type": "application/json"}
    large = b'{"name": "' + b"a" * 1_100_000 + b'"}'
    said = asking.refused("POST", "/tokens", 413, content=large, headers=headers)
    assert said["code"] == "body-too-large"
    said = asking.refused("POST", "/connections/shop/pause", 422, json={"x": 1})
    assert said["code"] == "invalid-input"


def test_paths_and_methods_that_are_not_there_are_problems_too(admin):
    admin.is_checked = False
    said = admin.refused("GET", "/nothing", 404)
    assert said["code"] == "not-found"
    reply = admin.ask("DELETE", "/connections")
    assert reply.status_code == 405
    assert set(reply.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert reply.json()["code"] == "method-not-allowed"
    assert admin.ask("HEAD", "/connections").status_code == 200


def test_lists_are_read_page_by_page(bench, admin, callers):
    for number in range(5):
        callers.new("read", name=f"reader-{number}")
    found, cursor = [], ""
    for _ in range(10):
        page = admin.get(f"/tokens?limit=2{cursor and f'&cursor={cursor}'}")
        assert len(page["data"]) <= 2
        found += [row["name"] for row in page["data"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert found == ["boss", *(f"reader-{number}" for number in range(5))]


def test_a_repeated_request_with_its_key_is_answered_as_before(bench, admin):
    headers = {"Idempotency-Key": "k-1"}
    first = admin.ask("POST", "/tokens", json={"name": "a", "scope": "read"}, headers=headers)
    again = admin.ask("POST", "/tokens", json={"name": "a", "scope": "read"}, headers=headers)
    assert (
        (first.status_code, first.content)
        == (again.status_code, again.content)
        == (
            201,
            first.content,
        )
    )
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    said = admin.refused(
        "POST", "/tokens", 422, json={"name": "b", "scope": "read"}, headers=headers
    )
    assert said["code"] == "idempotency-reused"
    with bench.database.read() as transaction:
        kept = transaction.exec_driver_sql("SELECT answer FROM api_answers").scalars().all()
    assert first.json()["token"] not in "".join(kept)  # it is sealed

    bench.clock.move(24 * 3600 + 1)
    said = admin.refused(
        "POST", "/tokens", 409, json={"name": "a", "scope": "read"}, headers=headers
    )
    assert said["code"] == "name-taken"


def test_a_key_is_its_token_s_own_and_a_refused_request_does_not_use_it_up(callers, admin):
    headers = {"Idempotency-Key": "k-1"}
    admin.post("/connections/shop/pause", headers=headers)
    said = admin.refused("POST", "/connections/shop/pause", 409)
    assert said["code"] == "connection-paused"
    other = callers.new("operate")
    other.refused("POST", "/connections/shop/pause", 409, headers=headers)
    admin.post("/connections/shop/resume")
    other.post("/connections/shop/pause", headers=headers)
    for key in ("", "a b", "ü", "x" * 256):
        bad = {"Idempotency-Key": key.encode()}
        said = admin.refused("POST", "/connections/shop/pause", 422, headers=bad)
        assert said["errors"][0]["header"] == "Idempotency-Key"


def test_what_was_read_has_a_tag_and_is_not_sent_twice(admin):
    reply = admin.ask("GET", "/connections/shop")
    tag = reply.headers["etag"]
    admin.is_checked = False
    again = admin.ask("GET", "/connections/shop", headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content) == (304, b"")
    admin.post("/connections/shop/pause")
    assert admin.ask("GET", "/connections/shop").headers["etag"] != tag
    said = admin.refused("DELETE", "/connections/shop", 412, headers={"If-Match": tag})
    assert said["code"] == "changed"


def test_a_caller_that_calls_too_often_is_told_to_wait(sqlite_url, redis_url, tmp_path):
    bench = make_bench(sqlite_url, tmp_path, redis_url=redis_url, api_calls_per_minute="3")
    callers = callers_of(bench.installation)
    busy, calm = callers.new("read"), callers.new("read")
    for left in (2, 1, 0):
        assert busy.ask("GET", "/providers").headers["ratelimit-remaining"] == str(left)
    reply = busy.ask("GET", "/providers")
    assert (reply.status_code, reply.json()["code"]) == (429, "too-many-calls")
    assert 1 <= int(reply.headers["retry-after"]) <= 120
    calm.get("/providers")
    bench.installation.close()


def test_while_redis_is_away_reading_goes_on_and_says_so(sqlite_url, tmp_path):
    bench = make_bench(sqlite_url, tmp_path)  # nothing listens there
    caller = callers_of(bench.installation).new("admin")
    reply = caller.ask("GET", "/connections")
    assert reply.status_code == 200
    assert "Redis is away" in reply.headers["tieline-notice"]
    said = caller.ask("POST", "/connections/shop/pause")
    assert (said.status_code, said.json()["code"]) == (503, "redis-down")
    assert said.headers["retry-after"]
    bench.installation.close()


def test_while_the_database_is_away_it_is_said_with_a_time_to_come_back(bench, admin, monkeypatch):
    def away(*_args, **_kwargs):
        raise DependencyError("the database does not answer", code="database-down")

    monkeypatch.setattr(type(bench.installation.database), "read", away)
    reply = admin.ask("GET", "/connections")
    assert (reply.status_code, reply.json()["code"]) == (503, "database-down")
    assert int(reply.headers["retry-after"]) >= 1


def test_the_document_is_good_and_the_page_needs_nothing_else(callers):
    from openapi_spec_validator import OpenAPIV31SpecValidator

    OpenAPIV31SpecValidator(document()).validate()
    client = callers.client
    reply = client.get("/v1/openapi.json")
    assert reply.json() == json.loads(json.dumps(document()))
    page = client.get("/v1/docs")
    assert page.status_code == 200
    assert "script" not in page.headers["content-security-policy"]
    assert not re.search(r"<script|src=|@import|https?://(?!tieline)", page.text)
    for operation in OPERATIONS:
        assert f'id="{operation.name}"' in page.text


def test_what_breaks_off_is_not_done_again_under_the_same_key(bench, admin, monkeypatch):
    right = connections.pause_connection

    def broken(*given, **named):
        right(*given, **named)
        raise DependencyError("it went away in the middle", code="database-down")

    headers = {"Idempotency-Key": "k-1"}
    monkeypatch.setattr(connections, "pause_connection", broken)
    admin.refused("POST", "/connections/shop/pause", 503, headers=headers)
    monkeypatch.undo()
    said = admin.refused("POST", "/connections/shop/pause", 409, headers=headers)
    assert said["code"] == "idempotency-unknown"


class Slow:
    """Lets what is done with a connection wait until it is let go."""

    def __init__(self, monkeypatch, name="pause_connection"):
        self.began, self.goes_on = threading.Event(), threading.Event()
        self.right = getattr(connections, name)
        monkeypatch.setattr(connections, name, self)

    def __call__(self, *given, **named):
        self.began.set()
        assert self.goes_on.wait(30)
        return self.right(*given, **named)


def test_of_two_at_once_with_one_key_the_second_is_told_to_wait(bench, callers, monkeypatch):
    admin, headers = callers.new("admin"), {"Idempotency-Key": "k-1"}
    slow = Slow(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(admin.ask, "POST", "/connections/shop/pause", headers=headers)
        assert slow.began.wait(30)
        said = admin.refused("POST", "/connections/shop/pause", 409, headers=headers)
        slow.goes_on.set()
        assert first.result().status_code == 200
    assert said["code"] == "idempotency-busy"
    assert admin.post("/connections/shop/pause", headers=headers)["paused_at"]


def test_a_call_is_answered_by_its_deadline_and_too_many_at_once_are_sent_away(
    sqlite_url, redis_url, tmp_path, monkeypatch
):
    bench = make_bench(
        sqlite_url, tmp_path, redis_url=redis_url, api_deadline_s="0.5", api_threads="1"
    )
    callers = callers_of(bench.installation)
    admin, slow = callers.new("admin"), Slow(monkeypatch)
    headers = {"Idempotency-Key": "k-1"}
    said = admin.refused("POST", "/connections/shop/pause", 503, headers=headers)
    assert said["code"] == "deadline"
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(admin.ask, "GET", "/providers") for _ in range(16)]
        codes = {call.result().json()["code"] for call in calls}
    assert codes == {"deadline", "busy"}
    slow.goes_on.set()  # ... and what went on is answered to whoever asks again
    for _ in range(100):
        reply = admin.ask("POST", "/connections/shop/pause", headers=headers)
        if reply.status_code == 200:
            break
        assert reply.json()["code"] in {"idempotency-busy", "busy", "deadline"}
        time.sleep(0.1)
    assert reply.headers["idempotency-replayed"] == "true"
    bench.installation.close()


def test_a_slow_provider_keeps_nobody_from_reading(sqlite_url, redis_url, tmp_path, monkeypatch):
    bench = make_bench(sqlite_url, tmp_path, redis_url=redis_url, api_threads="2")
    callers = callers_of(bench.installation)
    admin, slow = callers.new("admin"), Slow(monkeypatch, "test_connection")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(admin.ask, "POST", "/connections/shop/test") for _ in range(4)]
        assert slow.began.wait(30)
        assert admin.get("/connections/shop")["name"] == "shop"
        assert not any(call.done() for call in calls)
        slow.goes_on.set()
    bench.installation.close()


def test_readiness_is_told_part_by_part_and_tells_no_secret(bench, callers, sqlite_url, tmp_path):
    reply = callers.client.get("/readyz")
    assert (reply.status_code, reply.json()) == (
        200,
        {"status": "ready", "parts": dict.fromkeys(("database", "schema", "redis", "key"), "ok")},
    )
    away = make_bench(f"sqlite:///{tmp_path / 'other.db'}", tmp_path / "other")
    with away.database.write() as transaction:
        transaction.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    (tmp_path / "other" / "keys" / "local.key").unlink()
    away.installation.__dict__.pop("vault", None)
    reply = callers_of(away.installation).client.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["parts"] == {
        "database": "ok",
        "schema": "schema-behind",
        "redis": "redis-down",
        "key": "key-missing",
    }
    assert reply.headers["retry-after"]
    away.installation.close()
