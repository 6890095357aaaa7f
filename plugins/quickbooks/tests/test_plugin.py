"""What is special about QuickBooks: its errors, its SDK's habits, its tokens."""

from __future__ import annotations

import ast
import io
import logging
import threading
import tokenize
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import quickbooks.client
from intuitlib.client import AuthClient
from quickbooks import exceptions
from requests_oauthlib import OAuth2Session

import tieline_quickbooks as plugin
from tieline import contract
from tieline.contract import (
    Account,
    ConflictError,
    Connection,
    Credential,
    NeedsReauthError,
    PermissionDeniedError,
    ProviderUnavailableError,
    RateLimitedError,
    RecordNotFoundError,
    Reply,
    RequestRejectedError,
    RetryLaterError,
)
from tieline.transport import HttpTransport, Limits
from tieline_quickbooks import errors
from tieline_quickbooks.client import identify


@pytest.fixture
def site(shared_server, http):
    """A sandbox with a way to it: makes clients, gives orders, shows what was asked."""
    with ExitStack() as stack:
        site = Site(shared_server, http, stack)
        yield site
        site.order("faults", [])


CLIENT_ID = "ABtielinesandboxclientid0000000000000000000000001a"
CLIENT_SECRET = "tielinesandboxclientsecret00000000000001"


class Site:
    def __init__(self, base, http, stack):
        self.base = base
        self._http = http
        self._stack = stack
        self._asked_before = self.look("log")["total"]

    def order(self, name, given):
        reply = self._http.post(f"{self.base}/_sandbox/{name}", json=given)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def look(self, name):
        return self._http.get(f"{self.base}/_sandbox/{name}").json()

    def asked(self):
        """Return the requests since the test began."""
        return self.look(f"log?after={self._asked_before}")["requests"]

    def fields(self, index=0):
        """Grant a company's access and return the credential's fields."""
        tokens = self.order("oauth", {"grant": {"account": index}})
        realm = self.look("")["accounts"][index]["id"]
        return {"access_token": tokens["access_token"], "realm_id": realm}

    def client(self, credential=None, **limits):
        transport = HttpTransport(
            connection_id="con_x",
            origins=[self.base],
            limits=Limits(**limits),
            allows_private=True,
        )
        self._stack.callback(transport.close)
        if credential is None:
            credential = Credential(self.fields())
        return plugin.tieline_client(connection_to(self.base), credential, transport)

    def refused(self, fault, **limits):
        """Ask once while something is wrong, and return the error."""
        client = self.client(**limits)
        self.order("faults", [fault])
        with pytest.raises(contract.ProviderError) as caught:
            client.get_single_object("CompanyInfo", client.company_id)
        return caught.value


def connection_to(base, **changed):
    given = {"id": "con_x", "name": "x", "provider": "quickbooks", "environment": "sandbox"}
    return Connection(**(given | {"base_url": base} | changed))


def service(code, message="no", kind="ValidationFault", detail="really"):
    error = {"Message": message, "Detail": detail, "code": code, "element": ""}
    return {"Fault": {"Error": [error], "type": kind}, "time": "2026-11-01T00:00:00.000-08:00"}


def gateway(code, message="no", kind="SERVICE", detail=None):
    error = {"message": message, "detail": detail, "code": code, "element": None}
    return {"warnings": None, "fault": {"error": [error], "type": kind}, "time": 1772442900123}


def xml(code, message, kind):
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
        '<IntuitResponse xmlns="http://schema.intuit.com/finance/v3" time="2026-11-01">'
        f'<Fault type="{kind}"><Error code="{code}"><Message>{message}</Message></Error></Fault>'
        "</IntuitResponse>"
    )


