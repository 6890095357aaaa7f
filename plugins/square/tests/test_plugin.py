"""What is special about Square: errors, tokens that change, whose account, two at once."""

from __future__ import annotations

import ast
import importlib
import json
import logging
import re
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
import square
from square.core.api_error import ApiError

import tieline_square
from tieline.contract import (
    Account,
    ConflictError,
    Connection,
    Credential,
    CursorExpiredError,
    NeedsReauthError,
    OAuth2,
    PermissionDeniedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
)
from tieline.registry import find_plugins, load_plugin
from tieline.transport import HttpTransport
from tieline_square import errors
from tieline_square.client import SquareApi, identify
from tieline_square_sandbox import API_KEY, CLIENT_ID, CLIENT_SECRET

TOKEN = "EAAAlThisIsASecretAccessTokenOfSquare0000000000000000000000000"


class Answers:
    """A transport that gives prepared answers and remembers what was asked."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, dict, bytes | None]] = []

    def send(self, method, url, *, headers, content=None):
        self.asked.append((method, url, dict(headers), content))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(status: int = 200, body: object = None, **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status=status, headers=named, content=content, seconds=0.1)


def api(*answers: Reply | Exception, token: str = TOKEN) -> tuple[SquareApi, Answers]:
    transport = Answers(*answers)
    credential = Credential({"access_token": token})
    return SquareApi("https://connect.squareup.com", credential, transport), transport


def failure(code: str, category: str = "API_ERROR", detail: str = "no") -> dict[str, object]:
    return {"errors": [{"category": category, "code": code, "detail": detail}]}


OLDER = {"message": "Not Authorized", "type": "service.not_authorized"}
CASES = {
    "expired token": (401, failure("ACCESS_TOKEN_EXPIRED"), NeedsReauthError),
    "revoked token": (401, failure("ACCESS_TOKEN_REVOKED"), NeedsReauthError),
    "unknown token": (401, failure("UNAUTHORIZED"), NeedsReauthError),
    "disabled client": (401, failure("CLIENT_DISABLED"), NeedsReauthError),
    "older 401": (401, OLDER, NeedsReauthError),
    "new code, 401": (401, failure("SOMETHING_NEW"), NeedsReauthError),
    "missing right": (403, failure("INSUFFICIENT_SCOPES"), PermissionDeniedError),
    "forbidden": (403, failure("FORBIDDEN"), PermissionDeniedError),
    "disabled application": (403, failure("APPLICATION_DISABLED"), PermissionDeniedError),
    "new code, 403": (403, failure("SOMETHING_NEW"), PermissionDeniedError),
    "cursor": (400, failure("INVALID_CURSOR"), CursorExpiredError),
    "too high": (400, failure("VALUE_TOO_HIGH"), RequestRejectedError),
    "version": (400, failure("API_VERSION_INCOMPATIBLE"), RequestRejectedError),
    "reused key": (400, failure("IDEMPOTENCY_KEY_REUSED"), ConflictError),
    "gone": (404, failure("NOT_FOUND"), RecordNotFoundError),
    "conflict": (409, failure("CONFLICT"), ConflictError),
    "mismatch": (409, failure("VERSION_MISMATCH"), ConflictError),
    "throttled": (429, failure("RATE_LIMITED"), RateLimitedError),
    "throttled html": (429, b"<html>", RateLimitedError),
    "time-out": (408, failure("REQUEST_TIMEOUT"), ProviderUnavailableError),
    "500": (500, failure("INTERNAL_SERVER_ERROR"), ProviderUnavailableError),
    "503": (503, failure("SERVICE_UNAVAILABLE"), ProviderUnavailableError),
    "500 that blames the token": (500, failure("UNAUTHORIZED"), ProviderUnavailableError),
    "502 html": (502, b"<html>\xff</html>", ProviderUnavailableError),
    "upstream text": (503, b"upstream connect error", ProviderUnavailableError),
    # Not Square's words, so nothing is known about the account.
    "401 html": (401, b"<html>", ProviderUnavailableError),
    "403 html": (403, b"<html>", ProviderUnavailableError),
    "404 html": (404, b"<html>", ProviderUnavailableError),
    "400 empty": (400, b"", ProviderUnavailableError),
    "errors that are text": (401, {"errors": "no"}, ProviderUnavailableError),
    "errors without code": (404, {"errors": [{"detail": "no"}]}, ProviderUnavailableError),
    "no errors": (404, {"errors": []}, ProviderUnavailableError),
    "a list": (404, [], ProviderUnavailableError),
    # A good status that is none.
    "200 with an outage": (200, failure("SERVICE_UNAVAILABLE"), ProviderUnavailableError),
    "200 with an unknown code": (200, failure("SOMETHING_NEW"), ProviderUnavailableError),
    "200 that throttles": (200, failure("RATE_LIMITED"), RateLimitedError),
    "200 that refuses": (200, failure("ACCESS_TOKEN_REVOKED"), NeedsReauthError),
    "200 html": (200, b"<html>", ProviderUnavailableError),
    "200 empty": (200, b"", ProviderUnavailableError),
    "200 list": (200, [], ProviderUnavailableError),
    "200 null": (200, None, ProviderUnavailableError),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_answer_says_what_happens_next(case):
    status, body, expected = case
    square_api, _ = api(answer(status, body))
    with pytest.raises(ProviderError) as caught:
        square_api.call("GET", "/v2/locations")
    assert type(caught.value) is expected


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_the_sdk_s_own_error_means_the_same(case):
    status, body, expected = case
    if not 200 <= status < 300 and body != {"errors": "no"}:  # with text the SDK cannot make one
        shown = body.decode("latin-1") if isinstance(body, bytes) else body
        error = ApiError(status_code=status, headers={}, body=shown)
        assert type(errors.classify(error)) is expected


def test_retry_after_is_read_also_from_a_proxy_s_page():
    square_api, _ = api(answer(429, b"<html>", retry_after="7"))
    with pytest.raises(RateLimitedError) as caught:
        square_api.call("GET", "/v2/locations")
    assert caught.value.retry_after == 7


def test_a_message_has_square_s_words_on_one_line_and_no_secret():
    secrets = [TOKEN, TOKEN.replace("EAAA", "EQAA"), CLIENT_SECRET, "sandbox-sq0cgb-abcdefgh12345"]
    detail = f"Authorization code not found\nfor app {CLIENT_ID}: " + " ".join(secrets)
    square_api, _ = api(answer(401, failure("UNAUTHORIZED", detail=detail + "x" * 5000)))
    with pytest.raises(NeedsReauthError) as caught:
        square_api.call("GET", "/v2/locations")
    message = caught.value.message
    assert message.startswith("Square answered 401: UNAUTHORIZED: Authorization code not found for")
    assert CLIENT_ID in message  # no secret
    assert not [secret for secret in secrets if secret in message]
    assert "\n" not in message
    assert len(message) < 400


def every_exception_of_the_sdk():
    """Find the SDK's exception classes by their text, so that 1,500 modules stay unimported."""
    top = Path(square.__file__).parent
    form = re.compile(r"^class (\w+)\((?:\w+\.)*\w*(?:Exception|Error)\):", re.MULTILINE)
    for path in sorted(top.rglob("*.py")):
        for name in form.findall(path.read_text("utf-8")):
            module = ".".join(("square", *path.relative_to(top).with_suffix("").parts))
            yield getattr(importlib.import_module(module), name)


