"""What is special about Stripe: errors, cursors, windows, events, two accounts at once."""

from __future__ import annotations

import ast
import io
import json
import threading
import tokenize
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stripe
from stripe import oauth_error

from tieline import contract
from tieline.contract import (
    CursorExpiredError,
    NeedsReauthError,
    PageParams,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    RetryLaterError,
    Secret,
    Window,
)
from tieline_stripe import client as client_module
from tieline_stripe import entities, errors, events, limits

DATA = Path(__file__).parent / "data"
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


class Answers:
    """A transport that gives prepared answers and remembers what was asked."""

    def __init__(self, *answers: Reply) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict]] = []

    def send(self, method, url, *, headers, content=None):
        assert content is None  # nothing here writes
        self.asked.append((method, url, dict(headers)))
        return self.answers.pop(0)


def answer(status: int = 200, body: object = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, headers=named, content=content, seconds=0.1)


def api(
    *answers: Reply, key: str = "sk_test_1", account: str = ""
) -> tuple[client_module.StripeApi, Answers]:
    transport = Answers(*answers)
    made = client_module.StripeApi("https://api.stripe.com", Secret(key), transport, account)
    return made, transport


def failure(**error: object) -> dict[str, object]:
    return {"error": {"message": "no", **error}}


CASES = {
    "401": (answer(401, failure()), NeedsReauthError),
    "expired key": (answer(401, failure(code="api_key_expired")), NeedsReauthError),
    "403": (answer(403, failure()), PermissionDeniedError),
    "revoked account": (answer(403, failure(code="account_invalid")), NeedsReauthError),
    "revoked token": (answer(403, failure(code="platform_api_key_expired")), NeedsReauthError),
    "429": (answer(429, failure(code="rate_limit")), RateLimitedError),
    "locked": (answer(429, failure(code="lock_timeout")), RetryLaterError),
    "409": (answer(409, failure(code="idempotency_key_in_use")), RetryLaterError),
    "500": (answer(500, failure(type="api_error")), ProviderUnavailableError),
    "502 html": (answer(502, b"<html>\xff</html>"), ProviderUnavailableError),
    "429 html": (answer(429, b"<html>"), RateLimitedError),
    "500 null error": (answer(500, {"error": None}), ProviderUnavailableError),
    "500 text error": (answer(500, {"error": "x"}), ProviderUnavailableError),
    "500 list": (answer(500, []), ProviderUnavailableError),
    "404": (answer(404, failure(code="resource_missing", param="id")), RecordNotFoundError),
    "cursor gone": (
        answer(400, failure(code="resource_missing", param="starting_after")),
        CursorExpiredError,
    ),
    "400": (answer(400, failure(code="parameter_unknown")), RequestRejectedError),
    "402": (answer(402, failure(type="card_error")), RequestRejectedError),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_every_answer_says_what_happens_next(case):
    reply, expected = CASES[case]
    stripe_api, _ = api(reply)
    with pytest.raises(contract.ProviderError) as caught:
        stripe_api.get("/v1/customers", {"limit": 100})
    assert type(caught.value) is expected


def test_retry_after_is_read_also_from_a_proxy_s_page():
    stripe_api, _ = api(answer(429, b"<html>", retry_after="7"))
    with pytest.raises(RateLimitedError) as caught:
        stripe_api.get("/v1/customers", {})
    assert caught.value.retry_after == 7


def every_error_class() -> list[type[Exception]]:
    found = {
        value
        for module in (stripe, stripe._error, oauth_error)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, stripe.StripeError)
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


@pytest.mark.parametrize("kind", every_error_class(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("status", [None, 400, 401, 403, 404, 409, 429, 500])
def test_every_error_class_of_the_sdk_is_mapped(kind, status):
    error = kind.__new__(kind)
    stripe.StripeError.__init__(error, "no", http_status=status, json_body={"error": {}})
    if not hasattr(error, "param"):
        error.param = None
    assert isinstance(errors.classify(error), contract.ProviderError)


def test_what_is_not_the_sdk_s_is_left_alone():
    assert errors.classify(ValueError("x")) is None


def test_a_page_is_read_with_version_and_key_and_no_telemetry():
    page = {"object": "list", "data": [{"id": "cus_1"}, {"id": "cus_2"}], "has_more": True}
    stripe_api, transport = api(
        answer(200, page, date="Sun, 01 Nov 2026 00:00:10 GMT"), key="rk_test_2"
    )
    start = datetime(2026, 1, 1, tzinfo=UTC)
    params = PageParams(window=Window(start=start))
    found = entities.CUSTOMERS.page(stripe_api, params, "cus_0")
    assert (found.next, len(found.records)) == ("cus_2", 2)
    assert found.as_of == datetime(2026, 11, 1, 0, 0, 9, tzinfo=UTC)
    [(method, url, headers)] = transport.asked
    assert method == "get"
    assert url.startswith("https://api.stripe.com/v1/customers?limit=100")
    assert "starting_after=cus_0" in url
    assert "created[gte]=1767225600" in url
    assert "created[lt]" not in url
    named = {name.lower(): text for name, text in headers.items()}
    assert named["authorization"] == "Bearer rk_test_2"
    assert named["stripe-version"] == "2026-10-28.endive"
    assert "x-stripe-client-telemetry" not in named


def test_a_good_status_with_a_page_that_is_none_is_asked_again():
    for body in (b"", b"<html>", b'{"object": "list"}', b'{"data": [], "has_more": true}'):
        stripe_api, _ = api(answer(200, body))
        with pytest.raises(ProviderUnavailableError):
            entities.CUSTOMERS.page(stripe_api, PageParams(), None)


def test_two_accounts_in_one_process_do_not_mix():
    page = {"data": [], "has_more": False}
    apis = [api(*[answer(200, page)] * 50, key=f"sk_test_{n}") for n in range(8)]
    threads = [
        threading.Thread(target=lambda a=a: [a.get("/v1/customers", {}) for _ in range(50)])
        for a, _ in apis
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (_, transport) in enumerate(apis):
        sent = {headers["Authorization"] for _, _, headers in transport.asked}
        assert sent == {f"Bearer sk_test_{number}"}


@pytest.mark.parametrize("body", [[], None, "x", {"settings": "x"}, {"id": 5}], ids=repr)
def test_an_odd_account_does_not_stop_a_good_key(body):
    stripe_api, transport = api(answer(200, body), answer(200, {"data": [], "has_more": False}))
    assert client_module.identify(stripe_api) == contract.Account()
    assert "customers?limit=1" in transport.asked[1][1]


@pytest.mark.parametrize("body", [{}, {"id": 5}, []], ids=repr)
def test_an_odd_account_leaves_a_connected_one_the_id_that_was_granted(body):
    stripe_api, _ = api(
        answer(200, body), answer(200, {"data": [], "has_more": False}), account="acct_1"
    )
    assert client_module.identify(stripe_api) == contract.Account(id="acct_1")


def test_another_account_than_the_connected_one_is_refused():
    stripe_api, _ = api(answer(200, {"id": "acct_platform"}), account="acct_1")
    with pytest.raises(RequestRejectedError, match="acct_platform, not for the connected acct_1"):
        client_module.identify(stripe_api)


def test_a_bad_platform_key_ends_no_connection():
    stripe_api, _ = api(answer(401, failure(code="api_key_expired")), account="acct_1")
    with pytest.raises(RequestRejectedError) as caught:
        stripe_api.get("/v1/customers", {})
    assert "TIELINE_STRIPE_CLIENT_SECRET" in caught.value.hint
    assert not isinstance(caught.value, PermissionDeniedError)


def test_a_deleted_customer_is_none():
    stripe_api, _ = api(
        answer(200, {"id": "cus_1", "object": "customer", "deleted": True}),
        answer(404, failure(code="resource_missing", param="id")),
        answer(200, {"id": "cus_1", "object": "customer"}),
    )
    got = [entities.CUSTOMERS.get(stripe_api, "cus_1") for _ in range(3)]
    assert got == [None, None, {"id": "cus_1", "object": "customer"}]


def test_events_are_changes_and_old_versions_are_read_again():
    def event(number, verb, version):
        return {
            "id": f"evt_{number}",
            "type": f"customer.{verb}",
            "created": 1_790_000_000 + number,
            "api_version": version,
            "data": {"object": {"id": f"cus_{number}", "object": "customer"}},
        }

    present = client_module.API_VERSION
    body = {
        "data": [
            event(3, "deleted", present),
            event(2, "updated", present),
            event(1, "updated", "2020-08-27"),
        ],
        "has_more": False,
    }
    stripe_api, transport = api(answer(200, body))
    feed = entities.CUSTOMERS.feed.page(stripe_api, PageParams(), None)
    gone, changed, old = feed.changes
    assert (gone.key, gone.is_deleted) == ("cus_3", True)
    assert changed.record == {"id": "cus_2", "object": "customer"}
    assert old.record is None
    assert "types[0]=customer.created" in transport.asked[0][1]


def test_deliveries_are_read_as_events():
    body = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "type": "customer.updated",
            "created": 1_790_000_000,
            "account": "acct_1",
            "api_version": client_module.API_VERSION,
            "data": {"object": {"id": "cus_1", "object": "customer"}},
        }
    ).encode()
    [event] = events.parse(body, {})
    assert (event.id, event.entity, event.key) == ("evt_1", "customers", "cus_1")
    assert event.account == "acct_1"
    assert event.record["id"] == "cus_1"
    thin = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.customer.updated",
        "created": "2026-11-01T00:00:00Z",
        "related_object": {"id": "cus_1", "type": "customer", "url": "/v1/customers/cus_1"},
    }
    [event] = events.parse(json.dumps(thin).encode(), {})
    assert (event.type, event.entity, event.record) == ("customer.updated", "customers", None)
    for rubbish in (b"", b"[]", b"{}", b"<html>", b'{"id": 5}'):
        with pytest.raises(contract.InvalidRecordError):
            events.parse(rubbish, {})


@pytest.mark.parametrize(
    ("reason", "content", "expected"),
    [
        ("global-rate", b"", ("account", None)),
        ("global-concurrency", b"", ("account", None)),
        ("endpoint-rate", b"", ("endpoint", None)),
        ("endpoint-concurrency", b"", ("endpoint", None)),
        ("resource-specific", b"", ("account", False)),
        ("", b'{"error": {"code": "lock_timeout"}}', ("account", False)),
        ("", b"<html>", ("account", None)),
    ],
)
def test_a_refusal_slows_what_it_is_about(reason, content, expected):
    headers = {"stripe-rate-limited-reason": reason} if reason else {}
    seen = limits.observe(Reply(status=429, headers=headers, content=content, seconds=0.1))
    assert (seen.scope, seen.is_refusal) == expected
    assert limits.observe(Reply(status=200, headers={}, content=b"{}", seconds=0.1)) is None


def lines_of_code(path: Path) -> int:
    """Count the lines that hold code: no blanks, comments or docstrings."""
    text = path.read_text()
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            held.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(held)


def test_lines_of_code_are_those_that_hold_some(tmp_path):
    path = tmp_path / "some.py"
    path.write_text('"""Says\nwhat."""\n\n# why\na = 1  # one\nb = (\n    """not\n    said"""\n)\n')
    assert lines_of_code(path) == 5


def test_what_must_exist_of_the_plugin_is_small():
    import tieline_stripe

    folder = Path(tieline_stripe.__file__).parent
    assert sum(lines_of_code(path) for path in folder.glob("*.py")) <= 600