THROTTLED = "message=ThrottleExceeded; errorCode=003001; statusCode={}"
NOT_CONNECTED = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403"
CASES = {
    "401 gateway": (401, None, NeedsReauthError),
    "401 xml": (401, xml("3200", "AuthenticationFailed", "AUTHENTICATION"), NeedsReauthError),
    "401 html": (401, "<html>", NeedsReauthError),
    "401 user lost rights": (401, service("120", kind="AuthorizationFault"), NeedsReauthError),
    "400 user lost rights": (400, service("100", kind="AuthorizationFault"), NeedsReauthError),
    "400 another cluster": (400, service("130"), RetryLaterError),
    "403 not connected": (403, None, NeedsReauthError),
    "403 not connected xml": (403, xml("003100", NOT_CONNECTED, "AUTHORIZATION"), NeedsReauthError),
    "403 code in the words": (403, gateway("", NOT_CONNECTED), NeedsReauthError),
    "403 otherwise": (403, gateway("99", kind="AUTHORIZATION"), PermissionDeniedError),
    "403 html": (403, "<html>", PermissionDeniedError),
    "429 gateway": (429, None, RateLimitedError),
    "429 service": (429, service("3001", THROTTLED.format(429), "SERVICE"), RateLimitedError),
    "429 xml": (429, xml("3001", THROTTLED.format(429), "SERVICE"), RateLimitedError),
    "429 html": (429, "<html>", RateLimitedError),
    "429 empty": (429, "<", RateLimitedError),
    "403 throttled": (403, gateway("3001", THROTTLED.format(403)), RateLimitedError),
    "400 throttled": (400, service("003001", THROTTLED.format(429)), RateLimitedError),
    "500": (500, None, ProviderUnavailableError),
    "500 unsupported": (500, service("500"), ProviderUnavailableError),
    "502 html": (502, "<html>\ufffd</html>", ProviderUnavailableError),
    "503 null fault": (503, {"Fault": None}, ProviderUnavailableError),
    "503 list": (503, [], ProviderUnavailableError),
    "504 no errors": (504, {"Fault": {"Error": []}}, ProviderUnavailableError),
    "400 system": (400, service("", kind="SystemFault"), ProviderUnavailableError),
    "400 severe": (400, service("10000"), ProviderUnavailableError),
    "400 subscription": (400, service("6190"), PermissionDeniedError),
    "400 missing": (400, service("610"), RecordNotFoundError),
    "400 stale": (400, service("5010"), ConflictError),
    "400 duplicate": (400, service("6240"), RequestRejectedError),
    "400 unsupported": (400, service("500"), RequestRejectedError),
    "400 query": (400, service("4000"), RequestRejectedError),
    "400 code of letters": (400, service("x1"), RequestRejectedError),
    "400 code a number": (400, service(610), RecordNotFoundError),
    "404 html": (404, "<html>", RequestRejectedError),
    "200 fault": (200, service("6240"), RequestRejectedError),
    "200 fault without a code": (200, service(""), ProviderUnavailableError),
    "200 gateway": (200, gateway("3200", kind="AUTHENTICATION"), NeedsReauthError),
    "200 xml": (200, xml("3200", "x", "AUTHENTICATION"), NeedsReauthError),
    "200 html": (200, "<html>", ProviderUnavailableError),
    "200 list": (200, [], ProviderUnavailableError),
    "200 other xml": (200, "<?xml version='1.0'?><a/>", ProviderUnavailableError),
    "202": (202, {"CompanyInfo": {}}, ProviderUnavailableError),
}


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_every_answer_says_what_happens_next(site, case):
    status, body, expected = CASES[case]
    error = site.refused({"kind": "status", "status": status, "body": body})
    assert type(error) is expected
    assert "[intuit_tid 1-" in error.message


def test_an_answer_without_a_body_is_asked_again(site):
    assert type(site.refused({"kind": "empty"})) is ProviderUnavailableError


def test_a_broken_off_answer_is_asked_again(site):
    client = site.client()
    site.order("faults", [{"kind": "status", "status": 200, "body": {"a": "x" * 50}}])
    assert client.get_single_object("CompanyInfo", "1") == {"a": "x" * 50}
    site.order("faults", [{"kind": "status", "status": 200, "body": '{"CompanyInfo": {"Comp'}])
    with pytest.raises(ProviderUnavailableError) as caught:
        client.get_single_object("CompanyInfo", "1")
    assert "Comp" not in caught.value.message
    assert "[intuit_tid 1-" in caught.value.message
    assert caught.value.slug == "answer-malformed"