def test_every_exception_class_of_the_sdk_is_mapped():
    kinds = set(every_exception_of_the_sdk())
    assert len(kinds) >= 4
    for kind in kinds - {ApiError}:
        assert isinstance(errors.classify(kind("no")), ProviderError)
    assert ApiError in kinds
    for status in (None, 200, 302, 400, 401, 403, 404, 409, 418, 429, 500):
        for body in (None, "", "<html>", {}, [], failure("X"), OLDER):
            assert errors.classify(ApiError(status_code=status, body=body)) is not None


@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ReadError, httpx.DecodingError])
def test_what_httpx_raises_below_the_sdk_is_no_usable_answer(kind):
    assert isinstance(errors.classify(kind("no")), ProviderUnavailableError)


def test_what_is_not_the_sdk_s_is_left_alone():
    assert errors.classify(ValueError("x")) is None


@pytest.mark.parametrize(
    "raised",
    [
        ProviderUnavailableError("no answer"),
        RateLimitedError("our throttle"),
        RequestRejectedError("not one of the provider's", code="address-refused"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_what_the_transport_raises_comes_through_unchanged(raised):
    square_api, transport = api()
    transport.send = lambda *_args, **_kwargs: (_ for _ in ()).throw(raised)
    with pytest.raises(type(raised)) as caught:
        square_api.call("GET", "/v2/locations")
    assert caught.value is raised


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_call_is_made_once_and_not_repeated(status):
    square_api, transport = api(answer(status, failure("X")))
    began = time.monotonic()
    with pytest.raises(ProviderError):
        square_api.call("POST", "/v2/orders/search", body={"limit": 500})
    assert len(transport.asked) == 1
    assert time.monotonic() - began < 0.5


def test_a_request_has_version_and_token_and_nothing_of_this_machine(monkeypatch):
    monkeypatch.setenv("SQUARE_TOKEN", "EAAAfromTheEnvironment")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    square_api, transport = api(
        answer(200, {"orders": []}, set_cookie="a=b; Path=/", content_encoding="gzip"),
        answer(200, {}),
    )
    assert square_api.call(
        "POST", "/v2/orders/search", query={"a": "b c", "none": None}, body={"limit": 5}
    ) == {"orders": []}
    square_api.call("GET", "/v2/locations")
    (method, url, headers, content), (_, _, later, nothing) = transport.asked
    assert (method, url) == ("POST", "https://connect.squareup.com/v2/orders/search?a=b+c")
    assert json.loads(content) == {"limit": 5}
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["square-version"] == "2026-09-16"
    assert headers["content-type"] == "application/json"
    assert not [name for name in headers if name.startswith("x-fern")]
    assert "cookie" not in later
    assert nothing is None


def test_the_token_is_read_anew_at_each_request():
    tokens = iter(["EAAAsecond", "EAAAthird"])
    credential = Credential({"access_token": "EAAAfirst"}, lambda: {"access_token": next(tokens)})
    transport = Answers(answer(200, {}), answer(200, {}))
    square_api = SquareApi("https://connect.squareup.com", credential, transport)
    for _ in range(2):
        square_api.call("GET", "/v2/locations")
    sent = [headers["authorization"] for _, _, headers, _ in transport.asked]
    assert sent == ["Bearer EAAAsecond", "Bearer EAAAthird"]


def test_two_accounts_in_one_process_do_not_mix():
    apis = [api(*[answer(200, {})] * 25, token=f"EAAA{n}") for n in range(6)]
    threads = [
        threading.Thread(target=lambda a=a: [a.call("GET", "/v2/locations") for _ in range(25)])
        for a, _ in apis
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (_, transport) in enumerate(apis):
        sent = {headers["authorization"] for _, _, headers, _ in transport.asked}
        assert (sent, len(transport.asked)) == ({f"Bearer EAAA{number}"}, 25)


MERCHANT = {"merchant": {"id": "M1", "business_name": "Shop"}}
STATUS = {"scopes": ["ORDERS_READ"], "merchant_id": "M1"}
DENIED = answer(403, failure("INSUFFICIENT_SCOPES"))
IDENTITIES = {
    "both": (answer(200, MERCHANT), answer(200, STATUS), ("M1", "Shop", ("ORDERS_READ",))),
    "no right to the merchant": (DENIED, answer(200, STATUS), ("M1", "", ("ORDERS_READ",))),
    "status unknown": (
        answer(200, MERCHANT),
        answer(401, failure("UNAUTHORIZED")),
        ("M1", "Shop", ()),
    ),
    "status not in this environment": (
        answer(200, MERCHANT),
        answer(400, failure("SANDBOX_NOT_SUPPORTED")),
        ("M1", "Shop", ()),
    ),
    "odd scopes": (answer(200, MERCHANT), answer(200, {"scopes": "all"}), ("M1", "Shop", ())),
}


@pytest.mark.parametrize("case", IDENTITIES.values(), ids=list(IDENTITIES))
def test_identify_says_whose_account_it_is(case):
    *replies, (found, name, scopes) = case
    square_api, _ = api(*replies)
    assert identify(square_api) == Account(id=found, name=name, scopes=scopes)


NO_IDENTITIES = {
    "dead token": ((answer(401, failure("ACCESS_TOKEN_REVOKED")),), NeedsReauthError),
    "outage": ((answer(503, b""),), ProviderUnavailableError),
    "denied and unknown": ((DENIED, answer(401, failure("UNAUTHORIZED"))), PermissionDeniedError),
    "outage of the status": ((answer(200, MERCHANT), answer(500, b"")), ProviderUnavailableError),
    "nothing": ((answer(200, {}), answer(200, {})), ProviderUnavailableError),
    "odd merchant": ((answer(200, {"merchant": [1]}), answer(200, {})), ProviderUnavailableError),
    "elsewhere": (
        (RequestRejectedError("redirected", code="redirect-refused"),),
        RequestRejectedError,
    ),
}


@pytest.mark.parametrize("case", NO_IDENTITIES.values(), ids=list(NO_IDENTITIES))
def test_identify_never_takes_a_failure_for_an_account(case):
    replies, expected = case
    square_api, _ = api(*replies)
    with pytest.raises(ProviderError) as caught:
        identify(square_api)
    assert type(caught.value) is expected


# --- over the real transport, against the sandbox -----------------------------------------------


@pytest.fixture
def plugin():
    [found] = [each for each in find_plugins() if each.name == "square"]
    return load_plugin(found)


@pytest.fixture
def opened(plugin):
    """Open clients as the core does; their transports are closed afterwards."""
    transports = []

    def open_client(base, token):
        connection = Connection(
            id="con_1",
            name="shop",
            provider="square",
            environment="sandbox",
            base_url=base,
            is_redirected=True,
        )
        transports.append(HttpTransport(connection_id="con_1", origins=[base], allows_private=True))
        return plugin.new_client(
            connection=connection,
            credential=Credential({"access_token": token}),
            transport=transports[-1],
        )

    yield open_client
    for transport in transports:
        transport.close()


def order(base, name, given):
    return httpx.post(f"{base}/_sandbox/{name}", json=given).raise_for_status().json()


def test_identify_names_the_seller_quickly(server, opened):
    base = server(latency_ms=50)
    grant = order(base, "oauth", {"grant": {"account": 2, "scopes": ["MERCHANT_PROFILE_READ"]}})
    began = time.monotonic()
    account = identify(opened(base, grant["access_token"]))
    assert time.monotonic() - began < 3
    assert account.id == grant["merchant_id"]
    assert account.name == "مقهى الميناء ☕🚀"
    assert account.scopes == ("MERCHANT_PROFILE_READ",)
    assert httpx.get(f"{base}/_sandbox/log").json()["total"] == 2


def test_a_personal_token_opens_the_developer_s_own_account(server, opened):
    account = identify(opened(server(), API_KEY))
    assert account.name == "Harbour Coffee"
    assert "CUSTOMERS_READ" in account.scopes


def test_dead_tokens_missing_rights_and_outages_are_told_apart(server, opened):
    base = server()
    made = [
        order(base, "oauth", {"grant": {"account": n, "scopes": ["ORDERS_READ"]}}) for n in range(2)
    ]
    client = opened(base, made[0]["access_token"])
    with pytest.raises(PermissionDeniedError, match="MERCHANT_PROFILE_READ"):
        client.call("GET", "/v2/locations")
    order(base, "faults", [{"kind": "html200"}, {"kind": "drop", "nth": 2}])
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            client.call("GET", "/v2/locations")
    order(base, "oauth", {"revoke": made[0]["merchant_id"]})
    with pytest.raises(NeedsReauthError, match="ACCESS_TOKEN_REVOKED"):
        client.call("GET", "/v2/locations")
    order(base, "clock", {"advance_s": 31 * 86_400})
    with pytest.raises(NeedsReauthError, match="ACCESS_TOKEN_EXPIRED"):
        opened(base, made[1]["access_token"]).call("GET", "/v2/locations")
    with pytest.raises(NeedsReauthError, match="UNAUTHORIZED"):
        opened(base, "EAAAnobody").call("GET", "/v2/locations")


def test_no_token_shows_in_logs_or_errors(server, opened, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NeedsReauthError) as caught:
        identify(opened(server(), TOKEN))
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(caught.value) + str(caught.getrepr(showlocals=False))


# --- what is declared ---------------------------------------------------------------------------


def declared() -> OAuth2:
    [oauth] = [each for each in tieline_square.tieline_auth() if isinstance(each, OAuth2)]
    return oauth


def test_oauth_comes_first_and_the_personal_token_second(plugin):
    assert [auth.kind for auth in plugin.auth] == ["oauth2", "api_key"]
    assert list(plugin.provider.environments) == ["production", "sandbox"]
    assert list(plugin.entities) == ["customers", "orders", "catalog", "payments"]


@pytest.mark.parametrize("is_public", [False, True], ids=["code flow", "PKCE"])
def test_what_is_declared_is_what_the_sandbox_takes(server, is_public):
    base, oauth, back = server(), declared(), "http://localhost:1/oauth/callback/square"
    asked = {
        "client_id": CLIENT_ID,
        "scope": oauth.scope_separator.join(oauth.scopes),
        "redirect_uri": back,
        "state": "s",
        **oauth.extra,
    }
    proof = {"client_secret": CLIENT_SECRET}
    if is_public:
        asked |= {"code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}
        proof = {"code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"}
    reply = httpx.get(f"{base}{oauth.authorize_url}?{urlencode(asked)}")
    code = httpx.URL(reply.headers["location"]).params["code"]
    sent = {"grant_type": "authorization_code", "client_id": CLIENT_ID, "code": code}
    told = httpx.post(f"{base}{oauth.token_url}", json=sent | proof | {"redirect_uri": back}).json()
    assert told["access_token"]
    assert set(oauth.keep) <= told.keys()
    assert all(name in told for name in oauth.refresh_deadlines) is is_public
    status = httpx.post(
        f"{base}/oauth2/token/status",
        headers={"authorization": f"Bearer {told['access_token']}"},
    ).json()
    assert sorted(status["scopes"]) == sorted(oauth.scopes)
    fields = told | {"client_id": CLIENT_ID}
    given = {name: fields[field] for name, field in oauth.revocation.fields.items()}
    secret = {"authorization": f"Client {CLIENT_SECRET}"}
    gone = httpx.post(f"{base}{oauth.revocation.url}", json=given, headers=secret)
    assert gone.json() == {"success": True}
    refresh = {"grant_type": "refresh_token", "refresh_token": told["refresh_token"]}
    known = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    dead = httpx.post(f"{base}{oauth.token_url}", json=known | refresh).json()
    assert dead["errors"][0]["code"] in oauth.refused
    wrong = httpx.post(
        f"{base}{oauth.token_url}", json=known | refresh | {"client_secret": "x"}
    ).json()
    assert wrong["type"] not in oauth.refused  # the application's fault, not the grant's


TEXTS = {
    "application id": (CLIENT_ID, "application id"),
    "production application id": ("sq0idp-uaPHILoPzWZk3tlJqlML0g", "application id"),
    "application secret": (CLIENT_SECRET, "application secret"),
    "refresh token": ("EQAAl0OcByu3IYJYScGGg", "refresh token"),
    "access token": (TOKEN, None),
    "something newer": ("v2.token", None),
}


@pytest.mark.parametrize("case", TEXTS.values(), ids=list(TEXTS))
def test_texts_that_are_copied_by_mistake_are_refused_without_repeating_them(plugin, case):
    text, reason = case
    refused = plugin.auth[1].refuse(text)
    assert (refused is None) is (reason is None)
    if reason:
        assert reason in refused
        assert text not in refused


DECLARING = {"schema.py", "mappings.py"}
"""Modules that only say what fields are called, here and in Tieline."""


def code_lines(path):
    """Count lines without blank ones, comments, docstrings and entities' schemas."""
    text = path.read_text("utf-8")
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text or (isinstance(node, ast.keyword) and node.arg == "schema"):
            left_out.update(range(node.value.lineno, node.value.end_lineno + 1))
    return sum(
        1
        for number, line in enumerate(text.splitlines(), 1)
        if number not in left_out and line.strip() and not line.strip().startswith("#")
    )


def test_lines_of_code_are_those_that_do_something(tmp_path):
    path = tmp_path / "some.py"
    path.write_text('"""Says\nwhat."""\n\n# why\na = f(\n    schema=g(\n        x,\n    ),\n)\n')
    assert code_lines(path) == 2


def import_lines(path):
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    nodes = [node for node in found if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum(node.end_lineno - node.lineno + 1 for node in nodes)


def test_what_must_exist_of_the_plugin_is_small():
    files = list(Path(tieline_square.__file__).parent.glob("*.py"))
    assert sum(code_lines(path) for path in files if path.name not in DECLARING) <= 600
    assert sum(code_lines(path) - import_lines(path) for path in files) <= 600
    mappings = Path(tieline_square.__file__).with_name("mappings.py")
    assert code_lines(mappings) <= 120