@pytest.mark.parametrize(("header", "expected"), [({}, 60.0), ({"Retry-After": "7"}, 7.0)])
def test_a_throttled_call_waits_as_long_as_it_is_told_else_a_minute(site, header, expected):
    fault = {"kind": "status", "status": 429, "headers": header}
    assert site.refused(fault).retry_after == expected


def test_a_server_s_own_retry_after_is_kept(site):
    fault = {"kind": "status", "status": 503, "headers": {"Retry-After": "9"}}
    assert site.refused(fault).retry_after == 9.0


HINTS = {
    "lost rights": (401, service("120"), "administrator"),
    "not connected": (403, gateway("3100"), "environment"),
    "subscription": (400, service("6190"), "subscription"),
}


@pytest.mark.parametrize("case", HINTS, ids=list(HINTS))
def test_what_a_person_can_do_is_said(site, case):
    status, body, word = HINTS[case]
    assert word in site.refused({"kind": "status", "status": status, "body": body}).hint


def test_intuit_s_own_words_are_kept_but_no_token(site):
    token = "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2IiwiYWxnIjoiZGlyIn0..Qk3x.Zz9.Aa1"
    body = service("3200", "AuthenticationFailed", detail=f"Token expired: {token}\n at gate")
    error = site.refused({"kind": "status", "status": 401, "body": body})
    assert "AuthenticationFailed: Token expired: … at gate" in error.message
    assert "eyJ" not in error.message
    duplicate = service("6240", "Duplicate Name Exists Error", detail="y" * 5000)
    assert len(site.refused({"kind": "status", "status": 400, "body": duplicate}).message) < 700


def test_a_duplicate_name_has_a_code_of_its_own(site):
    error = site.refused({"kind": "status", "status": 400, "body": service("6240")})
    assert error.slug == "duplicate-name"


@pytest.mark.parametrize(
    "fault", [{"kind": "drop"}, {"kind": "slow", "seconds": 2.0}], ids=["cut off", "too slow"]
)
def test_the_transport_s_own_errors_come_through(site, fault):
    error = site.refused(fault, deadline_s=0.3)
    assert type(error) is ProviderUnavailableError
    assert "gave no answer" in error.message


def test_an_address_of_somebody_else_is_never_called(site):
    with pytest.raises(RequestRejectedError, match="none of the provider's addresses"):
        site.client().get_current_user()


def test_identify_names_the_company_in_one_call(site):
    for account in site.look("")["accounts"]:
        fields = site.fields(account["index"])
        found = identify(site.client(Credential(fields)))
        assert found == Account(id=account["id"], name=account["name"])
    assert [call["query"] for call in site.asked()] == ["minorversion=75"] * 3


@pytest.mark.parametrize("body", [{}, {"CompanyInfo": None}, {"CompanyInfo": []}], ids=str)
def test_an_answer_that_names_no_company_does_not_count_as_connected(site, body):
    client = site.client()
    site.order("faults", [{"kind": "status", "status": 200, "body": body}])
    with pytest.raises(ProviderUnavailableError):
        identify(client)


def test_a_company_without_a_name_is_still_one(site):
    client = site.client()
    body = {"CompanyInfo": {"CompanyName": None}}
    site.order("faults", [{"kind": "status", "status": 200, "body": body}])
    assert identify(client).name == ""


@pytest.mark.parametrize("realm", ["", "1/2", "../x", "1?a=b", "٣", "9" * 21])
def test_a_company_id_that_is_no_number_is_never_sent(site, realm):
    client = site.client(Credential({"access_token": "x", "realm_id": realm}))
    with pytest.raises(NeedsReauthError):
        identify(client)
    assert site.asked() == []


def test_each_request_carries_the_token_that_is_good_then(site):
    fields, looks = site.fields(), []

    def renewed():
        looks.append(1)
        return fields

    client = site.client(Credential({"access_token": "x", "realm_id": "1"}, renewed))
    assert looks == []  # making a client must not call anybody
    assert identify(client).id == fields["realm_id"]
    site.order("clock", {"advance_s": 3601})
    with pytest.raises(NeedsReauthError):
        identify(client)
    fields = site.fields()
    assert identify(client).id == fields["realm_id"]


def test_two_companies_in_one_process_do_not_mix(site):
    clients = {}
    for account in site.look("")["accounts"]:
        clients[account["name"]] = site.client(Credential(site.fields(account["index"])))
    found = {name: set() for name in clients}

    def read(name):
        found[name].update(identify(clients[name]).name for _ in range(10))

    threads = [threading.Thread(target=read, args=[name]) for name in clients for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: {name} for name in clients}
    assert quickbooks.client.QuickBooks.api_url_v3 == "https://quickbooks.api.intuit.com/v3"
    assert quickbooks.client.QuickBooks.session is None


def test_the_sdk_neither_opens_sessions_nor_refreshes_nor_logs_tokens(site, monkeypatch, caplog):
    def refuse(*_given, **_named):
        raise AssertionError("the SDK's own way was taken")

    monkeypatch.setattr(AuthClient, "__init__", refuse)
    monkeypatch.setattr(OAuth2Session, "__init__", refuse)
    fields = site.fields()
    with caplog.at_level(logging.DEBUG):
        identify(site.client(Credential(fields)))
    assert fields["access_token"] not in caplog.text


def test_a_write_is_sent_as_the_sdk_wrote_it(site):
    sent = []

    class Recorder:
        def send(self, method, url, *, headers, content=None):
            sent.append((method, url, dict(headers), content))
            return Reply(status=200, headers={}, content=b'{"QueryResponse": {}}', seconds=0.1)

    credential = Credential({"access_token": "t1", "realm_id": "42"})
    client = plugin.tieline_client(connection_to("http://here"), credential, Recorder())
    assert client.query("SELECT * FROM Customer WHERE DisplayName = 'Zoë'") == {"QueryResponse": {}}
    client.get_single_object("Customer", "1")
    (method, url, headers, content), (_, _, _, nothing) = sent
    assert (method, url) == ("POST", "http://here/v3/company/42/query?minorversion=75")
    assert headers["Authorization"] == "Bearer t1"
    assert headers["Content-Type"] == "application/text"
    assert content == "SELECT * FROM Customer WHERE DisplayName = 'Zoë'".encode()
    assert nothing is None


EVERY = [
    kind
    for kind in vars(exceptions).values()
    if isinstance(kind, type) and issubclass(kind, Exception)
]


def test_the_sdk_has_the_error_classes_that_we_know():
    assert len(EVERY) == 7


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("code", ["", 0, 120, 401, 500, 610, 2010, 3001, 3200, 5010, 6240, 10000])
def test_every_error_class_of_the_sdk_is_mapped(kind, code):
    error = errors.classify(kind("the body with hunter2", code, "hunter2"))
    assert isinstance(error, contract.ProviderError)
    assert "hunter2" not in error.message


SDK = {
    "401": (exceptions.AuthorizationException("x", 401), NeedsReauthError),
    "gone": (exceptions.ObjectNotFoundException("x", 610), RecordNotFoundError),
    "throttled": (exceptions.ValidationException("x", 3001), RateLimitedError),
    "not connected": (exceptions.ValidationException("x", 3100), NeedsReauthError),
    "stale": (exceptions.QuickbooksException("x", 5010), ConflictError),
    "no JSON": (exceptions.QuickbooksException("x", 10000), ProviderUnavailableError),
    "severe": (exceptions.SevereException("x", 10007), ProviderUnavailableError),
    "invalid": (exceptions.ValidationException("x", 2010), RequestRejectedError),
    "no session": (exceptions.QuickbooksException("x"), RequestRejectedError),
}


@pytest.mark.parametrize("case", SDK, ids=list(SDK))
def test_an_error_of_the_sdk_means_what_its_code_says(case):
    error, expected = SDK[case]
    assert type(plugin.tieline_classify(error)) is expected


def test_what_is_not_the_sdk_s_is_left_alone():
    assert plugin.tieline_classify(ValueError("x")) is None


def test_every_address_that_the_core_calls_is_declared():
    provider, auth = plugin.tieline_provider(), plugin.tieline_auth()
    assert provider.owns(auth.token_url)
    assert provider.owns(auth.revocation.url)
    assert list(provider.environments) == ["production", "sandbox"]
    here = connection_to("http://127.0.0.1:1", is_redirected=True)
    assert here.address(auth.token_url) == "http://127.0.0.1:1/oauth2/v1/tokens/bearer"


def test_the_declared_way_in_is_the_sandbox_s(server, http):
    """The declaration's words, taken literally, connect, refresh and revoke."""
    base, auth = server(), plugin.tieline_auth()
    here = connection_to(base, is_redirected=True)
    client = (CLIENT_ID, CLIENT_SECRET)
    redirect = "http://127.0.0.1:8000/oauth/callback/quickbooks"
    asked = {
        "client_id": client[0],
        "response_type": "code",
        "scope": auth.scope_separator.join(auth.scopes),
        "redirect_uri": redirect,
        "state": "s1",
    }
    back = http.get(here.address(auth.authorize_url), params=asked | dict(auth.extra))
    told = dict(httpx.URL(back.headers["location"]).params)
    assert set(auth.keep_redirect) <= told.keys()
    form = {"grant_type": "authorization_code", "code": told["code"], "redirect_uri": redirect}
    token_url, headers = here.address(auth.token_url), dict(auth.token_headers)
    tokens = http.post(token_url, data=form, auth=client, headers=headers).json()
    assert set(auth.refresh_deadlines) <= tokens.keys()
    assert tokens["expires_in"] == auth.access_lifetime.total_seconds()
    assert tokens["x_refresh_token_expires_in"] > auth.refresh_every.total_seconds()
    way_out = here.address(auth.revocation.url)
    named = {
        name: tokens[field] for name, field in auth.revocation.fields.items() if field in tokens
    }
    assert http.post(way_out, json=named, auth=client).status_code == 200
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused = http.post(token_url, data=form, auth=client)
    assert refused.json()["error"] in auth.refused


def test_limits_stay_below_intuit_s():
    connection = connection_to("https://quickbooks.api.intuit.com", account=Account(id="42"))
    policy = plugin.tieline_rate_limits(connection)
    assert [(rate.limit, rate.match) for rate in policy.rates] == [
        ("8/second", ""),
        ("450/minute", ""),
        ("36/minute", "/v3/company/42/batch"),
    ]
    assert policy.concurrency == 8


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (429, b"", 60),
        (
            403,
            b'{"Fault": {"Error": [{"Message": "m", "code": "3001"}], "type": "SERVICE"}}',
            60,
        ),
        (403, b'{"Fault": {"Error": [{"Message": "m", "code": "5020"}]}}', None),
        (500, b"", None),
        (200, b"{}", None),
    ],
)
def test_a_refusal_in_any_shape_keeps_everybody_away_for_a_minute(status, content, expected):
    reply = Reply(status=status, headers={}, content=content, seconds=0.1)
    seen = plugin.tieline_observe(reply)
    assert (seen.retry_after_s if seen else None) == expected


NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def lines_of_code(path):
    """Count the lines that hold code: no blanks, comments or docstrings, imports or schemas."""
    text = path.read_text()
    held = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            held.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if is_text(node) or is_schema(node) or isinstance(node, ast.Import | ast.ImportFrom):
            held.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(held)


def is_text(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_schema(node):
    bases = getattr(node, "bases", []) if isinstance(node, ast.ClassDef) else []
    return any(isinstance(base, ast.Name) and base.id.endswith("Schema") for base in bases)


def test_lines_of_code_are_those_that_hold_some(tmp_path):
    path = tmp_path / "some.py"
    text = (
        '"""Says\nwhat."""\n\n# why\nimport os\na = 1  # one\nb = (\n    """not\n    said"""\n)\n'
    )
    path.write_text(f"{text}class C(Schema):\n    c = 1\n\n\nclass D(Other):\n    d = 1\n")
    assert lines_of_code(path) == 7


def test_what_must_exist_of_the_plugin_beside_its_schemas_is_small():
    folder = Path(plugin.__file__).parent
    assert sum(lines_of_code(path) for path in folder.glob("*.py")) <= 600
